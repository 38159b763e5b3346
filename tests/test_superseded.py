"""What is superseded is removed, and what is in force never is: not by other settings, nor beside another run."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event

from logstream.destinations.file import FileDestination
from logstream.destinations.outcome import GiveUp, Outcome
from logstream.errors import DatabaseError
from logstream.export import outbox, sealer
from logstream.export.exporter import Exporter
from logstream.export.window_plan import lane_of
from logstream.ledger import plans
from logstream.ledger.lanes import Lanes
from logstream.ledger.records import State
from logstream.proof.listings import unpack
from logstream.verify.verifier import verify
from logstream.window import Window

from .auditor import audited
from .test_engine import WINDOW, Make, engine, export, filled, override
from .test_sealing import WINDOWS, apply, clean, data, files, findings, folder, manifest, only

__all__ = ["engine", "filled"]  # fixtures


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
    query = "select delivery_id, entries from logstream.superseded_parts"

    def announced() -> Counter[tuple[int, str, str]]:
        return Counter((row[0], part.name, part.sha256) for row in filled.execute(query) for part in unpack(row[1]))

    assert announced()
    for _ in range(3):
        exporter.redeliver_owed()
        # how many an attempt comes to before it ends is a matter of time
        assert set(announced().values()) == {1}
    monkeypatch.undo()
    exporter.redeliver_owed()
    assert not announced()


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"compression": "none"}, {"compression": "gzip"}),
        ({"lanes": 3}, {"lanes": 1}),
        ({"packaging": "file"}, {"packaging": "file", "compression": "gzip"}),
        ({"packaging": "file"}, {"packaging": "batch"}),
        ({}, {"key": "{destination}/{window}/{lane}/{part}"}),
    ],
)
def test_objects_under_other_names_are_superseded_and_removed(
    engine: Make, tmp_path: Path, first: dict[str, Any], then: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    exporter = engine(override(folder(out, **first)))
    export(exporter, WINDOWS[0])
    old = data(out)
    apply(exporter, folder(out, **then))
    assert only(export(exporter, WINDOWS[0])[1]).error is None
    assert old.isdisjoint(data(out))
    assert sum(listing["parts"] for listing in manifest(out, 2)["superseded"]) == len(old)
    clean(exporter, out, WINDOWS[0])
    # back again: the names of the first are in force, those of the second superseded
    apply(exporter, folder(out, **first))
    export(exporter, WINDOWS[0])
    assert data(out) == old
    clean(exporter, out, WINDOWS[0])


def test_superseded_objects_that_cannot_be_removed_stay_known_and_must_be_what_they_were(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from logstream.destinations.file import FileDestination

    async def refuse(*_: object) -> None:
        raise PermissionError("may write and not delete")

    monkeypatch.setattr(FileDestination, "delete", refuse)
    out = tmp_path / "out"
    exporter = engine(override(folder(out)))
    export(exporter)
    old = data(out)
    apply(exporter, folder(out, compression="gzip"))
    assert only(export(exporter)[1]).error is None
    assert old < data(out)
    clean(exporter, out)
    assert verify(exporter, WINDOW).superseded == len(old)
    assert f"(superseded and still there: {len(old)})" in audited(out).lines[-1]
    name = sorted(old)[0]
    (out / name).write_bytes(b"{}\n")
    assert any(f"object {name}, which is superseded, was altered" in what for what in findings(exporter))
    assert f"object {name} was altered" in audited(out).problems


def test_what_a_failed_attempt_left_under_other_names_is_superseded(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from logstream.destinations import file
    from logstream.destinations.outcome import GiveUp

    out = tmp_path / "out"
    exporter = engine(override(folder(out, packaging="file", lanes=1)))
    put, puts = file.FileDestination.put_now, iter(range(10_000))
    monkeypatch.setattr(
        file.FileDestination, "put_now", lambda *a: put(*a) if next(puts) < 700 else GiveUp("the disk is gone")
    )
    assert only(export(exporter)[1]).state is State.FAILED
    monkeypatch.undo()
    before = data(out)
    apply(exporter, folder(out, packaging="file", lanes=1, compression="gzip"))
    assert only(export(exporter)[1]).error is None
    known = {part.name for _, part in exporter.ledger.superseded([1])}
    assert before <= known, "all that the failed attempt has left; it was about to put more"
    assert sum(listing["parts"] for listing in manifest(out, 1)["superseded"]) == len(known)
    assert known.isdisjoint(data(out)), "it is removed"


def puts_and_dies(exporter: Exporter, monkeypatch: pytest.MonkeyPatch, most: int = 1_000_000) -> None:
    """Export a window with a worker that puts everything, or so many objects, and is killed before it can write any of it down."""

    def unwritten(*_: object) -> None:
        raise DatabaseError("the worker is gone")

    put, puts = FileDestination.put_now, iter(range(1_000_000))
    with monkeypatch.context() as dead:
        dead.setattr(
            FileDestination, "put_now", lambda *a: put(*a) if next(puts) < most else GiveUp("the disk is gone")
        )
        dead.setattr(outbox, "CHECKPOINT_SECONDS", 3600.0)  # however slow the machine is, it is killed at the end
        dead.setattr(Lanes, "write", unwritten)
        assert only(export(exporter, WINDOWS[0])[1]).state is State.FAILED


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"compression": "none"}, {"compression": "gzip"}),
        ({"lanes": 3}, {"lanes": 1}),
        ({"packaging": "file"}, {"packaging": "batch"}),
        ({"packaging": "file"}, {"packaging": "parquet"}),
    ],
)
def test_what_a_killed_attempt_put_and_could_not_write_down_is_superseded_where_it_is_delivered_otherwise(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: dict[str, Any], then: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    exporter = engine(override(folder(out, **first)))
    puts_and_dies(exporter, monkeypatch)
    left = data(out)
    assert left
    apply(exporter, folder(out, **then))
    assert only(exporter.redeliver_owed()).error is None
    assert sum(listing["parts"] for listing in manifest(out, 1)["superseded"]) == len(left)
    assert left.isdisjoint(data(out)), "nothing is there twice"
    clean(exporter, out, WINDOWS[0])


def test_what_a_killed_attempt_put_is_counted_where_it_is_delivered_as_it_was(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    exporter = engine(override(folder(out, packaging="file")))
    puts_and_dies(exporter, monkeypatch)
    left = data(out)
    assert only(exporter.redeliver_owed()).error is None
    assert data(out) == left and manifest(out, 1)["superseded"] == []
    assert list(exporter.ledger.superseded([1])) == [], "no announcement is left"
    clean(exporter, out, WINDOWS[0])


def test_what_is_put_and_counted_leaves_no_announcement(engine: Make, tmp_path: Path) -> None:
    exporter = engine(override(folder(tmp_path / "out", packaging="file")))
    delivery = only(export(exporter, WINDOWS[0])[1])
    assert delivery.error is None and list(exporter.ledger.superseded([delivery.id])) == []


def test_the_only_copy_of_what_was_purged_is_named_and_stays(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that an attempt had put when it was killed, and that the log store had purged when they were sent again."""
    out = tmp_path / "out"
    exporter = engine(override(folder(out, packaging="file")))
    puts_and_dies(exporter, monkeypatch)
    left = data(out)
    filled.execute("delete from events where workspace_id % 2 = 1")
    delivery = only(exporter.redeliver_owed())
    assert delivery.lost and delivery.events
    assert data(out) == left
    assert sum(listing["parts"] for listing in manifest(out, 1)["superseded"]) == delivery.lost
    assert not any("extra" in what for what in findings(exporter, WINDOWS[0]))
    assert audited(out).code == 0


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_of_two_attempts_that_were_to_put_one_name_either_may_have(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """A second attempt, by another template, puts some, and the rows are purged: what is there is what one of both put."""
    out = tmp_path / "out"
    exporter = engine(override(folder(out, packaging="file", lanes=1)))
    puts_and_dies(exporter, monkeypatch)
    left, before = data(out), files(out)
    apply(exporter, folder(out, packaging="file", lanes=1), message='{"wrapped": {{{log_message}}}}')
    puts_and_dies(exporter, monkeypatch, most=round(share * len(left)))
    after = files(out)
    assert sum(after[name] != before[name] for name in left) == round(share * len(left))
    filled.execute("delete from events")
    exporter.redeliver_owed()
    assert data(out) == left, "they may be the only copies"
    assert exporter.ledger.acknowledge("an administrator") == len(left)
    clean(exporter, out, WINDOWS[0])
    assert verify(exporter, WINDOWS[0]).superseded == len(left)
    name = min(left)
    (out / name).write_bytes(b"{}\n")
    assert any(f"object {name}, which is superseded, was altered" in what for what in findings(exporter, WINDOWS[0]))
    assert f"object {name} was altered" in audited(out).problems


def test_a_listing_whose_manifest_could_not_be_put_is_not_left_when_there_is_nothing_to_list(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delivery then begins anew by other options, and all of its rows are purged: its manifest has the same number."""

    create = FileDestination.create_now

    def gone(self: FileDestination, key: str, *rest: Any) -> Outcome:
        return GiveUp("it has gone") if key.endswith(".json") else create(self, key, *rest)

    out = tmp_path / "out"
    listing = out / "_manifests" / "d" / "00000001-00000.ndjson.gz"
    exporter = engine(override(folder(out)))
    with monkeypatch.context() as dead:
        dead.setattr(FileDestination, "create_now", gone)
        export(exporter, WINDOWS[0])
    assert listing.exists()
    apply(exporter, folder(out, compression="gzip"))
    puts_and_dies(exporter, monkeypatch)
    filled.execute("delete from events")
    exporter.redeliver_owed()
    exporter.redeliver_owed()  # the first one finds that the manifest is outdated
    assert manifest(out, 1)["listings"] == [] and not listing.exists()
    assert exporter.ledger.acknowledge("an administrator")
    clean(exporter, out, WINDOWS[0])


def test_what_had_arrived_and_is_purged_stays_where_it_is_when_the_rest_is_delivered_otherwise(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from logstream.destinations.file import FileDestination
    from logstream.destinations.outcome import GiveUp

    out, put = tmp_path / "out", FileDestination.put_now
    exporter = engine(override(folder(out, lanes=2)))

    def first_lane_only(self: FileDestination, key: str, *rest: Any) -> Outcome:
        return put(self, key, *rest) if "/lane-00-" in key else GiveUp("the disk is full")

    with monkeypatch.context() as full:
        full.setattr(FileDestination, "put_now", first_lane_only)
        assert only(export(exporter, WINDOWS[0])[1]).state is State.FAILED
    had = files(out)
    assert had, "the first lane has arrived"
    workspaces = [row[0] for row in filled.execute("select distinct workspace_id from events order by 1")]
    purged = next(number for number in workspaces if lane_of(number, 2) == 0)
    filled.execute("delete from events where workspace_id = %s", (purged,))
    apply(exporter, folder(out, lanes=2, compression="gzip"))
    assert only(exporter.redeliver_owed()).state is State.DELIVERED
    assert had.items() <= files(out).items()
    assert manifest(out, 1)["superseded"], "and it is named"


def test_names_that_another_window_may_have_put_too_are_not_removed(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    """Two rows of two windows with one name: the same job, recorded twice."""
    out = tmp_path / "out"
    filled.execute(
        "insert into events (workspace_id, kind, occurred_at, recorded_at, payload)"
        " select workspace_id, kind, occurred_at, recorded_at + interval '1 minute', payload from events"
        " where kind = 'job' and recorded_at < %s",
        (WINDOWS[0].end,),
    )
    exporter = engine(override(folder(out, packaging="file")))
    export(exporter, WINDOWS[0])
    export(exporter, WINDOWS[1])
    shared = {part.name for _, part in exporter.ledger.parts([1])} & {
        part.name for _, part in exporter.ledger.parts([2])
    }
    assert shared
    apply(exporter, folder(out, packaging="file", compression="gzip"))
    export(exporter, WINDOWS[0])
    assert shared <= data(out)
    assert findings(exporter, Window(WINDOWS[0].start, WINDOWS[1].end)) == []
    assert audited(out).code == 0


def test_what_arrives_just_when_its_window_is_planned_anew_is_known(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt by the older plan counts what it has put between two statements of the plan that makes its lanes void."""
    out, putting, go = tmp_path / "out", threading.Event(), threading.Event()
    put_now = FileDestination.put_now

    def slowly(self: FileDestination, *given: Any) -> Any:
        putting.set()
        assert go.wait(30)
        return put_now(self, *given)

    exporter = engine(override(folder(out, lanes=1)))
    planned = exporter.plan(WINDOWS[0])
    with monkeypatch.context() as patch:
        patch.setattr(FileDestination, "put_now", slowly)
        late = threading.Thread(
            target=exporter.deliver, args=([key for share in planned.shares for key in share.lanes],)
        )
        late.start()
        assert putting.wait(30)
    apply(exporter, folder(out, compression="gzip", lanes=1))

    def arrive(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement == plans._SUPERSEDE and not go.is_set():
            go.set()
            late.join(3)

    event.listen(exporter.engine, "after_cursor_execute", arrive)
    export(exporter, WINDOWS[0])
    assert go.is_set()
    late.join()
    clean(exporter, out, WINDOWS[0])
