"""What is written of a lane while it is delivered, and the statements that write it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import orjson

from logstream.control.tables import SCHEMA
from logstream.destinations.parcel import Part, Tally
from logstream.errors import LeaseLost
from logstream.ledger.records import Lane, News, State, storable, tally_document
from logstream.proof.listings import pack


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
    redelivered: tuple[int, ...] = ()
    lost: Tally = field(default_factory=Tally)
    """What the lane's end found to be no longer in the log store."""
    announced: tuple[int, ...] = ()
    """Announcements that are settled by `parts`."""

    @classmethod
    def step(cls, lane: Lane) -> LaneWrite:
        """How far a lane has come; its counts stay as they were written last."""
        assert lane.position is not None, "it has sent something"  # noqa: S101
        us, number = lane.position
        row = b'{"delivery_id":%d,"lane":%d,"attempt":%d,"position_us":%d,"position_id":%d,"trail":%d}'
        filled = row % (*lane.key, lane.attempt, us, number, lane.trail or 0)
        return cls(lane.key, State.DELIVERING, filled, [], None, lane.destination, steps=True)

    @classmethod
    def checkpoint(cls, lane: Lane, news: News) -> LaneWrite:
        """How far a lane has come, its counts, and what is new since the last time."""
        return cls._of(lane, State.DELIVERING, news)

    @classmethod
    def recount(cls, lane: Lane, news: News) -> LaneWrite:
        """The counts of a lane that stays delivered: some of its dead letters have arrived."""
        return cls._of(lane, State.DELIVERED, news, ends=False)

    @classmethod
    def finish(cls, lane: Lane, news: News) -> LaneWrite:
        """A lane is delivered: it was read to its end. What was planned and has not come is lost; what came besides is planned.

        So of every workspace and kind, planned = delivered + rejected + lost.
        """
        lane.state = State.DELIVERED
        missing = lane.missing()
        if missing:
            lane.planned = lane.delivered + lane.rejected
        written = cls._of(lane, State.DELIVERED, news, ends=True, planned=lane.planned if missing else None)
        return replace(written, lost=+Tally(missing))

    @classmethod
    def fail(
        cls, lane: Lane, news: News, error: str, *, permanent: bool, void: bool = False, blameless: bool = False
    ) -> LaneWrite:
        """A lane stopped, and why. With `void` its checkpoint is of no use: the next plan begins it anew. `blameless`: its
        destination is not at fault."""
        lane.state, lane.last_error, lane.permanent, lane.blameless = State.FAILED, error, permanent, blameless
        return cls._of(lane, State.FAILED, news, error, ends=True, void=void)

    @classmethod
    def _of(
        cls, lane: Lane, state: State, news: News, error: str | None = None, *, ends: bool = False,
        planned: Tally | None = None, void: bool = False,
    ) -> LaneWrite:  # fmt: skip
        position, counted = lane.position or (None, None), lane.counted or (None, None)
        name = {"delivery_id": lane.delivery_id, "lane": lane.lane}
        row = {
            **name, "attempt": lane.attempt, "ends": ends, "void": void, "state": str(state),
            "position_us": position[0], "position_id": position[1],
            "trail": 0 if lane.position == lane.counted else lane.trail,
            "counted_us": counted[0], "counted_id": counted[1], "part": lane.part,
            "delivered": tally_document(lane.delivered), "rejected": tally_document(lane.rejected),
            "delivered_events": lane.delivered.total(), "rejected_events": lane.rejected.total(),
            "sizes": {str(workspace): size for workspace, size in lane.sizes.items()},
            "bytes": lane.bytes, "requests": lane.requests,
            "planned": tally_document(planned) if planned is not None else None,
            "planned_events": planned.total() if planned is not None else None,
            "error": error and storable(error), "permanent": int(lane.permanent and bool(error)),
            "blameless": lane.blameless and bool(error),
        }  # fmt: skip
        rows: list[dict[str, object]] = [
            {**name, "event_id": event.id, "workspace_id": event.workspace_id, "kind": event.kind,
             "reason": storable(reason), "request": request}
            for event, reason, request in news.rejected
        ]  # fmt: skip
        parts = {**name, "parcels": lane.part, "entries": pack(news.parts)} if news.parts else None
        return cls(
            lane.key, state, orjson.dumps(row), rows, parts, lane.destination,
            redelivered=tuple(news.redelivered), announced=tuple(news.announced),
        )  # fmt: skip

    def lease_lost(self) -> LeaseLost:
        """The error for a lane that is no longer the writer's."""
        return lease_lost(self)


@dataclass(frozen=True, slots=True)
class Announcement:
    """What is about to be put by an attempt at a lane, before it is: objects that the attempt may leave behind uncounted."""

    key: tuple[int, int]
    attempt: int
    destination: str
    entries: bytes
    """As those of the table `superseded_parts`."""

    @classmethod
    def of(cls, lane: Lane, parts: Sequence[Part]) -> Announcement:
        """The announcement of some objects of a lane."""
        return cls(lane.key, lane.attempt, lane.destination, pack(parts))


def lease_lost(lane: Lane | LaneWrite | Announcement) -> LeaseLost:
    """The error for a lane that is no longer ours."""
    number = lane.key[1]
    return LeaseLost(
        f"lane {number} of destination {lane.destination} was taken over by another attempt, or planned anew, meanwhile"
    )


WRITE = f"""
update {SCHEMA}.lanes l set
    state = n.state, position_us = n.position_us, position_id = n.position_id, trail = n.trail,
    counted_us = n.counted_us, counted_id = n.counted_id, part = n.part,
    delivered = n.delivered, rejected = n.rejected, sizes = n.sizes,
    delivered_events = n.delivered_events, rejected_events = n.rejected_events,
    bytes = n.bytes, requests = n.requests,
    planned = coalesce(n.planned, l.planned), planned_events = coalesce(n.planned_events, l.planned_events),
    first_error = coalesce(l.first_error, n.error),
    last_error = case n.state when 'delivering' then l.last_error else n.error end,
    permanent = n.permanent, blameless = case n.state when 'delivering' then l.blameless else n.blameless end,
    fingerprint = case when n.void then '' else l.fingerprint end,
    leased_by = case when n.ends then null else l.leased_by end,
    leased_until = case when n.ends then null else l.leased_until end,
    finished_at = case n.state when 'delivered' then clock_timestamp() else l.finished_at end
from json_to_recordset(%s::json) as n(
    delivery_id bigint, lane int, attempt bigint, ends boolean, void boolean, state text,
    position_us bigint, position_id bigint, trail bigint, counted_us bigint,
    counted_id bigint, part int, delivered json, rejected json, delivered_events bigint, rejected_events bigint,
    sizes json, bytes bigint, requests bigint, planned json, planned_events bigint, error text,
    permanent int, blameless boolean)
where l.delivery_id = n.delivery_id and l.lane = n.lane and l.attempt = n.attempt
returning l.delivery_id, l.lane
"""  # noqa: S608 - the schema is ours


# `synchronous_commit` is set for this transaction alone, within its one statement: a session's setting would be lost, or left
# to others, behind a pooler.
STEP = f"""
with quick as materialized (select set_config('synchronous_commit', 'off', true) as it)
update {SCHEMA}.lanes l set position_us = n.position_us, position_id = n.position_id, trail = n.trail
from quick, json_to_recordset(%s::json) as n(
    delivery_id bigint, lane int, attempt bigint, position_us bigint, position_id bigint, trail bigint)
where l.delivery_id = n.delivery_id and l.lane = n.lane and l.attempt = n.attempt and quick.it = 'off'
returning l.delivery_id, l.lane
"""  # noqa: S608 - the schema is ours


# Of several lanes: locked in the order of `lanes.lock_in_order`, within the one statement that a step is.
STEPS = f"""
with quick as materialized (select set_config('synchronous_commit', 'off', true) as it),
n as materialized (select * from json_to_recordset(%s::json) as given(
    delivery_id bigint, lane int, attempt bigint, position_us bigint, position_id bigint, trail bigint)),
ours as materialized (
    select l.delivery_id, l.lane from {SCHEMA}.lanes l join n using (delivery_id, lane, attempt)
    order by l.delivery_id, l.lane for update of l)
update {SCHEMA}.lanes l set position_us = n.position_us, position_id = n.position_id, trail = n.trail
from quick, ours join n using (delivery_id, lane)
where l.delivery_id = ours.delivery_id and l.lane = ours.lane and quick.it = 'off'
returning l.delivery_id, l.lane
"""  # noqa: S608 - the schema is ours


# What is announced is superseded until it is counted: whatever becomes of the attempt, and by whatever settings the lane is
# delivered in the end, no object is there that the ledger does not know. An attempt that announces what an earlier one did takes
# its place: while a destination is down, announcements do not grow with the attempts.
ANNOUNCE = f"""
with n as materialized (
    select nextval(pg_get_serial_sequence('{SCHEMA}.superseded_parts', 'id')) as id, u.*
    from unnest(%s::bigint[], %s::int[], %s::bigint[], %s::bytea[])
        with ordinality as u(delivery_id, lane, attempt, entries, place)
), ours as materialized (
    select n.* from n join {SCHEMA}.lanes l using (delivery_id, lane, attempt)
), before as (
    delete from {SCHEMA}.superseded_parts s using ours
    where s.delivery_id = ours.delivery_id and md5(s.entries) = md5(ours.entries) and s.entries = ours.entries
), noted as (
    insert into {SCHEMA}.superseded_parts (id, delivery_id, entries)
    select id, delivery_id, entries from ours
    returning id
)
select place - 1, id from ours join noted using (id)
"""  # noqa: S608 - the schema is ours


# one time for all that arrive in one parcel: with that, the order in which they are in their lane is known
REDELIVERED = f"""
update {SCHEMA}.rejections r set redelivered_at = now()
from unnest(%s::bigint[], %s::bigint[]) as n(delivery_id, event_id)
where r.delivery_id = n.delivery_id and r.event_id = n.event_id
"""  # noqa: S608 - the schema is ours
