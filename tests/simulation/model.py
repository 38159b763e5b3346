"""The model: what goes where, and what is to be known of a world to say what must be, by docs/guarantees.md alone.

It shares no code with the product. The world tells it what the platform wrote and purged, which settings were saved when, and
when windows were planned. In the end, in calm, `verdict` holds against it what is seen.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from tests.simulation.receivers import POISON, plain
from tests.simulation.script import ENORMOUS, Document, Row, Span, keeps_objects

KIND_OF = {"job_status": "job", "job_details": "job", "user_activity": "user_activity", "api_platform": "api_platform",
           "log_service": "log_service", "genie": "genie"}  # fmt: skip
DEEPEST = 500

Place = tuple[Span, str]
"""A window and a destination."""


def streaming_of(document: Document, workspace: int) -> Document | None:
    """The override applies to every workspace; without it each has its own setting, or none."""
    admin = document.get("admin")
    if admin and admin["enabled"]:
        return admin
    own = next((item["streaming"] for item in document["workspaces"] if item["id"] == workspace), None)
    return own if own and own["enabled"] else None


def route_of(document: Document, row: Row) -> str | None:
    """Where a row goes by some settings; `None` if it is not selected."""
    streaming = streaming_of(document, row.workspace)
    if streaming is None or row.kind not in {KIND_OF[name] for name in streaming["events"]}:
        return None
    levels = streaming.get("log_levels") if row.kind == "log_service" else None
    if levels and _plain(row.payload).get("level") not in levels:
        return None
    destination: str = streaming["destination"]
    return destination


def message_of(row: Row, document: Document) -> Any:
    """What a receiver must get for a row, as plain data; `None` if its workspace streams nothing."""
    streaming = streaming_of(document, row.workspace)
    if streaming is None:
        return None
    event = dict(_plain(row.payload))
    if "job_details" not in streaming["events"]:
        event.pop("lines", None)
    if streaming.get("mask") and "secret" in event:
        event["secret"] = "masked"
    return {"source": "w", "event": event} if streaming.get("message") else event


@lru_cache(100_000)
def _plain(payload: str) -> Any:
    return plain(payload.encode())


def is_refused(row: Row, destination: str) -> bool:
    """Whether a row can never be delivered: nested too deep for all, or refused by its destination."""
    return "[" * DEEPEST in row.payload or is_refused_there(row, destination)


def is_refused_there(row: Row, destination: str) -> bool:
    """Whether the receiver refuses a row's text, or it is too large for it: believed only beside acceptances."""
    if POISON in row.payload and not keeps_objects(destination):
        return True
    return destination.startswith("hook") and len(row.payload) > ENORMOUS


@dataclass(frozen=True, slots=True)
class Plan:
    """A window was planned, or may have been: by these settings, of these rows. `whole`: not only for what was owed."""

    document: Document
    ids: frozenset[int]
    certain: bool
    whole: bool = True
    open: frozenset[int] = frozenset()
    """Rows in transactions that were running."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A plan on request was made of a window, by these settings, while the log store held these rows."""

    document: Document
    ids: frozenset[int]
    purged: frozenset[int]
    """Rows of the window that were there no more."""
    made: frozenset[str]
    """Destinations whose deliveries it made, or went on with."""
    left: frozenset[str]
    """Those of which it said that what they have got stays as it is."""


@dataclass(slots=True)
class Seen:
    """What the world shows in the end: at the receivers, in the ledger, by `verify`, and by the auditor's script."""

    held: dict[str, list[tuple[str, bytes]]]
    """Destination to (object or key, message)."""
    superseded: dict[str, set[str]]
    """Object store to the objects that it names as superseded: in its manifests or, of what is still owed, in the ledger."""
    windows: dict[Span, Document]
    """Window to the settings by which the ledger says it was planned last."""
    deliveries: dict[Place, Document]
    """Delivery to the settings by which the ledger says it was planned last."""
    rejected: dict[str, set[int]]
    owed: set[Place]
    lost: Counter[tuple[Place, int, str]]
    """(delivery, workspace, kind) to events that were purged before they were delivered."""
    written_off: Counter[tuple[Place, int, str]]
    """The same of events that an administrator gave up."""
    verified: list[tuple[Span, str, str]]
    audited: dict[str, list[str]]


@dataclass
class Model:
    """What happened, as far as the guarantee speaks of it."""

    rows: dict[int, Row] = field(default_factory=dict)
    """All that the platform ever committed."""
    purged: set[int] = field(default_factory=set)
    open: set[int] = field(default_factory=set)
    """Rows that transactions have written and not committed."""
    kept: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Destination to the rows of complete deliveries that it had when they were purged."""
    arrived: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """The same of complete lanes, whose deliveries may have lacked others."""
    copies: dict[str, set[tuple[int, str]]] = field(default_factory=lambda: defaultdict(set))
    """Object store to the rows that it held when they were purged, each with the object."""
    saved: list[tuple[int, Document]] = field(default_factory=list)
    """Settings, with the second from which they are in force."""
    planned: dict[Span, list[Plan]] = field(default_factory=lambda: defaultdict(list))
    asked: dict[Span, list[Asked]] = field(default_factory=lambda: defaultdict(list))
    made_of: dict[Place, dict[int, tuple[int, frozenset[int]]]] = field(default_factory=lambda: defaultdict(dict))
    """Delivery to its workspaces, each with its lane and the rows that were there when that was planned last and had nothing yet."""
    forgotten: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Destination to the rows that it had and lost."""

    sealing_was_disturbed: bool = False
    """Whether a worker that seals was ever killed, put to sleep or cut off."""
    not_missed: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Destination to the rows that were in lost objects which were put again since, or which are superseded."""
    pruned: int = 0
    """The minute up to which an administrator pruned the ledger."""
    given_up: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Destination to rows that had been planned for it when an administrator wrote off what it was owed."""
    given_up_unreached: set[str] = field(default_factory=set)
    """Destinations that could not be reached at that moment."""

    # what the world tells

    def purge(self, until: int, workspace: int | None) -> set[int]:
        """The platform deletes rows that were recorded before a second; returns which."""
        gone = {row.id for row in self.rows.values() if row.second < until and workspace in (None, row.workspace)}
        gone -= self.purged
        self.purged |= gone
        return gone

    def plan(self, window: Span, document: Document, *, certain: bool, whole: bool = True) -> None:
        """A window was planned, or may have been, with what the store holds now."""
        ids = frozenset(row.id for row in self.rows_in(window) if row.id not in self.purged)
        made = Plan(document, ids, certain, whole, frozenset(self.open))
        if made in self.planned[window]:  # the same again: it is the last one now
            self.planned[window].remove(made)
        self.planned[window].append(made)

    def ask(self, window: Span, document: Document, made: frozenset[str], left: frozenset[str]) -> None:
        """A plan on request was made of a window, with what the store holds now."""
        rows = frozenset(row.id for row in self.rows_in(window))
        self.asked[window].append(Asked(document, rows - self.purged, rows & self.purged, made, left))

    def write_off(self, destination: str) -> None:
        """An administrator writes off what a destination is owed."""
        for plans in self.planned.values():
            self.given_up[destination] |= {
                number
                for plan in plans
                for number in plan.ids
                if route_of(plan.document, self.rows[number]) == destination
            }

    def settings_at(self, minute: int) -> Document:
        """The settings that were in force at a minute; before any were, the first."""
        return next((document for second, document in reversed(self.saved) if second <= minute * 60), self.saved[0][1])

    def rows_in(self, window: Span) -> Iterator[Row]:
        """The rows of half-open time."""
        return (row for row in self.rows.values() if window.start * 60 <= row.second < window.end * 60)

    def may_stay_owed(self, place: Place) -> bool:
        """Whether something is owed for ever: to a destination that is gone, or that refuses all of a window's rows."""
        window, destination = place
        gone = destination not in self.saved[-1][1]["destinations"]
        refused = any(
            is_refused_there(row, destination)
            and any(route_of(plan.document, row) == destination for plan in self.planned[window])
            for row in self.rows_in(window)
        )
        return gone or refused
