"""A destination that was removed from the settings, or renamed: what it is owed is named with the way out, or written off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.console.service import Console
from logstream.destinations.file import FileDestination
from logstream.destinations.outcome import GiveUp, Outcome
from logstream.errors import ConnectionNotFound
from logstream.export import removed
from logstream.export.deployment import Deployment
from logstream.export.exporter import Exporter
from logstream.ledger.coverage import AskedBy
from logstream.ledger.lane_writes import LaneWrite
from logstream.ledger.losses import Why
from logstream.ledger.records import Delivery, News, State
from logstream.ledger.write_offs import WrittenOff
from logstream.testing.servers import LogSink
from logstream.validation import validate_settings
from logstream.verify.verifier import verify
from logstream.window import Window
from tests.auditor import audited
from tests.test_engine import EVERYTHING, Make, canonical, engine, export, filled
from tests.test_healing import run, two_destinations, window
from tests.test_losses import books, held, purge, quick
from tests.test_sealing import AFTER, WINDOWS, data, folder, manifest

__all__ = ["engine", "filled"]

SPAN = Window(window(0).start, window(3).end)
WINDOW_ZERO = Window(WINDOWS[0].start, WINDOWS[0].end)


def put(exporter: Exporter, document: dict[str, Any]) -> None:
    exporter.settings.apply(validate_settings(document))


def without_hook(document: dict[str, Any], name: str | None = None) -> dict[str, Any]:
    """The settings without the destination `hook`, or with another name for it."""
    others = {key: value for key, value in document["destinations"].items() if key != "hook"}
    if name is not None:
        others[name] = document["destinations"]["hook"]
    workspaces = []
    for workspace in document["workspaces"]:
        streaming = dict(workspace["streaming"])
        if streaming["destination"] == "hook":
            streaming["destination"] = name or "out"
        workspaces.append({**workspace, "streaming": streaming})
    return {"workspaces": workspaces, "destinations": others}


@pytest.fixture
def owing(engine: Make, filled: psycopg.Connection, sink: LogSink, tmp_path: Path) -> Iterator[Exporter]:
    """A deployment whose destination `hook` was away for three windows, and then removed from the settings."""
    exporter = quick(engine(two_destinations(tmp_path / "out")))
    exporter.healing = type(exporter.healing)(suspend_after=100)
    sink.fail = lambda _: 503
    for number in range(3):
        run(exporter, number)
    sink.fail = lambda _: None
    put(exporter, without_hook(two_destinations(tmp_path / "out")))
    yield exporter


def owed(filled: psycopg.Connection, number: int) -> int:
    return sum(held(filled, window(index)) for index in range(number))


def test_what_a_removed_destination_is_owed_is_named_everywhere_with_the_way_out(
    owing: Exporter, filled: psycopg.Connection, sink: LogSink, cli: Any
) -> None:
    dsn = filled.info.dsn
    reason = "destination hook was removed from the settings on 20"
    remedy = 'put it back, under this name, or write off what it is owed: logstream owed --destination hook --write-off "WHY"'
    # later runs are green
    assert [report.error for report in run(owing, 3).values()] == [None]
    listed = json.loads(cli("owed", "--dsn", dsn, "--json").stdout)["owed"]
    assert [item["destination"] for item in listed] == ["hook"] * 3
    assert sum(item["events"] for item in listed) == owed(filled, 3)
    assert all(item["removed"] and reason in item["error"] and remedy in item["error"] for item in listed)
    text = cli("owed", "--dsn", dsn).stdout
    assert "removed" in text and reason in text and remedy in text
    # nothing was delivered of it, and the command says so
    before = sink.requests
    for arguments in ((), ("--destination", "hook")):
        done = cli("redeliver", "--dsn", dsn, *arguments)
        assert done.returncode == 1 and done.stderr.count(reason) == 3 and remedy in done.stderr
    (first, *_) = json.loads(cli("redeliver", "--dsn", dsn, "--json").stdout)
    assert (first["destination"], first["state"]) == ("hook", "owed") and reason in first["error"]
    assert sink.requests == before
    done = cli("status", "--dsn", dsn)
    assert (
        done.returncode == 1 and "it is owed 3 windows, and the settings no longer have it" in done.stdout + done.stderr
    )
    findings = [finding for finding in verify(owing, SPAN).findings if reason in finding.what]
    assert [finding.window for finding in findings] == [window(number) for number in range(3)]
    ((gone, windows),) = Console(filled.info.dsn, filled.info.dsn, owing.connections).deliveries.removed()
    assert (gone.destination, windows) == ("hook", 3) and reason in str(gone)


def test_one_that_is_renamed_is_the_same_case_and_one_that_is_put_back_gets_everything(
    owing: Exporter, filled: psycopg.Connection, sink: LogSink, tmp_path: Path
) -> None:
    put(owing, without_hook(two_destinations(tmp_path / "out"), "hook-2"))
    assert {report.error for report in run(owing, 3).values()} == {None}
    assert [item.destination for item in owing.owed() if item.removed] == ["hook"] * 3
    assert len(sink.events()) == held(filled, window(3))
    put(owing, two_destinations(tmp_path / "out"))
    assert not any(item.removed for item in owing.owed())
    assert {report.error for report in owing.redeliver_owed()} == {None}
    assert len(sink.events()) == owed(filled, 4)
    assert owing.owed() == [] and verify(owing, SPAN).findings == []


@pytest.mark.parametrize("connection", ["is there", "is gone"])
def test_what_is_written_off_is_lost_by_name_and_verify_is_green(
    owing: Exporter,
    filled: psycopg.Connection,
    sink: LogSink,
    cli: Any,
    monkeypatch: pytest.MonkeyPatch,
    connection: str,
) -> None:
    dsn, events = filled.info.dsn, owed(filled, 3)
    run(owing, 3)
    if connection == "is gone":

        def no_connection(name: str, default_url: str | None = None) -> Any:
            raise ConnectionNotFound(f"there is no Airflow connection `{name}`")

        monkeypatch.setattr(owing.connections, "http", no_connection)
        owing.write_off("hook", "dora", "the customer has left")
    else:
        monkeypatch.setenv("USER", "dora")
        done = cli("owed", "--dsn", dsn, "--destination", "hook", "--write-off", "the customer has left")
        assert done.returncode == 0 and f"wrote off {events:,} events of 3 windows that hook was owed" in done.stderr
    document = json.loads(cli("owed", "--dsn", dsn, "--json").stdout)
    assert (document["owed"], document["lost"]) == ([], [])
    assert cli("redeliver", "--dsn", dsn).returncode == 0
    times = ("--from", SPAN.start.isoformat(), "--to", SPAN.end.isoformat())
    done = cli("verify", "--dsn", dsn, *times)
    assert (done.returncode, done.stderr) == (0, "")
    assert "written off by dora on 20" in done.stdout and "(the customer has left)" in done.stdout
    lost = json.loads(cli("verify", "--dsn", dsn, *times, "--json").stdout)["lost"]
    assert sum(item["events"] for item in lost) == events
    assert {(item["reason"], item["by"], item["note"]) for item in lost} == {
        ("written off", "dora", "the customer has left")
    }
    # the books add up in the manifests, too
    counts = [item.fields for item in owing.ledger.manifests_within(SPAN) if item.destination == "hook"]
    assert [fields["written_off"] for fields in counts] == [held(filled, window(number)) for number in range(3)]
    assert all(sum(map(sum, (kinds.values() for kinds in fields["written_off_by_workspace"].values())))
               == fields["written_off"] and fields["events"] == 0 for fields in counts)  # fmt: skip
    # a ledger that says otherwise is found
    filled.execute("update logstream.losses set events = events + 1 where reason = 'written off'")
    assert "count of written off events is not that of manifest" in cli("verify", "--dsn", dsn, *times).stderr


@pytest.mark.parametrize("arguments", [("--write-off", "why"), ("--destination", "hook", "--write-off", " ")])
def test_to_write_off_a_destination_and_a_reason_are_named(
    owing: Exporter, filled: psycopg.Connection, cli: Any, arguments: tuple[str, ...]
) -> None:
    done = cli("owed", "--dsn", filled.info.dsn, *arguments)
    assert done.returncode == 2 and "--write-off: name the destination" in done.stderr
    assert len(owing.owed()) == 3


def test_what_is_purged_of_it_later_or_before_does_not_count_twice(owing: Exporter, filled: psycopg.Connection) -> None:
    events = owed(filled, 3)
    owing.write_off("hook", "dora", "left")
    purge(filled, "recorded_at < %s and workspace_id %% 2 = 1", window(2).end)
    assert sum(loss.events for loss in owing.ledger.losses()) == events
    assert {loss.why for loss in owing.ledger.losses()} == {Why.WRITTEN_OFF}
    assert verify(owing, Window(SPAN.start, window(2).end)).findings == []


def test_one_that_is_put_back_may_be_exported_again_and_nothing_is_written_off_any_more(
    owing: Exporter, filled: psycopg.Connection, sink: LogSink, tmp_path: Path
) -> None:
    owing.write_off("hook", "dora", "left")
    put(owing, two_destinations(tmp_path / "out"))
    run(owing, 3)
    assert len(sink.events()) == held(filled, window(3)), "what was written off is not owed any more"
    purge(filled, "recorded_at >= %s and recorded_at < %s and workspace_id = 101", window(1).start, window(1).end)
    for number in range(3):
        _, reports = export(owing, window(number))
        assert {report.error for report in reports} == {None}
    assert canonical(sink.events()) == _odd(filled, SPAN)
    left = owing.ledger.losses()
    assert left and {(loss.window, loss.workspace_id, loss.why) for loss in left} == {(window(1), 101, Why.WRITTEN_OFF)}
    assert verify(owing, Window(SPAN.start, window(2).end)).findings == []


@pytest.mark.parametrize("then", ["is to be delivered", "is delivered"])
def test_a_run_that_plans_again_what_is_just_being_written_off_has_it(
    engine: Make,
    filled: psycopg.Connection,
    sink: LogSink,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    then: str,
) -> None:
    exporter = quick(engine(two_destinations(tmp_path / "out")))
    exporter.healing = type(exporter.healing)(suspend_after=100)
    sink.fail = lambda _: 503
    for number in range(2):
        run(exporter, number)
    sink.fail = lambda _: None
    seal_really = removed.seal_written_off

    def run_comes_between(deployment: Deployment, written_off: WrittenOff) -> WrittenOff:
        if then == "is delivered":
            export(exporter, window(0))
        else:
            exporter.plan(window(0), asked_by=AskedBy.REQUEST, carrier="dag/run")
        return seal_really(deployment, written_off)

    monkeypatch.setattr(removed, "seal_written_off", run_comes_between)
    done = exporter.write_off("hook", "dora", "left")
    assert (len(done.delivery_ids), done.events) == (1, held(filled, window(1))), "the other one is that run's"
    if then == "is to be delivered":
        states = [state for (state,) in filled.execute(
            "select state from logstream.deliveries where destination = 'hook' order by window_start")]  # fmt: skip
        assert states == ["planned", "delivered"]
        filled.execute(
            "update logstream.deliveries set planned_at = planned_at - interval '2 hours' where state = 'planned'"
        )
        assert [item.window for item in exporter.owed() if item.destination == "hook"] == [window(0)], (
            "its run was killed"
        )
        exporter.redeliver_owed()
    assert exporter.owed() == []
    assert canonical(sink.events()) == _odd(filled, window(0))
    assert {(loss.window, loss.why) for loss in exporter.ledger.losses()} == {(window(1), Why.WRITTEN_OFF)}
    assert verify(exporter, Window(window(0).start, window(1).end)).findings == []


def test_what_was_purged_stays_lost_where_what_was_written_off_is_exported_again(
    engine: Make, filled: psycopg.Connection, sink: LogSink, tmp_path: Path
) -> None:
    exporter = quick(engine(two_destinations(tmp_path / "out")))
    exporter.healing = type(exporter.healing)(suspend_after=100)
    sink.fail = lambda _: 503
    run(exporter, 0)
    planned = held(filled, window(0))
    gone = purge(
        filled,
        "id in (select id from events where recorded_at < %s and workspace_id %% 2 = 1 order by id limit 5)",
        window(0).end,
    )
    run(exporter, 1)
    exporter.write_off("hook", "dora", "left")
    assert books(exporter, window(0))["hook"] == (0, 0, planned)
    sink.fail = lambda _: None
    for _ in range(2):
        export(exporter, window(0))
        assert books(exporter, window(0))["hook"] == (planned - gone, 0, gone)
        assert {loss.why for loss in exporter.ledger.losses(span=window(0))} == {Why.PURGED}
    exporter.ledger.acknowledge("dora")
    assert verify(exporter, window(0)).findings == []


def test_status_names_what_a_removed_destination_has_lost_until_it_is_acknowledged(
    engine: Make, filled: psycopg.Connection, sink: LogSink, tmp_path: Path, cli: Any
) -> None:
    document = two_destinations(tmp_path / "out")
    exporter = quick(engine(document))
    sink.fail = lambda _: 503
    run(exporter, 0)
    gone = purge(filled, "recorded_at < %s and workspace_id = 101", window(0).end)
    sink.fail = lambda _: None
    exporter.redeliver_owed()
    put(exporter, without_hook(document))
    run(exporter, 1)
    assert exporter.owed() == []
    done = cli("status", "--dsn", filled.info.dsn)
    assert done.returncode == 1 and f"hook: {gone:,} events are lost" in done.stdout + done.stderr
    cli("owed", "--dsn", filled.info.dsn, "--acknowledge")
    assert cli("status", "--dsn", filled.info.dsn).returncode == 0


def _odd(filled: psycopg.Connection, span: Window) -> Any:
    rows = filled.execute(
        "select payload::text from events where workspace_id %% 2 = 1 and recorded_at >= %s and recorded_at < %s",
        (span.start, span.end),
    )
    return canonical([json.loads(text) for (text,) in rows])


def override_to(out: Path | None, other: Path) -> dict[str, Any]:
    """Everything to `d`, or, where that is removed, to `e`."""
    destinations = {"e": folder(other)} | ({} if out is None else {"d": folder(out)})
    admin = {"enabled": True, "events": EVERYTHING, "destination": "e" if out is None else "d"}
    return {"admin": admin, "destinations": destinations}


def test_what_arrived_before_a_destination_was_removed_stays_proved(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    exporter = quick(engine(override_to(out, tmp_path / "other")))
    original = FileDestination.put_now

    def broken(self: FileDestination, key: str, *arguments: Any) -> Outcome:
        return GiveUp("the disk is full") if "lane-01" in key else original(self, key, *arguments)

    monkeypatch.setattr(FileDestination, "put_now", broken)
    (report,) = export(exporter, WINDOW_ZERO)[1]
    monkeypatch.undo()
    assert report.state is State.FAILED and 0 < report.events < 300
    put(exporter, override_to(None, tmp_path / "other"))
    exporter.write_off("d", "dora", "its bucket is closed")
    (lane_total,) = filled.execute(
        "select count(*) from events where recorded_at >= %s and recorded_at < %s", (WINDOW_ZERO.start, WINDOW_ZERO.end)
    ).fetchone() or (0,)
    says = manifest(out, 1)
    assert says["events"] == report.events == sum(len((out / name).read_bytes().splitlines()) for name in data(out))
    assert says["written_off"] == lane_total - report.events
    assert verify(exporter, WINDOW_ZERO).findings == []
    found = audited(out)
    assert (found.code, found.problems) == (0, [])
    assert f"{says['written_off']:,} written off" in found.lines[-1]
    next(out.rglob("*.ndjson")).write_text("{}")
    assert verify(exporter, WINDOW_ZERO).findings != []


def test_an_attempt_that_wakes_up_after_its_lane_was_written_off_writes_nothing(
    owing: Exporter, filled: psycopg.Connection
) -> None:
    lanes = [lane for item in owing.owed() for lane in owing.ledger.lanes_of([item.delivery_id])]
    zombie = lanes[0]
    owing.write_off("hook", "dora", "left")
    zombie.delivered.update(zombie.planned)
    assert owing.ledger.write([LaneWrite.checkpoint(zombie, News())]) == {zombie.key}
    found: list[Delivery] = owing.ledger.deliveries([zombie.delivery_id])
    assert found[0].events == 0 and found[0].state is State.DELIVERED


def test_what_was_written_off_while_its_place_was_away_keeps_no_later_window_from_its_manifest(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    exporter = quick(engine(override_to(out, tmp_path / "other")))

    def away(self: FileDestination, *arguments: Any) -> Outcome:
        return GiveUp("the place is away")

    for name in ("put_now", "create_now"):
        monkeypatch.setattr(FileDestination, name, away)
    export(exporter, WINDOW_ZERO)
    exporter.write_off("d", "dora", "it is not needed")
    assert exporter.ledger.prune(AFTER) == 0, "its manifest is still to be put, with what it lists"
    monkeypatch.undo()
    (report,) = export(exporter, Window(WINDOWS[1].start, WINDOWS[1].end))[1]
    assert (report.state, report.error) == (State.DELIVERED, None)
    assert manifest(out, 1)["events"] == 0 and manifest(out, 2)["events"] == report.events
    assert exporter.ledger.prune(AFTER) == 2
    assert verify(exporter, Window(WINDOWS[0].start, WINDOWS[1].end)).findings == []
    assert audited(out).code == 0
