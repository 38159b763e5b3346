"""Destinations: how they stand, tests, suspension."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from logstream.console.service.audit import AuditService
from logstream.console.service.meaning import options_meaning
from logstream.console.service.settings import SettingsService
from logstream.control.audit import Act, Actor
from logstream.destinations import check_options, destination_types
from logstream.destinations.base import Destination, Step
from logstream.destinations.credentials import Connections
from logstream.destinations.file import ROOTS, FileDestination, allowed_roots, why_not_allowed
from logstream.destinations.registry import make_destination
from logstream.errors import InputError, LogstreamError, NotThere, SettingsError
from logstream.export.exporter import Exporter
from logstream.ledger.condition import DestinationStatus
from logstream.ledger.notices import Notices
from logstream.ledger.overview import Overview
from logstream.settings.edits import Data
from logstream.settings.models import DestinationSettings
from logstream.threads import within

logger = logging.getLogger(__name__)

CHECK_SECONDS = 30.0
"""How long trying a destination out may take."""


@dataclass(frozen=True, slots=True)
class NamedDestination:
    """A destination as the list shows it: its type in words, and how it stands."""

    title: str
    status: DestinationStatus


class DestinationService:
    """Looks at destinations, tries them out and holds them. Safe to use from several threads."""

    def __init__(
        self,
        exporter: Exporter,
        overview: Overview,
        settings: SettingsService,
        connections: Connections,
        audit: AuditService,
    ) -> None:
        self._exporter, self._overview, self._settings = exporter, overview, settings
        self._connections, self._audit = connections, audit

    def statuses(self) -> list[DestinationStatus]:
        """How all destinations stand, by name."""
        names = sorted(self._settings.current().settings.destinations)
        return list(self._overview.statuses(names).values())

    def page(
        self, query: str = "", condition: str = "", *, offset: int = 0, limit: int = 50
    ) -> tuple[int, list[NamedDestination]]:
        """How many destinations there are whose name or type holds `query`, and some of them, by name."""
        needle, titles = query.strip().casefold(), {name: kind.title for name, kind in destination_types().items()}
        known = {
            name: titles.get(found.type, found.type)
            for name, found in self._settings.current().settings.destinations.items()
        }
        names = sorted(name for name, title in known.items() if needle in f"{name}\n{title}".casefold())
        if condition:
            statuses = self._overview.statuses(names)
            names = [name for name in names if statuses[name].condition == condition]
        shown = names[offset : offset + limit]
        statuses = self._overview.statuses(shown)
        return len(names), [NamedDestination(known[name], statuses[name]) for name in shown]

    def check(self, name: str, destination: Data, by: Actor) -> list[Step]:
        """Try a destination out, saved or not, and keep who did. Waits for it, half a minute at most.

        Of one that is saved as it is tried out, the outcome takes the place of its last daily check's.

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
        settings = DestinationSettings.model_validate(destination)
        steps = _try_out(name, make_destination(name, settings, self._connections))
        stored = self._settings.current().settings.destinations.get(name)
        if stored and options_meaning(stored) == options_meaning(settings):
            failed = next((str(step) for step in steps if not step.ok), None)
            Notices(self._exporter.engine).note_check(name, failed)
        passed = bool(steps) and all(step.ok for step in steps)
        self._audit.record(Act.DESTINATION_TESTED, by, name, type=kind, passed=passed)
        return steps

    def hold(self, destination: str, by: Actor) -> None:
        """Hold a destination. Raises `NotThere` if there is none of that name."""
        self._known(destination)
        self._exporter.ledger.suspend(destination, f"held by {by.name}")
        self._audit.record(Act.DESTINATION_HELD, by, destination)

    def resume(self, destination: str, by: Actor) -> bool:
        """Take a destination back into service; return whether it was held or suspended. Raises `NotThere` as `hold`."""
        self._known(destination)
        was = self._exporter.ledger.resume(destination)
        self._audit.record(Act.DESTINATION_RESUMED, by, destination)
        return was

    def _known(self, destination: str) -> None:
        if destination not in self._settings.current().settings.destinations:
            raise NotThere(f'no destination named "{destination}"')


def _try_out(name: str, made: Destination[Any]) -> list[Step]:
    steps: list[Step] = []

    async def run() -> None:
        async for step in made.run_check():
            steps.append(step)  # noqa: PERF401 - what was found out is kept when it is stopped

    async def in_time() -> None:
        await within(CHECK_SECONDS, run())

    try:
        asyncio.run(in_time())
    except TimeoutError:
        remedy = "See that the address is right and can be reached from Airflow's api-server."
        steps.append(Step("answers in time", False, f"not within {CHECK_SECONDS:.0f} s", remedy))
    except LogstreamError as error:
        steps.append(_not_opened(made, error))
    except Exception as error:
        logger.error("the test of destination %s broke off\n%s", name, made.secrets.traceback(error))  # noqa: TRY400 - masked
        remedy = "That is a fault of Logstream or of the destination's plug-in: the api-server's log has the details."
        steps.append(Step("the test ran to its end", False, type(error).__name__, remedy))
    return steps


def _not_opened(made: Destination[Any], error: LogstreamError) -> Step:
    """What failed before anything could be tried: mostly it is the connection, but not every type has one."""
    if made.connection_type:
        return Step("connection", False, str(error), "Correct the Airflow connection.")
    if isinstance(made, FileDestination) and why_not_allowed(made.options.path):
        folders = ", ".join(map(str, allowed_roots()))
        remedy = (
            f"An operator allows folders by `{ROOTS}`, of the api-server and of every worker, with colons between. "
            f"Allowed are those below {folders}."
        )
        return Step("folder", False, f"{made.options.path} is not below a folder that the operator allows", remedy)
    return Step("options", False, str(error), "Correct the destination's options.")
