"""Customers: their routes, and how the destinations stand that they lead to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from logstream.console.service.settings import SettingsService
from logstream.errors import InputError, NotThere
from logstream.export.exporter import Exporter
from logstream.ledger.condition import DestinationStatus
from logstream.ledger.overview import DeliveryFilter, DeliverySummary, Overview
from logstream.settings.models import Streaming
from logstream.settings.resolution import Reason, Route, Workspace, overridden, resolve, route_of

DAYS_OF = 300
"""Windows of which it is told by day what a customer's destination got of it: a day of windows of five minutes."""

WORKSPACES_SECONDS = 2.0
"""How long the list of workspaces is kept: a page is looked at in less."""


@dataclass(frozen=True, slots=True)
class Customer:
    """A workspace as the list of customers shows it."""

    workspace: Workspace
    reason: Reason
    destination: str | None
    status: DestinationStatus | None

    @property
    def condition(self) -> str:
        """The word for its destination's condition, or `-` where nothing is streamed."""
        return self.status.condition if self.status else "-"

    @property
    def lag(self) -> timedelta | None:
        """How old the oldest time is that its destination has not got; `None` if it has everything."""
        return self.status.lag if self.status else None


@dataclass(frozen=True, slots=True)
class CustomerPage:
    """Some of the customers, and how many there are."""

    customers: list[Customer]
    total: int


SORTS: dict[str, Callable[[Customer], Any]] = {
    "id": lambda customer: customer.workspace.id,
    "external_id": lambda customer: (customer.workspace.external_id or "\U0010ffff", customer.workspace.id),
    "name": lambda customer: ((customer.workspace.name or "\U0010ffff").casefold(), customer.workspace.id),
    "route": lambda customer: (customer.reason.name, customer.workspace.id),
    "destination": lambda customer: (customer.destination or "\U0010ffff", customer.workspace.id),
    "condition": lambda customer: (customer.condition, customer.workspace.id),
    "last_delivered": lambda customer: (
        (customer.status and customer.status.delivered_until) or datetime.min.replace(tzinfo=UTC),
        customer.workspace.id,
    ),
    "lag": lambda customer: (customer.lag or timedelta(), customer.workspace.id),
    "owed": lambda customer: (customer.status.owed if customer.status else 0, customer.workspace.id),
}
"""How the list of customers may be sorted."""

OF_DESTINATION = frozenset({"condition", "last_delivered", "lag", "owed"})
"""The sorts for which it must be known how every destination stands."""


class CustomerService:
    """Finds customers, with their routes. Safe to use from several threads."""

    def __init__(self, exporter: Exporter, overview: Overview, settings: SettingsService) -> None:
        self._exporter, self._overview, self._settings = exporter, overview, settings
        self._workspaces: tuple[int, datetime, list[Workspace]] | None = None

    def overridden(self) -> list[Workspace]:
        """Whose own settings the admin setting overrides, or would once it is on."""
        ids = set(overridden(self._settings.current().settings))
        known = {workspace.id: workspace for workspace in self.workspaces()}
        return [known.get(number, Workspace(number)) for number in sorted(ids)]

    def workspaces(self) -> list[Workspace]:
        """All workspaces of the log store, as they were a few seconds ago at most."""
        snapshot, now = self._settings.current(), datetime.now(UTC)
        kept = self._workspaces
        if kept is None or kept[0] != snapshot.id or now - kept[1] > timedelta(seconds=WORKSPACES_SECONDS):
            kept = snapshot.id, now, self._exporter.store(snapshot).workspaces()
            self._workspaces = kept
        return kept[2]

    def page(
        self, query: str = "", sort: str = "id", *, descending: bool = False, offset: int = 0, limit: int = 50,
        condition: str = "",
    ) -> CustomerPage:  # fmt: skip
        """Some of the customers: those whose id, external id, name or destination holds `query`.

        `sort` is one of `SORTS`, `condition` one of `Condition`.
        """
        settings = self._settings.current().settings
        routes = resolve(settings, self.workspaces())
        needle = query.strip().casefold()
        if needle:
            routes = [route for route in routes if needle in _haystack(route)]
        total = len(routes)
        if sort in OF_DESTINATION or condition:
            found = self._customers(routes)
            if condition:
                found = [customer for customer in found if customer.condition == condition]
                total = len(found)
            found.sort(key=SORTS[sort], reverse=descending)
            return CustomerPage(found[offset : offset + limit], total)
        # how destinations stand is looked up for those that are shown
        routes.sort(key=lambda route: SORTS[sort](_customer(route)), reverse=descending)
        return CustomerPage(self._customers(routes[offset : offset + limit]), total)

    def _customers(self, routes: Sequence[Route]) -> list[Customer]:
        statuses = self._overview.statuses(sorted({route.destination for route in routes if route.destination}))
        return [_customer(route, statuses.get(route.destination or "")) for route in routes]

    def find(self, workspace_id: int) -> Customer:
        """One customer. Raises `NotThere` for a workspace that neither log store nor settings know."""
        settings = self._settings.current().settings
        workspace = next((found for found in self.workspaces() if found.id == workspace_id), None)
        if workspace is None and workspace_id not in settings.own:
            raise NotThere(f"no workspace {workspace_id} is in the log store")
        streaming, reason = route_of(settings.admin, settings.own.get(workspace_id))
        name = streaming.destination if streaming else None
        status = self._overview.statuses([name])[name] if name else None
        return Customer(workspace or Workspace(workspace_id), reason, name, status)

    def named(self, text: str) -> Workspace:
        """The workspace of an id, an external id or a name. Raises `InputError` where none has it, or several have."""
        text = text.strip()
        known = self.workspaces()
        for field in ("id", "external_id", "name") if text else ():
            found = [workspace for workspace in known if str(getattr(workspace, field) or "") == text]
            if len(found) == 1:
                return found[0]
            if found:
                raise InputError(f"{len(found):,} customers have that name; give the id of one")
        raise InputError("no customer has that id, external id or name")

    def effective(self, customer: Customer) -> Streaming | None:
        """The setting by which a customer's events are streamed now: the admin's, its own, or none."""
        settings = self._settings.current().settings
        return route_of(settings.admin, settings.own.get(customer.workspace.id))[0]

    def by_day(self, customer: Customer) -> list[tuple[date, int, int]]:
        """What its destination got of it in the newest `DAYS_OF` windows, newest day first: (day, windows, events)."""
        if customer.destination is None:
            return []
        return self._overview.by_day(customer.workspace.id, customer.destination, DAYS_OF)

    def deliveries(self, customer: Customer, limit: int = 20) -> list[tuple[DeliverySummary, int]]:
        """The newest deliveries to a customer's destination, with how many of its events each has."""
        if customer.destination is None:
            return []
        found = self._overview.deliveries(DeliveryFilter(destination=customer.destination), limit)
        events = self._overview.events_of(customer.workspace.id, [item.id for item in found])
        return [(item, events.get(item.id, 0)) for item in found]


def _customer(route: Route, status: DestinationStatus | None = None) -> Customer:
    return Customer(route.workspace, route.reason, route.destination, status)


def _haystack(route: Route) -> str:
    workspace = route.workspace
    words = (str(workspace.id), workspace.external_id or "", workspace.name or "", route.destination or "")
    return "\n".join(words).casefold()
