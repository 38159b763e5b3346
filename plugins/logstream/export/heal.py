"""Planning what is owed anew: by the routes of then, to the destinations as they are now, all of it at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from logstream.errors import InputError, is_blameless, ours
from logstream.export.deployment import Deployment
from logstream.export.stock import Stock, reason_of
from logstream.export.window_plan import WindowPlan
from logstream.ledger.health import Owed
from logstream.ledger.plans import PlannedDelivery, Terms
from logstream.ledger.records import Pending
from logstream.settings.models import Settings
from logstream.settings.repository import Snapshot
from logstream.window import Window


@dataclass(frozen=True, slots=True)
class _NoPlan:
    """Why a window cannot be planned, and whether that is no fault of the destinations that are owed it."""

    reason: str
    blameless: bool

    @classmethod
    def of(cls, error: Exception, doing: str) -> _NoPlan:
        return cls(reason_of(error, doing), is_blameless(error))

    def delivery(self, item: Owed) -> PlannedDelivery:
        return PlannedDelivery(
            item.destination, item.window, item.snapshot_id, error=self.reason, blameless=self.blameless
        )


class Healer:
    """Plans deliveries that are owed. A window that many destinations are owed is counted and planned once for all of them."""

    def __init__(self, deployment: Deployment, stock: Stock, carrier: str | None = None) -> None:
        self._deployment, self._stock, self._carrier = deployment, stock, carrier
        self._plans: dict[tuple[Window, int], WindowPlan | _NoPlan] = {}

    def plan(self, items: Iterable[Owed], now: Settings) -> Pending:
        """Plan some of what is owed. What cannot be planned for one destination fails alone, with its reason in the ledger.

        A destination that the settings no longer have is left alone: what it is owed stays owed.
        """
        by_snapshot: dict[int, list[Owed]] = defaultdict(list)
        for item in items:
            if item.destination in now.destinations:
                by_snapshot[item.snapshot_id].append(item)
        planned: list[PlannedDelivery] = []
        for number, base in self._deployment.settings.get_all(sorted(by_snapshot)).items():
            planned += self._planned(by_snapshot[number], base, now)
        return self._deployment.ledger.plan(planned, self._stock, Terms(self._carrier))

    def _planned(self, items: Sequence[Owed], base: Snapshot | InputError, now: Settings) -> list[PlannedDelivery]:
        try:
            if isinstance(base, InputError):
                raise base
            snapshots = self._as_they_are_now({item.destination for item in items}, base, now)
        except Exception as error:
            none = _NoPlan.of(error, "planning what is owed")
            return [none.delivery(item) for item in items]
        return [self._delivery(item, snapshots[item.destination]) for item in items]

    def _as_they_are_now(self, names: set[str], base: Snapshot, now: Settings) -> dict[str, Snapshot]:
        """Destination to the settings of then with that destination as it is now."""
        changed = {name for name in names if base.settings.destinations.get(name) != now.destinations[name]}
        derived = self._deployment.settings.derive(base, changed, now)
        return {name: derived if name in changed else base for name in names}

    def _delivery(self, item: Owed, snapshot: Snapshot) -> PlannedDelivery:
        key = item.window, snapshot.id
        if key not in self._plans:
            self._plans[key] = self._plan(item.window, snapshot)
        plan = self._plans[key]
        if isinstance(plan, _NoPlan):
            return plan.delivery(item)
        return PlannedDelivery(
            item.destination, item.window, snapshot.id, plan.lanes.get(item.destination, ()),
            plan.errors.get(item.destination),
        )  # fmt: skip

    def _plan(self, window: Window, snapshot: Snapshot) -> WindowPlan | _NoPlan:
        """The plan of a window, or why there is none: a snapshot may name tables that are there no longer."""
        try:
            with ours():  # a destination whose options are wrong is one of the plan's `errors`
                return self._stock.plan(window, snapshot)
        except Exception as error:
            return _NoPlan.of(error, f"planning the window {window}")
