"""What the log store holds of windows, and what it is to whom: each window is counted once, however many are owed it."""

from __future__ import annotations

import logging
from collections.abc import Collection

from logstream.destinations.objects import ObjectDestination
from logstream.destinations.parcel import Tally
from logstream.destinations.registry import destination_type, make_destination
from logstream.errors import InputError, LogstreamError, is_blameless
from logstream.events import Cursor
from logstream.export.deployment import Deployment
from logstream.export.window_plan import Fingerprints, WindowPlan, plan_window, selected
from logstream.settings.models import Settings
from logstream.settings.repository import Snapshot
from logstream.settings.resolution import Workspace, streamings_of
from logstream.store.base import KindCount
from logstream.tracebacks import traceback_of
from logstream.window import Window

log = logging.getLogger("logstream")


class Stock:
    """Counts and plans windows for one run. What it has counted, it does not count again."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._snapshots: dict[int, Snapshot] = {}
        self._workspaces: dict[str, list[Workspace]] = {}
        self._counts: dict[tuple[Window, str, bool], list[KindCount]] = {}
        self._fingerprints: dict[int, Fingerprints] = {}
        self._lane_counts: dict[int, tuple[dict[str, int], dict[str, str]]] = {}
        self._keep_objects: dict[tuple[int, str], bool] = {}
        self._plans: dict[tuple[Window, int], WindowPlan] = {}

    def plan(self, window: Window, snapshot: Snapshot) -> WindowPlan:
        """The plan of a window by a snapshot's settings, for all destinations.

        A destination that cannot be delivered to (its type is not installed, its options no longer hold, or anything else goes
        wrong with it) is in the plan's `errors`, and stops no other.
        """
        self._snapshots[snapshot.id] = snapshot
        key = window, snapshot.id
        if key not in self._plans:
            counts, errors = self._lanes(snapshot)
            known = self._fingerprints.setdefault(snapshot.id, Fingerprints(snapshot.settings))
            plan = plan_window(
                snapshot.settings, self._listed(snapshot), self._counted(window, snapshot), counts, known
            )
            self._plans[key] = WindowPlan(plan.workspaces, plan.lanes, errors)
        return self._plans[key]

    def held(self, window: Window, snapshot_id: int, destination: str) -> Tally:
        """Events of a window that a destination is to get by a snapshot's settings, by (workspace id, kind)."""
        return self.plan(window, self._snapshot(snapshot_id)).tally(destination)

    def ahead(
        self, window: Window, snapshot_id: int, destination: str, workspace_ids: Collection[int], after: Cursor | None
    ) -> Tally:
        """Those of some workspaces that come after a place in the window."""
        snapshot = self._snapshot(snapshot_id)
        streamings = streamings_of(snapshot.settings, workspace_ids)
        store = self._deployment.store(snapshot)
        by_log_type = snapshot.settings.filters_logs
        counts = store.count(window, by_log_type=by_log_type, after=after, workspace_ids=sorted(workspace_ids))
        return selected(counts, streamings, destination)

    def gone(self, window: Window, snapshot_id: int, event_ids: Collection[int]) -> set[int]:
        """Which of some events of a window the log store no longer holds."""
        return self._deployment.store(self._snapshot(snapshot_id)).gone(window, event_ids)

    def keeps_objects(self, snapshot_id: int, destination: str) -> bool:
        """Whether what a destination got by a snapshot's settings are objects."""
        key = snapshot_id, destination
        if key not in self._keep_objects:
            self._keep_objects[key] = keeps_objects(self._snapshot(snapshot_id).settings, destination)
        return self._keep_objects[key]

    def _snapshot(self, snapshot_id: int) -> Snapshot:
        if snapshot_id not in self._snapshots:
            self._snapshots[snapshot_id] = self._deployment.settings.get(snapshot_id)
        return self._snapshots[snapshot_id]

    def _listed(self, snapshot: Snapshot) -> list[Workspace]:
        table = snapshot.settings.log_store.workspaces
        if table not in self._workspaces:
            self._workspaces[table] = self._deployment.store(snapshot).workspaces()
        return self._workspaces[table]

    def _counted(self, window: Window, snapshot: Snapshot) -> list[KindCount]:
        key = window, snapshot.settings.log_store.events, snapshot.settings.filters_logs
        if key not in self._counts:
            self._counts[key] = self._deployment.store(snapshot).count(window, by_log_type=key[2])
        return self._counts[key]

    def _lanes(self, snapshot: Snapshot) -> tuple[dict[str, int], dict[str, str]]:
        """The number of lanes of each destination; and why there is none of some, which are given one to be owed in."""
        if snapshot.id not in self._lane_counts:
            counts, errors = dict.fromkeys(snapshot.settings.destinations, 1), dict[str, str]()
            for name in counts:
                try:
                    counts[name] = self._lane_count(name, snapshot.settings)
                except Exception as error:  # a plug-in may raise anything
                    errors[name] = reason_of(error, f"planning for {name}")
            self._lane_counts[snapshot.id] = counts, errors
        return self._lane_counts[snapshot.id]

    def _lane_count(self, name: str, settings: Settings) -> int:
        return int(make_destination(name, settings.destinations[name], self._deployment.connections).options.lanes)


def keeps_objects(settings: Settings, destination: str) -> bool:
    """Whether what a destination gets by some settings are objects, or may be: one whose type is gone cannot say."""
    try:
        return issubclass(destination_type(settings.destinations[destination].type), ObjectDestination)
    except (InputError, KeyError):
        return True


def reason_of(error: BaseException, doing: str) -> str:
    """Why something failed, in words for the ledger. An error that is no `LogstreamError` goes to the log with its traceback."""
    if isinstance(error, LogstreamError):
        return str(error)
    # the words of a destination's code may quote a secret; those of what is ours tell what to mend
    log.error("%s broke.\n%s", doing.capitalize(), traceback_of(error, str if is_blameless(error) else None))
    return f"{doing} broke ({type(error).__name__}); see the log of the task"
