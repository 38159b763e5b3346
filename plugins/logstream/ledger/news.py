"""What people should hear of: what has changed since they were told last. Pure rules; `ledger/notices.py` keeps what was told.

The words are those of `ledger/condition.py`. Nothing is told twice: a trouble is told when it begins and when it has ended, a
growing one again when it has doubled. Where a trouble begins at one limit it ends at a lower one, so that what hovers about
a limit is told once.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from logstream.ledger.condition import REJECTING_SHARE, Condition, DestinationStatus
from logstream.ledger.status import Status
from logstream.settings.models import Settings
from logstream.settings.notices import Topic
from logstream.units import counted

ALL = ""
"""The subject of what is told of the whole deployment: no destination has this name."""

TEXT_CHARACTERS = 400
"""As much is told of what a receiver has answered."""

NAMED = 5
"""So many destinations a sum names."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One piece of news. `str()` is it in words, for notifiers' templates.

    `detail` is what is known beside the bare fact: numbers, reasons, others' answers. `workspace` is the one that alone is told.
    `cause` is what blocks a destination that is not at fault: one trouble, however many destinations it blocks.
    """

    topic: Topic
    headline: str
    detail: str = ""
    destination: str | None = None
    workspace: int | None = None
    cause: str | None = None

    def __str__(self) -> str:
        return f"{self.headline}: {self.detail}" if self.detail else self.headline


@dataclass(frozen=True, slots=True)
class Told:
    """What was told of one subject last: its troubles, and how large those were that are told again when they grow."""

    troubles: frozenset[Topic] = frozenset()
    rejected_share: float = 0.0
    lost: int = 0
    settings: int | None = None
    """Of the whole deployment: the settings of which was told, or that were in force when people were first told."""

    def as_json(self) -> dict[str, object]:
        """Plain data for the ledger."""
        troubles = sorted(self.troubles)
        return {
            "troubles": troubles,
            "rejected_share": self.rejected_share,
            "lost": self.lost,
            "settings": self.settings,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Told:
        """What `as_json` gave. A topic that this version does not know is forgotten."""
        troubles = frozenset(Topic(topic) for topic in data["troubles"] if topic in {*Topic})
        return cls(troubles, data["rejected_share"], data["lost"], data["settings"])


Known = Mapping[str, Told]


@dataclass(frozen=True, slots=True)
class News:
    """What is to be told, and what will then have been told, by subject."""

    notices: list[Notice] = field(default_factory=list)
    told: dict[str, Told] = field(default_factory=dict)


def news(before: Known, now: Status, checks: Mapping[str, str], lag_limit: timedelta) -> News:
    """Compare what was told with how all stands. `checks` says why the last daily check of some destinations failed.

    `lag_limit` is the age beyond the schedule's interval from which on what a destination has not got is told of.
    """
    found = News()
    for status in now.destinations:
        known = before.get(status.name, Told())
        after = Told(
            frozenset(_troubles(status, known, checks, lag_limit)),
            _share_told(status, known),
            status.lost,
        )
        found.told[status.name] = after
        found.notices.extend(_of_destination(status, known, after, checks))
    found.told[ALL], notices = _of_gaps(before.get(ALL, Told()), now)
    found.notices.extend(notices)
    return found


def _troubles(
    status: DestinationStatus, known: Told, checks: Mapping[str, str], lag_limit: timedelta
) -> Iterable[Topic]:
    health = status.health
    if health.held:
        yield Topic.HELD
    elif health.suspended:
        yield Topic.SUSPENDED
    elif health.failures:
        yield Topic.FAILING
    limit = REJECTING_SHARE / 2 if Topic.REJECTING in known.troubles else REJECTING_SHARE
    if status.rejected_share >= limit:
        yield Topic.REJECTING
    # what it has not got since the last window is no lag: that of a daily window is a day old when it is due
    behind = (status.lag or timedelta()) - (status.step or timedelta())
    if behind > (lag_limit / 2 if Topic.LAGGING in known.troubles else lag_limit):
        yield Topic.LAGGING
    if status.name in checks and not health.held:
        yield Topic.CHECK


def _share_told(status: DestinationStatus, known: Told) -> float:
    """The share that was told last. One that fell below half of that may be told of when it grows again."""
    share = status.rejected_share
    if known.rejected_share / 2 < share < known.rejected_share * 2:
        return known.rejected_share
    return share if share >= REJECTING_SHARE / 2 else 0.0


def _of_destination(status: DestinationStatus, known: Told, after: Told, checks: Mapping[str, str]) -> Iterable[Notice]:
    name = status.name
    grown = after.rejected_share > known.rejected_share and Topic.REJECTING in known.troubles
    for topic in sorted(after.troubles):
        if topic not in known.troubles or (topic is Topic.REJECTING and grown):
            blocked = topic is Topic.LAGGING and status.condition is Condition.BLOCKED
            cause = clean(status.blocked or "") if blocked else None
            detail = _detail(topic, status, checks) + (f"; it is not at fault: {cause}" if blocked else "")
            yield Notice(topic, f"destination {name} {_BEGINS[topic]}", detail, name, cause=cause)
    if after.lost > known.lost:
        detail = f"{counted(after.lost - known.lost, 'event')} the log store no longer had at the time of delivery"
        yield Notice(Topic.LOST, f"events are lost to destination {name}", detail, name)
    ended = _ended(known.troubles, after.troubles)
    if ended:
        which = ", ".join(sorted(_PAST[topic] for topic in ended))
        owed = f"it is owed {counted(status.owed, 'window')}, to follow oldest first" if status.owed else ""
        yield Notice(Topic.RECOVERED, f"destination {name} {which}", owed, name)


_BEGINS = {
    Topic.FAILING: "is failing",
    Topic.SUSPENDED: "is suspended",
    Topic.HELD: "is held",
    Topic.REJECTING: "refuses events",
    Topic.LAGGING: "lags behind",
    Topic.CHECK: "did not pass its daily check",
}
_PAST = {
    Topic.FAILING: "fails no more",
    Topic.SUSPENDED: "is back",
    Topic.HELD: "is resumed",
    Topic.REJECTING: "takes all events again",
    Topic.LAGGING: "has caught up",
    Topic.CHECK: "passes its check again",
}
_AWAY = frozenset({Topic.FAILING, Topic.SUSPENDED, Topic.HELD})
"""One trouble in three degrees: another degree is no recovery."""


def _ended(before: Collection[Topic], after: Collection[Topic]) -> list[Topic]:
    gone = {*before} - {*after}
    return [topic for topic in gone if topic not in _AWAY or not _AWAY & {*after}]


def _detail(topic: Topic, status: DestinationStatus, checks: Mapping[str, str]) -> str:
    if topic is Topic.HELD:
        return clean(status.health.error or "")
    if topic is Topic.REJECTING:
        return f"{status.rejected_share:.0%} of its newest ones, kept as dead letters"
    if topic is Topic.LAGGING:
        since = min(at for at in (status.owed_since, status.gaps.since) if at is not None)
        return f"it has not got everything since {since:%Y-%m-%d %H:%M} UTC"
    if topic is Topic.CHECK:
        return clean(checks[status.name])
    owed = f"; it is owed {counted(status.owed, 'window')}" if status.owed else ""
    return clean(status.health.error or status.error or "its last window was not delivered") + owed


def _of_gaps(known: Told, now: Status) -> tuple[Told, list[Notice]]:
    gaps, told = now.gaps, Topic.GAPS in known.troubles
    moving = any(status.condition is Condition.CATCHING_UP for status in now.destinations)
    if gaps.windows and gaps.since is not None and not moving and not told:
        what = f"no run has exported {counted(gaps.windows, 'window')} since {gaps.since:%Y-%m-%d %H:%M} UTC"
        return replace(known, troubles=frozenset({Topic.GAPS})), [Notice(Topic.GAPS, what, Condition.GAPS.remedy)]
    if told and not gaps.windows:
        what = "there are no gaps any more: runs have exported all time that was due"
        return replace(known, troubles=frozenset()), [Notice(Topic.RECOVERED, what)]
    return known, []


def settings_news(before: Settings, after: Settings, author: str | None) -> list[Notice]:
    """What is told of a change of the settings: of all of it, and to each workspace of its own setting and destination."""
    by = f" by {clean(author, 100)}" if author else ""
    own = {*before.own, *after.own}
    changed = sorted(number for number in own if before.own.get(number) != after.own.get(number))
    names = {*before.destinations, *after.destinations}
    moved = sorted(name for name in names if before.destinations.get(name) != after.destinations.get(name))
    parts = [
        "that of the administrator" if before.admin != after.admin else "",
        f"{counted(len(changed), 'workspace')} ({named(map(str, changed))})" if changed else "",
        f"{counted(len(moved), 'destination')} ({named(moved)})" if moved else "",
        "the log store" if before.log_store != after.log_store else "",
        "who is told of news" if before.receivers() != after.receivers() or before.notices != after.notices else "",
    ]
    if not any(parts):
        return []
    notices = [Notice(Topic.SETTINGS, f"the settings were changed{by}", ", ".join(filter(None, parts)))]
    for number in sorted(own):
        streaming = after.own.get(number)
        if number in changed:
            notices.append(Notice(Topic.SETTINGS, f"the setting of workspace {number} was changed", workspace=number))
        elif streaming is not None and streaming.destination in moved:
            what = f"destination {streaming.destination} of workspace {number} was changed"
            notices.append(Notice(Topic.SETTINGS, what, workspace=number))
    return notices


def named(names: Iterable[str]) -> str:
    """Some names in a sentence, of many the first few."""
    found = list(names)
    more = f" and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
    return ", ".join(found[:NAMED]) + more


def clean(text: str, most: int = TEXT_CHARACTERS) -> str:
    """Others' text for a chat, a mail or a log: one line, cut, without signs that those obey.

    Control and formatting characters (Unicode's categories C and Z: line ends, marks that turn the direction of writing)
    become spaces. Pointed brackets are what HTML and Slack's mentions (`<!channel>`) are made of: they become other signs.
    """
    plain = "".join(" " if unicodedata.category(sign)[0] in "CZ" else sign for sign in text[: 10 * most])
    plain = re.sub(" +", " ", plain).strip().replace("<", "\u2039").replace(">", "\u203a")
    return plain if len(plain) <= most else plain[: most - 3].rstrip() + "..."
