"""Cutting a world down: what of a script can be left out, and it still goes wrong in the same way?

Delta debugging (Zeller) over the list of happenings, then over the rows, blows, faults and workspaces within them, until nothing
more can go. Threads race, so a script that is bad may be well once: what is left out stays out only if what is left is bad.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from tests.simulation.script import Apply, Happening, Insert, Run, Script, Tick, Weather

T = TypeVar("T")

Live = Callable[[Script], list[str]]
"""Lets a world happen; returns what was wrong with it."""


def kind_of(wrong: Sequence[str]) -> set[str]:
    """What went wrong, without the names and numbers that are another world's."""
    return {re.sub(r"\{.*|\[.*|'[^']*'|[a-z]+-\d+|(lake|bucket|hook|splunk)\b|\d+", "#", line)[:60] for line in wrong}


class Shrinker:
    """Shrinks the script of a world that went wrong, by letting at most `most` others happen."""

    def __init__(self, live: Live, wrong: Sequence[str], most: int = 150) -> None:
        self._live, self._kinds, self._left = live, kind_of(wrong), most
        self.wrong = list(wrong)
        """What is wrong in the smallest world so far."""

    def shrink(self, script: Script) -> Script:
        """The smallest script found that goes wrong in the same way."""
        size = -1
        while size != (size := _size(script)) and self._left > 0:
            script = self._happenings(script)
            script = self._workspaces(script)
            script = self._parts(script)
        return script

    def _is_bad(self, script: Script) -> bool:
        if self._left <= 0:
            return False
        self._left -= 1
        try:
            wrong = self._live(script)
        except Exception as error:  # a script that has become impossible is not the one that is looked for
            wrong = [f"broke: {error!r}"]
        if self._kinds & kind_of(wrong):
            self.wrong = wrong
            return True
        return False

    def _happenings(self, script: Script) -> Script:
        first, rest = (
            script.happenings[:1],
            script.happenings[1:],
        )  # the first settings stay: without any, nothing streams
        kept = self._reduced(rest, lambda left: replace(script, happenings=(*first, *left)))
        return replace(script, happenings=(*first, *kept))

    def _workspaces(self, script: Script) -> Script:
        """Leave out workspaces, with their rows and settings."""
        kept = self._reduced(script.workspaces, lambda left: _of_workspaces(script, set(left)))
        return _of_workspaces(script, set(kept))

    def _parts(self, script: Script) -> Script:
        """Leave out parts of happenings: rows, blows, faults, that it is doubled."""
        for index in range(len(script.happenings)):
            script = self._part(script, partial(_with, script, index), script.happenings[index])
        return script

    def _part(self, script: Script, with_it: Callable[[Happening], Script], happening: Happening) -> Script:
        match happening:
            case Insert(rows):
                found = self._reduced(rows, lambda left: with_it(replace(happening, rows=tuple(left))))
                return with_it(replace(happening, rows=tuple(found)))
            case Weather(faults=faults) if faults:
                less = self._reduced(faults, lambda left: with_it(replace(happening, faults=tuple(left))))
                return with_it(replace(happening, faults=tuple(less)))
            case Run(blows=blows):
                fewer = self._reduced(blows, lambda left: with_it(replace(happening, blows=tuple(left))))
                run = replace(happening, blows=tuple(fewer))
                for simpler in (replace(run, doubled=False), replace(run, meanwhile=())):
                    if simpler != run and self._is_bad(with_it(simpler)):
                        run = simpler
                return with_it(run)
        return script

    def _reduced(self, items: Sequence[T], script_with: Callable[[Sequence[T]], Script]) -> Sequence[T]:
        """Delta debugging: leave out all, halves, quarters and so on down to single items."""
        step = len(items)
        while step >= 1 and items and self._left > 0:
            start = 0
            while start < len(items) and self._left > 0:
                left = [*items[:start], *items[start + step :]]
                if self._is_bad(script_with(left)):
                    items = left
                else:
                    start += step
            step //= 2
        return items


def _with(script: Script, index: int, changed: Happening) -> Script:
    happenings = list(script.happenings)
    happenings[index] = changed
    return replace(script, happenings=tuple(happenings))


def _size(script: Script) -> int:
    rows = sum(1 for _ in script.rows())
    blows = sum(len(item.blows) for item in script.happenings if isinstance(item, Run))
    faults = sum(len(item.faults) for item in script.happenings if isinstance(item, Weather))
    return len(script.happenings) + len(script.workspaces) + rows + blows + faults


def _of_workspaces(script: Script, kept: set[int]) -> Script:
    def without(happening: Happening) -> Happening:
        match happening:
            case Insert(rows):
                return replace(happening, rows=tuple(row for row in rows if row.workspace in kept))
            case Run(meanwhile=rows) if rows:
                return replace(happening, meanwhile=tuple(row for row in rows if row.workspace in kept))
            case Apply(document):
                own = [item for item in document["workspaces"] if item["id"] in kept]
                return replace(happening, document={**document, "workspaces": own})
            case _:
                return happening

    workspaces = tuple(number for number in script.workspaces if number in kept)
    return replace(script, workspaces=workspaces, happenings=tuple(map(without, script.happenings)))


def story(script: Script) -> Iterator[str]:
    """What happens in a script, a line for each happening that is one: windows that merely begin are told with the next."""
    begun: Tick | None = None
    for happening in script.happenings:
        if isinstance(happening, Tick):
            begun = happening
            continue
        if begun is not None:
            yield f"{begun}:"
            begun = None
        yield f"  {happening}" if not isinstance(happening, Apply) else f"  {happening}{_streams(happening)}"


def _streams(happening: Apply) -> str:
    """Who streams where, if that can be said in a line."""
    document = happening.document
    admin = document.get("admin")
    if admin and admin["enabled"]:
        return f" (all to {admin['destination']})"
    own = [
        f"{item['id']} to {item['streaming']['destination']}"
        for item in document["workspaces"]
        if item["streaming"]["enabled"]
    ]
    return f" ({', '.join(own)})" if len(own) <= 4 else f" ({len(own)} workspaces stream)"
