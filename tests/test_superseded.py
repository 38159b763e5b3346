"""What is superseded is removed, and what is in force never is: not by other settings, nor beside another run."""

# ruff: noqa: F811 - fixtures are imported

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.destinations.file import FileDestination
from logstream.destinations.outcome import GiveUp
from logstream.export import sealer
from logstream.export.exporter import Exporter

from .test_engine import Make, engine, export, filled, override  # noqa: F401
from .test_sealing import WINDOWS, apply, data, folder


def in_force(exporter: Exporter, delivery: int) -> set[str]:
    return {part.name for _, part in exporter.ledger.parts([delivery])}


@pytest.fixture
def shared(filled: psycopg.Connection) -> psycopg.Connection:
    """The jobs of the first window are in the second, too: with `packaging: file` they have the same names."""
    filled.execute(
        "insert into events (workspace_id, kind, occurred_at, recorded_at, payload)"
        " select workspace_id, kind, occurred_at, recorded_at + interval '1 minute', payload from events"
        " where kind = 'job' and recorded_at < %s",
        (WINDOWS[0].end,),
    )
    return filled


@pytest.mark.parametrize("packaging", ["batch", "parquet"])
def test_what_was_an_object_an_event_is_judged_by_the_names_of_then(
    engine: Make,
    shared: psycopg.Connection,
    tmp_path: Path,
    packaging: str,
) -> None:
    out = tmp_path / "out"
    exporter = engine(override(folder(out, packaging="file")))
    export(exporter, WINDOWS[0])
    export(exporter, WINDOWS[1])
    others = in_force(exporter, 2)
    assert in_force(exporter, 1) & others
    apply(exporter, folder(out, packaging=packaging))
    export(exporter, WINDOWS[0])
    assert others <= data(out)


def test_names_that_the_ledger_has_forgotten_may_be_in_force(
    engine: Make,
    shared: psycopg.Connection,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    exporter = engine(override(folder(out, packaging="file")))
    export(exporter, WINDOWS[1])
    export(exporter, WINDOWS[0])
    pruned = in_force(exporter, 2)
    exporter.ledger.prune(WINDOWS[0].end)
    apply(exporter, folder(out, packaging="file", compression="gzip"))
    export(exporter, WINDOWS[1])
    assert pruned <= data(out)


@pytest.mark.parametrize("packaging", ["batch", "file"])
def test_what_another_run_has_put_meanwhile_stays(
    engine: Make,
    filled: psycopg.Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    packaging: str,
) -> None:
    """Settings go back, and another run exports the window, after this one has found what it supersedes."""
    out = tmp_path / "out"
    before, then = folder(out, packaging=packaging), folder(out, packaging=packaging, compression="gzip")
    exporter = engine(override(before))
    export(exporter, WINDOWS[0])
    apply(exporter, then)
    other = Exporter(filled.info.dsn, filled.info.dsn, exporter.connections, policy=exporter.policy)
    removable = sealer.remove_superseded.__globals__["_removable"]
    found: list[str] = []

    def late(*arguments: Any) -> list[str]:
        found.extend(removable(*arguments))
        apply(other, before)
        export(other, WINDOWS[0])
        return found

    def once(*arguments: Any) -> list[str]:
        monkeypatch.setitem(sealer.remove_superseded.__globals__, "_removable", removable)
        return late(*arguments)

    monkeypatch.setitem(sealer.remove_superseded.__globals__, "_removable", once)
    export(exporter, WINDOWS[0])
    other.close()
    assert found
    assert in_force(exporter, 1) <= data(out)


@pytest.mark.parametrize("packaging", ["batch", "file"])
def test_what_every_attempt_announces_is_kept_once(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packaging: str
) -> None:
    """While a destination is down the ledger does not grow with the attempts."""
    exporter = engine(override(folder(tmp_path / "out", packaging=packaging)))
    monkeypatch.setattr(FileDestination, "put_now", lambda *_: GiveUp("down"))
    export(exporter, WINDOWS[0])
    query = "select count(*), sum(octet_length(entries)) from logstream.superseded_parts"
    first = filled.execute(query).fetchone()
    assert first is not None and first[0] > 0
    for _ in range(3):
        exporter.redeliver_owed()
    assert filled.execute(query).fetchone() == first
    monkeypatch.undo()
    exporter.redeliver_owed()
    assert filled.execute(query).fetchone() == (0, None)
