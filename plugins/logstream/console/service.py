"""What the console does, apart from HTTP and from Airflow."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from logstream.console.changed import in_a_line
from logstream.console.edits import Data, Document, with_admin, with_destination, with_workspace
from logstream.destinations import check_options, destination_types
from logstream.destinations.base import Step
from logstream.destinations.credentials import Connections
from logstream.destinations.overlaps import overlaps
from logstream.destinations.registry import make_destination
from logstream.errors import InputError, LogstreamError, NotThere, SettingsError
from logstream.events import Event
from logstream.export.exporter import Exporter
from logstream.export.removed import Removed, removed
from logstream.jsontext import dumps
from logstream.ledger.condition import DestinationStatus
from logstream.ledger.losses import Loss
from logstream.ledger.overview import DeliveryFilter, DeliverySummary, Moment, Overview
from logstream.ledger.records import RejectedEvent
from logstream.rendering import check_mask
from logstream.rendering.preview import SAMPLE_WORKSPACE, Rendered, as_stored, render_event
from logstream.settings.changes import SettingsChange, changes
from logstream.settings.document import write_yaml
from logstream.settings.models import DEFAULT_KIND, DestinationSettings, Settings, Streaming, by_kind, explain
from logstream.settings.repository import Snapshot, Version
from logstream.settings.resolution import Reason, Route, Workspace, overridden, resolve, route_of
from logstream.shapes.samples import sample_text
from logstream.store.check import check_store, require_log_store
from logstream.validation import validate_settings
from logstream.window import Window

logger = logging.getLogger(__name__)

CHECK_SECONDS = 30.0
"""How long trying a destination out may take."""

WORKSPACES_SECONDS = 2.0
"""How long the list of workspaces is kept: a page is looked at in less."""

PREVIEW_BYTES = 256 * 1024
"""Events larger than this are not previewed: an answer is to come at once."""


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


@dataclass(frozen=True, slots=True)
class NamedDestination:
    """A destination as the list shows it: its type in words, and how it stands."""

    title: str
    status: DestinationStatus


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


class Console:
    """Reads and changes the settings and looks at the ledger. Safe to use from several threads."""

    def __init__(self, store_dsn: str, control_dsn: str, connections: Connections) -> None:
        self.exporter = Exporter(store_dsn, control_dsn, connections)
        self.overview = Overview(self.exporter.engine)
        self._connections = connections
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._lines: dict[int, str] = {}
        self._workspaces: tuple[int, datetime, list[Workspace]] | None = None

    # settings

    def current(self) -> Snapshot:
        """The settings in force. They are read, and validated, only when they have changed."""
        with self._lock:
            if self._snapshot is None or self._snapshot.id != self.exporter.settings.newest():
                self._snapshot = self.exporter.settings.current()
            return self._snapshot

    def snapshot(self, snapshot_id: int) -> Snapshot:
        """An earlier version of the settings. Raises `NotThere` if there is none."""
        return self.exporter.settings.get(snapshot_id)

    def versions(self, before: int | None = None, limit: int = 50) -> list[Version]:
        """Who changed the settings and when, newest first."""
        return self.exporter.settings.versions(before=before, limit=limit)

    def changes_of(self, snapshot_id: int) -> list[SettingsChange]:
        """What a version changed. Raises `NotThere` if there is none."""
        after = self.snapshot(snapshot_id).settings
        before = next(iter(self.versions(snapshot_id, 1)), None)
        return changes(self.snapshot(before.id).settings if before else Settings(), after)

    def change_in_a_line(self, snapshot_id: int) -> str:
        """What a version changed, in one line. Raises `NotThere` if there is none."""
        if snapshot_id not in self._lines:
            after = self.snapshot(snapshot_id).settings
            earlier = next(iter(self.versions(snapshot_id, 1)), None)
            before = self.snapshot(earlier.id).settings if earlier else Settings()
            names = {*before.destinations, *after.destinations}
            self._lines[snapshot_id] = in_a_line(changes(before, after), names)
        return self._lines[snapshot_id]

    def validate(self, document: object) -> Settings:
        """Validate settings whole. Raises `SettingsError` naming the paths."""
        return validate_settings(document, connections=self._connections)

    def place_mistake(self, name: str, destination: Data) -> tuple[str, str] | None:
        """The option of a destination by which it could write another one's objects, and what is wrong; `None` if it cannot."""
        made = {**self.current().settings.destinations, name: DestinationSettings.model_validate(destination)}
        return next(((option, what) for (of, option), what in overlaps(made, self._connections) if of == name), None)

    def save(self, document: object, author: str, expected: int | None) -> Snapshot:
        """Validate settings whole and put them in force. Those that mean what is in force already change nothing.

        Raises `SettingsError` for settings that do not hold together, `DatabaseError` for a log store that cannot be read for
        sure, `SettingsMoved` if `expected` is no longer in force.
        """
        settings, current = self.validate(document), self.current()
        if expected in (None, current.id) and meaning_of(settings) == meaning_of(current.settings):
            return current
        if settings.log_store != current.settings.log_store:
            require_log_store(self.exporter.store_dsn, settings.log_store)
        return self.exporter.settings.apply(settings, author, expected=expected)

    def would_change(self, document: object) -> list[SettingsChange]:
        """What saving settings would change. Raises `SettingsError` as `save` does."""
        settings, current = self.validate(document), self.current().settings
        return changes(current, settings) if meaning_of(settings) != meaning_of(current) else []

    def document(self) -> Document:
        """The settings in force as plain data, the caller's to change."""
        return self.current().settings.as_document()

    def save_admin(
        self, streaming: Data | None, author: str, expected: int | None, more: Document | None = None
    ) -> Snapshot:
        """Replace the admin's setting; `more` is the document it is put into, if not the one in force."""
        return self.save(with_admin(more or self.document(), streaming), author, expected)

    def save_workspace(
        self, workspace_id: int, streaming: Data | None, author: str, expected: int | None, more: Document | None = None
    ) -> Snapshot:
        """Replace a workspace's own setting. Raises `Locked` while the admin setting is on."""
        return self.save(with_workspace(more or self.document(), workspace_id, streaming), author, expected)

    def save_destination(self, name: str, destination: Data | None, author: str, expected: int | None) -> Snapshot:
        """Add, replace or take away a destination."""
        if destination is None and name not in self.current().settings.destinations:
            raise NotThere(f'no destination named "{name}"')
        return self.save(with_destination(self.document(), name, destination), author, expected)

    def restore(self, snapshot_id: int, author: str, expected: int | None) -> Snapshot:
        """Put an earlier version in force again. Raises `NotThere` if there is none."""
        document = self.snapshot(snapshot_id).settings.as_document()
        return self.save(document, f"{author} (version {snapshot_id} again)", expected)

    def as_yaml(self) -> str:
        """The settings in force as `settings.yaml`."""
        return write_yaml(self.document())

    def overridden(self) -> list[Workspace]:
        """Whose own settings the admin setting overrides, or would once it is on."""
        ids = set(overridden(self.current().settings))
        known = {workspace.id: workspace for workspace in self.workspaces()}
        return [known.get(number, Workspace(number)) for number in sorted(ids)]

    # customers

    def workspaces(self) -> list[Workspace]:
        """All workspaces of the log store, as they were a few seconds ago at most."""
        snapshot, now = self.current(), datetime.now(UTC)
        kept = self._workspaces
        if kept is None or kept[0] != snapshot.id or now - kept[1] > timedelta(seconds=WORKSPACES_SECONDS):
            kept = snapshot.id, now, self.exporter.store(snapshot).workspaces()
            self._workspaces = kept
        return kept[2]

    def customers(
        self, query: str = "", sort: str = "id", *, descending: bool = False, offset: int = 0, limit: int = 50,
        condition: str = "",
    ) -> CustomerPage:  # fmt: skip
        """Some of the customers: those whose id, external id, name or destination holds `query`.

        `sort` is one of `SORTS`, `condition` one of `Condition`.
        """
        settings = self.current().settings
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
        statuses = self.overview.statuses(sorted({route.destination for route in routes if route.destination}))
        return [_customer(route, statuses.get(route.destination or "")) for route in routes]

    def customer(self, workspace_id: int) -> Customer:
        """One customer. Raises `NotThere` for a workspace that neither log store nor settings know."""
        settings = self.current().settings
        workspace = next((found for found in self.workspaces() if found.id == workspace_id), None)
        if workspace is None and workspace_id not in settings.own:
            raise NotThere(f"no workspace {workspace_id} is in the log store")
        streaming, reason = route_of(settings.admin, settings.own.get(workspace_id))
        name = streaming.destination if streaming else None
        status = self.overview.statuses([name])[name] if name else None
        return Customer(workspace or Workspace(workspace_id), reason, name, status)

    def customer_deliveries(self, customer: Customer, limit: int = 20) -> list[tuple[DeliverySummary, int]]:
        """The newest deliveries to a customer's destination, with how many of its events each has."""
        if customer.destination is None:
            return []
        found = self.overview.deliveries(DeliveryFilter(destination=customer.destination), limit)
        events = self.overview.events_of(customer.workspace.id, [item.id for item in found])
        return [(item, events.get(item.id, 0)) for item in found]

    # destinations and deliveries

    def statuses(self) -> list[DestinationStatus]:
        """How all destinations stand, by name."""
        names = sorted(self.current().settings.destinations)
        return list(self.overview.statuses(names).values())

    def destinations(
        self, query: str = "", condition: str = "", *, offset: int = 0, limit: int = 50
    ) -> tuple[int, list[NamedDestination]]:
        """How many destinations there are whose name or type holds `query`, and some of them, by name."""
        needle, titles = query.strip().casefold(), {name: kind.title for name, kind in destination_types().items()}
        known = {
            name: titles.get(found.type, found.type) for name, found in self.current().settings.destinations.items()
        }
        names = sorted(name for name, title in known.items() if needle in f"{name}\n{title}".casefold())
        if condition:
            statuses = self.overview.statuses(names)
            names = [name for name in names if statuses[name].condition == condition]
        shown = names[offset : offset + limit]
        statuses = self.overview.statuses(shown)
        return len(names), [NamedDestination(known[name], statuses[name]) for name in shown]

    def check_log_store(self) -> list[Step]:
        """Whether the log store is what it must be, step by step, as `logstream store check` says it. Reads only."""
        return list(check_store(self.exporter.store_dsn, self.current().settings.log_store))

    def check(self, name: str, destination: Data) -> list[Step]:
        """Try a destination out, saved or not. Waits for it, half a minute at most.

        Raises `InputError` for settings that are none, and for a connection that cannot be used.
        """
        kind = str(destination.get("type", ""))
        options = {key: value for key, value in destination.items() if key != "type"}
        try:
            problems = check_options(kind, options)
        except KeyError:
            raise InputError(f'type: there is no destination type "{kind}"') from None
        if problems:
            raise SettingsError([f"{'.'.join(map(str, path))}: {what}" for path, what in problems], name)
        made = make_destination(name, DestinationSettings.model_validate(destination), self._connections)
        steps: list[Step] = []

        async def run() -> None:
            async for step in made.run_check():
                steps.append(step)  # noqa: PERF401 - what was found out is kept when it is stopped

        async def in_time() -> None:
            await asyncio.wait_for(run(), CHECK_SECONDS)

        try:
            asyncio.run(in_time())
        except TimeoutError:
            remedy = "See that the address is right and can be reached from Airflow's api-server."
            steps.append(Step("answers in time", False, f"not within {CHECK_SECONDS:.0f} s", remedy))
        except LogstreamError as error:
            steps.append(Step("connection", False, str(error), "Correct the Airflow connection."))
        except Exception as error:
            logger.exception("the test of destination %s broke off", name)
            remedy = (
                "That is a fault of Logstream or of the destination's plug-in: the api-server's log has the details."
            )
            steps.append(Step("the test ran to its end", False, type(error).__name__, remedy))
        return steps

    def suspend(self, destination: str, author: str) -> None:
        """Hold a destination. Raises `NotThere` if there is none of that name."""
        self._known(destination)
        self.exporter.ledger.suspend(destination, f"suspended by {author}")

    def resume(self, destination: str) -> bool:
        """Take a destination back into service; return whether it was suspended. Raises `NotThere` as `suspend`."""
        self._known(destination)
        return self.exporter.ledger.resume(destination)

    def _known(self, destination: str) -> None:
        if destination not in self.current().settings.destinations:
            raise NotThere(f'no destination named "{destination}"')

    def rejected(self, destination: str | None = None, limit: int = 200) -> list[RejectedEvent]:
        """The dead letters, oldest window first."""
        return self.exporter.ledger.rejected(destination=destination or None, limit=limit)

    def deliveries(self, wanted: DeliveryFilter, limit: int = 50) -> list[DeliverySummary]:
        """The newest deliveries first."""
        return self.overview.deliveries(wanted, limit)

    def losses(self, destination: str | None = None) -> list[Loss]:
        """What is lost, to all destinations or to one, and not acknowledged yet, by window."""
        return self.exporter.ledger.losses(destination or None, open_only=True)

    def acknowledge_losses(self, author: str, destination: str | None, seen: datetime) -> int:
        """Note that a person knows of what was lost up to the time at which they looked; return of how many events."""
        return self.exporter.ledger.acknowledge(author, destination or None, seen)

    def gaps(self) -> list[Window]:
        """Time since streaming began that no run has exported, oldest first."""
        return self.exporter.ledger.coverage().gaps()

    def removed(self) -> list[tuple[Removed, int]]:
        """The destinations that are owed windows and are no longer in the settings, each with how many."""
        owed = self.overview.owed_windows()
        return [(gone, owed[name]) for name, gone in sorted(removed(self.exporter.settings, owed).items())]

    def timeline(self, destination: str | None = None) -> list[Moment]:
        """Volume and lag of the newest windows."""
        return self.overview.timeline(destination=destination)

    # messages

    def preview(
        self,
        setting: Data,
        kind: str,
        *,
        newest: bool = False,
        workspace_id: int | None = None,
        event: Data | None = None,
    ) -> Rendered:
        """Render one event as a setting would: the one given, the newest real one, or a sample. Mistakes are returned.

        Of the setting `message`, `mask` and `events` matter. Raises `SettingsError` for masks or events that are none.
        """
        given = {name: setting[name] for name in ("message", "mask", "events") if setting.get(name)}
        try:
            streaming = Streaming.model_validate(given)
        except ValidationError as error:
            raise SettingsError(explain(error, Streaming), "preview") from None
        for index, path in enumerate(streaming.mask):
            try:
                check_mask(path)
            except ValueError as error:
                raise SettingsError([f"mask[{index}]: {error}"], "preview") from None
        try:
            payload = dumps(event) if event is not None else sample_text(kind).encode()
        except RecursionError:
            return Rendered(error="the event is nested too deeply")
        if len(payload) > PREVIEW_BYTES:
            return Rendered(error=f"the event has {len(payload):,} bytes; up to {PREVIEW_BYTES:,} are previewed")
        stored: Event | None = as_stored(kind, payload, workspace_id)
        if newest:
            stored = self.exporter.store(self.current()).newest(kind, workspace_id, PREVIEW_BYTES)
        if stored is None:
            return Rendered(error="there was no such event in the last day")
        drop_lines = bool(streaming.events) and streaming.selection.drops_lines
        templates = by_kind(streaming.message)
        own = kind if kind in templates else DEFAULT_KIND
        known = [*self.workspaces(), SAMPLE_WORKSPACE] if newest or workspace_id is not None else [SAMPLE_WORKSPACE]
        workspace = next((one for one in known if one.id == stored.workspace_id), None)
        rendered = render_event(templates.get(own), stored, workspace, drop_lines=drop_lines, mask=streaming.mask)
        return replace(rendered, template_of=own if own in templates else None)


def _customer(route: Route, status: DestinationStatus | None = None) -> Customer:
    return Customer(route.workspace, route.reason, route.destination, status)


def meaning_of(settings: Settings) -> tuple[object, ...]:
    """What settings say, however they are written: with every default, in no order."""
    destinations = {name: options_meaning(found) for name, found in settings.destinations.items()}
    own = {number: _streaming_meaning(streaming) for number, streaming in settings.own.items()}
    admin = _streaming_meaning(settings.admin) if settings.admin else None
    told = {item.id: item.notices for item in settings.workspaces if item.notices.to}
    return admin, own, destinations, settings.log_store, settings.notices, told


def _streaming_meaning(streaming: Streaming) -> Streaming:
    sets = {
        name: tuple(sorted(set(getattr(streaming, name)))) for name in ("events", "log_types", "log_levels", "mask")
    }
    return streaming.model_copy(update=sets)


def options_meaning(found: DestinationSettings) -> object:
    """What a destination's options say: with every default."""
    kind = destination_types().get(found.type)
    try:
        return found.type, kind.options_model.model_validate(found.options) if kind else found.options
    except ValidationError:  # stored by a release that allowed it
        return found.type, found.options


def _haystack(route: Route) -> str:
    workspace = route.workspace
    words = (str(workspace.id), workspace.external_id or "", workspace.name or "", route.destination or "")
    return "\n".join(words).casefold()


def named(workspaces: Iterable[Workspace], limit: int = 5) -> str:
    """Some workspaces by name, in a sentence."""
    shown = [workspace.name or workspace.external_id or str(workspace.id) for workspace in workspaces]
    more = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more
