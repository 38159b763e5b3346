"""What a command, a process and a destination import: no more than they need, and once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from logstream.airflow.connections import AirflowConnections
from logstream.export.exporter import Exporter
from logstream.validation import validate_settings
from tests.test_small_windows import each_its_own, fill

NEVER = {"alembic", "azure", "fastapi", "google", "jinja2", "mako", "pandas", "pyarrow", "rich"}
"""What no command needs that only reads the ledger."""


@pytest.mark.parametrize(
    ("command", "not_imported"),
    [
        (
            ["--help"],
            {*NEVER, "airflow", "aiohttp", "boto3", "obstore", "psycopg", "pydantic", "requests", "sqlalchemy"},
        ),
        (["status"], {*NEVER, "airflow", "aiohttp", "boto3", "obstore", "requests"}),
        (["owed"], {*NEVER, "airflow", "aiohttp", "boto3", "obstore", "requests"}),
        (["settings", "show"], {*NEVER, "airflow", "aiohttp", "boto3", "obstore", "requests"}),
        (
            ["export", "--from", "2026-01-05T00:00:00Z", "--to", "2026-01-05T00:05:00Z"],
            {"aiohttp", "alembic", "azure", "boto3", "fastapi", "google", "obstore", "pandas", "pyarrow"},
        ),
    ],
)
def test_a_command_imports_what_it_needs(
    store: psycopg.Connection, database: str, tmp_path: Path, command: list[str], not_imported: set[str]
) -> None:
    fill(store, 3)
    with Exporter(database, database, AirflowConnections()) as exporter:
        folder = {"type": "file", "path": f"{tmp_path}/out/"}
        exporter.settings.apply(validate_settings(each_its_own(3, folder, "path")))
    program = (
        "import sys; from logstream.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    environment = {**os.environ, "LOGSTREAM_DSN": database, "LOGSTREAM_FILE_ROOTS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program, *command], env=environment, capture_output=True, text=True, check=True
    )
    imported = set(done.stderr.splitlines()[-1].split())
    assert "logstream" in imported
    assert imported & not_imported == set()


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("broken", [False, True])
def test_what_each_process_would_import_is_imported_before_there_are_any(
    database: str, monkeypatch: pytest.MonkeyPatch, *, broken: bool, threads: bool
) -> None:
    from logstream.errors import InputError
    from logstream.export import exporter as module
    from logstream.export.shares import Share

    did: list[str] = []

    def signer() -> None:
        did.append("looked for the key")
        if broken:
            raise InputError("it is no key")

    class Begun:
        def __init__(self, *_: object) -> None:
            did.append("began processes")

        def results(self, _: object = None) -> list[object]:
            return []

    def may_fork() -> bool:
        did.append("asked for threads")
        return not threads

    monkeypatch.setattr(module, "Processes", Begun)
    monkeypatch.setattr(module, "may_fork", may_fork)
    with Exporter(database, database, AirflowConnections(), signer=signer) as exporter:
        exporter.deliver_shares([Share("a", (), 1), Share("b", (), 1)])
        assert did == []  # too little for processes
        exporter.deliver_shares([Share("a", (), 10**9), Share("b", (), 10**9)])()
    assert did == ["looked for the key", "asked for threads"] + ["began processes"] * (not threads)


def test_a_destination_of_s3_is_made_without_what_makes_requests() -> None:
    program = (
        "import sys; from logstream.destinations.registry import destination_type; destination_type('s3')\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & {"aiohttp", "requests", "boto3", "airflow"} == set()
