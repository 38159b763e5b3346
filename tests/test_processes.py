"""The command line's own processes, which deliver and seal: what they do is the same as one does, whenever one is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.airflow.connections import AirflowConnections
from logstream.export.exporter import Exporter
from logstream.validation import validate_settings
from tests.test_small_windows import WINDOW, each_its_own, fill

WORKSPACES = 10
DELIVERIES = 8
SPAN = ["--from", WINDOW.start.isoformat(), "--to", WINDOW.end.isoformat()]

PROGRAM = """
import os, signal, sys
from logstream.destinations.file import FileDestination
from logstream.export import processes, seal, sealer
from logstream.cli import main

processes.PROCESS_BYTES, seal.PROCESS_DELIVERIES = 1, int(sys.argv.pop(1))
victim, parent = sys.argv.pop(1), os.getpid()
processes.processors = lambda: 2

def killed_at(owner, name, about):
    function = getattr(owner, name)

    def killing(*arguments):
        if about(*arguments) == "d3" and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)

    setattr(owner, name, killing)

if victim == "sealing":
    killed_at(sealer.Sealer, "_put_one", lambda sealer, folder, manifest, earlier: manifest.destination)
if victim == "delivering":
    killed_at(FileDestination, "packer", lambda destination, lane, part: destination.name)
sys.exit(main())
"""


@pytest.fixture
def out(store: psycopg.Connection, database: str, tmp_path: Path) -> Path:
    """A window of few events for each of some folders: where they are."""
    fill(store, WORKSPACES)
    folder = {"type": "file", "path": f"{tmp_path}/out/", "packaging": "batch", "manifests": True}
    with Exporter(database, database, AirflowConnections()) as exporter:
        exporter.settings.apply(validate_settings(each_its_own(WORKSPACES, folder, "path")))
    return tmp_path / "out"


def run(database: str, out: Path, *command: str) -> tuple[int, Any, str]:
    """Run a command; its exit code, its document, and what it said beside it."""
    environment = {**os.environ, "LOGSTREAM_DSN": database, "LOGSTREAM_FILE_ROOTS": str(out)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def export(database: str, out: Path, *, each: int = 2, victim: str = "none") -> tuple[int, Any, str]:
    """`logstream export` where `each` deliveries are worth a process that seals them."""
    return run(database, out, sys.executable, "-c", PROGRAM, str(each), victim, "export", *SPAN, "--json")


def manifests(out: Path) -> dict[str, bytes]:
    """The destinations' manifests, by their paths, without what differs from one export to another."""
    found = {}
    for path in out.rglob("_manifests/*/*.json"):
        manifest = json.loads(path.read_text())
        assert manifest["sequence"] == 1
        found[str(path.relative_to(out))] = json.dumps(manifest["listings"]).encode()
    return found


def is_whole(database: str, out: Path) -> None:
    """Everything is there, once, with its manifest."""
    code, verdict, said = run(database, out, sys.executable, "-m", "logstream.cli", "verify", *SPAN, "--json")
    assert code == 0, (verdict, said)
    assert len(manifests(out)) == DELIVERIES


@pytest.mark.parametrize("each", [1, 2, 4, 5])
def test_deliveries_sealed_by_several_processes_have_their_manifests(database: str, out: Path, each: int) -> None:
    code, document, said = export(database, out, each=each)
    assert code == 0, said
    assert {item["state"] for item in document["deliveries"]} == {"delivered"}
    is_whole(database, out)


def test_a_sealing_process_that_is_killed_fails_what_it_has_not_sealed_and_no_more(database: str, out: Path) -> None:
    code, document, said = export(database, out, victim="sealing")
    assert code == 1, said
    failed = {item["destination"]: item["error"] for item in document["deliveries"] if item["state"] != "delivered"}
    assert "d3" in failed and len(failed) <= DELIVERIES // 2
    assert all("ended by SIGKILL" in error for error in failed.values())
    assert export(database, out)[0] == 0
    is_whole(database, out)


def test_a_delivering_process_that_is_killed_is_told_and_the_same_command_goes_on(database: str, out: Path) -> None:
    code, _, said = export(database, out, victim="delivering")
    assert code == 1
    assert "ended by SIGKILL" in said and "goes on from there" in said
    assert export(database, out)[0] == 0
    is_whole(database, out)
