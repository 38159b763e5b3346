"""How a destination is let in at its vendor: the fields of its Airflow connection by the vendor's names, and the least rights.

Pure data, one file for each family of vendors. The console draws forms of it, and the docs link to the same pages.
"""

from __future__ import annotations

from logstream.destinations.access.base import Access, Authentication, CredentialField, Rights, Shape

__all__ = ["Access", "Authentication", "CredentialField", "Rights", "Shape"]
