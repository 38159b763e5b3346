"""What `status` says where no destination is at fault, and that our own faults are held against none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.destinations.http import HttpDestination
from logstream.destinations.transport.request_packing import RequestPacker
from logstream.errors import LogstreamError, is_blameless, ours
from logstream.export.beside import ManifestFolder
from logstream.export.refusals import LaneFailed
from logstream.ledger.checkpoints import LedgerWriter
from logstream.ledger.condition import DestinationStatus
from logstream.ledger.health import Change
from logstream.ledger.leases import LeaseKeeper, Leases
from logstream.ledger.ledger import Ledger
from logstream.ledger.news import news
from logstream.store.postgres import PostgresStore
from logstream.testing.servers import LogSink
from tests.test_blame import gone, locked, looked, planned_and_delivered, require_no_blame, silent
from tests.test_engine import Make, engine, filled
from tests.test_healing import away, run, store_is_away, two_destinations, window
from tests.test_news import HOUR, NOW, settings, status, told_to

__all__ = ["engine", "filled"]  # fixtures

LATER = "update logstream.deliveries set sealed_at = sealed_at - interval '1 day', planned_at = planned_at - interval '1 day'"
"""A day has passed, in which no run has done anything."""


def conditions(exporter: Any) -> dict[str, str]:
    return {one.name: one.condition.value for one in looked(exporter).destinations if one.owed}


@pytest.mark.parametrize(
    ("where", "name", "broken"),
    [
        (Ledger, "lanes", gone),
        (Leases, "take", gone),
        (Ledger, "announce", gone),
        (LeaseKeeper, "confirm", silent),
        (Ledger, "write", gone),
        (LedgerWriter, "fail", silent),
        (PostgresStore, "read", away),
    ],
)
def test_where_it_was_not_delivered(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, sink: LogSink, monkeypatch: pytest.MonkeyPatch,
    where: type, name: str, broken: Any,
) -> None:  # fmt: skip
    """Lanes that were never begun, or did not end, tell of no fault of their destination's: as for its health."""
    exporter = engine(two_destinations(tmp_path / "out"))
    for number in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, broken)
            if name == "fail":  # the log store is away first, and then the ledger
                patch.setattr(PostgresStore, "read", away)
            planned = planned_and_delivered(exporter, number)
        exporter.seal(planned.delivery_ids)
    require_no_blame(exporter, [])
    filled.execute(LATER)
    assert conditions(exporter) and {*conditions(exporter).values()} == {"blocked"}
    (problem,) = looked(exporter).problems
    assert (problem.condition, problem.destination) == ("blocked", None) and problem.why


@pytest.mark.parametrize("name", ["chain_ends", "parts", "pruned", "chain"])
def test_where_it_was_not_sealed(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, sink: LogSink, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """All has arrived, and a statement of the ledger failed: that is said, and no more once it is sealed."""
    exporter = engine(two_destinations(tmp_path / "out"))
    planned = planned_and_delivered(exporter, 0)
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, name, locked)
        exporter.seal(planned.delivery_ids)
    filled.execute(LATER)
    assert conditions(exporter) == {"hook": "blocked", "out": "blocked"}
    assert "lock timeout" in str(looked(exporter).problems[0])
    exporter.seal(planned.delivery_ids)
    assert conditions(exporter) == {} and looked(exporter).is_well


def test_where_the_run_did_not_end(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger was away when it should have been sealed: it could not even be written down that it failed."""
    exporter = engine(two_destinations(tmp_path / "out"))
    planned = planned_and_delivered(exporter, 0)
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "seal", gone)
        with pytest.raises(LogstreamError):
            exporter.seal(planned.delivery_ids)
    filled.execute(LATER)
    assert conditions(exporter) == {"hook": "blocked", "out": "blocked"}
    assert "see whether the export DAG runs" in str(looked(exporter).problems[0])


def test_a_destination_that_takes_no_manifests_is_not_excused(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was sealed in vain twice: first the ledger failed, then the destination. Nor is it when a person says it is well again."""
    exporter = engine(two_destinations(tmp_path / "out", manifests=True))
    planned = planned_and_delivered(exporter, 0)
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "chain", locked)
        exporter.seal(planned.delivery_ids)
    filled.execute(LATER)
    assert conditions(exporter) == {"hook": "blocked", "out": "blocked"}

    async def put(*_: object) -> None:
        raise LaneFailed("the folder is read-only", permanent=True)

    monkeypatch.setattr(ManifestFolder, "put", put)
    exporter.seal(planned.delivery_ids)
    assert conditions(exporter) == {"out": "failing"}
    exporter.ledger.resume("out")
    filled.execute(LATER)
    assert conditions(exporter) == {"out": "owed"}
    (out,) = (one for one in looked(exporter).destinations if one.name == "out")
    assert "the folder is read-only" in (out.why or "")


def full(*_: object, **__: object) -> Any:
    raise OSError(28, "No space left on device")


def no_memory(*_: object, **__: object) -> Any:
    raise MemoryError


def no_thread(*_: object, **__: object) -> Any:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("broken", [full, no_memory, no_thread])
@pytest.mark.parametrize(
    ("where", "name"),
    [
        (PostgresStore, "read"),
        (PostgresStore, "_copied"),  # in the middle of reading
        (Leases, "take"),
        (Ledger, "superseded"),
        (Ledger, "announce"),
        (Ledger, "write"),
        (Ledger, "chain_ends"),
        (Ledger, "pruned"),
        (Ledger, "chain"),
    ],
)
def test_our_own_faults_are_held_against_none(
    engine: Make, tmp_path: Path, sink: LogSink, monkeypatch: pytest.MonkeyPatch, where: type, name: str, broken: Any
) -> None:
    """Whatever is raised where the log store is read, or by the ledger: a full disk is one of ours there."""
    exporter = engine(two_destinations(tmp_path / "out"))
    changes: list[Change] = []
    for number in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, broken)
            try:
                run(exporter, number, changes)
            except (OSError, MemoryError, RuntimeError):
                assert name == "take"  # the task itself ends then, before any destination
    require_no_blame(exporter, changes)


def test_what_is_owed_cannot_be_counted_by_a_fault_of_ours(
    engine: Make, tmp_path: Path, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    changes: list[Change] = []
    with store_is_away():
        for number in range(3):
            run(exporter, number, changes)
    monkeypatch.setattr(PostgresStore, "count", full)
    for number in range(3):
        changes += exporter.redeliver_owed(window=window(number)).changes
    require_no_blame(exporter, changes)


def late(*_: object, **__: object) -> Any:
    raise TimeoutError("the vendor's schema has not come")


class Answering(Exception):
    """A plug-in's error, of an answer that it stands for."""

    def __getattr__(self, name: str) -> str:
        return f"the answer's {name}"


class Frozen(Exception):
    """One that lets nothing be set but what Python sets, as the frozen classes of `attrs` do."""

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("__"):
            raise AttributeError(f"cannot assign to {name}")
        super().__setattr__(name, value)


def answering(*_: object, **__: object) -> Any:
    raise Answering("it answered with an error")


def test_an_error_that_lets_nothing_be_set_is_ours_all_the_same() -> None:
    with pytest.raises(Frozen) as raised, ours():
        raise Frozen
    assert is_blameless(raised.value) and not is_blameless(Frozen())


@pytest.mark.parametrize("broken", [full, no_memory, late, answering])
@pytest.mark.parametrize(
    ("where", "name"), [(HttpDestination, "open"), (RequestPacker, "pack"), (HttpDestination, "send")]
)
def test_the_same_in_a_destinations_own_code_is_its_fault(
    engine: Make, tmp_path: Path, sink: LogSink, monkeypatch: pytest.MonkeyPatch, where: type, name: str, broken: Any
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    monkeypatch.setattr(where, name, broken)
    changes: list[Change] = []
    for number in range(3):
        run(exporter, number, changes)
    assert [(change.destination, str(change.turn)) for change in changes] == [("hook", "suspended")]


def test_what_blocks_destinations_is_told_once() -> None:
    """To the receivers of all; a workspace's own hears the bare fact of its destination, and no reason."""
    late = {"owed": 5, "owed_since": NOW - 6 * HOUR, "now": NOW, "step": HOUR}
    blocked = [DestinationStatus(name, blocked="the log store is away", **late) for name in ("acme", "lake")]  # type: ignore[arg-type]
    found = news({}, status(*blocked, DestinationStatus("owed", **late)), {}, HOUR).notices  # type: ignore[arg-type]
    since = "it has not got everything since 2026-03-01 06:00 UTC"
    assert told_to(settings(), found) == {
        "ops": [
            "2 destinations: they lag behind, and none is at fault: acme, lake: the log store is away",
            f"destination owed lags behind: {since}",
        ],
        "acme": ["destination acme lags behind"],
    }
    assert told_to(settings(), found[:1])["ops"] == [
        f"destination acme lags behind: {since}; it is not at fault: the log store is away"
    ]
