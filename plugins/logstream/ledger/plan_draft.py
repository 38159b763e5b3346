"""What a plan makes of the deliveries that it is for, as rows to be written. Decided over plain data; nothing is written here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from logstream.destinations.parcel import Tally
from logstream.events import Cursor
from logstream.ledger.records import Pending, PlannedLane, State, storable, tally_document, tally_in
from logstream.ledger.replan import Fate, KnownLane, Replanned, losses_after, replan_lane, still_held
from logstream.window import Window


@dataclass(frozen=True, slots=True)
class PlannedDelivery:
    """What a run will deliver of a window to a destination, by a snapshot of the settings.

    `error` is why it cannot be delivered: then it is written down as failed, and its lanes say what is owed; `blameless` that
    its destination is not at fault.
    """

    destination: str
    window: Window
    snapshot_id: int
    lanes: Sequence[PlannedLane] = ()
    error: str | None = None
    blameless: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """What is lost of a delivery before it is planned again: none of it is in what its lanes plan."""

    purged: Tally = field(default_factory=Tally)
    written_off: Tally = field(default_factory=Tally)


class Stock(Protocol):
    """What the log store holds: asked where a plan finds less, or other events, than an earlier one did."""

    def held(self, window: Window, snapshot_id: int, destination: str) -> Tally:
        """Events of a window that a destination is to get by a snapshot's settings, by (workspace id, kind)."""

    def ahead(
        self, window: Window, snapshot_id: int, destination: str, workspace_ids: Collection[int], after: Cursor | None
    ) -> Tally:
        """Those of some workspaces that come after a place in the window."""

    def gone(self, window: Window, snapshot_id: int, event_ids: Collection[int]) -> set[int]:
        """Which of some events of the window the log store no longer holds."""

    def keeps_objects(self, snapshot_id: int, destination: str) -> bool:
        """Whether what a destination got by a snapshot's settings are objects: the names of requests are nothing's names."""


Refused = Callable[[int, int], Mapping[int, tuple[int, str]]]
"""The events that were rejected of a lane of a delivery, and not sent since: by their ids (workspace id, kind)."""


@dataclass(slots=True)
class Draft:
    """What a plan writes, gathered over all its deliveries."""

    deliveries: list[tuple[int, int, int]] = field(default_factory=list)
    """Id, snapshot, 1 if it begins afresh."""
    void: list[tuple[int, int]] = field(default_factory=list)
    superseded: list[tuple[int, int]] = field(default_factory=list)
    """Those of them that have made objects, which are still there."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    lost: dict[int, Tally] = field(default_factory=dict)
    fewer: set[int] = field(default_factory=set)
    """Deliveries that had been planned with events that the log store no longer holds: what is there may be their only copy."""
    written_off: dict[int, Tally] = field(default_factory=dict)
    """What is left written off of deliveries of which some is planned again."""
    pending: Pending = field(default_factory=lambda: Pending({}, []))


def write_error(draft: Draft, row: Any, item: PlannedDelivery, known: Mapping[int, KnownLane]) -> None:
    """It cannot be delivered: what it has got stays, and the rest is owed, with the reason."""
    if row.state == State.DELIVERED:
        draft.pending.left[row.id] = (
            f"{item.destination}, window {item.window}: it cannot be exported again: {item.error}"
        )
        return
    draft.deliveries.append((row.id, row.snapshot_id, 0))
    draft.pending.add(item.destination, row.id)
    for lane in known.values():
        if lane.state is not State.DELIVERED:
            told = lane.fingerprint, lane.planned, lane.planned_bytes, State.FAILED, item.error
            draft.rows.append(_row(row.id, lane.lane, *told, blameless=item.blameless))
    if not known:
        for new in item.lanes:
            # without a fingerprint: it begins anew when it can be delivered
            told = "", new.tally, new.bytes, State.FAILED, item.error
            draft.rows.append(_row(row.id, new.lane, *told, blameless=item.blameless))


def begin_afresh(
    draft: Draft, row: Any, item: PlannedDelivery, known: Mapping[int, KnownLane], lost: Lost, stock: Stock
) -> None:
    """It is complete, and exported again on purpose: from its beginning, unless fewer events would replace what is there."""
    done = Tally()
    for lane in known.values():
        done.update(lane.done)
    held = _held(row, item, stock)
    if not still_held(done, held):
        # Nor are those of its lanes made again that are all there: the delivery would be unfinished until they are, and if its
        # options changed before that, the lanes which hold an only copy would go with the rest of what was made by the old ones.
        gone = (done - held).total()
        draft.pending.left[row.id] = (
            f"{item.destination}, window {item.window}: the log store no longer holds {gone:,} of its events; "
            "what was delivered stays"
        )
        return
    draft.deliveries.append((row.id, item.snapshot_id, 1))
    draft.pending.add(item.destination, row.id)
    _void(draft, row, item, list(known), stock)
    for new in item.lanes:
        _plan_lane(draft, item, row.id, new.lane, Replanned(Fate.ANEW, new.tally), new)
    _note_lost(draft, row.id, lost, Tally(), done, held)


def go_on(
    draft: Draft,
    row: Any,
    item: PlannedDelivery,
    known: Mapping[int, KnownLane],
    lost: Lost,
    stock: Stock,
    refused: Refused,
) -> None:
    """It is not complete: go on with its lanes as far as can be."""
    draft.deliveries.append((row.id, item.snapshot_id, 0))
    draft.pending.add(item.destination, row.id)
    new_lanes = {lane.lane: lane for lane in item.lanes}
    newly: Tally = Tally()
    planned: Tally = Tally()
    for number in sorted(known.keys() | new_lanes.keys()):
        lane, new = known.get(number), new_lanes.get(number)
        if lane is None:
            assert new is not None  # noqa: S101 - it is one of the two
            _plan_lane(draft, item, row.id, number, Replanned(Fate.ANEW, new.tally), new)
            continue
        planned.update(lane.planned)
        fate, fewer = _replan(row, item, lane, new, stock)
        if fewer:
            draft.fewer.add(row.id)
        newly.update(fate.lost)
        if fate.fate in (Fate.ANEW, Fate.DROPPED):
            _void(draft, row, item, [number], stock)
            if lane.rejected:  # their dead letters go with the lane: those that no plan can have again are to be named
                letters = refused(row.id, number)
                newly.update(letters[event] for event in stock.gone(item.window, row.snapshot_id, letters))
        unchanged = fate.fate is Fate.KEPT or (fate.fate is Fate.RESUMED and fate.planned == lane.planned)
        _plan_lane(draft, item, row.id, number, fate, new, unchanged=unchanged)
    if lost.purged or newly:
        _note_lost(draft, row.id, lost, newly, planned, _held(row, item, stock))


def plan_written_off(draft: Draft, delivery_id: int, known: Mapping[int, KnownLane], written_off: Tally) -> None:
    """What was written off and is planned again after all (its destination was put back, say) is not written off any more."""
    void = {lane for number, lane in draft.void if number == delivery_id}
    before, after = Tally(), Tally()
    for lane in known.values():
        before.update(lane.planned)
    new = {row["lane"]: row["planned"] for row in draft.rows if row["delivery_id"] == delivery_id}
    for number, lane in known.items():
        if number not in new and number not in void:
            after.update(lane.planned)
    for planned in new.values():
        after.update(tally_in(planned))
    left = written_off - (after - before)
    if left != written_off:
        draft.written_off[delivery_id] = Tally({key: left[key] for key in written_off})


def _void(draft: Draft, row: Any, item: PlannedDelivery, numbers: Sequence[int], stock: Stock) -> None:
    """Lanes begin anew, or go: what they have made is superseded, where it is objects."""
    names = [(row.id, number) for number in numbers]
    draft.void += names
    if stock.keeps_objects(row.snapshot_id, item.destination):
        draft.superseded += names


def _held(row: Any, item: PlannedDelivery, stock: Stock) -> Tally:
    """What the log store holds of a delivery by the settings that it was planned by last."""
    if row.snapshot_id != item.snapshot_id:
        return stock.held(item.window, row.snapshot_id, item.destination)
    held = Tally()
    for lane in item.lanes:
        held.update(lane.tally)
    return held


def _replan(row: Any, item: PlannedDelivery, lane: KnownLane, new: PlannedLane | None, stock: Stock) -> tuple[
    Replanned, bool
]:  # fmt: skip
    """What becomes of a lane, and whether the log store holds less than was planned of it."""
    same = new is not None and new.fingerprint == lane.fingerprint and new.tally == lane.planned
    if new is not None and same:
        held = new.tally
    else:
        everything = _held(row, item, stock)
        held = Tally({key: everything[key] for key in lane.planned if everything[key]})
    workspaces = {workspace for workspace, _ in lane.planned.keys() | (new.tally.keys() if new else set())}
    replanned = replan_lane(
        lane, new, held, lambda: stock.ahead(item.window, row.snapshot_id, item.destination, workspaces, lane.counted)
    )
    return replanned, any(held[key] < events for key, events in lane.planned.items())


def _plan_lane(
    draft: Draft, item: PlannedDelivery, delivery_id: int, number: int, fate: Replanned, new: PlannedLane | None,
    *, unchanged: bool = False,
) -> None:  # fmt: skip
    pending = fate.fate in (Fate.ANEW, Fate.RESUMED)
    size = new.bytes if new else 0
    if pending:
        draft.pending.lanes.append(((delivery_id, number), item.destination, size))
    if fate.fate is Fate.DROPPED or unchanged:
        return
    state = State.PLANNED if pending else State.DELIVERED
    draft.rows.append(_row(delivery_id, number, new.fingerprint if new else "", fate.planned, size, state))


def _note_lost(draft: Draft, delivery_id: int, lost: Lost, newly: Tally, planned: Tally, held: Tally) -> None:
    before = lost.purged
    after = losses_after(before, newly, planned + lost.written_off, held)
    # those alone that have changed: a lane that ends meanwhile notes what it lacks itself
    if changed := {key: after[key] for key in before.keys() | after.keys() if after[key] != before[key]}:
        draft.lost[delivery_id] = Tally(changed)


def _row(
    delivery_id: int, lane: int, fingerprint: str, planned: Tally, size: int, state: State, error: str | None = None,
    *, blameless: bool = False,
) -> dict[str, Any]:  # fmt: skip
    return {
        "delivery_id": delivery_id, "lane": lane, "fingerprint": fingerprint, "state": state,
        "planned": tally_document(planned), "planned_bytes": size, "planned_events": planned.total(),
        "error": error and storable(error), "blameless": blameless,
    }  # fmt: skip
