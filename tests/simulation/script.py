"""What may happen in a world, as plain data: a script is a list of it, decided before anything happens.

A script that finds something is cut down by leaving happenings, and parts of them, out (`shrink`). Every happening tells
itself in a line (`__str__`), for the story.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]

KINDS = ("job", "user_activity", "api_platform", "log_service", "genie")
LEVELS = ("debug", "info", "warn", "error")

HOOK_BYTES = 100_000
"""What `hook` takes in a request."""

TRIES = 3
"""How often a task is tried."""

ENORMOUS = 120_000
"""Characters of an event that is larger than that."""


def keeps_objects(destination: str) -> bool:
    """Whether a destination is an object store. The first part of its name tells what it is."""
    return destination.startswith(("lake", "bucket"))


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Half-open time: minutes since the world began."""

    start: int
    end: int

    def __str__(self) -> str:
        return f"minutes {self.start} to {self.end}"


@dataclass(frozen=True, slots=True)
class Row:
    """An event as the platform writes it. `second` counts from the world's beginning; `payload` is its very text."""

    id: int
    workspace: int
    kind: str
    second: float
    payload: str
    age: int = 0
    """Seconds from `occurred_at` to `recorded_at`: much for history that is loaded."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A window of the schedule begins. What follows is done before it ends, and its run after it has ended."""

    window: Span

    def __str__(self) -> str:
        return f"{self.window} begin"


@dataclass(frozen=True, slots=True)
class Insert:
    """The platform writes rows. `late`: into windows that have been exported. `writer`: in a transaction that stays open."""

    rows: tuple[Row, ...]
    late: bool = False
    writer: str = ""
    prepared: bool = False
    """The transaction is prepared (two-phase commit): it has no session any more."""

    def __str__(self) -> str:
        few = ", ".join(f"{row.id} ({row.kind} of {row.workspace} at {row.second:g} s)" for row in self.rows[:3])
        more = f" and {len(self.rows) - 3} more" if len(self.rows) > 3 else ""
        when = ", too late for its window" if self.late else ""
        what = (
            "prepares, and does not commit,"
            if self.prepared
            else "writes, and does not commit,"
            if self.writer
            else "writes"
        )
        return f"the platform {what} {few}{more}{when}" if self.rows else "the platform writes nothing"


@dataclass(frozen=True, slots=True)
class Settle:
    """A writer's transaction ends."""

    writer: str
    commits: bool = True

    def __str__(self) -> str:
        return f"writer {self.writer} {'commits' if self.commits else 'rolls back'}"


@dataclass(frozen=True, slots=True)
class Purge:
    """The platform deletes what was recorded before a minute, of all workspaces or of one."""

    until: int
    workspace: int | None = None

    def __str__(self) -> str:
        whose = "" if self.workspace is None else f" of workspace {self.workspace}"
        return f"the platform purges what it recorded{whose} before minute {self.until}"


@dataclass(frozen=True, slots=True)
class List:
    """The platform lists a workspace, or lists it no more."""

    workspace: int
    listed: bool

    def __str__(self) -> str:
        return f"workspace {self.workspace} {'comes' if self.listed else 'goes'}"


@dataclass(frozen=True, slots=True)
class Apply:
    """An administrator saves settings."""

    document: Document
    what: str = "settings"

    def __str__(self) -> str:
        return f"settings: {self.what}"


@dataclass(frozen=True, slots=True)
class Weather:
    """A receiver fails the next requests in some ways, or every one until told otherwise (`always`)."""

    receiver: str
    faults: tuple[str, ...] = ()
    always: str | None = None

    def __str__(self) -> str:
        if self.always:
            return f"{self.receiver} is {self.always} from now on"
        return (
            f"{self.receiver} is {', '.join(self.faults)} for as many requests"
            if self.faults
            else f"{self.receiver} is well"
        )


@dataclass(frozen=True, slots=True)
class Forget:
    """A receiver that keeps objects loses one of them."""

    receiver: str
    number: int

    def __str__(self) -> str:
        return f"{self.receiver} loses an object"


@dataclass(frozen=True, slots=True)
class Blow:
    """What a task's worker suffers at its `moment`-th moment.

    `kill`: it is killed. `sleep`: it sleeps, and wakes as a zombie. `cut`: the database ends all of its connections. `taken`: it
    is killed when receivers have taken so many of its requests, before it can write down the last.
    """

    phase: str
    moment: int
    what: str = "kill"

    def __str__(self) -> str:
        if self.what == "taken":
            return f"{self.phase} is killed when request {self.moment} is taken"
        words = {"kill": "killed", "sleep": "put to sleep until its lease is lost", "cut": "cut off from the database"}
        return f"{self.phase} is {words[self.what]} at moment {self.moment}"


@dataclass(frozen=True, slots=True)
class Run:
    """A run exports a window: tasks wait, plan, deliver, seal, each tried again as Airflow does."""

    window: Span
    blows: tuple[Blow, ...] = ()
    doubled: bool = False
    """Another run of the same window is alive at the same time."""
    again: bool = False
    """It is a backfill, not a run of the schedule."""
    meanwhile: tuple[Row, ...] = ()
    """What the platform writes, too late, between planning and delivering."""

    def __str__(self) -> str:
        what = f"{'a backfill' if self.again else 'the run'} of {self.window}"
        twice = ", doubled" if self.doubled else ""
        late = f"; {len(self.meanwhile)} rows come when it has planned" if self.meanwhile else ""
        return f"{what}{twice}{late}" + "".join(f"; {blow}" for blow in self.blows)


@dataclass(frozen=True, slots=True)
class Redeliver:
    """An administrator sends what is owed, or the dead letters, now: of all destinations, or of one."""

    rejected: bool = False
    destination: str | None = None

    def __str__(self) -> str:
        what = "dead letters" if self.rejected else "what is owed"
        return f"an administrator redelivers {what}" + (f" of {self.destination}" if self.destination else "")


@dataclass(frozen=True, slots=True)
class WriteOff:
    """An administrator gives up what a destination is owed."""

    destination: str

    def __str__(self) -> str:
        return f"an administrator writes off what {self.destination} is owed"


@dataclass(frozen=True, slots=True)
class Suspend:
    """An administrator suspends a destination, or resumes it."""

    destination: str
    held: bool = True

    def __str__(self) -> str:
        return f"an administrator {'suspends' if self.held else 'resumes'} {self.destination}"


@dataclass(frozen=True, slots=True)
class Prune:
    """An administrator prunes the ledger up to a minute."""

    until: int

    def __str__(self) -> str:
        return f"an administrator prunes the ledger up to minute {self.until}"


@dataclass(frozen=True, slots=True)
class Step:
    """The workers' clock steps, forward or back."""

    seconds: int

    def __str__(self) -> str:
        return f"the workers' clock steps by {self.seconds} s"


Happening = (
    Tick | Insert | Settle | Purge | List | Apply | Weather | Forget | Run | Redeliver | WriteOff | Suspend | Prune | Step
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Script:
    """A world. The schedule has reached minute `end` when calm comes."""

    seed: int
    end: int
    happenings: tuple[Happening, ...]
    workspaces: tuple[int, ...]
    pages: tuple[int, ...] = (10_000,)
    """Rows that are read at once, by one attempt after another: what is delivered must not depend on it."""

    def rows(self) -> Iterator[Row]:
        """All that the platform writes."""
        for happening in self.happenings:
            if isinstance(happening, Insert):
                yield from happening.rows
            elif isinstance(happening, Run):
                yield from happening.meanwhile
