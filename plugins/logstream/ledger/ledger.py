"""The ledger: what was planned, how far each lane has come, what was delivered or rejected. In the control database.

A lane's checkpoint and its counts are one row, written in one statement, so they cannot disagree. All writing of a lane
happens under its lock (`LaneLocks`), an advisory lock of the database that ends with the connection that holds it.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

import orjson
import psycopg
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Row,
    case,
    delete,
    func,
    literal,
    literal_column,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from logstream.control.tables import (
    SCHEMA,
    deliveries,
    destinations,
    lane_parts,
    lanes,
    manifests,
    open_windows,
    rejections,
)
from logstream.database import connect, database_errors, session_parameters
from logstream.destinations.parcel import EventRef, Part, Tally
from logstream.errors import DatabaseError
from logstream.events import Cursor
from logstream.ledger.health import Change, Health, Outcome, Owed, judge
from logstream.proof.listings import pack, unpack
from logstream.proof.manifests import Manifest, Sealed, manifest_of, says_the_same
from logstream.proof.signing import Signer
from logstream.window import Window


class Rejection(NamedTuple):
    """An event that its receiver, or we, refused. `request` names what it was sent in, if it was."""

    event: EventRef
    reason: str
    request: str | None = None


class RejectedEvent(NamedTuple):
    """A dead letter: an event that was rejected, why, in which request, and where it was to go."""

    event_id: int
    workspace_id: int
    kind: str
    reason: str
    request: str | None
    rejected_at: datetime
    destination: str
    window: Window
    delivery_id: int
    lane: int


@dataclass(frozen=True, slots=True)
class News:
    """What a lane's next write to the ledger tells beside its counts."""

    rejected: Sequence[Rejection] = ()
    parts: Sequence[Part] = ()


class State(StrEnum):
    """Of a lane or a delivery."""

    PLANNED = "planned"
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    FAILED = "failed"
    OWED = "owed"
    """Of a delivery: set aside while its destination is suspended."""


@dataclass(frozen=True, slots=True)
class PlannedLane:
    """A lane as it is planned: what it will deliver, and a fingerprint of all that decides its bytes."""

    lane: int
    fingerprint: str
    tally: Tally
    bytes: int

    def as_row(self, delivery_id: int) -> dict[str, object]:
        """Its row in the ledger, before anything is delivered."""
        return {
            "delivery_id": delivery_id,
            "lane": self.lane,
            "fingerprint": self.fingerprint,
            "planned": _document(self.tally),
            "planned_bytes": self.bytes,
            "planned_events": self.tally.total(),
        }


PendingLane = tuple[tuple[int, int], str, int]
"""A lane that is still to be delivered: its name (delivery id, lane), its destination, the bytes it will read."""


@dataclass(frozen=True, slots=True)
class Pending:
    """What a plan left to be done: destination to delivery id, and the lanes."""

    deliveries: dict[str, int]
    lanes: list[PendingLane]


@dataclass(slots=True)
class Lane:
    """A lane as the ledger has it. Counts are events by (workspace id, kind)."""

    delivery_id: int
    lane: int
    destination: str
    window: Window
    snapshot_id: int
    state: State
    planned: Tally
    planned_bytes: int
    delivered: Tally = field(default_factory=Tally)
    rejected: Tally = field(default_factory=Tally)
    position: Cursor | None = None
    counted: Cursor | None = None
    part: int = 0
    sizes: Counter[int] = field(default_factory=Counter)
    bytes: int = 0
    requests: int = 0
    now_ns: int | None = None
    attempts: int = 0
    last_error: str | None = None
    permanent: bool = False
    finished_at: datetime | None = None
    pruned: bool = False

    @property
    def key(self) -> tuple[int, int]:
        """Its name in the ledger."""
        return self.delivery_id, self.lane

    @property
    def workspace_ids(self) -> list[int]:
        """The workspaces that have events in it."""
        return sorted({workspace for workspace, _ in self.planned})

    def missing(self) -> dict[tuple[int, str], int]:
        """Events planned and neither delivered nor rejected (negative: more than planned)."""
        done = self.delivered + self.rejected
        keys = self.planned.keys() | done.keys()
        return {key: self.planned[key] - done[key] for key in sorted(keys) if self.planned[key] != done[key]}


@dataclass(frozen=True, slots=True)
class LaneWrite:
    """What is to be written of one lane: its checkpoint and counts are one row, so they cannot disagree."""

    key: tuple[int, int]
    state: State
    row: bytes
    rejections: list[dict[str, object]]
    parts: dict[str, object] | None
    destination: str
    steps: bool = False

    @classmethod
    def step(cls, lane: Lane) -> LaneWrite:
        """How far a lane has come; its counts stay as they were written last."""
        assert lane.position is not None, "it has sent something"  # noqa: S101
        us, number = lane.position
        row = b'{"delivery_id":%d,"lane":%d,"position_us":%d,"position_id":%d}' % (*lane.key, us, number)
        return cls(lane.key, State.DELIVERING, row, [], None, lane.destination, steps=True)

    @classmethod
    def checkpoint(cls, lane: Lane, news: News) -> LaneWrite:
        """How far a lane has come, its counts, and what is new since the last time."""
        return cls._of(lane, State.DELIVERING, news)

    @classmethod
    def finish(cls, lane: Lane, news: News) -> LaneWrite:
        """A lane is delivered."""
        lane.state = State.DELIVERED
        return cls._of(lane, State.DELIVERED, news)

    @classmethod
    def fail(cls, lane: Lane, news: News, error: str, *, permanent: bool) -> LaneWrite:
        """A lane stopped, and why."""
        lane.state, lane.last_error, lane.permanent = State.FAILED, error, permanent
        return cls._of(lane, State.FAILED, news, error)

    @classmethod
    def _of(cls, lane: Lane, state: State, news: News, error: str | None = None) -> LaneWrite:
        position, counted = lane.position or (None, None), lane.counted or (None, None)
        name = {"delivery_id": lane.delivery_id, "lane": lane.lane}
        row = {
            **name, "state": str(state), "position_us": position[0], "position_id": position[1],
            "counted_us": counted[0], "counted_id": counted[1], "part": lane.part,
            "delivered": _document(lane.delivered), "rejected": _document(lane.rejected),
            "delivered_events": lane.delivered.total(), "rejected_events": lane.rejected.total(),
            "sizes": {str(workspace): size for workspace, size in lane.sizes.items()},
            "bytes": lane.bytes, "requests": lane.requests,
            # PostgreSQL's text takes no NUL
            "error": error and error.replace("\0", " "), "permanent": int(lane.permanent and bool(error)),
        }  # fmt: skip
        rows: list[dict[str, object]] = [
            {**name, "event_id": event.id, "workspace_id": event.workspace_id, "kind": event.kind,
             "reason": reason.replace("\0", " "), "request": request}
            for event, reason, request in news.rejected
        ]  # fmt: skip
        parts = {**name, "parcels": lane.part, "entries": pack(news.parts)} if news.parts else None
        return cls(lane.key, state, orjson.dumps(row), rows, parts, lane.destination)

    def planned_anew(self) -> DatabaseError:
        """The error for a lane that is no longer there."""
        return planned_anew(self)


def planned_anew(lane: Lane | LaneWrite) -> DatabaseError:
    """The error for a lane that is no longer there."""
    number = lane.key[1]
    return DatabaseError(f"lane {number} of destination {lane.destination} was planned anew meanwhile by another run")


_WRITE = f"""
update {SCHEMA}.lanes l set
    state = n.state, position_us = n.position_us, position_id = n.position_id,
    counted_us = n.counted_us, counted_id = n.counted_id, part = n.part,
    delivered = n.delivered, rejected = n.rejected, sizes = n.sizes,
    delivered_events = n.delivered_events, rejected_events = n.rejected_events,
    bytes = n.bytes, requests = n.requests,
    first_error = coalesce(l.first_error, n.error),
    last_error = case n.state when 'delivering' then l.last_error else n.error end,
    permanent = n.permanent,
    finished_at = case n.state when 'delivered' then clock_timestamp() else l.finished_at end
from json_to_recordset(%s::json) as n(
    delivery_id bigint, lane int, state text, position_us bigint, position_id bigint, counted_us bigint,
    counted_id bigint, part int, delivered json, rejected json, delivered_events bigint, rejected_events bigint,
    sizes json, bytes bigint, requests bigint, error text,
    permanent int)
where l.delivery_id = n.delivery_id and l.lane = n.lane
returning l.delivery_id, l.lane
"""  # noqa: S608 - the schema is ours


_STEP = f"""
update {SCHEMA}.lanes l set position_us = n.position_us, position_id = n.position_id
from json_to_recordset(%s::json) as n(delivery_id bigint, lane int, position_us bigint, position_id bigint)
where l.delivery_id = n.delivery_id and l.lane = n.lane
returning l.delivery_id, l.lane
"""  # noqa: S608 - the schema is ours

_BEGIN = f"""
insert into {SCHEMA}.deliveries (window_start, window_end, snapshot_id, state, destination)
select %s, %s, %s, '{State.PLANNED}', unnest(%s::text[]) on conflict do nothing
"""

_PLAN = f"""
insert into {SCHEMA}.lanes (delivery_id, lane, fingerprint, state, planned, planned_bytes, planned_events)
select delivery_id, lane, fingerprint, '{State.PLANNED}', planned, planned_bytes, planned_events
from json_to_recordset(%s::json) as n(
    delivery_id bigint, lane int, fingerprint text, planned json, planned_bytes bigint, planned_events bigint)
"""  # noqa: S608 - the schema is ours


class Ledger:
    """Reads and writes the ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def plan(self, window: Window, snapshot_id: int, planned: Mapping[str, Sequence[PlannedLane]]) -> Pending:
        """Write down what a run will deliver: destination to its lanes.

        A delivery that is complete is begun afresh: it is exported again on purpose. In one that is not, what is delivered
        stays so, and an unfinished lane keeps its checkpoint if nothing that decides its bytes has changed.
        """
        with database_errors("planning deliveries"), self._engine.begin() as connection:
            begun = self._begin_deliveries(connection, window, snapshot_id, sorted(planned))
            known = self._known_lanes(connection, [number for number, afresh in begun.values() if not afresh])
            keep: list[tuple[int, int]] = []
            fresh: list[dict[str, object]] = []
            pending: list[PendingLane] = []
            for destination, (number, _) in begun.items():
                for lane in planned[destination]:
                    key = number, lane.lane
                    row = known.get(key)
                    if row is not None and row.fingerprint == lane.fingerprint and _tally(row.planned) == lane.tally:
                        keep.append(key)
                        if row.state == State.DELIVERED:
                            continue
                    else:
                        fresh.append(lane.as_row(number))
                    pending.append((key, destination, lane.bytes))
            numbers = [number for number, _ in begun.values()]
            for table in (lanes, rejections):
                stale = delete(table).where(_any(table.c.delivery_id, numbers))
                if keep:
                    stale = stale.where(tuple_(table.c.delivery_id, table.c.lane).not_in(keep))
                connection.execute(stale)
            connection.exec_driver_sql(_PLAN, (orjson.dumps(fresh).decode(),))
        return Pending({destination: number for destination, (number, _) in begun.items()}, pending)

    def _begin_deliveries(
        self, connection: Connection, window: Window, snapshot_id: int, names: Sequence[str]
    ) -> dict[str, tuple[int, bool]]:
        """Destination to the id of its delivery, now planned, and whether it is begun afresh."""
        span = {"window_start": window.start, "window_end": window.end}
        connection.exec_driver_sql(_BEGIN, (window.start, window.end, snapshot_id, list(names)))
        # in one order, so that two runs of a window wait for each other and not each for the other
        query = select(deliveries.c.id, deliveries.c.destination, deliveries.c.state).filter_by(**span)
        query = query.where(_any(deliveries.c.destination, names))
        rows = connection.execute(query.order_by(deliveries.c.destination).with_for_update()).all()
        connection.execute(
            update(deliveries)
            .where(_any(deliveries.c.id, [row.id for row in rows]))
            .values(
                snapshot_id=snapshot_id,
                generation=deliveries.c.generation + case((deliveries.c.state == State.DELIVERED, 1), else_=0),
                state=State.PLANNED,
                planned_at=func.clock_timestamp(),
                sealed_at=None,
                pruned_at=None,
            )
        )
        return {row.destination: (row.id, row.state == State.DELIVERED) for row in rows}

    @staticmethod
    def _known_lanes(connection: Connection, delivery_ids: Sequence[int]) -> dict[tuple[int, int], Any]:
        query = select(lanes.c.delivery_id, lanes.c.lane, lanes.c.state, lanes.c.fingerprint, lanes.c.planned)
        rows = connection.execute(query.where(_any(lanes.c.delivery_id, delivery_ids)))
        return {(row.delivery_id, row.lane): row for row in rows}

    def lanes(self, keys: Iterable[tuple[int, int]]) -> list[Lane]:
        """The lanes with these names, in their order."""
        wanted = list(keys)
        found = {lane.key: lane for lane in self._lanes(_any(lanes.c.delivery_id, {key[0] for key in wanted}))}
        return [found[key] for key in wanted if key in found]

    def lanes_of(self, delivery_ids: Iterable[int]) -> list[Lane]:
        """All lanes of some deliveries."""
        return self._lanes(_any(lanes.c.delivery_id, delivery_ids))

    def lanes_in(self, window: Window) -> list[Lane]:
        """All lanes of a window."""
        return self._lanes((deliveries.c.window_start == window.start) & (deliveries.c.window_end == window.end))

    def lanes_within(self, span: Window) -> list[Lane]:
        """All lanes of the windows that lie in `span`."""
        return self._lanes((deliveries.c.window_start >= span.start) & (deliveries.c.window_end <= span.end))

    def _lanes(self, condition: Any) -> list[Lane]:
        query = (
            select(lanes, deliveries.c.destination, deliveries.c.window_start, deliveries.c.window_end)
            .add_columns(deliveries.c.snapshot_id, deliveries.c.pruned_at)
            .join(deliveries, deliveries.c.id == lanes.c.delivery_id)
            .where(condition)
            .order_by(lanes.c.delivery_id, lanes.c.lane)
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return [_lane(row) for row in connection.execute(query)]

    def begin(self, found: Sequence[Lane], now_ns: int) -> list[Lane]:
        """Mark lanes as under way and return them as they now stand; one keeps its instant if it has one already.

        Raises `DatabaseError` if another run has planned one of them anew meanwhile.
        """
        keys = [lane.key for lane in found]
        with database_errors("writing the ledger"), self._engine.begin() as connection:
            connection.execute(
                update(lanes)
                .where(tuple_(lanes.c.delivery_id, lanes.c.lane).in_(keys))
                .where(lanes.c.state != State.DELIVERED)
                .values(
                    state=State.DELIVERING,
                    now_ns=func.coalesce(lanes.c.now_ns, now_ns),
                    attempts=lanes.c.attempts + 1,
                    started_at=func.coalesce(lanes.c.started_at, func.clock_timestamp()),
                    permanent=0,
                )
            )
        begun = self.lanes(keys)
        if len(begun) < len(keys):
            gone = set(keys) - {lane.key for lane in begun}
            raise planned_anew(next(lane for lane in found if lane.key in gone))
        return begun

    def write(self, writes: Sequence[LaneWrite]) -> set[tuple[int, int]]:
        """Write what became of some lanes, in one transaction; return the names of lanes that are no longer there.

        A transaction of checkpoints alone does not wait for the disk: should the database itself crash, what is lost is
        sent again under the same keys.
        """
        rejected = [row for write in writes for row in write.rejections]
        parts = [write.parts for write in writes if write.parts]
        done: set[tuple[int, int]] = set()
        with database_errors("writing the ledger"), self._engine.begin() as connection:
            if all(write.state is State.DELIVERING for write in writes):
                connection.exec_driver_sql("set local synchronous_commit = off")
            for statement, some in (
                (_STEP, [write.row for write in writes if write.steps]),
                (_WRITE, [write.row for write in writes if not write.steps]),
            ):
                if some:
                    document = (b"[" + b",".join(some) + b"]").decode()
                    done |= {(row[0], row[1]) for row in connection.exec_driver_sql(statement, (document,))}
            if rejected:
                connection.execute(insert(rejections).on_conflict_do_nothing(), rejected)
            # a lane that is gone, planned anew meanwhile, has no place for parts
            parts = [row for row in parts if (row["delivery_id"], row["lane"]) in done]
            if parts:
                connection.execute(insert(lane_parts).on_conflict_do_nothing(), parts)
        return {write.key for write in writes} - done

    def seal(self, outcomes: Mapping[int, State]) -> None:
        """Write the outcomes of deliveries, by id, in one transaction."""
        with database_errors("sealing deliveries"), self._engine.begin() as connection:
            for state in set(outcomes.values()):
                connection.execute(
                    update(deliveries)
                    .where(_any(deliveries.c.id, [number for number, found in outcomes.items() if found is state]))
                    .values(state=state, sealed_at=func.clock_timestamp() if state is State.DELIVERED else None)
                )

    def health(self) -> dict[str, Health]:
        """How the destinations are that have failed of late."""
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return {row.name: _health(row) for row in connection.execute(select(destinations))}

    def note(self, outcomes: Mapping[str, Outcome], suspend_after: int) -> list[Change]:
        """Take note of what became of destinations in a window; return what somebody should hear of."""
        changes = []
        with database_errors("writing the ledger"), self._engine.begin() as connection:
            now = connection.exec_driver_sql("select clock_timestamp()").scalar_one()
            known = {
                row.name: _health(row)
                for row in connection.execute(select(destinations).order_by(destinations.c.name).with_for_update())
            }
            for name, outcome in sorted(outcomes.items()):
                before = known.get(name, Health())
                after, turn = judge(before, outcome, now, suspend_after)
                if turn:
                    changes.append(Change(name, turn, outcome.error))
                if after == Health():
                    if name in known:
                        connection.execute(delete(destinations).where(destinations.c.name == name))
                elif after != before:
                    row = {"failures": after.failures, "last_window": after.last_window,
                           "suspended_at": after.suspended_at, "error": after.error}  # fmt: skip
                    statement = insert(destinations).values(name=name, **row)
                    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=row))
        if not changes:
            return []
        owed = Counter(item.destination for item in self.owed())
        return [replace(change, owed=owed[change.destination]) for change in changes]

    def suspend(self, destination: str, reason: str) -> None:
        """Hold a destination: nothing is sent to it, what it would have got is owed, until somebody resumes it."""
        row = {"suspended_at": func.clock_timestamp(), "error": reason.replace("\0", " "), "held": True}
        statement = insert(destinations).values(name=destination, **row)
        with database_errors("writing the ledger"), self._engine.begin() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=row))

    def resume(self, destination: str) -> bool:
        """Forget that a destination failed, so that the next run delivers to it. Returns whether it was suspended."""
        with database_errors("writing the ledger"), self._engine.begin() as connection:
            gone = delete(destinations).where(destinations.c.name == destination).returning(destinations.c.suspended_at)
            row = connection.execute(gone).first()
        return row is not None and row.suspended_at is not None

    def owed(self, destination: str | None = None) -> list[Owed]:
        """What destinations have not got, oldest first: deliveries that failed, were set aside, or whose run never ended."""
        query = (
            select(
                deliveries,
                func.coalesce(func.max(lanes.c.last_error), func.max(lanes.c.first_error)).label("error"),
                func.json_agg(lanes.c.planned).label("planned"),
                func.json_agg(lanes.c.delivered).label("delivered"),
            )
            .join(lanes, lanes.c.delivery_id == deliveries.c.id)
            .where(is_owed())
            .group_by(deliveries.c.id)
            .order_by(deliveries.c.window_start, deliveries.c.window_end, deliveries.c.destination)
        )
        if destination is not None:
            query = query.where(deliveries.c.destination == destination)
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return [
            Owed(
                row.id,
                row.destination,
                Window(row.window_start.astimezone(UTC), row.window_end.astimezone(UTC)),
                row.snapshot_id,
                row.planned_at,
                sum(_tally(tally).total() for tally in row.planned) - sum(_tally(t).total() for t in row.delivered),
                row.error,
            )
            for row in rows
        ]

    def note_open(self, window: Window, watch: Mapping[str, Sequence[str]]) -> None:
        """Note that a window was exported while writers might still add to it."""
        row = {"window_start": window.start, "window_end": window.end, "watch": dict(watch)}
        statement = insert(open_windows).values(row)
        with database_errors("writing the ledger"), self._engine.begin() as connection:
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["window_start", "window_end"], set_={"watch": row["watch"]}
                )
            )

    def open_windows(self) -> list[tuple[Window, Mapping[str, Sequence[str]]]]:
        """The windows that are still open, oldest first, with what was seen of their writers."""
        query = select(open_windows).order_by(open_windows.c.window_start, open_windows.c.window_end)
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return [
                (Window(row.window_start.astimezone(UTC), row.window_end.astimezone(UTC)), row.watch)
                for row in connection.execute(query)
            ]

    def note_closed(self, window: Window) -> None:
        """A window that was open is closed: its deliveries are owed what was added."""
        same = (deliveries.c.window_start == window.start) & (deliveries.c.window_end == window.end)
        with database_errors("writing the ledger"), self._engine.begin() as connection:
            connection.execute(
                delete(open_windows).where(
                    open_windows.c.window_start == window.start, open_windows.c.window_end == window.end
                )
            )
            connection.execute(
                update(deliveries).where(same, deliveries.c.state == State.DELIVERED).values(state=State.OWED)
            )

    def prune(self, before: datetime) -> int:
        """Forget the parts, and the settled rejections, of complete deliveries of windows that ended by then.

        Counts and manifests stay. Returns how many deliveries were pruned.
        """
        old = (deliveries.c.window_end <= before) & (deliveries.c.state == State.DELIVERED)
        with database_errors("pruning the ledger"), self._engine.begin() as connection:
            pruned = update(deliveries).where(old, deliveries.c.pruned_at.is_(None)).returning(deliveries.c.id)
            ids = list(connection.execute(pruned.values(pruned_at=func.clock_timestamp())).scalars())
            connection.execute(delete(lane_parts).where(_any(lane_parts.c.delivery_id, ids)))
            settled = _any(rejections.c.delivery_id, ids) & rejections.c.redelivered_at.is_not(None)
            connection.execute(delete(rejections).where(settled))
        return len(ids)

    def knows_all_names(self) -> bool:
        """Whether nothing was pruned yet."""
        query = select(deliveries.c.id).where(deliveries.c.pruned_at.is_not(None)).limit(1)
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return connection.execute(query).first() is None

    def parts(self, delivery_ids: Iterable[int]) -> Iterator[tuple[int, Part]]:
        """What was delivered, with its delivery's id, in order of deliveries, lanes and within them.

        A few thousand are in memory at a time.
        """
        query = (
            select(lane_parts.c.delivery_id, lane_parts.c.entries)
            .where(_any(lane_parts.c.delivery_id, delivery_ids))
            .order_by(lane_parts.c.delivery_id, lane_parts.c.lane, lane_parts.c.parcels)
            .execution_options(yield_per=16)
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            for number, entries in connection.execute(query):
                for part in unpack(entries):
                    yield number, part

    def deliveries_of(self, delivery_ids: Iterable[int]) -> list[Row[Any]]:
        """Rows of deliveries."""
        query = select(deliveries).where(_any(deliveries.c.id, delivery_ids))
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return list(connection.execute(query))

    def chain(self, sealed: Sequence[Sealed], signer: Signer | None = None) -> list[Manifest]:
        """Give deliveries their manifests, each at the end of its destination's chain; return those.

        A delivery whose last manifest says the same already keeps it: sealed again, or exported again to the same objects.
        """
        if not sealed:
            return []
        with database_errors("writing manifests"), self._engine.begin() as connection:
            # one writer at a time: a chain has one end
            connection.exec_driver_sql("select pg_advisory_xact_lock(%s)", (CHAIN_LOCK,))
            found = select(manifests).where(_any(manifests.c.delivery_id, [item.delivery_id for item in sealed]))
            rows = connection.execute(found.order_by(manifests.c.sequence))
            made = {row.delivery_id: manifest_in(row) for row in rows}
            names = {item.destination for item in sealed}
            ends = (
                select(manifests.c.destination, manifests.c.sequence, manifests.c.digest)
                .where(_any(manifests.c.destination, names))
                .distinct(manifests.c.destination)
                .order_by(manifests.c.destination, manifests.c.sequence.desc())
            )
            last = {row.destination: (row.sequence, row.digest) for row in connection.execute(ends)}
            now = connection.exec_driver_sql("select clock_timestamp()").scalar_one()
            new: list[Manifest] = []
            for item in sorted(sealed, key=lambda item: (item.destination, item.window)):
                if item.delivery_id in made and says_the_same(made[item.delivery_id], item):
                    continue
                made.pop(item.delivery_id, None)
                sequence, previous = last.get(item.destination, (0, None))
                key = signer.public_key if signer else None
                manifest = manifest_of(item, sequence + 1, previous, now, key)
                if signer:
                    manifest = replace(manifest, signature=signer.sign(manifest.document))
                last[item.destination] = manifest.sequence, manifest.digest
                new.append(manifest)
            if new:
                connection.execute(insert(manifests), [_manifest_row(manifest, now) for manifest in new])
        return [*made.values(), *new]

    def manifests_within(self, span: Window) -> list[Manifest]:
        """The manifests of the windows that lie in `span`, in the order of their chains."""
        query = (
            select(manifests)
            .where((manifests.c.window_start >= span.start) & (manifests.c.window_end <= span.end))
            .order_by(manifests.c.destination, manifests.c.sequence)
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return [manifest_in(row) for row in connection.execute(query)]

    def links(self, destination: str) -> Iterator[tuple[int, str, str]]:
        """A destination's whole chain, in order: sequence, document, digest."""
        query = (
            select(manifests.c.sequence, manifests.c.document, manifests.c.digest)
            .where(manifests.c.destination == destination)
            .order_by(manifests.c.sequence)
            .execution_options(yield_per=200)
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            for row in connection.execute(query):
                yield row.sequence, row.document, row.digest

    def names_delivered(self) -> Iterator[str]:
        """The names of all parts that were ever delivered, as far as the ledger still has them."""
        query = select(lane_parts.c.entries).execution_options(yield_per=16)
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            for (entries,) in connection.execute(query):
                yield from (part.name for part in unpack(entries))

    def rejected(
        self, delivery_ids: Iterable[int] | None = None, destination: str | None = None, *, limit: int | None = None
    ) -> list[RejectedEvent]:
        """The dead letters: rejected events that were not delivered later, by window and event."""
        query = (
            select(rejections, deliveries.c.destination, deliveries.c.window_start, deliveries.c.window_end)
            .join(deliveries, deliveries.c.id == rejections.c.delivery_id)
            .where(rejections.c.redelivered_at.is_(None))
            .order_by(deliveries.c.window_start, rejections.c.delivery_id, rejections.c.event_id)
            .limit(limit)
        )
        if delivery_ids is not None:
            query = query.where(_any(rejections.c.delivery_id, delivery_ids))
        if destination is not None:
            query = query.where(deliveries.c.destination == destination)
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return [
            RejectedEvent(
                row.event_id, row.workspace_id, row.kind, row.reason, row.request, row.rejected_at, row.destination,
                Window(row.window_start.astimezone(UTC), row.window_end.astimezone(UTC)), row.delivery_id, row.lane,
            )
            for row in rows
        ]  # fmt: skip

    def redelivered(self, delivery_id: int, event_ids: Sequence[int]) -> None:
        """Note that rejected events have arrived after all."""
        some = (rejections.c.delivery_id == delivery_id) & _any(rejections.c.event_id, event_ids)
        with database_errors("writing the ledger"), self._engine.begin() as connection:
            connection.execute(update(rejections).where(some).values(redelivered_at=func.clock_timestamp()))


CHAIN_LOCK = 0x10957EA4
"""Key of the advisory lock that lets one process add manifests at a time."""

ORPHAN_HOURS = 6
"""A delivery that was planned so long ago and never sealed has no run any more."""


def is_owed() -> Any:
    """The condition on `deliveries` that something is owed: it failed, was set aside, or its run never ended."""
    orphaned = (deliveries.c.state == State.PLANNED) & (
        deliveries.c.planned_at < func.clock_timestamp() - timedelta(hours=ORPHAN_HOURS)
    )
    # the first condition is that of the index `deliveries_open`
    return (deliveries.c.state != literal_column("'delivered'")) & (
        deliveries.c.state.in_([State.FAILED, State.OWED]) | orphaned
    )


def _health(row: Row[Any]) -> Health:
    return Health(row.failures, row.last_window, row.suspended_at, row.error, row.held)


def manifest_in(row: Row[Any]) -> Manifest:
    """A manifest from its row."""
    window = Window(row.window_start.astimezone(UTC), row.window_end.astimezone(UTC))
    return Manifest(
        row.destination, row.sequence, row.delivery_id, row.generation, window, row.document, row.digest, row.signature
    )


def _manifest_row(manifest: Manifest, sealed_at: datetime) -> dict[str, object]:
    return {
        "destination": manifest.destination,
        "sequence": manifest.sequence,
        "delivery_id": manifest.delivery_id,
        "generation": manifest.generation,
        "window_start": manifest.window.start,
        "window_end": manifest.window.end,
        "document": manifest.document,
        "digest": manifest.digest,
        "signature": manifest.signature,
        "sealed_at": sealed_at,
    }


class StepWriter:
    """Writes steps in one round trip each, through a connection of its own that waits for no disk. Of one event loop."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: psycopg.AsyncConnection | None = None

    async def write(self, steps: Sequence[LaneWrite]) -> set[tuple[int, int]]:
        """Write steps; return the names of lanes that are no longer there."""
        document = (b"[" + b",".join(step.row for step in steps) + b"]").decode()
        with database_errors("writing the ledger"):
            if self._connection is None:
                parameters = session_parameters(self._dsn, "logstream steps")
                self._connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True, **parameters)
                await self._connection.execute("set synchronous_commit = off")
            done = await (await self._connection.execute(_STEP, (document,), prepare=True)).fetchall()
        return {step.key for step in steps} - {(row[0], row[1]) for row in done}

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()


class LaneLocks:
    """Locks on lanes, held by one database session: they end with it, however it ends."""

    def __init__(self, dsn: str) -> None:
        self._connection: psycopg.Connection = connect(dsn, application="logstream lane locks")

    def acquire(self, lanes: Sequence[Lane]) -> list[Lane]:
        """Try to take lanes' locks, without waiting; return the lanes that are ours now."""
        keys = list(map(_lock, lanes))
        with database_errors("locking lanes"):
            rows = self._connection.execute(
                "select pg_try_advisory_lock(k, l) from unnest(%s::int[], %s::int[]) with ordinality as n(k, l, i) order by i",
                ([key for key, _ in keys], [lane for _, lane in keys]),
            ).fetchall()
        return [lane for lane, (taken,) in zip(lanes, rows, strict=True) if taken]

    def release(self, lanes: Sequence[Lane]) -> None:
        """Give lanes' locks back."""
        keys = list(map(_lock, lanes))
        with database_errors("unlocking lanes"):
            self._connection.execute(
                "select pg_advisory_unlock(k, l) from unnest(%s::int[], %s::int[]) as n(k, l)",
                ([key for key, _ in keys], [lane for _, lane in keys]),
            )

    def close(self) -> None:
        """Give all of them back."""
        self._connection.close()


def _lock(lane: Lane) -> tuple[int, int]:
    # two int4: a name for "Logstream's lane of this delivery", and the lane
    mark = zlib.crc32(f"logstream lane {lane.delivery_id}".encode())
    return mark - 2**31, lane.lane


def _any(column: Column[Any], values: Iterable[object]) -> Any:
    # one parameter, however many values: `in` would make one of each
    return column == func.any(literal(list(values), ARRAY(column.type)))


def _document(tally: Tally) -> dict[str, dict[str, int]]:
    document: dict[str, dict[str, int]] = {}
    for (workspace, kind), events in tally.items():
        document.setdefault(str(workspace), {})[kind] = events
    return document


def _tally(document: Mapping[str, Mapping[str, int]]) -> Tally:
    return Tally(
        {(int(workspace), kind): events for workspace, kinds in document.items() for kind, events in kinds.items()}
    )


def _lane(row: Row[Any]) -> Lane:
    return Lane(
        delivery_id=row.delivery_id,
        lane=row.lane,
        destination=row.destination,
        window=Window(row.window_start.astimezone(UTC), row.window_end.astimezone(UTC)),
        snapshot_id=row.snapshot_id,
        state=State(row.state),
        planned=_tally(row.planned),
        planned_bytes=row.planned_bytes,
        delivered=_tally(row.delivered),
        rejected=_tally(row.rejected),
        position=Cursor(row.position_us, row.position_id) if row.position_us is not None else None,
        counted=Cursor(row.counted_us, row.counted_id) if row.counted_us is not None else None,
        part=row.part,
        sizes=Counter({int(workspace): size for workspace, size in row.sizes.items()}),
        bytes=row.bytes,
        requests=row.requests,
        now_ns=row.now_ns,
        attempts=row.attempts,
        last_error=row.last_error,
        permanent=bool(row.permanent),
        finished_at=row.finished_at,
        pruned=row.pruned_at is not None,
    )


def fingerprint_of(*parts: object) -> str:
    """A short digest of plain data."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]
