"""The scripts that the console serves and did not write itself: byte for byte what npm has, each with its licence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .stage import PROJECT

STATIC = PROJECT / "plugins/logstream/console/static"
NODE = PROJECT / ".venv/node/node_modules"

COPIES = {
    "htmx.min.js": "htmx.org/dist/htmx.min.js",
    "htmx.LICENSE": "htmx.org/LICENSE",
    "uPlot.min.js": "uplot/dist/uPlot.iife.min.js",
    "uPlot.min.css": "uplot/dist/uPlot.min.css",
    "uPlot.LICENSE": "uplot/LICENSE",
}
"""Our copies, and the files of the packages that the lock of deploy/node pins by their digests."""

OWN = {"charts.js", "console.js", "theme.js", "console.css", "icon.svg", "icon-dark.svg"}


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_is_what_npm_has(copy: str) -> None:
    assert (STATIC / copy).read_bytes() == (NODE / COPIES[copy]).read_bytes()


def test_every_file_is_ours_or_a_copy_that_is_compared() -> None:
    assert {path.name for path in STATIC.iterdir()} == {*OWN, *COPIES}
    lock = json.loads((PROJECT / "deploy/node/package-lock.json").read_text())["packages"]
    for package in {Path(path).parts[0] for path in COPIES.values()}:
        installed = json.loads((NODE / package / "package.json").read_text())["version"]
        pinned = lock[f"node_modules/{package}"]
        assert installed == pinned["version"] and pinned["integrity"].startswith("sha512-")
