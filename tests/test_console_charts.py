"""Windows over time: what the ledger says of them, how they become slots, and what the first page says of all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logstream.console.chart import LEAST_TOP, SLOTS, Shade, Slot, chart_of
from logstream.console.layout import jinja
from logstream.console.remedies import place_of, remedy_here, said_of
from logstream.console.service import Console
from logstream.control.audit import Actor
from logstream.ledger import timeline
from logstream.ledger.condition import Condition, DestinationStatus
from logstream.ledger.health import Health
from logstream.ledger.notices import Notices
from logstream.ledger.status import Problem
from logstream.ledger.timeline import Moment
from logstream.window import Window

from .conftest import Cli
from .test_engine import Connections

ANN = Actor("ann", "192.0.2.7")
START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def window(minutes: float, length: float = 5) -> Window:
    return Window(START + minutes * MINUTE, START + (minutes + length) * MINUTE)


@st.composite
def stretches(draw: st.DrawFn) -> tuple[list[Moment], list[Window]]:
    """Windows and gaps as they follow one another: of any length, with time between them that is neither."""
    moments, gaps, at = [], [], 0.0
    for kind, length, events, lag, bad in draw(
        st.lists(
            st.tuples(
                st.sampled_from(["window", "window", "window", "gap", "nothing"]),
                st.sampled_from([0.1, 1, 5, 60, 1440]),
                st.integers(0, 10**9),
                st.none() | st.floats(-5, 10**7),
                st.sampled_from([(0, 0, 0), (1, 0, 0), (2, 1, 0), (0, 0, 7)]),
            ),
            max_size=300,
        )
    ):
        span = window(at, length)
        at += length
        if kind == "window":
            late = timedelta(seconds=lag) if lag is not None else None
            moments.append(Moment(span, events, 0, late, *bad))
        elif kind == "gap":
            gaps.append(span)
    return moments, gaps


@given(stretches())
def test_a_chart_tells_of_every_window_and_gap_in_its_time(made: tuple[list[Moment], list[Window]]) -> None:
    moments, gaps = made
    chart = chart_of(moments, gaps)
    shown = [gap for gap in gaps if not moments or gap.end > moments[0].start]
    assert bool(chart.slots) == bool(moments or shown)
    assert len(chart.slots) <= SLOTS
    for one, following in zip(chart.slots, chart.slots[1:], strict=False):
        assert one.span.end <= following.span.start
    assert sum(slot.windows for slot in chart.slots) == len(moments)
    assert chart.events == sum(moment.events for moment in moments)
    for moment in moments:
        (slot,) = [slot for slot in chart.slots if slot.span.start <= moment.start < slot.span.end]
        assert not moment.lost or slot.shade is Shade.LOST
        assert not moment.owed or slot.shade in (Shade.LOST, Shade.GAP, Shade.OWED)
    for gap in shown:
        touched = [
            slot for slot in chart.slots if slot.span.start < gap.end and gap.start < slot.span.end and slot.gaps
        ]
        assert touched[0].span.start <= gap.start
        assert touched[-1].span.end >= gap.end
    drawn = chart.as_json()
    assert all(lag is None or 0 <= lag <= drawn["top"] for lag in drawn["lag"])
    json.dumps(drawn)


def test_one_slow_window_does_not_flatten_the_others() -> None:
    usual = [Moment(window(5 * number), 10, 0, timedelta(seconds=20)) for number in range(20)]
    slow = Moment(window(100), 10, 0, timedelta(hours=9))
    chart = chart_of([*usual, slow])
    assert (chart.lag_top, chart.capped) == (timedelta(seconds=200), 1)
    assert chart.as_json()["lag"][-1] == 200
    days = [Moment(window(5 * number), 10, 0, timedelta(days=400)) for number in range(3)]
    assert chart_of(days).lag_top == LEAST_TOP, "windows of long ago have no lag that would say something"


def test_neighbours_that_miss_the_same_are_told_of_as_one() -> None:
    owed = [Moment(window(5 * number), 1, 0, None, 2, 2) for number in (1, 2, 3, 7)]
    fine = [Moment(window(5 * number), 1) for number in (0, 4, 6)]
    moments = sorted([*owed, *fine], key=lambda moment: moment.window)
    worse = chart_of(moments, [window(25)]).worse()
    assert [(slot.shade, slot.span, slot.owed) for slot in worse] == [
        (Shade.OWED, window(35), 2),
        (Shade.GAP, window(25), 0),
        (Shade.OWED, window(5, 15), 6),
    ]


@pytest.mark.parametrize(
    ("slot", "shade"),
    [
        ({"lost": 1, "gaps": 1, "owed": 1, "open": 1}, Shade.LOST),
        ({"gaps": 1, "owed": 1, "open": 1}, Shade.GAP),
        ({"owed": 1, "open": 1}, Shade.OWED),
        ({"open": 1}, Shade.RUNNING),
        ({}, Shade.DELIVERED),
    ],
)
def test_a_slot_says_the_worst_that_is_true(slot: dict[str, int], shade: Shade) -> None:
    assert Slot(window(0), **slot).shade is shade  # type: ignore[arg-type]


# what the ledger says


class Ledger:
    """Writes windows and deliveries straight into the ledger: what runs would have made of them."""

    def __init__(self, console: Console, store: psycopg.Connection, folder: Path) -> None:
        self.folder, self._store, self.names = folder, store, [f"d{number}" for number in range(3)]
        destinations = {name: {"type": "file", "path": str(folder / name)} for name in self.names}
        admin = {"enabled": True, "events": ["user_activity"], "destination": self.names[0]}
        self.snapshot = console.settings.save({"admin": admin, "destinations": destinations}, ANN, None).id
        store.execute("update logstream.settings_snapshots set created_at = %s", (START,))

    def window(self, span: Window, asked_by: str = "schedule") -> None:
        self._store.execute(
            "insert into logstream.windows (window_start, window_end, whole, snapshot_id, asked_by)"
            " values (%s, %s, true, %s, %s)",
            (span.start, span.end, self.snapshot, asked_by),
        )

    def delivery(
        self, span: Window, name: str, events: int, state: str = "delivered", late: int = 30, generation: int = 1
    ) -> int:
        sealed = span.end + timedelta(seconds=late) if state == "delivered" else None
        row = self._store.execute(
            "insert into logstream.deliveries (window_start, window_end, destination, snapshot_id, state, sealed_at, generation)"
            " values (%s, %s, %s, %s, %s, %s, %s) returning id",
            (span.start, span.end, name, self.snapshot, state, sealed, generation),
        ).fetchone()
        assert row is not None
        self._store.execute(
            "insert into logstream.lanes (delivery_id, lane, fingerprint, state, planned, planned_bytes, delivered_events, bytes)"
            " values (%s, 0, 'x', %s, '{}', 1, %s, %s)",
            (row[0], state, events if state == "delivered" else 0, 10 * events),
        )
        return int(row[0])


@pytest.fixture
def console(database: str, store: psycopg.Connection) -> Console:
    return Console(database, database, Connections())


@pytest.fixture
def ledger(console: Console, store: psycopg.Connection, tmp_path: Path) -> Iterator[Ledger]:
    yield Ledger(console, store, tmp_path)


def test_what_the_newest_windows_carried(console: Console, store: psycopg.Connection, ledger: Ledger) -> None:
    for number in range(4):
        ledger.window(window(5 * number))
    ledger.window(window(-600, 60), "request")
    ledger.delivery(window(0), "d0", 5, late=10)
    ledger.delivery(window(0), "d1", 7, late=40)
    ledger.delivery(window(5), "d0", 3)
    ledger.delivery(window(5), "d1", 9, "failed")
    running = ledger.delivery(window(5), "d2", 9, "planned")
    lost = ledger.delivery(window(10), "d0", 1)
    ledger.delivery(window(10), "d1", 2, late=10**6, generation=2)
    for kind, known in (("job", None), ("user_activity", START)):
        store.execute(
            "insert into logstream.losses (delivery_id, workspace_id, kind, events, acknowledged_at) values (%s, 1, %s, 6, %s)",
            (lost, kind, known),
        )
    ledger.delivery(window(-600, 60), "d0", 11, late=10**6)
    past, *scheduled = console.deliveries.timeline()
    assert (past.window, past.events, past.requested) == (window(-600, 60), 11, True)
    assert [(moment.window, moment.events, moment.open, moment.owed, moment.lost) for moment in scheduled] == [
        (window(0), 12, 0, 0, 0),
        (window(5), 3, 2, 1, 0),
        (window(10), 3, 0, 0, 6),
        (window(15), 0, 0, 0, 0),
    ]
    seconds = [moment.lag.total_seconds() if moment.lag else None for moment in scheduled]
    assert seconds == [40, 30, 30, None], "how late a window was that was exported again is not known any more"
    # a run that was planned long ago, and that no worker has a lease of, never ended
    store.execute("update logstream.deliveries set planned_at = now() - interval '1 day' where id = %s", (running,))
    assert [(moment.open, moment.owed) for moment in console.deliveries.timeline("d2")] == [(1, 1)]
    assert [moment.events for moment in console.deliveries.timeline("d1")] == [7, 0, 2]
    charts = console.standing.charts()
    assert [slot.shade for slot in charts.requested.slots] == [Shade.DELIVERED]
    assert [slot.shade for slot in charts.scheduled.slots] == [
        Shade.DELIVERED, Shade.OWED, Shade.LOST, Shade.DELIVERED,
    ]  # fmt: skip


def test_the_work_is_bounded_by_deliveries(console: Console, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "FEWEST", 2)
    monkeypatch.setattr(timeline, "MOST", 8)
    monkeypatch.setattr(timeline, "DELIVERIES", 15)
    for number in range(20):
        ledger.window(window(5 * number))
        for name in ledger.names:
            ledger.delivery(window(5 * number), name, 1)
    assert [moment.window for moment in console.deliveries.timeline()] == [
        window(5 * number) for number in range(15, 20)
    ]
    assert len(console.deliveries.timeline("d1")) == 8
    monkeypatch.setattr(timeline, "DELIVERIES", 1)
    assert len(console.deliveries.timeline()) == 2


# what the first page says


def overview(console: Console, *, writer: bool = True) -> str:
    status = console.standing.status()
    text = jinja.env.get_template("parts/overview.html").render(
        standing=status, standings={one.name: one for one in status.destinations}, charts=console.standing.charts(),
        known=console.settings.current().settings.destinations.keys(), shown=2, base="", writer=writer,
    )  # fmt: skip
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def test_what_is_under_way_has_not_arrived(console: Console, ledger: Ledger) -> None:
    """A receiver that is away is tried for minutes, in which nothing has arrived there and nothing is owed yet."""
    ledger.window(window(0))
    ledger.delivery(window(0), "d0", 1)
    assert "Oldest that is missing nothing" in overview(console)
    ledger.window(window(5))
    ledger.delivery(window(5), "d0", 1, "planned")
    shown = overview(console)
    assert "Every destination has got what it is to get, but for what is under way." in shown
    assert "Oldest that is missing what is under way, from 2026-03-01 00:05:00 UTC" in shown


def test_the_first_page_says_what_needs_a_person(console: Console, store: psycopg.Connection, ledger: Ledger) -> None:
    assert "All is well" in overview(console) or "no run has exported" in overview(console)
    for number in range(2):
        ledger.window(window(5 * number))
        ledger.delivery(window(5 * number), "d0", 1)
        ledger.delivery(window(5 * number), "d1", 1, "failed")
    store.execute(
        "insert into logstream.destinations (name, failures, last_window, error) values ('d1', 1, now(), 'said <b>no</b> to us')"
    )
    shown = overview(console)
    assert "d1 What was tried last has failed (2 windows owed since 2026-03-01 00:00 UTC" in shown
    assert "said &lt;b&gt;no&lt;/b&gt; to us" in shown
    assert "Test it on its page" in shown and "logstream destinations check" not in shown
    assert "2 owed" in shown, "the strip counts windows"
    hidden = overview(console, writer=False)
    assert "said &lt;b&gt;" not in hidden, "a receiver's own words are for those who may change the settings"
    assert "What was tried last has failed" in hidden
    ledger.delivery(window(0), "gone", 1, "failed")
    console.destinations.hold("d2", ANN)
    assert re.search(r"and \d more:", overview(console))


def test_a_failed_daily_check_is_shown_until_it_passes_or_events_arrive(
    console: Console, store: psycopg.Connection, ledger: Ledger, cli: Cli
) -> None:
    ledger.window(window(0))
    for name in ("d0", "d1"):
        ledger.delivery(window(0), name, 1)

    def failed() -> list[str | None]:
        return [one.destination for one in console.standing.status().problems if one.condition == "check failed"]

    notices = Notices(console.exporter.engine)
    notices.note_checks({"d0": "writes: the token is not valid", "d1": "writes: no", "d2": None})
    assert failed() == ["d0", "d1"]
    assert not console.standing.status().is_well
    done = cli("status", "--dsn", console.exporter.store_dsn)
    assert done.returncode == 1 and "d0: its last check has failed: writes: the token is not valid" in done.stdout
    shown = overview(console)
    assert "check failed d0 Its last check has failed" in shown and "the token is not valid" in shown
    assert "the token is not valid" not in overview(console, writer=False)
    # a person tries it out, as it is saved: that is the newest check
    settings = console.settings.current().settings.destinations
    assert all(step.ok for step in console.destinations.check("d0", {"type": "file", **settings["d0"].options}, ANN))
    assert failed() == ["d1"]
    # another destination by that name says nothing of it
    console.destinations.check("d1", {"type": "file", "path": str(ledger.folder / "other")}, ANN)
    assert failed() == ["d1"]
    # and what has arrived since shows that it works; an empty window shows nothing
    ledger.window(window(5))
    later = ledger.delivery(window(5), "d1", 0)
    store.execute("update logstream.deliveries set sealed_at = now() + interval '1 second' where id = %s", (later,))
    assert failed() == ["d1"]
    store.execute("update logstream.lanes set delivered_events = 1 where delivery_id = %s", (later,))
    assert failed() == []
    notices.note_checks({"d0": "writes: no"})
    assert failed() == ["d0"]
    assert cli("destinations", "check", "--dsn", console.exporter.store_dsn, "d0").returncode == 0
    assert failed() == []
    notices.note_checks({"d0": "writes: no"})
    console.destinations.hold("d0", ANN)
    assert failed() == [], "one that is held is known to get nothing"


@pytest.mark.parametrize(
    ("by_admin", "own", "admin_on", "text"),
    [
        (True, [], True, "all workspaces"),
        (True, [], False, "the setting for all workspaces, which is switched off"),
        (True, [5], True, "all workspaces; 5 (overridden)"),
        (True, [5], False, "the setting for all workspaces, which is switched off; 5"),
        (False, [5], False, "5"),
        (False, [], False, "no workspace"),
    ],
)
def test_who_uses_a_destination_is_who_streams_to_it_now(
    by_admin: bool, own: list[int], admin_on: bool, text: str
) -> None:
    shown = jinja.env.get_template("macros.html").module.users(  # type: ignore[attr-defined]
        by_admin, own, admin_on, caller=lambda: str(own[0])
    )
    assert " ".join(re.sub(r"<[^>]*>", "", str(shown)).split()) == text


def test_every_problem_has_its_place_and_its_remedy() -> None:
    failing = DestinationStatus("lake", Health(1, START, None, "secret words"))
    problem = Problem(Condition.FAILING, failing.sentence, Condition.FAILING.remedy, "lake")
    assert "secret words" in problem.text
    assert "secret words" not in said_of(problem, failing, {"lake"})
    assert place_of(problem, {"lake"}) == "destinations/lake"
    assert place_of(problem, set()) == "deliveries?destination=lake"
    lost = Problem("lost", "7 events are lost", "See which with `logstream owed`", "lake")
    assert place_of(lost, {"lake"}) == "deliveries?destination=lake"
    assert "logstream owed" not in remedy_here("lost", lost.remedy)
    gaps = Problem(Condition.GAPS, "no run", Condition.GAPS.remedy)
    assert place_of(gaps, set()) == "" and remedy_here(gaps.condition, gaps.remedy) == gaps.remedy
