"""The verdict on a world: what is seen in the end against what the model says. Each check quotes the sentence that it holds to."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from tests.simulation.late import Late
from tests.simulation.model import (
    Model,
    Place,
    Seen,
    is_refused,
    message_of,
    route_of,
    streaming_of,
)
from tests.simulation.receivers import number_of, plain
from tests.simulation.script import Document, Row, Span, keeps_objects


def judge(model: Model, seen: Seen, end: int) -> Iterator[str]:
    """What is wrong, when the schedule has reached a minute."""
    verdict = Verdict(model, seen)
    yield from verdict.time(end)
    yield from verdict.settings()
    yield from verdict.receivers()
    yield from verdict.superseded()
    yield from verdict.ledger()
    yield from verdict.verify()
    yield from verdict.auditor()


class Verdict:
    """The judgement of one world."""

    def __init__(self, model: Model, seen: Seen) -> None:
        self.model, self.seen = model, seen
        self.window_of = {
            row.id: window for window in seen.windows for row in model.rows_in(window)
        }  # fmt: skip
        self.copies: dict[tuple[str, int], list[tuple[str, Any]]] = defaultdict(list)
        for destination, messages in seen.held.items():
            for key, message in messages:
                found = plain(message)
                found = found["event"] if destination.startswith("splunk") else found
                self.copies[destination, number_of(message)].append((key, found))
        self.late = Late(model, seen, frozenset(self.copies))
        self.must_find: dict[Place, list[str]] = defaultdict(list)
        """What `verify` must find."""
        self.may_find: set[Place] = set(seen.owed)
        self.given_up = seen.written_off.copy()
        """What is named as written off and is not accounted for yet."""
        self.places = self._places()
        self.done: dict[Place, set[int]] = defaultdict(set)
        """Rows that are at a destination, that it had and lost, or that are named as rejected by it."""

    def _may_agree(self, place: Place, wanted: set[int], done: set[int]) -> bool:
        """Whether the ledger's counts may be the log store's. The ledger need not count rows that are there and were purged, where
        they stayed at an older place, were written off before the answer came, or as many came late; and what was written off
        may be in the log store, and need not be."""
        store, most = self._counts(wanted), self._counts(done)
        left = self._left_behind(place) | self.model.given_up[place[1]]
        balanced = {number for number in done & self.model.purged if self._balanced(self.model.rows[number])}
        least = self._counts(done - left - balanced)
        return all(
            least[key] <= store[key] <= most[key] + self.seen.written_off[(place, *key)]
            for key in store.keys() | most.keys()
        )

    def _left_behind(self, place: Place) -> set[int]:
        """Rows that were purged before their window was sent by changed options: the new place does not get those, and they stay
        where they were. What had been delivered by the older options, and what by the newer, may be counted by either."""
        plans, name = self.model.planned[place[0]], place[1]
        found = set[int]()
        for newer, older in itertools.permutations(plans, 2):
            if newer.document["destinations"].get(name) != older.document["destinations"].get(name):
                found |= older.ids - newer.ids
        return found & self.model.purged

    def _places(self) -> dict[Place, Document]:
        """Each delivery, and each place that has none though its window's settings select rows for it, with its settings."""
        found = dict(self.seen.deliveries)
        for window, document in self.seen.windows.items():
            for row in self.model.rows_in(window):
                if row.id not in self.model.purged and (destination := route_of(document, row)):
                    found.setdefault((window, destination), document)
        return found

    def name(self, row: Row) -> str:
        return f"event {row.id} ({row.kind} of {row.workspace}, {self.window_of.get(row.id, 'no window')})"

    def time(self, end: int) -> Iterator[str]:
        """No time since streaming began is forgotten, and none is in two windows, whatever runs there were."""
        reached = 0
        for window in sorted(self.seen.windows):
            if window.start != reached:
                yield f"minutes {reached} to {window.start} are {'a gap' if window.start > reached else 'in two windows'}"
            reached = window.end
        if reached < end:
            yield f"minutes {reached} to {end} are a gap"

    def settings(self) -> Iterator[str]:
        """A gap is exported by the settings that were in force when it ended; a run by those that it took; what is owed by the
        routes of then."""
        for window, document in self.seen.windows.items():
            plans = [plan for plan in self.model.planned[window] if plan.whole]
            last = max((index for index, plan in enumerate(plans) if plan.certain), default=0)
            if not any(_same_routes(plan.document, document) for plan in plans[last:]):
                yield f"the window {window} was planned by settings that were not in force for it"
        for (window, destination), document in self.seen.deliveries.items():
            newest, rows = self.seen.windows[window], list(self.model.rows_in(window))
            kept = any(row.id in self.model.purged for row in rows)  # less does not replace more
            if _same_routes(document, newest) or kept:
                continue
            if any(route_of(newest, row) == destination and not self.is_late(row, window, newest) for row in rows):
                yield f"the window {window} was planned anew, and not for {destination}"

    def is_late(self, row: Row, window: Span, document: Document) -> bool:
        """Whether a row was written after its window was planned by some settings. A row that a transaction had written before,
        and committed later, is never late: that transaction is to be waited for."""
        plans = [plan for plan in self.model.planned[window] if plan.whole and _same_routes(plan.document, document)]
        planned = next((plan for plan in reversed(plans) if plan.certain), plans[-1] if plans else None)
        return planned is not None and row.id not in planned.ids | planned.open

    def receivers(self) -> Iterator[str]:
        """Every event recorded before its window's end, and selected, is delivered: at object stores exactly once, at HTTP
        services at least once with a stable key; to its own destination and nowhere else; or it is named. What was delivered is
        not replaced by less because the log store holds less now."""
        there: dict[str, set[int]] = defaultdict(set)
        for row in self.model.rows.values():
            window = self.window_of.get(row.id)
            if window is None:
                continue
            mine = [plan for plan in self.model.planned[window] if row.id in plan.ids]
            for destination in self.seen.held:
                messages = [
                    message_of(row, plan.document) for plan in mine if route_of(plan.document, row) == destination
                ]
                got = self.copies.pop((destination, row.id), [])
                if got:
                    there[destination].add(row.id)
                    yield from self._allowed(row, destination, messages, got)
                    if keeps_objects(destination):
                        got = [(key, found) for key, found in got if key not in self.seen.superseded[destination]]
                        times, most = len(got), 1
                    else:
                        times, most = len({key for key, _ in got}), self.contents(window, destination)
                    if times > most:
                        yield f"{self.name(row)} is at {destination} {times} times: {sorted({key for key, _ in got})}"
                self.present(row, destination, got)
                document = self.places.get((window, destination))
                if document is None or route_of(document, row) != destination:
                    continue
                missed = self.model.forgotten[destination] - self.model.not_missed[destination]
                if not got and row.id in missed:  # a superseded copy may be there still
                    self.must_find[window, destination].append(f"{destination} has lost {self.name(row)}")
                elif row.id not in self.model.purged:
                    yield from self._must((window, destination), row, document, got)
        for destination, kept in self.model.kept.items():
            missed = {
                number for number in kept - self.model.forgotten[destination]
                if number not in self.done[self.window_of[number], destination]
            }  # fmt: skip
            for number in missed - self._made_up_for(missed):
                yield f"{self.name(self.model.rows[number])} was at {destination} when it was purged, and is no longer"
        for destination, arrived in self.model.arrived.items():
            missed = arrived - self.model.forgotten[destination] - there[destination]
            for number in missed - self._made_up_for(missed):
                yield f"{self.name(self.model.rows[number])} had arrived at {destination} when it was purged, and was removed"
        anywhere = set[int]().union(*there.values(), *self.model.forgotten.values())
        for destination, copies in self.model.copies.items():
            objects = {key for key, _ in self.seen.held[destination]}
            # one that was put again without an event was never counted: the event is lost, and named
            missed = {number for number, key in copies if number not in anywhere and key not in objects}
            for number in missed - self._made_up_for(missed):
                yield f"{self.name(self.model.rows[number])} was purged, and the only copy of it, at {destination}, was removed"
        for destination, number in self.copies:
            yield f"event {number} is at {destination}, and the platform never committed it"

    def _made_up_for(self, purged: set[int]) -> set[int]:
        """Those of some purged rows of whose workspace, kind and window at least as many came late: counting sees neither."""
        found = set[int]()
        for row in map(self.model.rows.__getitem__, purged):
            alike = {other.id for other in self.model.rows_in(self.window_of[row.id])
                     if (other.workspace, other.kind) == (row.workspace, row.kind)}  # fmt: skip
            late = sum(self._came_late(self.model.rows[number]) for number in alike - purged)
            if late >= len(alike & purged):
                found.add(row.id)
        return found

    def _balanced(self, row: Row) -> bool:
        """Where the platform purges as many rows as come late, of one workspace and kind and of one window, counting sees neither."""
        return any(
            (other.workspace, other.kind) == (row.workspace, row.kind) and self._came_late(other)
            for other in self.model.rows_in(self.window_of[row.id])
        )

    def _came_late(self, row: Row) -> bool:
        """Whether a row was written after its window had been planned for the first time."""
        return any(row.id not in plan.ids for plan in self.model.planned[self.window_of[row.id]])

    def superseded(self) -> Iterator[str]:
        """What is superseded is removed where the connection may delete, unless it may be the only copy of an event. That of
        `packaging: file` may stay where another window or destination may have put the same name. A window that was pruned and
        is then exported again under other names leaves its old objects where they are."""
        if self.model.sealing_was_disturbed:
            return
        for destination, names in self.seen.superseded.items():
            rows = {number_of(message): key for key, message in self.seen.held[destination] if key in names}
            for number, key in rows.items():
                window = self.window_of[number]
                settled = (window, destination) not in self.seen.owed and destination.startswith("lake")
                purged = any(row.id in self.model.purged for row in self.model.rows_in(window))
                pruned = window.start < self.model.pruned
                if settled and not purged and not pruned and not self.model.given_up[destination]:
                    yield f"{key} at {destination} is superseded, and was not removed"

    def _allowed(self, row: Row, destination: str, messages: list[Any], got: list[tuple[str, Any]]) -> Iterator[str]:
        if not messages:
            yield f"{self.name(row)} is at {destination}, where no plan sent it"
        if is_refused(row, destination):  # a dead letter that was sent again, by the settings of then
            messages = messages + [message_of(row, document) for _, document in self.model.saved]
        if messages and any(found not in messages for _, found in got):
            yield f"{self.name(row)} came to {destination} as something else: {got[0][1]!r:.200}"

    def _must(self, place: Place, row: Row, document: Document, got: list[tuple[str, Any]]) -> Iterator[str]:
        """A selected row is there, or named as rejected or owed; and named as nothing if it is there."""
        window, destination, message = *place, message_of(row, document)
        named = row.id in self.seen.rejected.get(destination, set())
        if named and not is_refused(row, destination):
            yield f"{self.name(row)} is named as rejected by {destination}, which refuses nothing of it"
        if named or place in self.seen.owed or any(found == message for _, found in got):
            return
        if row.id in self.model.given_up[destination] and self.given_up[place, row.workspace, row.kind] > 0:
            self.given_up[place, row.workspace, row.kind] -= 1
            return  # an administrator has written it off
        if self.is_late(row, window, document):
            return  # `verify` names it: by counting, so not where as many rows of its kind were purged
        if self.late.is_left_out(place, row):
            return  # as above
        if got:
            yield f"{self.name(row)}: {destination} does not have it as the settings say"
        elif is_refused(row, destination):
            yield f"{self.name(row)} can never be delivered, and {destination} has no dead letter of it"
        else:
            yield f"{self.name(row)} is not at {destination}, and not named"

    def contents(self, window: Span, destination: str) -> int:
        """With how many different contents a window was planned for a destination: so many requests may hold a row."""
        found = set()
        for plan in self.model.planned[window]:
            routed = [(number, streaming_of(plan.document, row.workspace)) for number in sorted(plan.ids)
                      if route_of(plan.document, row := self.model.rows[number]) == destination]  # fmt: skip
            options = plan.document["destinations"].get(destination)
            if routed and options:
                found.add(json.dumps([options, routed], sort_keys=True))
        return len(found)

    # the ledger and those who read it

    def present(self, row: Row, destination: str, got: list[tuple[str, Any]]) -> None:
        """Count a row as done where it is, was, or is named as rejected."""
        named = row.id in self.seen.rejected.get(destination, set())
        if got or named or row.id in self.model.forgotten[destination]:
            self.done[self.window_of[row.id], destination].add(row.id)

    def ledger(self) -> Iterator[str]:
        """Nothing owed is forgotten: planned = delivered + rejected + lost, also when rows are purged while they are owed."""
        for place in sorted(self.seen.owed):
            if not self.model.may_stay_owed(place):
                yield f"the window {place[0]} is owed to {place[1]} for ever"
        lost = self.seen.lost.copy()
        for place, document in self.places.items():
            window, destination = place
            planned, surely = (
                {number for plan in self.model.planned[window] if plan.certain or not certainly for number in plan.ids
                 if route_of(plan.document, self.model.rows[number]) == destination}
                for certainly in (False, True)
            )  # fmt: skip
            purged, gone, late = Counter[tuple[int, str]](), Counter[tuple[int, str]](), Counter[tuple[int, str]]()
            for row in self.model.rows_in(window):
                key = row.workspace, row.kind
                # what had arrived stays where it was when the rest goes to a new place
                arrived = row.id in self.done[place] or row.id in self.model.arrived[destination]
                if row.id in self.model.purged:
                    purged[key] += row.id in planned
                    gone[key] += row.id in surely and route_of(document, row) == destination and not arrived
                # one that was purged when it had arrived was counted before
                late[key] += self._came_late(row) and (arrived or row.id not in self.model.purged)
            for workspace, kind in purged.keys() | {key[1:] for key in lost if key[0] == place}:
                named = lost.pop((place, workspace, kind), 0)
                what = f"of {kind} of {workspace} in {window} to {destination}"
                if named:
                    self.must_find[place].append(f"{named} events {what} are lost")
                if named > purged[workspace, kind]:
                    yield f"{named} events {what} are named as lost, and {purged[workspace, kind]} were purged"
                named_or_not = named + late[workspace, kind] + self.seen.written_off[place, workspace, kind]
                if place not in self.seen.owed and named_or_not < gone[workspace, kind]:
                    yield f"{gone[workspace, kind]} events {what} were purged before they were delivered, {named} are named as lost"
        for (place, workspace, kind), events in self.seen.written_off.items():
            given_up = sum(
                self.window_of.get(number) == place[0] and (row.workspace, row.kind) == (workspace, kind)
                for number in self.model.given_up[place[1]] if (row := self.model.rows[number])
            )  # fmt: skip
            if events > given_up:
                yield f"{events} events of {kind} of {workspace} in {place[0]} are written off at {place[1]}, that was owed {given_up}"
        for (place, workspace, kind), events in lost.items():
            yield f"{events} events of {kind} of {workspace} are named as lost to {place}, which had none"

    def verify(self) -> Iterator[str]:
        """A row deleted from the store or added to an exported window, and an object that is missing, is found; and nothing is
        found where nothing is wrong."""
        for place, document in self.places.items():
            window, destination = place
            rows = [row for row in self.model.rows_in(window) if route_of(document, row) == destination]
            wanted = {row.id for row in rows if row.id not in self.model.purged}
            done = {row.id for row in rows} & self.done[place]
            if place not in self.seen.owed and not self._may_agree(place, wanted, done):
                self.must_find[place].append(
                    f"the store holds {len(wanted)} events, {len(done)} are delivered or rejected"
                )
            newest = self.seen.windows[window]
            selected = {row.id for row in self.model.rows_in(window) if route_of(newest, row) == destination}
            if place not in self.seen.owed and self._counts(selected - self.model.purged) - self._counts(wanted):
                self.must_find[place].append("it was never planned for some that the settings of its window select")
            # as many came late as were purged: where ids are compared, it is found; so is what was purged after it was
            # delivered by settings before the last
            before = (self.done[place] & self.model.purged) - {row.id for row in rows}
            if wanted != done or before:
                self.may_find.add(place)
        self.may_find |= self.must_find.keys()
        owed = {destination for _, destination in self.seen.owed}
        for span, destination, what in self.seen.verified:
            excused = any(name == destination and _overlap(window, span) for window, name in self.may_find)
            # while a delivery is owed, a listing that was put before its manifest is called extra
            excused |= destination in owed and "_manifests/" in what and "is extra" in what
            if not excused and not self._in_ledger_alone(destination, what):
                yield f"verify is wrong: {what}"
        for place, reasons in sorted(self.must_find.items()):
            found = any(name == place[1] and _overlap(place[0], span) for span, name, _ in self.seen.verified)
            if not found and place not in self.seen.owed:
                yield f"verify says nothing of the window {place[0]} at {place[1]}: {reasons[0]}"

    def _in_ledger_alone(self, destination: str, what: str) -> bool:
        """A delivery that is written off while its destination cannot be reached has its manifest in the ledger alone, until the
        destination gets another window."""
        unput = destination in self.model.given_up_unreached
        return unput and (("manifest" in what and "is missing" in what) or "is extra: no manifest" in what)

    def _counts(self, numbers: set[int]) -> Counter[tuple[int, str]]:
        return Counter((self.model.rows[number].workspace, self.model.rows[number].kind) for number in numbers)

    def auditor(self) -> Iterator[str]:
        """A deleted, altered or extra object is found by the auditor's script, which knows neither store nor ledger."""
        owed = {destination for _, destination in self.seen.owed}
        for destination, problems in self.seen.audited.items():
            lost = [reason for (_, name), reasons in self.must_find.items() if name == destination
                    for reason in reasons if reason.startswith(f"{destination} has lost")]  # fmt: skip
            if lost and not problems and destination not in owed:
                yield f"the auditor's script says nothing at {destination}: {lost[0]}"
            if not lost and destination not in owed:
                for what in problems:
                    if self._in_ledger_alone(destination, what):
                        continue
                    yield f"the auditor's script is wrong at {destination}: {what}"


def _same_routes(one: Document, other: Document) -> bool:
    """Whether settings route alike; what destinations are is another matter."""
    return one.get("admin") == other.get("admin") and one["workspaces"] == other["workspaces"]


def _overlap(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end
