"""Who gets what: the rule that must never be wrong. Pure functions over plain data.

1. Admin settings configured and enabled apply to every workspace, the OEM admin workspace included.
2. Otherwise each workspace's own settings apply; a workspace without enabled settings streams nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from logstream.settings.models import Settings, Streaming


@dataclass(frozen=True, slots=True)
class Workspace:
    """A customer's account (`role: customer`) or the partner's own (`role: admin`)."""

    id: int
    external_id: str | None = None
    name: str | None = None
    role: str = "customer"


class Reason(StrEnum):
    """Why a workspace has the route it has."""

    ADMIN_OVERRIDE = "admin override: the Admin console's setting applies to every workspace"
    OWN = "own setting: no admin setting is enabled"
    OWN_DISABLED = "streams nothing: its own setting is not enabled"
    NOT_SET = "streams nothing: it has no setting of its own, and no admin setting is enabled"


@dataclass(frozen=True, slots=True)
class Route:
    """The outcome for one workspace: which setting applies (`None`: nothing is streamed), and why."""

    workspace: Workspace
    streaming: Streaming | None
    reason: Reason

    @property
    def destination(self) -> str | None:
        """The name of the destination, `None` if nothing is streamed."""
        return self.streaming.destination if self.streaming else None


def route_of(admin: Streaming | None, own: Streaming | None) -> tuple[Streaming | None, Reason]:
    """Apply the rule to one workspace. This is the only place where it is decided."""
    if admin is not None and admin.enabled:
        return admin, Reason.ADMIN_OVERRIDE
    if own is None:
        return None, Reason.NOT_SET
    if not own.enabled:
        return None, Reason.OWN_DISABLED
    return own, Reason.OWN


def resolve(settings: Settings, workspaces: Iterable[Workspace]) -> list[Route]:
    """The route of every workspace, in the order given."""
    own = settings.own
    return [Route(workspace, *route_of(settings.admin, own.get(workspace.id))) for workspace in workspaces]


def overridden(settings: Settings) -> list[int]:
    """The ids of workspaces whose own enabled setting the admin setting overrides (or would, once enabled)."""
    return [workspace.id for workspace in settings.workspaces if workspace.streaming.enabled]


def streamings_of(settings: Settings, workspaces: Iterable[int]) -> dict[int, Streaming]:
    """The setting that applies to each of some workspaces, those that stream nothing left out."""
    own = settings.own
    found = {workspace: route_of(settings.admin, own.get(workspace))[0] for workspace in workspaces}
    return {workspace: streaming for workspace, streaming in found.items() if streaming is not None}
