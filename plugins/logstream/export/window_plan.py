"""Planning a window: from routes and counts to deliveries and lanes. Pure functions over plain data."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

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

    @property
    def events(self) -> int:
        """Events that will be streamed."""
        return sum(workspace.selected for workspace in self.workspaces)


def lane_of(workspace_id: int, lanes: int) -> int:
    """The lane of a workspace: a stable hash of its id modulo the destination's lane count."""
    return zlib.crc32(str(workspace_id).encode()) % lanes


def plan_window(
    settings: Settings, workspaces: Sequence[Workspace], counts: Iterable[KindCount], lane_counts: Mapping[str, int]
) -> WindowPlan:
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
            lanes[(route.destination, lane)].add(route.workspace.id, route.streaming, selected, size)
    planned: dict[str, list[PlannedLane]] = defaultdict(list)
    for (destination, lane), draft in sorted(lanes.items()):
        planned[destination].append(
            PlannedLane(
                lane,
                draft.fingerprint(settings.destinations[destination].model_dump(), lane_counts[destination]),
                draft.tally,
                draft.bytes,
            )
        )
    return WindowPlan(tuple(plans), {name: tuple(items) for name, items in planned.items()})


class _LaneDraft:
    def __init__(self) -> None:
        self.tally: Tally = Counter()
        self.bytes = 0
        self._settings: dict[int, list[int]] = defaultdict(list)
        self._streamings: dict[int, Streaming] = {}

    def add(self, workspace_id: int, streaming: Streaming, tally: Tally, size: int) -> None:
        self.tally.update(tally)
        self.bytes += size
        self._streamings[id(streaming)] = streaming
        self._settings[id(streaming)].append(workspace_id)

    def fingerprint(self, destination: dict[str, object], lanes: int) -> str:
        who = sorted(
            (sorted(workspaces), self._streamings[key].model_dump(mode="json"))
            for key, workspaces in self._settings.items()
        )
        return fingerprint_of(destination, lanes, who)
