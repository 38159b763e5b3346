"""A window is read a chunk at a time: as many events as are likely to fill one, so that no answer is thrown away half read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.export import pipeline
from logstream.ledger.records import State
from logstream.store import postgres
from tests.test_engine import Make, canonical, engine, export, files, filled, override, stored

__all__ = ["engine", "filled"]  # fixtures


@pytest.mark.parametrize("lanes", [1, 3])
def test_answers_of_the_log_store_are_read_to_their_end(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lanes: int
) -> None:
    """What is left of an answer can only be thrown away with its connection, and the next chunk would wait for a new one."""
    monkeypatch.setattr(pipeline, "CHUNK_BYTES", 200_000)
    connects, reads = [], []
    connect, read = postgres.connect, postgres.PostgresStore.read

    def counted_connect(*arguments: Any, **options: Any) -> psycopg.Connection:
        connects.append(arguments)
        return connect(*arguments, **options)

    def counted_read(*arguments: Any, **options: Any) -> Any:
        reads.append(options)
        return read(*arguments, **options)

    monkeypatch.setattr(postgres, "connect", counted_connect)
    monkeypatch.setattr(postgres.PostgresStore, "read", counted_read)
    destination = {"type": "file", "path": str(tmp_path / "out"), "packaging": "batch", "lanes": lanes}
    _, reports = export(engine(override(destination)))
    assert [(report.state, report.events) for report in reports] == [(State.DELIVERED, 1_500)]
    documents = [json.loads(line) for body in files(tmp_path / "out").values() for line in body.splitlines()]
    assert canonical(documents) == stored(filled)
    assert len(reads) >= 5, "a window of several chunks"
    assert len(connects) < 3 + len(reads) // 2
