"""What the ledger keeps: deliveries, lanes, and what became of their events."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Row

from logstream.destinations.parcel import EventRef, Parcel, Part, Tally
from logstream.events import Cursor
from logstream.units import counted
from logstream.window import Window

NOT_TRIED = "not tried: an earlier window of this destination failed"
"""What is said of a lane, and of a delivery, that a run left to a later one for that reason."""


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
    redelivered: Sequence[int] = ()
    """Ids of events that were rejected before, and have arrived after all."""
    announced: Sequence[int] = ()
    """Announcements of `parts`, by their numbers: what they named is counted now."""


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


PendingLane = tuple[tuple[int, int], str, int]
"""A lane that is still to be delivered: its name (delivery id, lane), its destination, the bytes it will read."""


@dataclass(slots=True)
class Pending:
    """What a plan left to be done: destination to delivery id (of several windows: `ids`), and the lanes.

    `left` are the ids of deliveries that were left as they are though they were to be exported again, and why.
    """

    deliveries: dict[str, int]
    lanes: list[PendingLane]
    ids: list[int] = field(default_factory=list)
    left: dict[int, str] = field(default_factory=dict)

    def add(self, destination: str, delivery_id: int) -> None:
        """Note a delivery that is to be sealed in the end."""
        self.deliveries[destination] = delivery_id
        self.ids.append(delivery_id)


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
    trail: int | None = None
    """`trail_of` the requests that were sent after `counted`, up to `position`; `None` where an older version wrote that."""
    counted: Cursor | None = None
    part: int = 0
    """The number of its next parcel: how many have arrived, and more where names were passed over (`UsedNames`)."""
    sizes: Counter[int] = field(default_factory=Counter)
    bytes: int = 0
    requests: int = 0
    now_ns: int | None = None
    attempts: int = 0
    attempt: int = 0
    """The fencing token of its lease: every write names it."""
    leased_by: str | None = None
    last_error: str | None = None
    permanent: bool = False
    blameless: bool = False
    """Whether what stopped it last (`last_error`) was no fault of its destination."""
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

    def count(self, parcel: Parcel, size: int, requests: int) -> None:
        """Count a parcel as delivered, with the bytes and the requests that it took. The lane is counted up to its end then."""
        self.delivered.update(parcel.tally)
        self.sizes.update(parcel.sizes)
        self.bytes += size
        self.requests += requests
        self.pass_number(parcel)
        self.trail = trail_of(self.trail or 0, parcel.name)
        self.counted = parcel.last
        self.position = max(self.position or parcel.last, parcel.last)

    def pass_number(self, parcel: Parcel) -> None:
        """A parcel has arrived: the next has a higher number, and so has what is sent again when its name is forgotten."""
        self.part = (self.part if parcel.number is None else parcel.number) + 1

    def missing(self) -> dict[tuple[int, str], int]:
        """Events planned and neither delivered nor rejected (negative: more than planned)."""
        done = self.delivered + self.rejected
        keys = self.planned.keys() | done.keys()
        return {key: self.planned[key] - done[key] for key in sorted(keys) if self.planned[key] != done[key]}


@dataclass(slots=True)
class Delivery:
    """One window at one destination, with its lanes. Its counts are theirs, added up here and nowhere else."""

    id: int
    destination: str
    window: Window
    snapshot_id: int
    state: State
    generation: int = 1
    lanes: list[Lane] = field(default_factory=list)
    error: str | None = None
    lost: int = 0
    """Events that its newest plan found to be lost, and that no person has acknowledged."""
    carrier: str | None = None
    """The run that has planned it last."""
    planned_at: datetime | None = None
    """When it was planned last: that tells its plans apart. What a run writes of it holds only for the plan it has looked at."""
    taken_over: bool = False
    """Of one that a run has sealed: another run has planned it again meanwhile, and its outcome is that run's to tell. Without an
    error all of it had arrived by then."""

    @property
    def is_complete(self) -> bool:
        """Whether all that is planned of it has arrived, or was rejected."""
        return all(lane.state is State.DELIVERED and not lane.missing() for lane in self.lanes)

    @property
    def delivered_tally(self) -> Tally:
        """Events delivered, by (workspace id, kind)."""
        return _added(lane.delivered for lane in self.lanes)

    @property
    def rejected_tally(self) -> Tally:
        """Events rejected, by (workspace id, kind)."""
        return _added(lane.rejected for lane in self.lanes)

    @property
    def events(self) -> int:
        """Events delivered."""
        return sum(lane.delivered.total() for lane in self.lanes)

    @property
    def rejected(self) -> int:
        """Events rejected."""
        return sum(lane.rejected.total() for lane in self.lanes)

    @property
    def bytes(self) -> int:
        """Bytes sent, after compression."""
        return sum(lane.bytes for lane in self.lanes)

    @property
    def requests(self) -> int:
        """Requests or objects, repeated ones too."""
        return sum(lane.requests for lane in self.lanes)

    @property
    def last_error(self) -> str | None:
        """Why a lane of it failed last."""
        return next((lane.last_error for lane in self.lanes if lane.last_error), None)

    @property
    def is_excused(self) -> bool:
        """Whether it is not complete, and nothing tells that its destination is at fault.

        Its lanes failed by no fault of the destination's, or did not end: a lane that was never begun, whose task was stopped, or
        whose end could not be written, because the ledger was away, tells nothing of its destination.
        """
        return self.state is not State.DELIVERED and not self.is_blamed

    @property
    def is_blamed(self) -> bool:
        """Whether it failed, or a lane of it, by what may be a fault of its destination."""
        if all(lane.state is State.DELIVERED for lane in self.lanes):
            # its manifest could not be put; what the log store lacks of it is the log store's
            return self.state is State.FAILED and not any(lane.missing() for lane in self.lanes)
        return self.blame is not None

    @property
    def blame(self) -> str | None:
        """Why a lane of it failed by what may be a fault of its destination."""
        found = (lane for lane in self.lanes if lane.state is State.FAILED and not lane.blameless)
        return next((lane.last_error or "it failed" for lane in found), None)

    @property
    def has_no_reason(self) -> bool:
        """Whether lanes of it did not arrive, and none of them says why."""
        left = [lane for lane in self.lanes if lane.state is not State.DELIVERED]
        return bool(left) and not any(lane.last_error for lane in left)

    def reached_after(self, moment: datetime) -> bool:
        """Whether a lane of it has arrived since then."""
        return any(
            lane.state is State.DELIVERED and lane.finished_at is not None and lane.finished_at > moment
            for lane in self.lanes
        )

    def judge(self) -> None:
        """Set `state` and `error` by what the lanes say: delivered if each is, and nothing planned is missing."""
        self.state, self.error = State.DELIVERED, None
        for lane in self.lanes:
            if lane.state is not State.DELIVERED:
                self.state = State.FAILED
                stopped = f"lane {lane.lane} was not finished: its task never ran, was stopped, or lost its worker"
                self.error = self.error or lane.last_error or stopped
            elif missing := lane.missing():
                self.state = State.FAILED
                (workspace, kind), events = next(iter(missing.items()))
                what = "too few" if events > 0 else "too many"
                self.error = self.error or (
                    f"{counted(abs(events), 'event')} {what} of kind {kind} of workspace {workspace}: the log store no "
                    "longer holds what it held when the window was planned"
                )

    def as_json(self) -> dict[str, object]:
        """The contract of `export --json`."""
        return {
            "destination": self.destination,
            "state": self.state,
            "events": self.events,
            "bytes": self.bytes,
            "requests": self.requests,
            "rejected": self.rejected,
            "error": self.error,
        }


def _added(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.update(tally)
    return total


def lane_in(row: Row[Any]) -> Lane:
    """A lane from its row."""
    return Lane(
        delivery_id=row.delivery_id,
        lane=row.lane,
        destination=row.destination,
        window=Window(row.window_start.astimezone(UTC), row.window_end.astimezone(UTC)),
        snapshot_id=row.snapshot_id,
        state=State(row.state),
        planned=tally_in(row.planned),
        planned_bytes=row.planned_bytes,
        delivered=tally_in(row.delivered),
        rejected=tally_in(row.rejected),
        position=Cursor(row.position_us, row.position_id) if row.position_us is not None else None,
        trail=row.trail,
        counted=Cursor(row.counted_us, row.counted_id) if row.counted_us is not None else None,
        part=row.part,
        sizes=Counter({int(workspace): size for workspace, size in row.sizes.items()}),
        bytes=row.bytes,
        requests=row.requests,
        now_ns=row.now_ns,
        attempts=row.attempts,
        attempt=row.attempt,
        leased_by=row.leased_by,
        last_error=row.last_error,
        permanent=bool(row.permanent),
        blameless=row.blameless,
        finished_at=row.finished_at,
        pruned=row.pruned_at is not None,
    )


def trail_of(trail: int, name: str) -> int:
    """The digest of the names of some requests, with one more behind them."""
    return zlib.crc32(name.encode(), trail)


def storable(text: str) -> str:
    """What others have said, as PostgreSQL can keep it: it takes no NUL, and no surrogate that stands alone."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")


def tally_document(tally: Tally) -> dict[str, dict[str, int]]:
    document: dict[str, dict[str, int]] = {}
    for (workspace, kind), events in tally.items():
        document.setdefault(str(workspace), {})[kind] = events
    return document


def tally_in(document: Mapping[str, Mapping[str, int]]) -> Tally:
    return Tally(
        {(int(workspace), kind): events for workspace, kinds in document.items() for kind, events in kinds.items()}
    )


def fingerprint_of(*parts: object) -> str:
    """A short digest of plain data."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]
