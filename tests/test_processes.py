"""The command line's own processes, which deliver and seal: what they do is the same as one does, whenever one is killed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.airflow.connections import AirflowConnections
from logstream.export.exporter import Exporter
from logstream.testing.servers import S3Server
from logstream.validation import validate_settings
from logstream.verify.verifier import verify
from tests.forked import Forked, forked
from tests.test_small_windows import WINDOW, each_its_own, fill

WORKSPACES = 10
DELIVERIES = 8
SPAN = ["--from", WINDOW.start.isoformat(), "--to", WINDOW.end.isoformat()]

PROGRAM = """
import os, signal, sys, time
from logstream import threads
from logstream.destinations.file import FileDestination
from logstream.export import processes, seal, sealer
from logstream.cli import main
from logstream.errors import DatabaseAway

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
if victim == "silent":
    os.kill = lambda *_: os._exit(0)
    killed_at(sealer.Sealer, "_put_one", lambda sealer, folder, manifest, earlier: manifest.destination)
if victim == "speaking":
    def half_said(part, deployment, say):
        if any(item.destination == "d3" for item in part):
            os.write(say.__self__.fileno(), b"\\0\\0\\1\\0 and no more")
            os.kill(os.getpid(), signal.SIGKILL)
        make_part(part, deployment, say)
    make_part, seal._make_part = seal._make_part, half_said
if victim == "away":
    def cut_off(part, deployment, say):
        if any(item.destination == "d3" for item in part):
            raise DatabaseAway("writing manifests: the database is gone")
        time.sleep(0.5)
        make_part(part, deployment, say)
    make_part, seal._make_part = seal._make_part, cut_off
if victim == "parent":
    def orphaned(part, deployment, say):
        print("process", os.getpid(), file=sys.stderr, flush=True)
        os.kill(parent, signal.SIGKILL)
        say(([], {0: "x" * 1_000_000}))
    seal._make_part = orphaned
if victim == "room":
    def fork():
        made.append(1)
        if len(made) % 2 == 0:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return fork_one()
    fork_one, os.fork, made = os.fork, fork, []
if victim == "threads":
    # delivered by the command itself, whose threads have ended since
    processes.PROCESS_BYTES, threads.IDLE_SECONDS = 1 << 60, 0.1
    seal._parts = lambda complete, count, parts=seal._parts: time.sleep(2) or parts(complete, count)
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


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forked]:
    with forked(tmp_path_factory.mktemp("commands")) as found:
        yield found


Export = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def export(interpreter: Forked, database: str) -> Export:
    """`logstream export` where `each` deliveries are worth a process that seals them; its exit code, its document, and
    what it said beside it."""

    def export(out: Path, *, each: int = 2, victim: str = "none") -> tuple[int, Any, str]:
        environment = {**os.environ, "LOGSTREAM_DSN": database, "LOGSTREAM_FILE_ROOTS": str(out)}
        done = interpreter.run(PROGRAM, str(each), victim, "export", *SPAN, "--json", environment=environment)
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr

    return export


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
    with Exporter(database, database, AirflowConnections()) as exporter:
        assert verify(exporter, WINDOW).findings == []
    assert len(manifests(out)) == DELIVERIES


@pytest.mark.parametrize("each", [1, 4])
def test_deliveries_sealed_by_several_processes_have_their_manifests(
    export: Export, database: str, out: Path, each: int
) -> None:
    code, document, said = export(out, each=each)
    assert code == 0, said
    assert {item["state"] for item in document["deliveries"]} == {"delivered"}
    is_whole(database, out)


@pytest.mark.parametrize(
    ("victim", "how"),
    [
        ("sealing", "ended by SIGKILL"),
        ("speaking", "ended by SIGKILL"),  # in the middle of what it says
        ("silent", "ended by exit code 0"),  # a library that ends the process as if all were well
        ("away", "the database is gone"),
    ],
)
def test_a_sealing_process_that_ends_early_fails_what_it_has_not_sealed_and_no_more(
    export: Export, database: str, out: Path, victim: str, how: str
) -> None:
    code, document, said = export(out, victim=victim)
    assert code == 1, said
    failed = {item["destination"]: item["error"] for item in document["deliveries"] if item["state"] != "delivered"}
    assert "d3" in failed and len(failed) <= DELIVERIES // 2
    assert all(how in error for error in failed.values())
    with Exporter(database, database, AirflowConnections()) as exporter:
        assert exporter.ledger.health() == {}, "it tells nothing of their destinations"
    assert export(out)[0] == 0
    is_whole(database, out)


def test_a_delivering_process_that_is_killed_is_told_and_the_same_command_goes_on(
    export: Export, database: str, out: Path
) -> None:
    code, _, said = export(out, victim="delivering")
    assert code == 1
    assert "ended by SIGKILL" in said and "goes on from there" in said
    assert export(out)[0] == 0
    is_whole(database, out)


def test_where_no_process_can_be_made_the_command_does_all_itself(export: Export, database: str, out: Path) -> None:
    code, document, said = export(out, victim="room")
    assert code == 0, said
    assert {item["state"] for item in document["deliveries"]} == {"delivered"}
    is_whole(database, out)


def test_no_process_outlives_the_command(export: Export, database: str, out: Path) -> None:
    code, _, said = export(out, victim="parent")
    assert code == -signal.SIGKILL
    left = {int(line.split()[1]) for line in said.splitlines() if line.startswith("process ")}
    assert left
    until = time.monotonic() + 20
    while left and time.monotonic() < until:
        left = {number for number in left if Path(f"/proc/{number}/stat").exists()}
        time.sleep(0.1)
    for number in left:
        os.kill(number, signal.SIGKILL)
    assert not left


def test_a_command_whose_clients_have_threads_does_not_fork(
    export: Export, store: psycopg.Connection, database: str, tmp_path: Path, s3: S3Server, bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_SHARED_S3", s3.connection)
    fill(store, WORKSPACES)
    lake = {"type": "s3", "connection": "shared_s3", "bucket": bucket, "prefix": "c", "packaging": "batch"}
    with Exporter(database, database, AirflowConnections()) as exporter:
        exporter.settings.apply(validate_settings(each_its_own(WORKSPACES, {**lake, "manifests": True}, "prefix")))
    code, document, said = export(tmp_path, victim="threads")
    assert code == 0, said
    assert {item["state"] for item in document["deliveries"]} == {"delivered"}
