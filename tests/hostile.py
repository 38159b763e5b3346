"""Events as a hostile, or a broken, platform would write them: made ones, of both shapes, with fields missing and wrong."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from logstream.events import EPOCH, Event, Kind
from logstream.settings.resolution import Workspace
from logstream.testing.events import EventMaker

RECORDED = datetime(2026, 3, 1, 12, 0, 1, 250_000, tzinfo=UTC)

WORKSPACES = [
    Workspace(40_417, "acme-1", "Acme, Corp", "customer"),
    Workspace(40_418, None, None, "customer"),
    Workspace(40_419, "a,b\tc\n\u2028d:" + "x" * 300, '"quoted" \\ 李小龙', "customer"),
]

TIMES = [
    RECORDED - timedelta(seconds=1), RECORDED + timedelta(hours=23), RECORDED + timedelta(days=2), datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
]  # fmt: skip
"""What the log store may say of when an event occurred."""

FROM_API: dict[str, Any] = {
    "id": 1, "timestamp": "2019-09-13T17:24:16Z", "event_type": "user.login", "details": {"request": {"ip_address": "::1"}},
    "workspace": {"id": 9, "name": "Acme", "email": None, "environment": "prod"}, "resource": {"type": "User", "id": 3, "name": "Z"},
    "user": {"id": 3, "name": "Zoë", "email": "zoe@example.com"},
}  # fmt: skip
SUMMARY: dict[str, Any] = {
    "id": 100, "recipe_id": 5, "is_error": True, "completed_at": "2026-03-01T12:00:00Z", "error": "boom", "title": "T",
}  # fmt: skip
"""The other shapes: as the platform's API gives them."""

WRONG: list[Any] = [
    None, True, False, 0, -1, 7, 10**40, -(2**63), 1.5, 1e308, "", " ", "x", "7", "user_login", "failed", "GET", "patch", "\x00\x1f\u2028",
    '"}{"', "\ud800", "x" * 5_000, "{", '{"message": {"a": 1}}', "[" * 50, "::1", "fe80::1%eth0", "999.1.1.1", "a@b", "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00+14:00", "2019-09-13 17:24:16 UTC", [], {}, [None], [[1]], {"": {"": ""}}, {"id": {"id": []}}, {"name": "\udfff"},
    "fatal", "WARNING", 99, 299, 418, 599, 600, "deleted", "member_removed", "recipe_started", "ddsource", "@timestamp", "TimeGenerated",
]  # fmt: skip

DOCUMENTS: list[Any] = [
    {},
    [],
    [1],
    7,
    -0.0,
    "text",
    None,
    True,
    {"event": None},
    {"@timestamp": 1, "ddsource": [], "TimeGenerated": {}},
]


def hostile_events(kind: str, count: int, seed: int) -> Iterator[tuple[Event, Workspace]]:
    """That many events of a kind, each with its workspace. The same seed gives the same."""
    chance = random.Random(f"{kind}-{seed}")
    for number in range(count):
        workspace = chance.choice(WORKSPACES)
        payload = json.dumps(_document(kind, workspace, chance), indent=chance.choice([None, None, 1])).encode()
        occurred, recorded = (
            (moment - EPOCH) // timedelta(microseconds=1) for moment in (chance.choice(TIMES), RECORDED)
        )
        yield Event(number + 1, workspace.id, kind, occurred, recorded, payload), workspace


def _document(kind: str, workspace: Workspace, chance: random.Random) -> Any:
    if chance.random() < 0.05:
        return chance.choice(DOCUMENTS)
    document = EventMaker([workspace], seed=chance.randrange(10**6)).payload(kind, workspace, RECORDED)
    if kind == Kind.USER_ACTIVITY and chance.random() < 0.4:
        document = json.loads(json.dumps(FROM_API))
    if kind == Kind.JOB and chance.random() < 0.3:
        document = json.loads(json.dumps(SUMMARY))
    for _ in range(chance.randrange(6)):
        _spoil(document, chance)
    return document


def _spoil(document: dict[str, Any], chance: random.Random) -> None:
    holder = document
    while True:
        inner = [value for value in holder.values() if isinstance(value, dict) and value]
        if not inner or chance.random() < 0.5:
            break
        holder = chance.choice(inner)
    if not holder:
        return
    name = chance.choice(list(holder))
    if chance.random() < 0.3:
        del holder[name]
    elif chance.random() < 0.2:
        holder[chance.choice(["type", "name", "id", "", "a.b", "event", "message"])] = holder.pop(name)
    else:
        holder[name] = chance.choice(WRONG)
