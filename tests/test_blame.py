"""Whose fault it is that a window is not complete: the log store and the ledger are away at every place at which a run needs them.

Destinations answer for what they did. What was not tried, or not written down, is held against none.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.cli import main
from logstream.destinations.parcel import Tally
from logstream.errors import ChangedMeanwhile, DatabaseAway, DatabaseError, LogstreamError, NotSetUp
from logstream.export import seal as sealing
from logstream.export.beside import ManifestFolder, ManifestOutdated
from logstream.export.exporter import Exporter
from logstream.export.plan import Planned
from logstream.export.refusals import LaneFailed
from logstream.export.sealer import Sealer
from logstream.ledger.checkpoints import LedgerWriter
from logstream.ledger.coverage import AskedBy
from logstream.ledger.health import Change, HealingPolicy
from logstream.ledger.leases import LeaseKeeper, Leases
from logstream.ledger.ledger import Ledger
from logstream.ledger.records import Delivery, Lane, State
from logstream.ledger.status import look
from logstream.settings.repository import SettingsRepository
from logstream.store.postgres import PostgresStore
from logstream.testing.servers import LogSink
from tests.test_engine import Make, engine, filled
from tests.test_healing import away, run, store_is_away, two_destinations, window

__all__ = ["engine", "filled"]  # fixtures

Break = Callable[[pytest.MonkeyPatch], None]


def gone(*_: object, **__: object) -> Any:
    """A database that is not there."""
    raise DatabaseAway("writing the ledger: the server has closed the connection")


def locked(*_: object, **__: object) -> Any:
    """One that is there and does not do it. Unlike one that is away, that ends no sealing."""
    raise DatabaseError("writing manifests: canceling statement due to lock timeout")


def lacking(*_: object, **__: object) -> Any:
    raise NotSetUp('counting the window\'s events: relation "events" does not exist')


async def silent(*_: object, **__: object) -> Any:
    raise DatabaseError("the control database has not answered for 30 s")


def planned_and_delivered(exporter: Exporter, number: int) -> Planned:
    """As a scheduled run: the tasks that deliver may fail, and `seal_window` runs all the same."""
    planned = exporter.plan(window(number), heal=True, asked_by=AskedBy.SCHEDULE)
    try:
        exporter.deliver([key for share in planned.shares for key in share.lanes])
    except LogstreamError as error:
        assert "the server has closed the connection" in str(error)
    return planned


def require_no_blame(exporter: Exporter, changes: list[Change]) -> None:
    assert (list(map(str, changes)), exporter.ledger.health()) == ([], {})


@pytest.mark.parametrize(
    ("where", "name", "broken"),
    [
        (Ledger, "lanes", gone),
        (Leases, "take", gone),
        (SettingsRepository, "get", gone),
        (Ledger, "announce", gone),
        (Ledger, "superseded", gone),
        (LeaseKeeper, "confirm", silent),
        (Ledger, "write", gone),
        (LedgerWriter, "fail", silent),
        (PostgresStore, "read", away),
    ],
)
def test_a_database_that_is_away_while_it_is_delivered(
    engine: Make, tmp_path: Path, sink: LogSink, monkeypatch: pytest.MonkeyPatch, where: type, name: str, broken: Any
) -> None:
    """In four windows, of which each takes along what is owed of those before: what was begun once is not begun again, either."""
    exporter = engine(two_destinations(tmp_path / "out"))
    changes: list[Change] = []
    with monkeypatch.context() as patch:
        if name == "fail":  # the log store is away first, and then the ledger
            patch.setattr(PostgresStore, "read", away)
        for number in range(4):
            with monkeypatch.context() as during:
                if name != "get":  # else: the planning needs it
                    during.setattr(where, name, broken)
                    planned = planned_and_delivered(exporter, number)
                else:
                    planned = exporter.plan(window(number), heal=True, asked_by=AskedBy.SCHEDULE)
                    during.setattr(where, name, broken)
                    with pytest.raises(DatabaseAway):
                        exporter.deliver([key for share in planned.shares for key in share.lanes])
            changes += exporter.seal(planned.delivery_ids).changes
    require_no_blame(exporter, changes)
    run(exporter, 4, changes)
    assert exporter.ledger.owed() == [] and changes == []


@pytest.mark.parametrize("broken", [gone, lacking])
@pytest.mark.parametrize("what", ["a person delivers it", "runs take it along"])
def test_the_log_store_is_away_while_what_is_owed_is_planned(
    engine: Make, tmp_path: Path, sink: LogSink, monkeypatch: pytest.MonkeyPatch, what: str, broken: Any
) -> None:
    exporter = engine(two_destinations(tmp_path / "out"))
    changes: list[Change] = []
    with store_is_away():
        for number in range(4):
            run(exporter, number, changes)
    count = PostgresStore.count

    def of_what_is_owed(self: PostgresStore, counted: Any, **options: Any) -> Any:
        return broken() if counted < window(4) else count(self, counted, **options)

    with monkeypatch.context() as patch:
        patch.setattr(PostgresStore, "count", of_what_is_owed)
        for number in range(4):
            if what == "runs take it along":
                reports = run(exporter, 4 + number, changes)
                assert {report.state for key, report in reports.items() if key[1] == window(0)} == {State.FAILED}
                continue
            sealed = exporter.redeliver_owed(window=window(number))
            assert {report.state for report in sealed} == {State.FAILED}
            changes += sealed.changes
    require_no_blame(exporter, changes)
    said = "has closed the connection" if broken is gone else 'relation "events" does not exist'
    assert {item.window for item in exporter.owed() if said in str(item.error)} >= {
        window(number) for number in range(4)
    }


def test_a_destination_that_was_owed_something_before_is_not_excused_by_an_option_that_is_wrong(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, sink: LogSink
) -> None:
    """What cannot be planned because of its type or its options is its own fault."""
    exporter = engine(two_destinations(tmp_path / "out"))
    exporter.policy = type(exporter.policy)(attempts=1)
    sink.fail = lambda _: 503
    run(exporter, 0)
    filled.execute(
        """update logstream.settings_snapshots set document = replace(document::text, '"type": "http"', '"type": "x"')::json"""
    )
    changes: list[Change] = []
    for number in range(1, 4):
        run(exporter, number, changes)
    assert [str(change.turn) for change in changes] == ["suspended"]


@pytest.mark.parametrize(
    ("where", "name"),
    [(Ledger, "chain_ends"), (Ledger, "parts"), (Ledger, "pruned"), (Ledger, "chain"), (Ledger, "seal")],
)
def test_the_ledger_fails_while_it_is_sealed(
    engine: Make, tmp_path: Path, sink: LogSink, monkeypatch: pytest.MonkeyPatch, where: type, name: str
) -> None:
    """All has arrived. Where the ledger is away altogether the sealing fails; where one statement fails, its deliveries do."""
    exporter = engine(two_destinations(tmp_path / "out"))
    changes: list[Change] = []
    for number in range(4):
        planned = planned_and_delivered(exporter, number)
        with monkeypatch.context() as patch:
            patch.setattr(where, name, locked)
            sealed = exporter.seal(planned.delivery_ids)
        assert {report.state for report in sealed} == {State.FAILED}
        changes += sealed.changes
    require_no_blame(exporter, changes)


def test_the_ledger_fails_in_processes_that_make_manifests(
    engine: Make, tmp_path: Path, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went wrong there, and that it is no fault of the destination, comes back to the process that notes health."""
    exporter = engine(two_destinations(tmp_path / "out"))
    monkeypatch.setattr(sealing, "PROCESS_DELIVERIES", 1)
    monkeypatch.setattr(sealing, "may_fork", lambda: True)
    asked: list[int] = []

    class InThisProcess:
        def __init__(self, _: object, parts: list[Any]) -> None:
            self._parts = parts

        def results(self, ended: Callable[[Any], None]) -> None:
            for part in self._parts:
                asked.append(1)
                part(exporter, ended)

    monkeypatch.setattr(sealing, "Processes", InThisProcess)
    changes: list[Change] = []
    for number in range(4):
        planned = planned_and_delivered(exporter, number)
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "chain", locked)
            changes += exporter.seal(planned.delivery_ids, processes=2).changes
    assert len(asked) >= 8
    require_no_blame(exporter, changes)


def sealed_again(exporter: Exporter, monkeypatch: pytest.MonkeyPatch, broken: Break) -> list[Change]:
    changes: list[Change] = []
    for number in range(4):
        planned = planned_and_delivered(exporter, number)
        with monkeypatch.context() as patch:
            broken(patch)
            sealed = exporter.seal(planned.delivery_ids)
        assert {report.state for report in sealed} - {State.DELIVERED}
        changes += sealed.changes
    return changes


def test_what_is_pruned_or_planned_anew_while_it_is_sealed_is_no_ones_fault(
    engine: Make, tmp_path: Path, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = engine(two_destinations(tmp_path / "out", manifests=True))
    listings = Sealer._listings

    def none_left(self: Sealer, deliveries: list[Delivery]) -> Any:
        found = listings(self, deliveries)
        self._listed.update(dict.fromkeys(self._listed, 0))
        return found

    def pruned(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(Ledger, "pruned", lambda _, ids: set(ids))

    def planned_anew(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(Sealer, "_listings", none_left)

    def outdated(patch: pytest.MonkeyPatch) -> None:
        async def put(*_: object) -> None:
            raise ManifestOutdated("what it lists has changed meanwhile: it was planned anew")

        patch.setattr(ManifestFolder, "put", put)

    for broken in (pruned, planned_anew, outdated):
        require_no_blame(exporter, sealed_again(exporter, monkeypatch, broken))
    assert issubclass(ManifestOutdated, ChangedMeanwhile)


def test_a_destination_that_takes_no_manifests_is_at_fault(
    engine: Make, tmp_path: Path, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = engine(two_destinations(tmp_path / "out", manifests=True))

    def refusing(patch: pytest.MonkeyPatch) -> None:
        async def put(*_: object) -> None:
            raise LaneFailed("the folder is read-only", permanent=True)

        patch.setattr(ManifestFolder, "put", put)

    change = sealed_again(exporter, monkeypatch, refusing)[0]
    assert (change.destination, str(change.turn)) == ("out", "suspended")


def test_a_blamed_destination_is_told_its_own_fault(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest window could not be read; the newest was refused. People hear of the refusal."""
    exporter = engine(two_destinations(tmp_path / "out"))
    exporter.policy, exporter.healing = type(exporter.policy)(attempts=1), HealingPolicy(suspend_after=1)
    with store_is_away():
        run(exporter, 0)
    read = PostgresStore.read

    def newest_alone(self: PostgresStore, wanted: Any, *arguments: Any, **options: Any) -> Any:
        return away() if wanted == window(0) else read(self, wanted, *arguments, **options)

    sink.fail = lambda _: 503
    changes: list[Change] = []
    with monkeypatch.context() as patch:
        patch.setattr(PostgresStore, "read", newest_alone)
        planned = exporter.plan(window(1), heal=True, asked_by=AskedBy.SCHEDULE)
        for ids in (planned.windows[0].pending.ids, planned.owed):  # each by a task of its own
            exporter.deliver([lane for share in planned.shares for lane in share.lanes if lane[0] in ids])
        changes += exporter.seal(planned.delivery_ids).changes
    assert [(change.destination, str(change.turn)) for change in changes] == [("hook", "suspended")]
    assert "answered 503" in str(changes[0])


def lane(state: State, *, attempts: int = 1, blameless: bool = False, planned: int = 1, delivered: int = 0) -> Lane:
    return Lane(
        1, 0, "d", window(0), 1, state, Tally({(1, "job"): planned}), 1, Tally({(1, "job"): delivered}),
        attempts=attempts, blameless=blameless,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lanes", "blamed"),
    [
        ([lane(State.DELIVERED, delivered=1)], None),
        ([lane(State.PLANNED, attempts=0)], False),
        ([lane(State.PLANNED)], False),
        ([lane(State.DELIVERING)], False),
        ([lane(State.FAILED, blameless=True)], False),
        ([lane(State.FAILED)], True),
        ([lane(State.FAILED, blameless=True), lane(State.FAILED)], True),
        ([lane(State.DELIVERED, delivered=1), lane(State.DELIVERING)], False),
        ([lane(State.DELIVERED, delivered=0)], False),  # the log store lacks what was planned
    ],
)
def test_every_state_of_lanes(lanes: list[Lane], blamed: bool | None) -> None:
    delivery = Delivery(1, "d", window(0), 1, State.PLANNED, lanes=lanes)
    delivery.judge()
    assert (delivery.is_blamed, delivery.is_excused) == (blamed is True, blamed is False)


def looked(exporter: Exporter) -> Any:
    return look(exporter.engine, exporter.settings.current().settings.destinations)


def test_status_says_that_no_destination_is_at_fault(
    engine: Make, database: str, tmp_path: Path, sink: LogSink, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """While a run still tries, when it is sealed, when it is taken along, and by the command."""
    exporter = engine(two_destinations(tmp_path / "out"))
    with store_is_away():
        planned = planned_and_delivered(exporter, 0)
        found = [looked(exporter)]
        exporter.seal(planned.delivery_ids)
        found.append(looked(exporter))
        planned = exporter.plan(window(1), heal=True, asked_by=AskedBy.SCHEDULE)
        found.append(looked(exporter))
        planned_and_delivered(exporter, 1)
        found.append(looked(exporter))
    for status in found:
        assert {one.condition.value for one in status.destinations} == {"blocked"}
        (problem,) = status.problems
        assert problem.destination is None
        assert str(problem).startswith(
            "nothing arrives at hook and 1 other destination, and no destination is at fault: reading the window's events: "
            "the server has closed the connection. See what is wrong with `logstream doctor`"
        )
    assert main(["status", "--dsn", database]) == 1
    assert "first: nothing arrives at hook and 1 other destination" in capsys.readouterr().out
    assert main(["status", "--dsn", database, "--json"]) == 1
    first = json.loads(capsys.readouterr().out)["first"]
    assert (first["destination"], first["condition"]) == (None, "blocked") and "closed the connection" in first["text"]


def test_status_blames_who_failed_by_its_own(
    engine: Make, tmp_path: Path, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log store is away, and of one destination an earlier window was refused: that one is failing, the other blocked."""
    exporter = engine(two_destinations(tmp_path / "out"))
    exporter.policy = type(exporter.policy)(attempts=1)
    sink.fail = lambda _: 503
    run(exporter, 0)
    with store_is_away():
        planned_and_delivered(exporter, 1)
    told = {one.name: one for one in looked(exporter).destinations}
    assert told["hook"].condition.value == "failing" and "503" in (told["hook"].why or "")
    assert told["out"].condition.value == "blocked" and "closed the connection" in (told["out"].why or "")
