"""What the log store purged while it was owed is lost: counted, named, told once, and nothing that was delivered is touched."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.console.service import Console
from logstream.control.audit import Actor
from logstream.destinations.file import FileDestination
from logstream.destinations.outcome import GiveUp, Outcome
from logstream.errors import DatabaseError
from logstream.export.exporter import Exporter
from logstream.export.pipeline import DeliveryPipeline
from logstream.ledger.checkpoints import LedgerWriter
from logstream.ledger.lane_writes import LaneWrite
from logstream.ledger.records import Delivery, News, State
from logstream.testing.servers import LogSink
from logstream.validation import validate_settings
from logstream.verify.verifier import verify
from logstream.window import Window
from tests.test_engine import WINDOW, Connections, Make, engine, export, files, filled, override
from tests.test_healing import run, two_destinations, window

__all__ = ["engine", "filled"]  # fixtures


ANN = Actor("ann", "192.0.2.7")


def quick(exporter: Exporter) -> Exporter:
    exporter.policy = type(exporter.policy)(attempts=1, base=0.001, cap=0.001)
    return exporter


def held(store: psycopg.Connection, span: Window, *, odd: bool = True) -> int:
    row = store.execute(
        "select count(*) from events where workspace_id %% 2 = %s and recorded_at >= %s and recorded_at < %s",
        (int(odd), span.start, span.end),
    ).fetchone()
    assert row is not None
    return int(row[0])


def books(exporter: Exporter, span: Window) -> dict[str, tuple[int, int, int]]:
    """By destination what was delivered, rejected and lost."""
    found: dict[str, tuple[int, int, int]] = {}
    for lane in exporter.ledger.lanes_within(span):
        before = found.get(lane.destination, (0, 0, 0))
        found[lane.destination] = before[0] + lane.delivered.total(), before[1] + lane.rejected.total(), before[2]
    for loss in exporter.ledger.losses(span=span):
        delivered, rejected, lost = found[loss.destination]
        found[loss.destination] = delivered, rejected, lost + loss.events
    return found


def purge(store: psycopg.Connection, condition: str, *values: object) -> int:
    return store.execute("delete from events where " + condition, values).rowcount


def test_a_person_takes_note_of_what_the_page_has_shown_and_of_no_more(
    engine: Make, filled: psycopg.Connection, sink: LogSink, tmp_path: Path
) -> None:
    exporter = quick(engine(two_destinations(tmp_path / "out")))
    console = Console(filled.info.dsn, filled.info.dsn, Connections())

    def lose(number: int) -> None:
        sink.fail = lambda _: 503
        run(exporter, number)
        purge(filled, "recorded_at >= %s and recorded_at < %s", window(number).start, window(number).end)
        sink.fail = lambda _: None
        exporter.redeliver_owed("hook")

    lose(0)
    shown = console.deliveries.losses("hook")
    assert {loss.window for loss in shown} == {window(0)} and console.deliveries.losses("out") == []
    lose(1)
    seen = max(loss.noted_at for loss in shown)
    assert console.deliveries.acknowledge_losses(ANN, "out", seen) == 0
    assert console.deliveries.acknowledge_losses(ANN, "hook", seen) == sum(loss.events for loss in shown)
    assert {loss.window for loss in console.deliveries.losses()} == {window(1)}
    assert {loss.acknowledged_by for loss in exporter.ledger.losses(span=window(0))} == {"ann"}


def test_windows_that_are_purged_while_they_are_owed_are_lost_and_vanish_from_no_list(
    engine: Make, filled: psycopg.Connection, sink: LogSink, tmp_path: Path
) -> None:
    exporter = quick(engine(two_destinations(tmp_path / "out")))
    sink.fail = lambda _: 503
    for number in range(12):
        run(exporter, number)
    planned = sum(held(filled, window(number)) for number in range(12))
    gone = purge(filled, "recorded_at < %s and workspace_id %% 2 = 1", window(9).start)
    sink.fail = lambda _: None
    found: list[Delivery] = []
    for number in range(12, 16):
        found += run(exporter, number).values()
    assert exporter.ledger.owed() == []
    losses = exporter.ledger.losses(open_only=True)
    assert sum(loss.events for loss in losses) == gone
    assert {loss.destination for loss in losses} == {"hook"}
    assert {loss.window for loss in losses} <= {window(number) for number in range(9)}
    span = Window(window(0).start, window(11).end)
    delivered, rejected, lost = books(exporter, span)["hook"]
    assert (delivered + rejected + lost, lost) == (planned, gone)
    # the run that found it is red for it; a later one is not
    assert sum(report.lost for report in found) == gone
    assert all("lost: " in (report.error or "") for report in found if report.lost)
    assert all(report.error is None for report in run(exporter, 16).values())


def test_a_loss_is_in_every_list_until_it_is_acknowledged(
    engine: Make, filled: psycopg.Connection, sink: LogSink, tmp_path: Path, cli: Any
) -> None:
    exporter = quick(engine(two_destinations(tmp_path / "out")))
    sink.fail = lambda _: 503
    run(exporter, 0)
    gone = purge(filled, "recorded_at < %s and workspace_id = 101", window(0).end)
    assert gone > 0
    sink.fail = lambda _: None
    reports = {report.destination: report for report in exporter.redeliver_owed()}
    assert (reports["hook"].state, reports["hook"].lost) == (State.DELIVERED, gone)
    dsn, span = filled.info.dsn, window(0)
    times = ("--from", span.start.isoformat(), "--to", span.end.isoformat())

    def listed(*more: str) -> list[dict[str, Any]]:
        done = cli("owed", "--dsn", dsn, "--json", *more)
        assert done.returncode == 0
        return list(json.loads(done.stdout)["lost"])

    assert sum(item["events"] for item in listed()) == gone
    assert {(item["destination"], item["workspace_id"]) for item in listed()} == {("hook", 101)}
    assert listed()[0]["window"] == span.as_json()
    result = verify(exporter, span)
    assert sum(loss.events for loss in result.lost) == gone
    assert len(result.findings) == len(result.lost)
    assert all(" lost, no longer in the log store" in finding.what for finding in result.findings)
    assert cli("verify", "--dsn", dsn, *times).returncode == 1
    assert sum(item["events"] for item in listed("--acknowledge")) == gone
    assert listed() == []
    assert verify(exporter, span).findings == []
    assert sum(loss.events for loss in verify(exporter, span).lost) == gone


def test_what_is_delivered_stays_so_when_a_half_delivered_lane_is_purged(
    engine: Make, filled: psycopg.Connection, sink: LogSink
) -> None:
    document = override({"type": "http", "connection": "sink", "format": "single", "lanes": 1, "concurrency": 1})
    exporter = quick(engine(document))
    sink.fail = lambda request: 503 if sink.requests > 400 else None
    export(exporter)
    (lane,) = exporter.ledger.lanes_in(WINDOW)
    before, arrived = lane.delivered.total(), len(sink.bodies)
    assert lane.state is State.FAILED and 0 < before < 1_500
    # of what is delivered and of what is not, some is purged
    gone = filled.execute(
        "with places as (select id, row_number() over (order by recorded_at, id) as place from events)"
        " delete from events e using places p where p.id = e.id and p.place % 3 = 0 returning p.place"
    ).fetchall()
    lost = sum(place > before for (place,) in gone)
    assert lost and lost < len(gone)
    sink.fail = lambda _: None
    (report,) = exporter.redeliver_owed()
    assert (report.state, report.events, report.lost) == (State.DELIVERED, 1_500 - lost, lost)
    assert len(sink.bodies) == arrived + (1_500 - lost - before), "nothing is sent again"


def test_a_complete_delivery_is_not_replaced_by_fewer_events(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    exporter = engine(override({"type": "file", "path": str(tmp_path / "out"), "packaging": "batch"}))
    export(exporter)
    before = files(tmp_path / "out")
    gone = purge(filled, "workspace_id = 104")
    planned = exporter.plan(WINDOW)
    assert planned.shares == [] and planned.delivery_ids == []
    assert [f"no longer holds {gone:,} of its events" in reason for reason in planned.left.values()] == [True]
    assert files(tmp_path / "out") == before
    assert [(item.state, item.events) for item in exporter.ledger.deliveries(planned.left)] == [
        (State.DELIVERED, 1_500)
    ]
    assert exporter.ledger.losses() == []
    # one of another workspace comes late: it is not worth the only copy of others, and is named
    filled.execute(
        "insert into events (workspace_id, kind, occurred_at, recorded_at, payload) values (106, 'job', %(at)s, %(at)s, '{}')",
        {"at": WINDOW.start},
    )
    again = exporter.plan(WINDOW)
    assert again.shares == [] and again.left.keys() == planned.left.keys()
    assert files(tmp_path / "out") == before
    late = "1 event is in the log store and not there when the window was exported"
    assert [finding.what for finding in verify(exporter, WINDOW).findings if late in finding.what] != []


def test_rows_that_vanish_between_plan_and_reading_are_lost_and_others_are_planned(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    exporter = engine(override({"type": "file", "path": str(tmp_path / "out")}))
    planned = exporter.plan(WINDOW)
    gone = purge(filled, "workspace_id in (103, 104, 105)")
    filled.execute(
        "insert into events (workspace_id, kind, occurred_at, recorded_at, payload)"
        " select 106, 'api_platform', %(at)s, %(at)s, '{}' from generate_series(1, 7)",
        {"at": WINDOW.start},
    )
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    (report,) = exporter.seal(planned.delivery_ids)
    assert (report.state, report.lost, report.events) == (State.DELIVERED, gone, 1_500 - gone + 7)
    assert books(exporter, WINDOW)["d"] == (1_500 - gone + 7, 0, gone)
    assert exporter.ledger.owed() == []


def test_events_that_were_passed_by_are_not_called_lost(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: Any
) -> None:
    exporter = engine(override({"type": "file", "path": str(tmp_path / "out"), "lanes": 1}))
    planned = exporter.plan(WINDOW)
    late = filled.execute("delete from events where workspace_id = 103 returning *").fetchall()
    real = DeliveryPipeline._end

    async def after_a_while(self: Any, work: Any) -> None:
        places = ", ".join(["%s"] * len(late[0]))
        with psycopg.connect(filled.info.dsn) as connection:
            for row in late:
                values = [json.dumps(value) if isinstance(value, dict) else value for value in row]
                connection.execute(f"insert into events overriding system value values ({places})", values)  # type: ignore[arg-type]
        await real(self, work)

    with monkeypatch.context() as patch:
        patch.setattr(DeliveryPipeline, "_end", after_a_while)
        exporter.deliver([key for share in planned.shares for key in share.lanes])
    (report,) = exporter.seal(planned.delivery_ids)
    assert (report.state, report.lost) == (State.FAILED, 0)
    assert "were passed by" in (report.error or "")
    # planned again, the lane begins anew, as some of its events lie before its checkpoint
    (report,) = exporter.redeliver_owed()
    assert (report.state, report.events, report.lost) == (State.DELIVERED, 1_500, 0)
    assert verify(exporter, WINDOW).findings == []


def test_a_dead_letter_is_counted_once_whatever_breaks_when_it_has_arrived(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    filled.execute(
        "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload) values (77777, 100, 'job', %s, %s, %s)",
        (window(0).start, window(0).start, '{"id": "deep", "x": ' + "[" * 600 + "]" * 600 + "}"),
    )
    exporter = engine(two_destinations(tmp_path / "out"))
    whole = run(exporter, 0)["out", window(0)].events
    filled.execute('update events set payload = \'{"id": "mended"}\' where id = 77777')
    filled.execute(
        "create function refuse() returns trigger language plpgsql as $$ begin raise 'the disk is full'; end $$;"
        " create trigger refuse before update on logstream.rejections for each row execute function refuse()"
    )
    (broken,) = exporter.redeliver_rejected()
    assert "the disk is full" in (broken.error or "")
    filled.execute("drop trigger refuse on logstream.rejections")
    (again,) = exporter.redeliver_rejected()
    assert (again.delivered, again.error) == (1, None)
    counts = books(exporter, window(0))["out"]
    assert counts == (whole + 1, 0, 0)
    assert exporter.ledger.rejected() == []


def test_a_delivery_all_of_whose_events_are_lost_can_be_verified(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    (tmp_path / "blocked").write_text("a file, where the destination needs a folder")
    document = override({"type": "file", "path": str(tmp_path / "blocked" / "out")})
    exporter = quick(engine(document))
    export(exporter)
    gone = purge(filled, "recorded_at >= %s and recorded_at < %s", WINDOW.start, WINDOW.end)
    (tmp_path / "blocked").unlink()
    exporter.redeliver_owed()
    assert exporter.ledger.owed() == []
    assert sum(loss.events for loss in exporter.ledger.losses()) == gone > 0
    assert exporter.ledger.acknowledge("an administrator") == gone
    assert verify(exporter, WINDOW).findings == []


def test_a_rejection_at_a_windows_end_is_counted_once_though_the_lane_could_not_be_finished(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = f'{{"id": "deep", "deep": {"[" * 600}{"]" * 600}}}'
    filled.execute(
        "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload) values (999999, 101, 'job', %s, %s, %s)",
        (WINDOW.start, WINDOW.end - timedelta(microseconds=1), deep),
    )
    exporter = quick(
        engine(override({"type": "file", "path": str(tmp_path / "out"), "packaging": "batch", "lanes": 1}))
    )

    async def fails(*_: Any) -> None:
        raise DatabaseError("the connection was ended")

    monkeypatch.setattr(LedgerWriter, "finish", fails)
    export(exporter)
    monkeypatch.undo()
    (report,) = exporter.redeliver_owed()
    assert (report.state, report.rejected) == (State.DELIVERED, 1)
    assert verify(exporter, WINDOW).findings == []


@pytest.mark.parametrize("left", [0, 1, 3])
def test_a_dead_letter_whose_row_is_purged_is_named_as_lost_when_its_lane_begins_anew(
    engine: Make, filled: psycopg.Connection, sink: LogSink, left: int
) -> None:
    """Of three that were refused some are still in the log store, and are refused again."""
    nested = f'{{"deep": {"[" * 600}{"]" * 600}}}'
    filled.execute(
        "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload)"
        " select 90000 + n, 101, 'api_platform', %(at)s, %(at)s, %(deep)s from generate_series(1, 3) n",
        {"at": WINDOW.start, "deep": nested},
    )
    hook = {"type": "http", "connection": "sink", "format": "single", "lanes": 1, "concurrency": 1}
    exporter = quick(engine(override(hook)))
    sink.fail = lambda _: 503 if sink.requests > 100 else None
    export(exporter)
    (before,) = exporter.ledger.lanes_in(WINDOW)
    assert (before.state, before.rejected.total()) == (State.FAILED, 3)
    purge(filled, "id > 90000 + %s", left)
    sink.fail = lambda _: None
    exporter.settings.apply(validate_settings(override({**hook, "lanes": 2})))
    export(exporter)
    assert books(exporter, WINDOW)["d"] == (1_500, left, 3 - left)
    assert {row.event_id for row in exporter.ledger.rejected()} == {90_001 + number for number in range(left)}


def test_two_lanes_that_end_at_once_name_all_that_each_has_lost(
    engine: Make, filled: psycopg.Connection, sink: LogSink
) -> None:
    """They are two tasks' lanes of one delivery, of which some was lost before: neither writes over what the other has found."""
    hook = {"type": "http", "connection": "sink", "format": "single", "lanes": 2}
    exporter = quick(engine(override(hook)))
    sink.fail = lambda _: 503
    export(exporter)
    busy = [max(lane.planned.items(), key=lambda item: item[1])[0] for lane in exporter.ledger.lanes_in(WINDOW)]
    assert len(busy) == 2
    for workspace, kind in busy:
        purge(
            filled,
            "id in (select id from events where workspace_id = %s and kind = %s and recorded_at < %s limit 3)",
            workspace, kind, WINDOW.end,
        )  # fmt: skip
    exporter.redeliver_owed()
    lanes = exporter.ledger.lanes_in(WINDOW)
    exporter.ledger.take([lane.key for lane in lanes], "a task", 0)
    lanes = exporter.ledger.lanes_in(WINDOW)
    writes = []
    for lane, key in zip(lanes, busy, strict=True):
        lane.delivered = lane.planned.copy()
        lane.delivered[key] -= 2
        writes.append(LaneWrite.finish(lane, News()))
    with psycopg.connect(filled.info.dsn) as held_up, ThreadPoolExecutor(2) as tasks:
        held_up.execute("select from logstream.losses for update")
        ends = [tasks.submit(exporter.ledger.write, [write]) for write in writes]
        waiting = (
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        )
        while filled.execute(waiting).fetchone() != (2,):
            assert not any(end.done() for end in ends)
        held_up.rollback()
        assert [end.result() for end in ends] == [set(), set()]
    lost = {(loss.workspace_id, loss.kind): loss.events for loss in exporter.ledger.losses()}
    assert lost == dict.fromkeys(busy, 5)


@pytest.mark.parametrize("option", [{}, {"object_mb": 7}, {"manifests": False}, {"compression": "gzip"}])
def test_a_lane_that_is_delivered_is_not_replaced_by_fewer_where_its_messages_change_before_the_others_are(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: dict[str, Any]
) -> None:
    document = override({"type": "file", "path": str(tmp_path / "out"), "packaging": "batch", "lanes": 2})
    exporter = quick(engine(document))
    original = FileDestination.put_now

    def broken(self: FileDestination, key: str, *arguments: Any) -> Outcome:
        return GiveUp("the disk is full") if "lane-01" in key else original(self, key, *arguments)

    monkeypatch.setattr(FileDestination, "put_now", broken)
    assert export(exporter)[1].deliveries[0].state is State.FAILED
    monkeypatch.undo()
    before = {name: body for name, body in files(tmp_path / "out").items() if "lane-00" in name}
    assert before
    filled.execute("delete from events where id in (select id from events order by recorded_at limit 200)")
    document["admin"]["message"] = '{"changed": {{{log_message}}}}'
    document["destinations"]["d"] |= option
    exporter.settings.apply(validate_settings(document))
    (report,) = export(exporter)[1]
    assert report.state is State.DELIVERED
    after = files(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    others = [
        gzip.decompress(body) if name.endswith(".gz") else body for name, body in after.items() if "lane-01" in name
    ]
    assert others and all(b'"changed"' in body for body in others)
