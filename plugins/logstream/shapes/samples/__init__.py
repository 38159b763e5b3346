"""A sample event of each kind, to render where there is no real one."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def sample_text(kind: str) -> str:
    """The sample event of a kind as JSON text."""
    return (Path(__file__).parent / f"{kind}.json").read_text(encoding="utf-8")


def sample_event(kind: str) -> dict[str, Any]:
    """The sample event of a kind."""
    event: dict[str, Any] = json.loads(sample_text(kind))
    return event
