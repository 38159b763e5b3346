"""What is sealed, and pruned, beside something else: after a killed redelivery, while a window is planned again, behind a lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.destinations.file import FileDestination
from logstream.errors import DatabaseError, DeliveryError
from logstream.export.beside import ManifestFolder
from logstream.export.exporter import Exporter
from logstream.export.plan import Planned
from logstream.export.sealer import Sealer
from logstream.ledger.records import State
from logstream.verify.verifier import verify
from logstream.window import Window

from .auditor import audited
from .test_engine import START, WINDOW, Make, engine, export, filled
from .test_losses import quick
from .test_only_copies import DEEP, apply, are_kept, document, jobs, there
from .test_pruning import found, kill_redelivery, with_letters

__all__ = ["engine", "filled"]  # fixtures

FIRST = Window(START, START + timedelta(minutes=1))
SECOND = Window(FIRST.end, FIRST.end + timedelta(minutes=1))


def another(exporter: Exporter, filled: psycopg.Connection) -> Exporter:
    """One of another process."""
    return quick(Exporter(filled.info.dsn, filled.info.dsn, exporter.connections, policy=exporter.policy))


def may_not_delete(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that write, and do not delete."""

    async def refused(self: FileDestination, key: str) -> None:
        raise PermissionError(key)

    monkeypatch.setattr(FileDestination, "delete", refused)


@contextmanager
def prune_that_waits(exporter: Exporter, filled: psycopg.Connection) -> Iterator[list[int]]:
    """A prune that has begun and waits for the first window's row until the block ends; what it said is in the list then."""
    said: list[int] = []
    with psycopg.connect(filled.info.dsn) as blocker:
        query = "select from logstream.deliveries where window_start = %s for no key update"
        blocker.execute(query, (FIRST.start,))
        pruning = threading.Thread(target=lambda: said.append(exporter.ledger.prune(SECOND.end)))
        pruning.start()
        waiting = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        while filled.execute(waiting).fetchone() is None:
            time.sleep(0.02)
        yield said
        blocker.rollback()
    pruning.join(60)


@pytest.mark.parametrize("packaging", ["batch", "file"])
def test_sealing_keeps_what_a_killed_redelivery_had_put_of_a_letter_that_is_purged(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packaging: str
) -> None:
    out = tmp_path / "out"
    exporter = with_letters(engine, filled, out, packaging)
    kill_redelivery(exporter, monkeypatch)
    assert 2 in there(out)
    filled.execute("delete from events where id = 2")
    exporter.seal([1])
    assert 2 in there(out)


def test_sealing_that_cannot_look_at_the_log_store_keeps_it_too(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from logstream.store.postgres import PostgresStore

    def away(*_: object) -> set[int]:
        raise DatabaseError("looking for events: the server has closed the connection")

    out = tmp_path / "out"
    exporter = with_letters(engine, filled, out, "batch")
    kill_redelivery(exporter, monkeypatch)
    filled.execute("delete from events where id = 2")
    monkeypatch.setattr(PostgresStore, "gone", away)
    (report,) = exporter.seal([1])
    assert (report.state, report.error) == (State.DELIVERED, None)
    assert 2 in there(out)


@pytest.mark.parametrize("packaging", ["batch", "file", "parquet"])
def test_pruning_keeps_the_names_of_a_window_that_has_dead_letters(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packaging: str
) -> None:
    """A manifest lists what the killed redelivery had put; the next one takes no name of that."""
    out = tmp_path / "out"
    may_not_delete(monkeypatch)
    exporter = with_letters(engine, filled, out, packaging)
    kill_redelivery(exporter, monkeypatch)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and "_manifests" not in path.parts}
    exporter.seal([1])
    exporter.ledger.prune(WINDOW.end)
    filled.execute("delete from events where id = 2")
    exporter.redeliver_rejected()
    assert all(path.read_bytes() == body for path, body in before.items())


def test_dead_letters_that_are_discarded_keep_no_window_from_being_pruned(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_not_delete(monkeypatch)
    exporter = with_letters(engine, filled, tmp_path / "out", "batch")
    kill_redelivery(exporter, monkeypatch)
    exporter.seal([1])
    assert exporter.ledger.prune(WINDOW.end) == 0
    letters = [(row.delivery_id, row.event_id) for row in exporter.ledger.rejected()]
    assert exporter.ledger.discard(letters, "ann", "of no use") == len(letters) > 0
    assert exporter.ledger.prune(WINDOW.end) == 1


def test_pruning_that_waited_goes_by_what_is_there_then(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    """The second window is exported again meanwhile, and purged between plan and reading: its former objects are only copies."""
    out = tmp_path / "out"
    exporter = quick(engine(document(out, manifests=True)))
    export(exporter, FIRST)
    export(exporter, SECOND)
    before = there(out)
    with prune_that_waits(exporter, filled) as said, another(exporter, filled) as other:
        apply(other, document(out, 1, manifests=True, compression="gzip"))
        planned = other.plan(SECOND)
        filled.execute(
            "delete from events where id in (select id from events where recorded_at >= %s and recorded_at < %s order by id"
            " limit 50)",
            (SECOND.start, SECOND.end),
        )
        other.deliver([key for share in planned.shares for key in share.lanes])
        other.seal(planned.delivery_ids)
        assert not said
    assert said == [1]
    apply(exporter, document(out, 1, manifests=True))
    export(exporter, SECOND)
    assert are_kept(before, filled, out)


def test_pruning_that_waited_leaves_what_a_manifest_has_still_to_list(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.execute("delete from events")
    jobs(filled, (1, "j1", "{}"), (61, "j2", "{}"), (62, "j3", DEEP))
    filled.execute("update events set recorded_at = %s + id * interval '1 second'", (START,))
    out = tmp_path / "out"
    exporter = quick(engine(document(out, lanes=1, manifests=True)))
    export(exporter, FIRST)
    export(exporter, SECOND)
    filled.execute("update events set payload = '{}' where id = 62")

    async def refused(*_: Any, **__: Any) -> None:
        raise DeliveryError("the store is away")

    with prune_that_waits(exporter, filled) as said, another(exporter, filled) as other, monkeypatch.context() as patch:
        patch.setattr(ManifestFolder, "put", refused)
        (result,) = other.redeliver_rejected()
    assert result.delivered == 1 and "the store is away" in (result.error or "")
    assert said == [1]
    exporter.seal([2])
    span = Window(FIRST.start, SECOND.end)
    assert [finding.what for finding in verify(exporter, span).findings] == []
    assert audited(out).problems == []


def test_no_manifest_counts_what_it_does_not_list(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run seals, another plans the window again between its counts and its listings."""
    out = tmp_path / "out"
    exporter = quick(engine(document(out, manifests=True)))
    planned = exporter.plan(WINDOW)
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    listings, again = Sealer._listings, list[Planned]()
    with another(exporter, filled) as other:

        def meanwhile(self: Sealer, *arguments: Any) -> Any:
            if not again:
                apply(other, document(out, 2, manifests=True))
                again.append(other.plan(WINDOW))
            return listings(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Sealer, "_listings", meanwhile)
            (report,) = exporter.seal(planned.delivery_ids)
        assert report.state is State.PLANNED and report.taken_over and report.error is None
        other.deliver([key for share in again[0].shares for key in share.lanes])
        (report,) = other.seal(again[0].delivery_ids)
    assert (report.state, report.error) == (State.DELIVERED, None)
    assert found(exporter) == [] and audited(out).problems == []
