"""Who hears what: every receiver of the settings, and what of the news is for it. Pure.

The receivers of all hear everything. Those of a workspace hear of the destination of its own setting, and only while that
setting is in force; and they hear the bare fact: reasons and numbers may be of other workspaces, which use that destination,
too, or used it before and are still owed something there.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from logstream.ledger.news import Notice, named
from logstream.settings.models import Settings
from logstream.settings.notices import Receiver, Topic, as_data
from logstream.settings.resolution import route_of
from logstream.units import counted

APART = 3
"""Up to so many news of one topic are told one by one; more as one sum."""


@dataclass(frozen=True, slots=True)
class Audience:
    """One who is told. `key` is what the ledger knows it by: who it is and how it is reached, without its topics."""

    key: str
    about: frozenset[Topic] = frozenset()
    receiver: Receiver | None = None
    """How it is reached; `None` for a notifier that the operator has configured outside of the settings."""
    workspace: int | None = None
    destination: str | None = None


def key_of(scope: str, data: object) -> str:
    """The key of an audience: by what its receiver is, wherever that stands in a list. No secret can be read from it."""
    digest = hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()
    return f"{scope}:{digest[:24]}"


def audiences(settings: Settings) -> list[Audience]:
    """Every audience of the settings."""
    found = [
        Audience(key_of("all", as_data(receiver)), frozenset(receiver.about), receiver)
        for receiver in settings.notices.to
    ]
    routes = {number: route_of(settings.admin, own)[0] for number, own in settings.own.items()}
    overridden = settings.admin is not None and settings.admin.enabled
    for item in settings.workspaces:
        route = None if overridden else routes[item.id]
        destination = route.destination if route is not None else None
        for receiver in item.notices.to:
            key = key_of(f"workspace {item.id}", as_data(receiver))
            found.append(Audience(key, frozenset(receiver.about), receiver, item.id, destination))
    return list({audience.key: audience for audience in found}.values())


def heard(audience: Audience, notices: Iterable[Notice]) -> list[Notice]:
    """What of the news an audience is told, in its order; much of one topic as a sum."""
    mine = [notice for notice in notices if not audience.about or notice.topic in audience.about]
    if audience.workspace is None:
        return _summed([notice for notice in mine if notice.workspace is None])
    own = [
        notice
        for notice in mine
        if notice.workspace == audience.workspace
        or (notice.destination is not None and notice.destination == audience.destination)
    ]
    return [replace(notice, detail="") for notice in own]


def _summed(notices: list[Notice]) -> list[Notice]:
    groups: dict[tuple[Topic, bool], list[Notice]] = defaultdict(list)
    for notice in notices:
        if notice.destination is not None:
            groups[notice.topic, notice.cause is None].append(notice)
    told: list[Notice] = []
    for notice in notices:
        alike = groups[notice.topic, notice.cause is None] if notice.destination is not None else []
        if len(alike) <= (APART if notice.cause is None else 1):  # what blocks them is one trouble
            told.append(notice)
        elif alike[0] is notice:
            names = named(one.destination or "" for one in alike)
            excused, why = ("", "") if notice.cause is None else (", and none is at fault", f": {notice.cause}")
            what = f"{counted(len(alike), 'destination')}: {_SUMS[notice.topic]}{excused}"
            told.append(Notice(notice.topic, what, names + why))
    return told


_SUMS = {
    Topic.FAILING: "they are failing",
    Topic.SUSPENDED: "they are suspended",
    Topic.HELD: "they are held",
    Topic.REJECTING: "they refuse events",
    Topic.LAGGING: "they lag behind",
    Topic.LOST: "events are lost to them",
    Topic.CHECK: "they did not pass their daily check",
    Topic.RECOVERED: "troubles have ended",
}


def plain(notice: Notice) -> dict[str, Any]:
    """A notice as plain data, for the ledger and for a webhook's document."""
    return {
        "topic": notice.topic.value,
        "text": str(notice),
        "headline": notice.headline,
        "detail": notice.detail,
        "destination": notice.destination,
    }


def notice_of(document: Mapping[str, Any]) -> Notice:
    """The notice of which `plain` made a document."""
    return Notice(Topic(document["topic"]), document["headline"], document["detail"], document["destination"])
