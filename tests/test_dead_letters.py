"""Dead letters as people act on them: looked at, some sent again, some discarded with a note, refused again for a new reason."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.console.pages.deliveries import READABLE_DEPTH, readable
from logstream.console.service import Console
from logstream.control.audit import Actor
from logstream.errors import InputError, NotThere
from logstream.export.exporter import Exporter
from logstream.ledger.leases import LeaseKeeper
from logstream.ledger.ledger import Ledger
from logstream.ledger.overview import DeliveryFilter
from logstream.ledger.records import Lane
from logstream.verify.verifier import verify

from .test_engine import Connections, Make, engine, files, filled
from .test_healing import run, two_destinations, window

__all__ = ["engine", "filled"]  # fixtures

ANN, BEN = Actor("ann", "192.0.2.7"), Actor("ben", "192.0.2.8")

LETTERS = (77777, 77778, 77779)


def nested(levels: int) -> str:
    return '{"id": "deep", "x": ' + "[" * levels + "]" * levels + "}"


@pytest.fixture
def refused(engine: Make, filled: psycopg.Connection, tmp_path: Path) -> Exporter:
    """An engine of whose first window three events of workspace 100 were refused, nested too deep for a message."""
    for number in LETTERS:
        filled.execute(
            "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload) values (%s, 100, 'job', %s, %s, %s)",
            (number, window(0).start, window(0).start, nested(600)),
        )
    exporter = engine(two_destinations(tmp_path / "out", manifests=True))
    assert run(exporter, 0)["out", window(0)].rejected == 3
    return exporter


@pytest.fixture
def console(refused: Exporter, filled: psycopg.Connection) -> Console:
    return Console(filled.info.dsn, filled.info.dsn, Connections())


def keys(console: Console) -> dict[int, tuple[int, int]]:
    return {row.event_id: (row.delivery_id, row.event_id) for row in console.deliveries.rejected()}


def mend(store: psycopg.Connection, *numbers: int) -> None:
    for number in numbers:
        store.execute("update events set payload = %s where id = %s", (json.dumps({"id": f"mended {number}"}), number))


def test_some_are_sent_again_and_the_others_stay(
    console: Console, refused: Exporter, filled: psycopg.Connection, tmp_path: Path
) -> None:
    mend(filled, *LETTERS)
    before = files(tmp_path / "out")
    (again,) = refused.redeliver_rejected(keys=[keys(console)[77778]])
    assert (again.delivered, again.error) == (1, None)
    assert sorted(keys(console)) == [77777, 77779]
    new = [body for name, body in files(tmp_path / "out").items() if name not in before and b"mended" in body]
    assert new == [b'{"id": "mended 77778"}']
    assert refused.redeliver_rejected(keys=[]) == []
    assert refused.redeliver_rejected(keys=[(4711, 77777)]) == [], "of another delivery"
    assert console.deliveries.count_dead_letters() == 2


def test_what_is_discarded_is_neither_listed_nor_sent_and_still_accounted_for(
    console: Console, refused: Exporter, filled: psycopg.Connection
) -> None:
    assert console.deliveries.count_dead_letters() == 3
    with pytest.raises(InputError, match="note"):
        console.deliveries.discard([keys(console)[77777]], ANN, "  ")
    key = keys(console)[77777]
    assert console.deliveries.discard([key], ANN, "test events") == 1
    assert console.deliveries.discard([key], BEN, "again") == 0
    row = filled.execute(
        "select discarded_by, note, discarded_at is not null from logstream.rejections where event_id = 77777"
    ).fetchone()
    assert row == ("ann", "test events", True)
    assert sorted(keys(console)) == [77778, 77779]
    assert console.deliveries.count_dead_letters() == 2
    mend(filled, *LETTERS)
    (again,) = refused.redeliver_rejected()
    assert again.delivered == 2
    assert verify(refused, window(0)).findings == [], "it stays rejected: nothing is missing that is not accounted for"
    with pytest.raises(NotThere):
        console.deliveries.content(key)


def test_one_that_is_refused_again_says_why_now(
    console: Console, refused: Exporter, filled: psycopg.Connection
) -> None:
    assert "nested 601 levels deep" in console.deliveries.rejected()[0].reason
    console.deliveries.discard([keys(console)[77779]], ANN, "never mind")
    filled.execute("update events set payload = %s where id = 77777", (nested(700),))
    (again,) = refused.redeliver_rejected()
    assert (again.delivered, again.rejected_again) == (0, 2)
    reasons = {row.event_id: row.reason for row in console.deliveries.rejected()}
    assert "nested 701 levels deep" in reasons[77777]
    assert "nested 601 levels deep" in reasons[77778]
    assert sorted(reasons) == [77777, 77778], "what was discarded stays so until it is sent anew"


def test_its_event_is_shown_as_the_log_store_holds_it(console: Console, filled: psycopg.Connection) -> None:
    mend(filled, 77777)
    found = keys(console)
    content = console.deliveries.content(found[77777])
    assert (content.letter.event_id, content.payload, content.fault) == (77777, b'{"id": "mended 77777"}', None)
    filled.execute("delete from events where id = 77777")
    assert console.deliveries.content(found[77777]).payload is None
    with pytest.raises(NotThere):
        console.deliveries.content((found[77777][0], 1))


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (None, None),
        (b'{"a": 1}', '{\n  "a": 1\n}'),
        (b"no json", "no json"),
        (b"\xff", "\N{REPLACEMENT CHARACTER}"),
        (b"[" * (READABLE_DEPTH + 1), "[" * (READABLE_DEPTH + 1)),
    ],
)
def test_an_event_is_readable_whatever_it_is(payload: bytes | None, shown: str | None) -> None:
    assert readable(payload) == shown


# deliveries of one customer, and what exporting again would mean


def test_deliveries_of_one_customer(console: Console, refused: Exporter, filled: psycopg.Connection) -> None:
    filled.execute(
        "insert into workspaces (id, external_id, name) values (900, 'same', 'Quiet'), (901, 'quiet-1', 'Twice'), (902, 'q2', 'Twice')"
    )
    newest = console.deliveries.newest(DeliveryFilter())
    of_100 = console.deliveries.newest(DeliveryFilter(workspace=100))
    assert of_100 and {item.id for item in of_100} <= {item.id for item in newest}
    planned = filled.execute(
        "select distinct delivery_id from logstream.lanes where planned -> '100' is not null"
    ).fetchall()
    assert {item.id for item in of_100} == {row[0] for row in planned}
    assert console.deliveries.newest(DeliveryFilter(workspace=900)) == []
    assert [item.id for item in console.deliveries.newest(DeliveryFilter(workspace=100), 1)] == [of_100[0].id]
    named: dict[str, Any] = {text: console.customers.named(text).id for text in ("900", "same", "Quiet", " quiet-1 ")}
    assert named == {"900": 900, "same": 900, "Quiet": 900, " quiet-1 ": 901}
    for text, reason in (("Twice", "2 customers"), ("nobody", "no customer"), ("", "no customer")):
        with pytest.raises(InputError, match=reason):
            console.customers.named(text)


def test_what_was_delivered_for_a_customer_by_day(
    console: Console, refused: Exporter, filled: psycopg.Connection
) -> None:
    customer = console.customers.find(100)
    assert customer.destination is not None
    ((day, windows, events),) = console.customers.by_day(customer)
    assert (day.isoformat(), windows) == ("2026-03-01", 1)
    assert events == sum(count for _, count in console.customers.deliveries(customer)) > 0
    # windows of another day, none of it with events of this customer
    filled.execute("update logstream.deliveries set window_start = window_start - interval '1 day' where destination = %s",
                   (customer.destination,))  # fmt: skip
    run(refused, 1)
    assert [(day.isoformat(), windows) for day, windows, _ in console.customers.by_day(customer)] == [
        ("2026-03-01", 1),
        ("2026-02-28", 1),
    ]
    effective = console.customers.effective(customer)
    assert effective is not None and effective.destination == customer.destination


def test_a_backfill_says_what_it_would_send_again(console: Console, refused: Exporter) -> None:
    outcome = console.backfills.outcome([window(number) for number in range(3)])
    assert (outcome.again, outcome.new, outcome.replaced, outcome.repeated) == (1, 2, {"out": 1}, {"hook": 1})
    assert console.backfills.outcome([window(0)], ["hook"]).replaced == {}
    assert console.backfills.outcome([window(5)]).again == 0


@pytest.mark.parametrize("meanwhile", ["sent", "discarded"])
def test_what_becomes_of_one_before_its_lane_is_taken_is_seen(
    console: Console, refused: Exporter, filled: psycopg.Connection, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, meanwhile: str,
) -> None:  # fmt: skip
    """Two people press the button at once, or one discards what another sends: nothing is sent, or counted, twice."""
    mend(filled, *LETTERS)
    taking = LeaseKeeper.take
    others: list[int] = []

    async def after_another(self: LeaseKeeper, *args: Any, **kwargs: Any) -> list[Lane]:
        monkeypatch.setattr(LeaseKeeper, "take", taking)
        if meanwhile == "sent":
            (other,) = await asyncio.to_thread(refused.redeliver_rejected)
            others.append(other.delivered)
        else:
            others.append(console.deliveries.discard(list(keys(console).values()), BEN, "test events"))
        return await taking(self, *args, **kwargs)

    monkeypatch.setattr(LeaseKeeper, "take", after_another)
    results = refused.redeliver_rejected()
    assert others == [3]
    assert [(result.delivered, result.error) for result in results] == [(0, None)]
    lane = next(lane for lane in refused.ledger.lanes_in(window(0)) if 100 in lane.workspace_ids)
    assert (lane.missing(), lane.rejected.total()) == ({}, 0 if meanwhile == "sent" else 3)
    assert verify(refused, window(0)).findings == []


def test_what_is_sent_again_while_its_window_is_sealed_stays_in_the_manifest(
    refused: Exporter, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest of what was counted before came behind the redelivery's, and said that the dead letters had not arrived."""
    (number,) = {row.delivery_id for row in refused.ledger.rejected()}
    chain, done = Ledger.chain, list[int]()

    def meanwhile(*arguments: Any, **named: Any) -> Any:
        if not done:
            done.append(1)
            mend(filled, *LETTERS)
            (again,) = refused.redeliver_rejected()
            assert (again.delivered, again.error) == (3, None)
        return chain(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "chain", meanwhile)
        (report,) = refused.seal([number])
    assert report.error and "dead letters of it were sent again meanwhile" in report.error
    assert refused.ledger.owed() == []
    assert verify(refused, window(0)).findings == []
