"""Destinations that the settings no longer have, and what becomes of what they are owed. One that was renamed is the same."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from logstream.export.deployment import Deployment
from logstream.export.seal import seal_written_off
from logstream.ledger.health import Owed
from logstream.ledger.write_offs import WrittenOff, write_off_command
from logstream.settings.repository import SettingsRepository


@dataclass(frozen=True, slots=True)
class Removed:
    """A destination that is not in the settings. `since` is `None` where no settings that are kept ever had it."""

    destination: str
    since: datetime | None

    @property
    def command(self) -> str:
        """The command that writes off what it is owed."""
        return write_off_command(self.destination)

    def __str__(self) -> str:
        when = (
            f"was removed from the settings on {self.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if self.since else None
        )
        return (
            f"destination {self.destination} {when or 'is not in the settings'} (or renamed): put it back, under this name, "
            f"or write off what it is owed: {self.command}"
        )


def removed(settings: SettingsRepository, names: Collection[str]) -> dict[str, Removed]:
    """Those of some destinations that the settings in force do not have."""
    gone = set(names) - settings.current().settings.destinations.keys()
    since = settings.removals(gone) if gone else {}
    return {name: Removed(name, since.get(name)) for name in gone}


def with_removals(settings: SettingsRepository, owed: Collection[Owed]) -> list[Owed]:
    """What is owed, each with the reason why it stays so where its destination was removed."""
    gone = removed(settings, {item.destination for item in owed})
    return [
        replace(item, error=str(gone[item.destination]), removed=True) if item.destination in gone else item
        for item in owed
    ]


def write_off(deployment: Deployment, destination: str, by: str, note: str) -> WrittenOff:
    """End what a destination is owed without delivering it: it is counted as lost, with who decided that, and why.

    What it had got before stays, and is proved by its manifest like that of any other delivery. What a run plans again at the
    same time is that run's, and not written off.
    """
    return seal_written_off(deployment, deployment.ledger.write_off(destination, by, note))
