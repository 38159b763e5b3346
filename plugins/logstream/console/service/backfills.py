"""What a backfill would do, said before it starts: by the rules and the settings that its runs will plan by."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from logstream.destinations import destination_types
from logstream.destinations.base import Destination
from logstream.destinations.objects import ObjectDestination
from logstream.export.exporter import Exporter
from logstream.ledger.coverage import AskedBy, Coverage, KnownWindow, Purpose, WindowToExport
from logstream.ledger.overview import Overview
from logstream.settings.models import Settings
from logstream.settings.resolution import route_of
from logstream.window import Window

MOST_NAMES = 10
"""Destinations that are named of each kind; of more it is said how many."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a backfill would do: `runs`, each for an interval of the schedule, and the windows that they export.

    `new` windows are made. `again` counts those that exist: they keep their bounds, and a run whose interval cuts one exports
    it whole, so that each is exported up to `times` times. `span` is the time of all these windows, `within` how many of them
    lie in the range whole. By destination: how many windows it gets for the `first` time, where there are events; how many that
    it has got are `replaced` by the same objects; how many receivers of another kind see `repeated`, because they have got them
    or because several runs export them. `bypassed` have got some of these windows and get nothing now, `unreached` were asked
    for: the settings lead no events to either.
    """

    runs: int
    span: Window
    new: int
    again: int
    times: int
    within: int
    first: Mapping[str, int] = field(default_factory=dict)
    replaced: Mapping[str, int] = field(default_factory=dict)
    repeated: Mapping[str, int] = field(default_factory=dict)
    bypassed: Sequence[str] = ()
    unreached: Sequence[str] = ()

    @property
    def windows(self) -> int:
        """How many windows are exported."""
        return self.new + self.again

    @property
    def reached(self) -> list[str]:
        """The destinations that get events, where there are some."""
        return sorted({*self.first, *self.replaced, *self.repeated})


class BackfillService:
    """Looks ahead at backfills. Safe to use from several threads."""

    def __init__(self, exporter: Exporter, overview: Overview) -> None:
        self._exporter, self._overview = exporter, overview

    def outcome(self, intervals: Sequence[Window], names: Collection[str] = ()) -> Outcome:
        """What runs over some adjacent intervals, at least one, would do: for all destinations, or only for some."""
        settings, ledger = self._exporter.settings.current().settings, self._exporter.ledger
        asked = Window(intervals[0].start, intervals[-1].end)
        known = ledger.known_windows(asked)
        exported = Counter(windows_of(intervals, known, ledger.coverage()))
        new = [item.window for item in exported if item.purpose is Purpose.NEW]
        span = ledger.whole_windows(asked)
        got = self._overview.delivered_within(span) if known else {}
        routed = routed_destinations(settings)
        reached = {name for name in routed if not names or name in names}
        objects = {name for name in reached if _keeps_objects(settings, name)}
        times = max(exported.values(), default=1)
        had = {name: got.get(name, 0) for name in sorted(reached)}
        # what several runs export, a receiver gets from each of them, for the first time or not
        sent = {name: len(known) if times > 1 else windows for name, windows in had.items() if name not in objects}
        first = {name: len(new) + len(known) - windows for name, windows in had.items()}
        return Outcome(
            len(intervals), span, len(new), len(known), times,
            sum(item.window.start >= asked.start and item.window.end <= asked.end for item in exported),
            first={name: windows for name, windows in first.items() if windows > 0},
            replaced={name: windows for name, windows in had.items() if windows and name in objects},
            repeated={name: windows for name, windows in sent.items() if windows},
            bypassed=sorted(name for name in got if name in settings.destinations and name not in routed and not names),
            unreached=sorted(name for name in names if name not in routed),
        )  # fmt: skip


def windows_of(
    intervals: Sequence[Window], known: Sequence[KnownWindow], coverage: Coverage
) -> Iterator[WindowToExport]:
    """The windows that the runs of a backfill plan, as often as they do. `known` are those that there are, oldest first."""
    starts, ends = [item.window.start for item in known], [item.window.end for item in known]
    for interval in intervals:
        # windows never overlap, so their ends are in order, too
        cut = known[bisect_right(ends, interval.start) : bisect_left(starts, interval.end)]
        yield from coverage.to_export(interval, AskedBy.REQUEST, cut, most_gaps=0)


def routed_destinations(settings: Settings) -> set[str]:
    """The destinations to which the settings lead events, if there are some."""
    # a workspace that the settings do not name has no setting of its own
    routes = [route_of(settings.admin, own)[0] for own in (None, *settings.own.values())]
    return {route.destination for route in routes if route is not None and route.destination is not None}


def _keeps_objects(settings: Settings, name: str) -> bool:
    return issubclass(destination_types().get(settings.destinations[name].type, Destination), ObjectDestination)
