"""Destinations that could write the same object: each pair is found from the settings, before anything is exported.

What one of them wrote the other would replace, and both would be sealed as complete. It does not matter whether their
workspaces differ today: a workspace's destination may change, and the admin setting sends all workspaces to one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from logstream.destinations.credentials import Connections
from logstream.destinations.objects import ObjectDestination
from logstream.destinations.registry import make_destination
from logstream.destinations.transport.pattern_index import PatternIndex
from logstream.errors import InputError
from logstream.settings.models import DestinationSettings

Pair = tuple[ObjectDestination[Any], ObjectDestination[Any]]


def overlaps(
    settings: Mapping[str, DestinationSettings], connections: Connections | None
) -> Iterator[tuple[tuple[str, str], str]]:
    """Which destinations could write an object that another could write, too: ((name, option), what is wrong).

    Both are named, and what is wrong tells the other. Connections are read only where it depends on them; without
    `connections`, or where one cannot be read, those that may be of one server are taken to be.
    """
    by_container: dict[tuple[str, str], list[ObjectDestination[Any]]] = defaultdict(list)
    for name, stored in settings.items():
        try:
            made = make_destination(name, stored, _Unread() if connections is None else connections)
        except InputError:  # its options are wrong, which is said elsewhere
            continue
        if isinstance(made, ObjectDestination):
            by_container[made.container].append(made)
    told: set[str] = set()
    for group in by_container.values():
        for pair in _pairs(group):
            for one, other in (pair, pair[::-1]):
                if one.name not in told:
                    told.add(one.name)
                    yield (one.name, one.place_option), _what(one, other)


def _what(one: ObjectDestination[Any], other: ObjectDestination[Any]) -> str:
    kind = "folder" if one.place_option == "path" else "prefix"
    return (
        f"{one.name} and {other.name} could write the same objects in {one.place}, and replace each other's: give one of them "
        f"a {kind} of its own, or write {{destination}} into `key` of both"
    )


def _pairs(group: Sequence[ObjectDestination[Any]]) -> list[Pair]:
    """Destinations of one container with the first one before them that could write one of their keys."""
    found = _same_keys(group)
    several = {_connection(one): one for one in group}
    if not found or len(several) == 1:
        return found
    servers = {connection: _server(one) for connection, one in several.items()}
    pairs: list[Pair] = []
    for server in sorted({name for name in servers.values() if name is not None}):
        there = {connection[0] for connection, name in servers.items() if name == server}
        # one whose server is not known may be of any that its kind is at
        pairs += _same_keys([one for one in group if servers[_connection(one)] in (server, None) and one.type in there])
    known = {connection[0] for connection, name in servers.items() if name is not None}
    for kind in sorted({connection[0] for connection in servers} - known):
        pairs += _same_keys([one for one in group if one.type == kind])
    return pairs


def _same_keys(group: Sequence[ObjectDestination[Any]]) -> list[Pair]:
    index, by_name = PatternIndex(), {one.name: one for one in group}
    found: list[Pair] = []
    # a plug-in that says itself what its keys are like may have some that are not below its root
    told_by_roots = all(type(one).patterns is ObjectDestination.patterns for one in group)
    beside_others = _beside_others([one.root for one in group]) if told_by_roots else set()
    for one in group:
        if told_by_roots and one.root not in beside_others:
            continue
        patterns = one.patterns()
        other = next((name for pattern in patterns if (name := index.find(pattern)) is not None), None)
        if other is not None:
            found.append((one, by_name[other]))
        for pattern in patterns:
            index.add(pattern, one.name)
    return found


def _beside_others(roots: Sequence[str]) -> set[str]:
    """Those of some texts that begin another one of them, or begin with one: only below these can two have a key in common.

    Thousands of customers with a prefix each are told apart by this, without a look at what their keys are like.
    """
    found: set[str] = set()
    shortest: str | None = None
    for root in sorted(roots):
        if shortest is not None and root.startswith(shortest):
            found |= {shortest, root}
        else:
            shortest = root
    return found


def _connection(one: ObjectDestination[Any]) -> tuple[str, str]:
    return one.type, str(getattr(one.options, "connection", ""))


def _server(one: ObjectDestination[Any]) -> str | None:
    """Whose container it is; `None` where that cannot be told here: the connection may be made later, or elsewhere."""
    try:
        return one.server()
    except Exception:
        return None


class _Unread:
    """Connections that are not to be read."""

    def __getattr__(self, name: str) -> Any:
        raise InputError("connections are not read here")
