"""What happens in one world, decided by one seed before anything happens: rows, settings, receivers' weather, runs and fates.

A script is plain data. A world that finds something is cut down by leaving steps and rows out of it (`shrink`).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.receivers import FAULTS, POISON

Document = dict[str, Any]

KINDS = ("job", "user_activity", "api_platform", "log_service")
LEVELS = ("debug", "info", "warn", "error")
WINDOW_SECONDS = 300
PHASES = ("plan", "deliver", "seal")


@dataclass(frozen=True, slots=True)
class Row:
    """An event as the platform writes it. `second` counts from the first window's start; `payload` is its very text."""

    id: int
    workspace: int
    kind: str
    second: float
    payload: str


@dataclass(frozen=True, slots=True)
class Insert:
    """The platform writes rows."""

    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Purge:
    """The platform deletes what is older than a window's end."""

    window: int


@dataclass(frozen=True, slots=True)
class Apply:
    """An administrator saves settings."""

    document: Document
    what: str = "settings"


@dataclass(frozen=True, slots=True)
class Weather:
    """A receiver fails the next requests in some ways, or every one until told otherwise (`always`)."""

    receiver: str
    faults: tuple[str, ...] = ()
    always: str | None = None


@dataclass(frozen=True, slots=True)
class Blow:
    """What a task's worker suffers: it is killed, or sleeps and wakes as a zombie, at its `moment`-th moment."""

    phase: str
    moment: int
    zombie: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """A run exports a window: tasks plan, deliver, seal, each tried again as Airflow does."""

    window: int
    blows: tuple[Blow, ...] = ()
    doubled: bool = False
    """Another run of the same window is alive at the same time."""
    again: bool = False
    """It is a backfill, not a run of the schedule."""


@dataclass(frozen=True, slots=True)
class Redeliver:
    """An administrator sends what is owed, or the dead letters, now."""

    rejected: bool = False
    mend: bool = False
    """The receivers have learnt to take what they refused."""


@dataclass(frozen=True, slots=True)
class Prune:
    """An administrator prunes the ledger up to a window's end."""

    window: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passes: a window begins. All that follows is done before it ends, and its run after it has ended."""

    window: int


Step = Tick | Insert | Purge | Apply | Weather | Run | Redeliver | Prune


@dataclass(frozen=True, slots=True)
class Script:
    """A world. `windows` is how many there are."""

    seed: int
    windows: int
    steps: tuple[Step, ...]


@dataclass(slots=True)
class Rates:
    """How likely each fault is, for each window of a world. A world turns some up and others off."""

    kill: float = 0.3
    zombie: float = 0.15
    double: float = 0.1
    weather: float = 0.5
    outage: float = 0.15
    settings: float = 0.3
    again: float = 0.15
    skipped: float = 0.1
    late: float = 0.1
    history: float = 0.1
    poison: float = 0.1
    purge: float = 0.1
    redeliver: float = 0.1
    prune: float = 0.1

    def turned(self, chance: random.Random) -> Rates:
        """Each rate as it is, off, or three times as high."""
        factors = {name: chance.choice((0, 1, 1, 3)) for name in self.__slots__}
        return Rates(**{name: min(0.9, getattr(self, name) * factor) for name, factor in factors.items()})


def script_of(seed: int) -> Script:
    """The world of a seed."""
    return Author(seed).write()


@dataclass
class Author:
    """Writes a script."""

    seed: int
    workspaces: tuple[int, ...] = tuple(range(1001, 1013))
    _next_id: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.rates = Rates().turned(self.chance)
        self.windows = self.chance.randint(3, 8)
        self.busy = self.chance.choice(self.workspaces)
        self.receivers = ("lake", "bucket", "hook", "splunk")

    def happens(self, rate: float) -> bool:
        """Whether something with this rate happens."""
        return self.chance.random() < rate

    def write(self) -> Script:
        """The whole of it."""
        document = self.settings()
        steps: list[Step] = [Apply(document, "the first settings")]
        for window in range(self.windows):
            steps.append(Tick(window))
            if self.happens(self.rates.settings):
                document, what = self.changed(document)
                steps.append(Apply(document, what))
            steps.append(Insert(tuple(self.rows(window))))
            steps += self.surroundings(window)
            if not self.happens(self.rates.skipped):
                steps.append(Run(window, tuple(self.blows()), doubled=self.happens(self.rates.double)))
            if self.happens(self.rates.again):
                again = self.chance.randint(0, window)
                steps.append(Run(again, tuple(self.blows()), again=True))
            if window and self.happens(self.rates.late):
                steps.append(Insert(tuple(self.rows(self.chance.randint(0, window - 1), most=3))))
        return Script(self.seed, self.windows, tuple(steps))

    def surroundings(self, window: int) -> Iterator[Step]:
        """What receivers and administrators do about the time of a window."""
        for receiver in self.receivers:
            if self.happens(self.rates.weather):
                faults = [self.chance.choice(FAULTS) for _ in range(self.chance.randint(1, 6))]
                yield Weather(receiver, tuple(fault for fault in faults if fault != "denied"))
            if self.happens(self.rates.outage):
                yield Weather(
                    receiver, always=self.chance.choice(("down", "cut_before", "denied", "garbage", "cut_after"))
                )
            elif self.happens(0.5):
                yield Weather(receiver)
        if self.happens(self.rates.redeliver):
            yield Redeliver(rejected=self.happens(0.5), mend=self.happens(0.5))
        if window > 1 and self.happens(self.rates.prune):
            yield Prune(self.chance.randint(0, window - 1))

    def blows(self) -> Iterator[Blow]:
        """What befalls the workers of a run: up to one blow for each try of a task."""
        for phase in PHASES:
            for _ in range(2):
                if self.happens(self.rates.zombie if phase == "deliver" else 0):
                    yield Blow(phase, self.moment(), zombie=True)
                elif self.happens(self.rates.kill):
                    yield Blow(phase, self.moment())

    def moment(self) -> int:
        """Early moments and late ones, as likely."""
        return int(2 ** self.chance.uniform(0, 8))

    def rows(self, window: int, most: int | None = None) -> Iterator[Row]:
        """Rows of a window: none, one, a page exactly full, and more; most of them of one busy workspace."""
        count = most or self.chance.choice((0, 1, 2, 5, 9, 10, 11, 20, 40))
        for _ in range(count):
            workspace = self.busy if self.happens(0.4) else self.chance.choice(self.workspaces)
            # several rows share an instant
            second = window * WINDOW_SECONDS + self.chance.choice((0, 1, 1, 7.5, 150, 299.999999))
            yield self.row(workspace, second)

    def row(self, workspace: int, second: float) -> Row:
        """One event, its JSON spelt in one of many ways."""
        self._next_id += 1
        kind = self.chance.choice(KINDS)
        event: Document = {
            "id": f"e{self._next_id}",
            "n": self.chance.choice((1, -0.0, 1.5e300, 2**70, 0.1)),
            "secret": "s3cret",
        }
        if kind == "job":
            event |= {"status": "succeeded", "recipe_id": 7, "lines": [{"input": "x"}]}
        if kind == "log_service":
            event |= {"level": self.chance.choice(LEVELS), "log_type": "recipe", "message": "m"}
        if self.happens(0.2):
            event["text"] = self.chance.choice(("ü€😀", '"\\/', "\u2028", "a\nb", "x" * 3000, "{{{log_message}}}"))
        if self.happens(self.rates.poison):
            event["text"] = POISON
        payload = json.dumps(event, ensure_ascii=self.happens(0.5), indent=self.chance.choice((None, None, 1)))
        if self.happens(0.3):
            payload = payload.replace('"secret"', self.chance.choice(('"s\\u0065cret"', '"secre\\u0074"')))
        if self.happens(0.02):
            payload = f'{{"id": "e{self._next_id}", "deep": {"[" * 600}{"]" * 600}}}'
        return Row(self._next_id, workspace, kind, second, payload)

    def streaming(self, destination: str) -> Document:
        """One setting."""
        events = self.chance.choice(
            (["job_details", "user_activity", "api_platform", "log_service"],) * 3
            + (["job_status", "user_activity"], ["log_service"], ["job_status", "api_platform", "log_service"])
        )
        found: Document = {"enabled": not self.happens(0.1), "events": events, "destination": destination}
        if "log_service" in events and self.happens(0.4):
            found["log_levels"] = self.chance.sample(LEVELS, 2)
        if self.happens(0.3):
            found["mask"] = ["$.secret"]
        if self.happens(0.3):
            found["message"] = '{"source": "w", "event": {{{log_message}}}}'
        return found

    def settings(self) -> Document:
        """Settings: for most workspaces one of their own, for all the admin's now and then."""
        document: Document = {
            "destinations": {
                "lake": {"type": "s3", "connection": "lake", "bucket": "lake", "packaging": "batch",
                         "compression": self.chance.choice(("none", "gzip")), "lanes": self.chance.randint(1, 3)},
                "bucket": {"type": "s3", "connection": "bucket", "bucket": "bucket", "packaging": "file",
                           "lanes": self.chance.randint(1, 2)},
                "hook": {"type": "http", "connection": "hook", "format": "lines", "max_events": self.chance.choice((1, 5, 10)),
                         "lanes": self.chance.randint(1, 3), "concurrency": self.chance.choice((1, 2, 4))},
                "splunk": {"type": "splunk_hec", "connection": "splunk", "lanes": self.chance.randint(1, 2)},
            },
            "workspaces": [
                {"id": number, "streaming": self.streaming(self.chance.choice(self.receivers))}
                for number in self.workspaces
                if not self.happens(0.1)
            ],
        }  # fmt: skip
        if self.happens(0.2):
            document["admin"] = self.streaming(self.chance.choice(self.receivers)) | {"enabled": True}
        return document

    def changed(self, document: Document) -> tuple[Document, str]:
        """Settings that are otherwise in one point, and what that is."""
        document = deepcopy(document)
        what = self.chance.choice(("override", "override", "own", "own", "gone"))
        if what == "override":
            if document.pop("admin", None) is not None:
                return document, "the override is switched off"
            document["admin"] = self.streaming(self.chance.choice(self.receivers)) | {"enabled": True}
            return document, f"the override is switched on, to {document['admin']['destination']}"
        if what == "own" or not document["workspaces"]:
            number = self.chance.choice(self.workspaces)
            rest = [item for item in document["workspaces"] if item["id"] != number]
            new = {"id": number, "streaming": self.streaming(self.chance.choice(self.receivers))}
            document["workspaces"] = [*rest, new]
            return document, f"workspace {number} now streams to {new['streaming']['destination']}"
        gone = document["workspaces"].pop(self.chance.randrange(len(document["workspaces"])))
        return document, f"workspace {gone['id']} streams nothing any more"
