"""Copies that an auditor verifies are other people's: what names and listings are made of stops nothing, and forges no line."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.auditor import SCRIPT, audit

LINE = {"name": "1.json", "bytes": 2, "sha256": "0" * 64, "events": 1}


def put(folder: Path, name: str, body: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


def manifest(folder: Path, name: str, lines: bytes = b"", **says: Any) -> None:
    """The one manifest of a destination, with one listing."""
    fields = {
        "format": "logstream-manifest/1", "destination": name, "sequence": 1, "previous": None, "events": 0, "key": None,
        "window": {"start": "2026-03-01T00:00:00Z", "end": "2026-03-01T01:00:00Z"}, "prefix": "",
        "listings": [{"parts": lines.count(b"\n"), "sha256": hashlib.sha256(lines).hexdigest()}] if lines else [],
    }  # fmt: skip
    put(folder, f"_manifests/{name}/00000001.json", json.dumps({**fields, **says}).encode())
    if lines:
        put(folder, f"_manifests/{name}/00000001-00000.ndjson.gz", gzip.compress(lines, 1))


def verified(folder: Path, *, memory: int | None = None, **environment: str) -> tuple[int, list[str]]:
    """The exit code of the script, and what it says; it has so many bytes of memory."""

    def limit() -> None:
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)], capture_output=True, check=False, timeout=120, preexec_fn=limit,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.stderr == b""
    return done.returncode, done.stdout.decode().split("\n")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_terminal_need_not_know_the_characters_of_names(tmp_path: Path, encoding: str) -> None:
    manifest(tmp_path, "日本")
    put(tmp_path, "受信.json", b"{}")
    code, said = verified(tmp_path, PYTHONIOENCODING=encoding)
    assert code == 1 and said[-2].endswith("1 problem")
    assert any(" is extra" in line for line in said) and any("newest manifest 1" in line for line in said)


def test_names_that_are_no_text_are_told(tmp_path: Path) -> None:
    manifest(tmp_path, "d")
    (tmp_path / "_manifests/d").rename(tmp_path / "_manifests" / os.fsdecode(b"\xff"))
    code, said = verified(tmp_path, PYTHONIOENCODING="utf-8:strict")
    assert code == 1 and said[0].startswith("\\udcff: manifest 1 is in another's place")


def test_a_name_forges_no_line(tmp_path: Path) -> None:
    forged = "1.json\n\x1b[2J1 manifest, 1 event in 1 object: no problems"
    manifest(tmp_path, "d", json.dumps({**LINE, "name": forged}).encode() + b"\n", events=1, key="\n\ud800")
    code, said = verified(tmp_path)
    assert code == 1 and not [line for line in said[:-2] if line.startswith("1 manifest")]
    assert "object 1.json\\n\\x1b[2J1 manifest, 1 event in 1 object: no problems is missing" in said


@pytest.mark.parametrize("line", [json.dumps(LINE), json.dumps({**LINE, "name": "x" * 60_000})])
def test_a_listing_that_unpacks_to_more_than_memory_is_altered(tmp_path: Path, line: str) -> None:
    """Whatever its manifest says of how much it holds."""
    lines = f"{line}\n".encode() * (500_000_000 // len(line))
    manifest(tmp_path, "d", lines, events=1)
    assert (tmp_path / "_manifests/d/00000001-00000.ndjson.gz").stat().st_size < 20_000_000
    del lines
    code, said = verified(tmp_path, memory=450_000_000)
    assert code == 1 and said[0].startswith("d: listing _manifests/d/00000001-00000.ndjson.gz ")


def test_a_whole_bucket_is_told_which_folders_of_it_are_prefixes(tmp_path: Path) -> None:
    assert "give a copy of a destination's prefix, whole" in audit(tmp_path).stderr
    for name in ("lake", "a\nb"):
        manifest(tmp_path / name, "d")
    done = audit(tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith(f"; give {tmp_path}/a\\nb {tmp_path}/lake\n"), done.stderr
