"""Edits of the settings as plain data. What they make is validated whole when it is saved."""

from __future__ import annotations

from typing import Any

from logstream.errors import InputError
from logstream.settings.models import Settings

Document = dict[str, Any]
Data = dict[str, Any]


class Locked(InputError):
    """A workspace's own setting cannot be edited while the admin setting applies to every workspace."""

    def __init__(self) -> None:
        super().__init__(
            "the admin setting is on and applies to every workspace, so a workspace's own setting cannot be edited; "
            "switch the admin setting off first"
        )


def with_admin(document: Document, streaming: Data | None) -> Document:
    """The admin's setting, replaced or (`None`) taken away."""
    rest = {key: value for key, value in document.items() if key != "admin"}
    if streaming is None:
        return rest
    version = {"version": rest.pop("version")} if "version" in rest else {}
    return {**version, "admin": streaming, **rest}


def with_workspace(document: Document, workspace_id: int, streaming: Data | None) -> Document:
    """A workspace's own setting, replaced or (`None`) taken away. Raises `Locked` while the admin setting is on."""
    if (document.get("admin") or {}).get("enabled"):
        raise Locked
    workspaces = list(document.get("workspaces", ()))
    place = next((index for index, item in enumerate(workspaces) if item["id"] == workspace_id), None)
    # who is told of its destination is no part of the form, and stays
    rest = {} if place is None else {key: value for key, value in workspaces[place].items() if key == "notices"}
    own = {} if streaming is None else {"streaming": streaming}
    new = [{"id": workspace_id, **own, **rest}] if own or rest else []
    if place is None:
        workspaces += new
    else:
        workspaces[place : place + 1] = new
    return {**document, "workspaces": workspaces}


def with_notices(document: Document, workspace_id: int | None, notices: Data) -> Document:
    """Who is told of all, or (with an id) of the destination of a workspace's own setting; with nothing in them, taken away."""
    given = {name: value for name, value in notices.items() if value}
    if workspace_id is None:
        rest = {key: value for key, value in document.items() if key != "notices"}
        return {**rest, "notices": given} if given else rest
    workspaces = [dict(item) for item in document.get("workspaces", ())]
    place = next((item for item in workspaces if item["id"] == workspace_id), None)
    if place is None and given:
        workspaces.append({"id": workspace_id, "notices": given})
    elif place is not None:
        place.pop("notices", None)
        place.update({"notices": given} if given else {})
    return {
        **document,
        "workspaces": [item for item in workspaces if item.keys() != {"id"} or item["id"] != workspace_id],
    }


def with_destination(document: Document, name: str, destination: Data | None) -> Document:
    """A destination, added, replaced or (`None`) taken away."""
    destinations = dict(document.get("destinations") or {})
    if destination is None:
        destinations.pop(name, None)
    else:
        destinations[name] = destination
    return {**document, "destinations": destinations}


def users_of(settings: Settings, destination: str) -> tuple[bool, list[int]]:
    """Who streams to a destination: whether the admin's setting does, and the ids of workspaces whose own one does."""
    admin = settings.admin is not None and settings.admin.destination == destination
    own = [item.id for item in settings.workspaces if item.streaming.destination == destination]
    return admin, own
