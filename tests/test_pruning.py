"""Pruning forgets what manifests tell: what no manifest tells yet stays, and so does what somebody works on."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.errors import DatabaseError
from logstream.export import redeliver
from logstream.export.exporter import Exporter
from logstream.export.redeliver import Redeliverer
from logstream.export.sealer import Sealer
from logstream.ledger.checkpoints import LedgerWriter
from logstream.ledger.ledger import Ledger
from logstream.ledger.records import State
from logstream.verify.verifier import verify
from logstream.window import Window

from .test_engine import WINDOW, Make, engine, export, filled
from .test_losses import quick
from .test_only_copies import DEEP, JOB, apply, document, jobs, there

__all__ = ["engine", "filled"]  # fixtures


def with_letters(make: Make, store: psycopg.Connection, out: Path, packaging: str = "batch") -> Exporter:
    """A window is exported, and two of its three events are dead letters that can be sent now."""
    store.execute("delete from events")
    jobs(store, (1, "j1", "{}"), (2, "j2", DEEP), (3, "j3", DEEP))
    exporter = quick(make(document(out, lanes=1, packaging=packaging, manifests=True)))
    export(exporter)
    store.execute("update events set payload = '{}' where id in (2, 3)")
    return exporter


def kill_redelivery(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends between putting the first object and counting it."""

    async def killed(*_: object) -> None:
        raise DatabaseError("the database is gone")

    with monkeypatch.context() as patch:
        patch.setattr(LedgerWriter, "recount", killed)
        exporter.redeliver_rejected()


def found(exporter: Exporter) -> list[str]:
    return [finding.what for finding in verify(exporter, WINDOW).findings]


def copies(out: Path) -> list[int]:
    """The events at the destination, as often as they are there."""
    return sorted(
        json.loads(line)["eid"]
        for path in out.rglob("*json*")
        if "_manifests" not in path.parts and path.is_file()
        for line in (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).splitlines()
    )


@pytest.mark.parametrize("packaging", ["batch", "file"])
@pytest.mark.parametrize("purged", [False, True])
def test_of_what_a_killed_redelivery_had_put(
    engine: Make,
    filled: psycopg.Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    packaging: str,
    purged: bool,
) -> None:
    out = tmp_path / "out"
    exporter = with_letters(engine, filled, out, packaging)
    kill_redelivery(exporter, monkeypatch)
    before = there(out)
    assert {1, 2} <= before and found(exporter) == []
    assert exporter.ledger.prune(WINDOW.end) == 0
    assert found(exporter) == [], "it is left as it is"
    if purged:
        filled.execute("delete from events where id = 2")
    exporter.redeliver_rejected()
    assert before | {3} <= there(out)
    if not purged:
        assert copies(out) == [1, 2, 3] and found(exporter) == []


@pytest.mark.parametrize("paused", [False, True])
def test_while_a_dead_letter_is_sent(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paused: bool
) -> None:
    """Who sends it has the names that the ledger knew; one who has paused for too long puts nothing any more."""
    filled.execute("delete from events")
    jobs(filled, (1, "j1", "{}"), (2, "j1", DEEP))
    out = tmp_path / "out"
    exporter = quick(engine(document(out, packaging="file", lanes=1)))
    export(exporter)
    filled.execute("update events set payload = %s where id = 2", (json.dumps({**JOB, "attempt": 2}),))
    named, pruned = Redeliverer._parcels, list[int]()

    def meanwhile(self: Redeliverer, *arguments: Any) -> Any:
        if paused:
            filled.execute("update logstream.lanes set leased_until = clock_timestamp() - interval '1 second'")
        pruned.append(exporter.ledger.prune(WINDOW.end))
        return named(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Redeliverer, "_parcels", meanwhile)
        filled.execute("delete from events where id = 1")
        (again,) = exporter.redeliver_rejected()
    assert pruned == [int(paused)] and (again.error is not None) is paused
    assert 1 in there(out)
    exporter.redeliver_rejected()
    assert there(out) == {1, 2}


def test_of_what_has_arrived_and_is_not_sealed_yet(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    exporter = with_letters(engine, filled, out)

    def killed(*_: object, **__: object) -> None:
        raise DatabaseError("the database is gone")

    with monkeypatch.context() as patch:
        patch.setattr(redeliver, "seal", killed)
        with pytest.raises(DatabaseError):
            exporter.redeliver_rejected()
    assert exporter.ledger.prune(WINDOW.end) == 0
    exporter.seal([1])
    assert copies(out) == [1, 2, 3] and found(exporter) == []
    assert exporter.ledger.prune(WINDOW.end) == 1
    assert found(exporter) == []


def test_while_a_window_is_sealed_again(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest that lists nothing is not made of what was forgotten a moment ago."""
    out = tmp_path / "out"
    exporter = quick(engine(document(out, manifests=True)))
    export(exporter)
    listings = Sealer._listings

    def meanwhile(self: Sealer, *arguments: Any) -> Any:
        exporter.ledger.prune(WINDOW.end)
        return listings(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Sealer, "_listings", meanwhile)
        (report,) = exporter.seal([1])
    assert report.state is State.FAILED and "pruned" in (report.error or "")
    assert found(exporter) == []
    (report,) = exporter.seal([1])
    assert (report.state, report.error) == (State.DELIVERED, None)
    assert found(exporter) == []


def test_of_names_that_another_window_has_while_its_own_are_removed(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `packaging: file` two windows may have one name: what is in force is not removed because it was just forgotten."""
    filled.execute("delete from events")
    minutes = [WINDOW.start + timedelta(minutes=number) for number in range(3)]
    first, second = Window(*minutes[:2]), Window(*minutes[1:])
    jobs(filled, (1, "j1", "{}"))
    filled.execute(
        "insert into events select id + 1, workspace_id, kind, occurred_at, recorded_at + interval '1 minute', payload from events"
    )
    out = tmp_path / "out"
    exporter = quick(engine(document(out, packaging="file")))
    export(exporter, first)
    export(exporter, second)
    apply(exporter, document(out, packaging="file", compression="gzip"))
    names_in_force = Ledger.names_in_force

    def meanwhile(self: Ledger, among: Window | None) -> Any:
        exporter.ledger.prune(second.end)
        return names_in_force(self, among)

    monkeypatch.setattr(Ledger, "names_in_force", meanwhile)
    export(exporter, first)
    assert copies(out) == [1, 2]


def test_names_that_manifests_list_are_forgotten(engine: Make, filled: psycopg.Connection, tmp_path: Path) -> None:
    """Also those of a window that was pruned before, whose manifest takes over what the one before listed."""
    out = tmp_path / "out"
    exporter = quick(engine(document(out, manifests=True)))
    export(exporter)
    for options in ({"compression": "gzip"}, {"lanes": 3}):
        for more in ({}, {"packaging": "parquet"}):
            apply(exporter, document(out, manifests=True, **options, **more))
            export(exporter)
        assert list(exporter.ledger.superseded([1]))
        assert exporter.ledger.prune(WINDOW.end) == 1
        assert list(exporter.ledger.superseded([1])) == [] == list(exporter.ledger.parts([1]))
        assert found(exporter) == []
