"""Writes scripts: one seed decides all that is to happen in a world before anything happens."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field

from tests.simulation.administrators import Administrators, Rates
from tests.simulation.receivers import FAULTS, POISON, STALL
from tests.simulation.script import (
    ENORMOUS,
    KINDS,
    LEVELS,
    TRIES,
    Apply,
    Blow,
    Document,
    Forget,
    Happening,
    Insert,
    List,
    Prune,
    Purge,
    Redeliver,
    Row,
    Run,
    Script,
    Settle,
    Span,
    Step,
    Suspend,
    Tick,
    Weather,
    WriteOff,
)

STEP = 5
"""Minutes of a window, where the schedule is the usual one."""

YEAR = 365 * 86400


def script_of(seed: int, *, windows: int | None = None, workspaces: int | None = None) -> Script:
    """The world of a seed; of a size of its own, unless one is given."""
    return Author(seed, windows, workspaces).write()


@dataclass
class Author(Administrators):
    """Writes a script."""

    seed: int
    windows: int | None = None
    most_workspaces: int | None = None
    _next_id: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.rates = Rates().turned(self.chance)
        self.windows = self.windows or self.chance.randint(3, 8)
        self.workspaces = tuple(range(1001, 1001 + (self.most_workspaces or self.chance.choice((1, 3, 12, 12)))))
        self.busy = self.chance.choice(self.workspaces)
        self.destinations = ["lake", "bucket", "hook", "splunk"]
        self.gone: list[str] = []
        self.now = Span(0, STEP)
        self.step = STEP
        self.writers: list[str] = []
        # with chances of their own: what else happens in a world does not change with them
        self.resuming = random.Random(f"{self.seed} resumed")
        self.resumed_rate = self.resuming.choice((0, 0, 0.3))

    def write(self) -> Script:
        """The whole of it."""
        self.document = self.settings()
        happenings: list[Happening] = [Apply(self.document, "the first ones")]
        for _ in range(self.windows or 0):
            happenings += self.window()
            self.now = self.next()
        happenings += [Settle(writer, self.happens(0.8)) for writer in self.writers]
        pages = self.chance.choice(((1,), (3,), (10_000,), (10_000,), (7, 3), (10_000, 7, 1)))
        return Script(self.seed, self.now.start, tuple(happenings), self.workspaces, pages)

    def next(self) -> Span:
        """The next window of the schedule. Where the schedule has changed, its first windows are cut on its own grid."""
        if self.happens(self.rates.schedule):
            self.step = 1 if self.step == STEP else STEP
        start = self.now.end - self.now.end % self.step
        return Span(start, start + self.step)

    def window(self) -> Iterator[Happening]:
        """What happens from a window's beginning until its run is over."""
        yield Tick(self.now)
        yield from self.administrators()
        for writer in self.writers[:]:
            if self.happens(0.5):
                self.writers.remove(writer)
                yield Settle(writer, self.happens(0.8))
        yield from self.platform()
        yield from self.surroundings()
        if self.resuming.random() < self.resumed_rate:
            yield from self.resumed()
        if not self.happens(self.rates.skipped):
            doubled = self.happens(self.rates.double)
            # of two runs at once it is not known which planned before the rows came
            meanwhile = self.rows(self.now, most=2) if not doubled and self.happens(self.rates.meanwhile) else ()
            yield Run(self.now, tuple(self.blows()), doubled=doubled, meanwhile=tuple(meanwhile))
        if self.happens(self.rates.begun):
            yield from self.begun()
        if self.happens(self.rates.again):
            yield Run(self.past(), tuple(self.blows()), again=True)
        if self.now.start and self.happens(self.rates.late):
            yield Insert(tuple(self.rows(Span(0, self.now.start), most=3)), late=True)

    def begun(self) -> Iterator[Happening]:
        """A window is exported again by other settings than those by which it was begun: each try of that was killed.

        Meanwhile rows come, or are purged. Or it is not exported again: what is owed is left to later runs.
        """
        for run in range(self.chance.choice((1, 2, 2))):
            self.document = deepcopy(self.document)
            what = self.chance.choice((self.other_options, self.other_objects, self.other_message))(self.document)
            yield Apply(self.document, what)
            if self.happens(0.3):
                yield Insert(tuple(self.rows(self.now, most=3)), late=True)
            if run and self.happens(3 * self.rates.purge):
                yield Purge(self.now.end, self.chance.choice((None, self.busy)))
            blows = () if run else tuple(self.deadly() for _ in range(TRIES))
            yield Run(self.now, blows, again=True)

    def resumed(self) -> Iterator[Happening]:
        """Each try of a busy window is killed when the hook has taken some of it, which it takes piece by piece; then rows come
        before those, or go, and by the same settings it is exported again."""
        usual, self.chance = self.chance, self.resuming
        try:
            if not (hooked := self.hooked()):
                return
            self.document = deepcopy(self.document)
            for name, options in self.document["destinations"].items():
                if name.startswith("hook"):
                    options |= {"concurrency": 1, "max_events": 2}
            yield Apply(self.document, "the hook takes two at a time")
            minutes = self.chance.choices(range(self.now.start, self.now.end), k=30)
            yield Insert(tuple(self.row(self.chance.choice(hooked), minute * 60 + 1) for minute in minutes))
            yield Run(self.now, tuple(Blow("deliver", self.chance.randint(3, 9), "taken") for _ in range(TRIES)))
            if self.happens(0.7):
                some = self.chance.choices(hooked, k=self.chance.randint(1, 4))
                rows = [self.row(workspace, self.now.start * 60 + self.chance.choice((0, 1, 30))) for workspace in some]
                yield Insert(tuple(rows), late=True)
            else:
                yield Purge(self.now.start + 1, self.chance.choice((None, self.busy)))
            if self.happens(0.7):
                yield Run(self.now, again=True)
        finally:
            self.chance = usual

    def hooked(self) -> list[int]:
        """The workspaces whose events go to a hook."""
        admin = self.document.get("admin") or {}
        own = {item["id"]: item["streaming"] for item in self.document["workspaces"]}
        found = {number: admin if admin.get("enabled") else own.get(number, {}) for number in self.workspaces}
        return [number for number, setting in found.items()
                if setting.get("enabled") and setting["destination"].startswith("hook")]  # fmt: skip

    def deadly(self) -> Blow:
        """What kills a worker that delivers: at any moment, or at the worst one, when what it has sent is not written down."""
        if self.happens(0.5):
            return Blow("deliver", self.moment())
        return Blow("deliver", self.chance.randint(1, 4), "taken")

    def past(self) -> Span:
        """Some time that has passed, which may cut windows."""
        if self.happens(0.5):
            start = self.chance.randrange(0, self.now.end, STEP)
            return Span(start, min(start + STEP, self.now.end))
        start, end = sorted(self.chance.sample(range(self.now.end + 1), 2))
        return Span(start, end)

    def platform(self) -> Iterator[Happening]:
        """What the platform does."""
        yield Insert(tuple(self.rows(self.now)))
        if self.happens(self.rates.history):
            rows = self.rows(self.now, most=3)
            yield Insert(tuple(Row(row.id, row.workspace, row.kind, row.second, row.payload, YEAR) for row in rows))
        if self.happens(self.rates.hung):
            writer = f"w{self._next_id}"
            self.writers.append(writer)
            yield Insert(tuple(self.rows(self.now, most=4)), writer=writer, prepared=self.happens(0.5))
        if self.happens(self.rates.purge):
            yield Purge(self.chance.randint(0, self.now.end), self.chance.choice((None, self.busy)))
        if self.happens(self.rates.listed):
            yield List(self.chance.choice(self.workspaces), self.happens(0.5))

    def surroundings(self) -> Iterator[Happening]:
        """What receivers, clocks and administrators do before a run."""
        for receiver in self.destinations:
            if self.happens(self.rates.weather):
                faults = [self.chance.choice(FAULTS) for _ in range(self.chance.randint(1, 6))]
                yield Weather(receiver, tuple(fault for fault in faults if fault != "denied"))
            if self.happens(self.rates.outage):
                always = self.chance.choice(("down", "cut_before", "denied", "garbage", "cut_after"))
                yield Weather(receiver, always=always)
            elif self.happens(0.5):
                yield Weather(receiver)
            if self.happens(self.rates.stall):
                yield Weather(receiver, (STALL,))
            if self.happens(self.rates.forget):
                yield Forget(receiver, self.chance.randrange(1000))
        if self.happens(self.rates.step):
            yield Step(self.chance.choice((-86400, -3600, -1, 1, 3600, 86400)))
        if self.happens(self.rates.redeliver):
            whose = self.chance.choice((None, *self.destinations))
            yield Redeliver(rejected=self.happens(0.5), destination=whose)
        if self.happens(self.rates.write_off):
            yield WriteOff(self.chance.choice((*self.destinations, *self.gone)))
        if self.happens(self.rates.suspend):
            yield Suspend(self.chance.choice(self.destinations), held=self.happens(0.6))
        if self.now.start and self.happens(self.rates.prune):
            yield Prune(self.chance.randint(0, self.now.start))

    def blows(self) -> Iterator[Blow]:
        """What befalls the workers of a run: up to one blow for each try of a task."""
        for phase in ("plan", "deliver", "seal"):
            for _ in range(TRIES):
                if self.happens(self.rates.sleep if phase == "deliver" else 0):
                    yield Blow(phase, self.moment(), "sleep")
                elif self.happens(self.rates.kill):
                    yield Blow(phase, self.moment())
                elif self.happens(self.rates.taken if phase != "plan" else 0):
                    yield Blow(phase, self.chance.randint(1, 4), "taken")
                elif self.happens(self.rates.cut):
                    yield Blow(phase, self.moment(), "cut")

    def moment(self) -> int:
        """Early moments and late ones, as likely."""
        return int(2 ** self.chance.uniform(0, 8))

    # rows

    def rows(self, window: Span, most: int | None = None) -> Iterator[Row]:
        """Rows of a window: none, one, a page exactly full, and more; most of them of one busy workspace."""
        count = most or self.chance.choice((0, 1, 2, 5, 9, 10, 11, 20, 40))
        for _ in range(count):
            workspace = self.busy if self.happens(0.4) else self.chance.choice(self.workspaces)
            minute = self.chance.randrange(window.start, window.end)
            # several rows share an instant, and some stand at the very edge of a window
            yield self.row(workspace, minute * 60 + self.chance.choice((0, 0, 1, 1, 7.5, 30, 59.999999)))

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
        if self.happens(self.rates.enormous):
            event["text"] = "x" * ENORMOUS
        if self.happens(self.rates.poison):
            event["text"] = POISON
        payload = json.dumps(event, ensure_ascii=self.happens(0.5), indent=self.chance.choice((None, None, 1)))
        if self.happens(0.3):
            payload = payload.replace('"secret"', self.chance.choice(('"s\\u0065cret"', '"secre\\u0074"')))
        if self.happens(0.01):
            payload = f'{{"id": "e{self._next_id}", "deep": {"[" * 600}{"]" * 600}}}'
        return Row(self._next_id, workspace, kind, second, payload)
