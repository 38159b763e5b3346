"""Logstream streams the audit logs of many customer workspaces to the destinations their owners choose."""

__version__ = "0.1.0"
