"""Planning a window: from routes and counts to deliveries and lanes. Pure functions over plain data."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from logstream.destinations.parcel import Tally
from logstream.events import Selection
from logstream.ledger.records import PlannedLane, fingerprint_of
from logstream.settings.models import Settings, Streaming
from logstream.settings.resolution import Route, Workspace, resolve
from logstream.store.base import KindCount


@dataclass(frozen=True, slots=True)
class WorkspacePlan:
    """What a run will do for one workspace. `read` are its events in the window, `selected` those that are streamed."""

    route: Route
    read: int
    selected: int


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """What a run will do."""

    workspaces: tuple[WorkspacePlan, ...]
    lanes: Mapping[str, tuple[PlannedLane, ...]] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    """Destinations that cannot be delivered to, and why. Their lanes tell what they are owed."""

    @property
    def events(self) -> int:
        """Events that will be streamed."""
        return sum(workspace.selected for workspace in self.workspaces)

    def tally(self, destination: str) -> Tally:
        """Events by (workspace id, kind) that a destination is to get."""
        total = Tally()
        for lane in self.lanes.get(destination, ()):
            total.update(lane.tally)
        return total


def lane_of(workspace_id: int, lanes: int) -> int:
    """The lane of a workspace: a stable hash of its id modulo the destination's lane count."""
    return zlib.crc32(str(workspace_id).encode()) % lanes


class Fingerprints:
    """Fingerprints of the lanes of one snapshot's settings: digests of all that decides a lane's bytes.

    They come from the settings alone, whatever the log store holds: an event that comes late or is purged voids no checkpoint.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[tuple[str, int, int], str] = {}

    def of(self, destination: str, lane: int, lanes: int) -> str:
        """The fingerprint of one of the `lanes` of a destination."""
        key = destination, lane, lanes
        if key not in self._known:
            who = self._everyone if self._everyone is not None else self._own(destination, lane, lanes)
            self._known[key] = fingerprint_of(self._settings.destinations[destination].model_dump(), lanes, who)
        return self._known[key]

    @cached_property
    def _everyone(self) -> str | None:
        admin = self._settings.admin
        return _digest(admin) if admin is not None and admin.enabled else None

    def _own(self, destination: str, lane: int, lanes: int) -> list[tuple[int, str]]:
        return [item for item in self._by_destination.get(destination, ()) if lane_of(item[0], lanes) == lane]

    @cached_property
    def _by_destination(self) -> dict[str, list[tuple[int, str]]]:
        found: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for workspace, streaming in sorted(self._settings.own.items()):
            if streaming.enabled and streaming.destination is not None:
                found[streaming.destination].append((workspace, _digest(streaming)))
        return found


def _digest(streaming: Streaming) -> str:
    return fingerprint_of(streaming.model_dump(mode="json"))


def plan_window(
    settings: Settings, workspaces: Sequence[Workspace], counts: Iterable[KindCount], lane_counts: Mapping[str, int],
    fingerprints: Fingerprints | None = None,
) -> WindowPlan:  # fmt: skip
    """Plan a window: `lane_counts` gives each destination's number of lanes.

    Events of a workspace that the log store does not list have a route like any other's: under the admin setting they are
    streamed, they are events too. So have rows that name no workspace: what is no event is planned, and rejected, too.
    """
    counted: dict[int, list[KindCount]] = defaultdict(list)
    for count in counts:
        counted[count.workspace_id].append(count)
    listed = {workspace.id for workspace in workspaces}
    unlisted = [Workspace(workspace_id) for workspace_id in sorted(counted.keys() - listed)]
    plans: list[WorkspacePlan] = []
    lanes: dict[tuple[str, int], _LaneDraft] = defaultdict(_LaneDraft)
    selections: dict[int, Selection] = {}
    for route in resolve(settings, [*workspaces, *unlisted]):
        found = counted.get(route.workspace.id, [])
        selected: Tally = Counter()
        size = 0
        if route.streaming is not None and found:
            # the admin's setting is one object for all workspaces
            selection = selections.setdefault(id(route.streaming), route.streaming.selection)
            for count in found:
                if count.streamed_by(selection):
                    selected[(count.workspace_id, count.kind)] += count.events
                    size += count.bytes
        plans.append(WorkspacePlan(route, sum(count.events for count in found), selected.total()))
        if selected and route.streaming is not None and route.destination is not None:
            lane = lane_of(route.workspace.id, lane_counts[route.destination])
            lanes[(route.destination, lane)].add(selected, size)
    fingerprints = fingerprints or Fingerprints(settings)
    planned: dict[str, list[PlannedLane]] = defaultdict(list)
    for (destination, lane), draft in sorted(lanes.items()):
        fingerprint = fingerprints.of(destination, lane, lane_counts[destination])
        planned[destination].append(PlannedLane(lane, fingerprint, draft.tally, draft.bytes))
    return WindowPlan(tuple(plans), {name: tuple(items) for name, items in planned.items()})


def selected(counts: Iterable[KindCount], streamings: Mapping[int, Streaming], destination: str) -> Tally:
    """Events that a destination is to get, by (workspace id, kind)."""
    found = Tally()
    for count in counts:
        streaming = streamings.get(count.workspace_id)
        if streaming is not None and streaming.destination == destination and count.streamed_by(streaming.selection):
            found[(count.workspace_id, count.kind)] += count.events
    return found


class _LaneDraft:
    def __init__(self) -> None:
        self.tally: Tally = Counter()
        self.bytes = 0

    def add(self, tally: Tally, size: int) -> None:
        self.tally.update(tally)
        self.bytes += size
