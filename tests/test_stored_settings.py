"""Settings that an older version stored: they load, stay as they are, and export the bytes that they exported then."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg.types.json import Json

from logstream.control.engine import open_control
from logstream.settings.models import Settings
from logstream.store.load import load_file

from .conftest import Cli

OLDER = Path(__file__).parent / "data" / "before_the_envelope"
EXPORTED = json.loads((OLDER / "exported.json").read_text())


def exported(folder: Path) -> dict[str, str]:
    """Every object below a folder, unpacked, by its key."""
    found = {}
    for file in folder.rglob("*"):
        if file.is_file():
            body = file.read_bytes()
            found[str(file.relative_to(folder))] = (gzip.decompress(body) if file.suffix == ".gz" else body).decode()
    return found


@pytest.mark.parametrize("document", EXPORTED["snapshots"], ids=["override", "each its own"])
def test_a_stored_document_is_not_written_anew(document: dict[str, Any]) -> None:
    """As its digest is that of before, applying the same settings after an upgrade makes no new version."""
    assert Settings.model_validate(document).as_document() == document


def test_what_was_exported_is_exported_again(cli: Cli, store: psycopg.Connection, tmp_path: Path) -> None:
    load_file(store, OLDER / "events.ndjson")
    dsn = store.info.dsn
    open_control(dsn)
    folder = tmp_path / "out"
    for minute, stored in enumerate(EXPORTED["snapshots"]):
        document = json.loads(json.dumps(stored).replace("{folder}", str(folder)))
        with psycopg.connect(dsn) as connection:
            connection.execute(
                "insert into logstream.settings_snapshots (digest, document) values (%s, %s)",
                (f"of-before-{minute}", Json(document)),
            )
        shown = cli("settings", "show", "--dsn", dsn)
        assert yaml.safe_load(shown.stdout) == document, shown.stderr
        window = ("--from", f"2026-02-03T04:0{minute}:00Z", "--to", f"2026-02-03T04:0{minute + 1}:00Z")
        done = cli("export", "--dsn", dsn, *window)
        assert done.returncode == 0, done.stderr
    assert exported(folder) == EXPORTED["files"]
