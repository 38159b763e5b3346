"""What the stores share in reading back what was delivered."""

from __future__ import annotations

from collections.abc import Iterable


def without_manifests(keys: Iterable[str]) -> list[str]:
    """Keys of objects that hold events."""
    return [key for key in keys if not key.startswith("_manifests/") and "/_manifests/" not in key]
