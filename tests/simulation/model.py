"""The model: what each receiver must hold, and what must be named, by docs/guarantees.md alone.

It shares no code with the product. It is told what the platform wrote, which settings were in force when a window was planned,
and what administrators did; it is asked in the end, in calm.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.receivers import POISON, plain
from tests.simulation.script import Document, Row

KIND_OF = {"job_status": "job", "job_details": "job", "user_activity": "user_activity", "api_platform": "api_platform",
           "log_service": "log_service"}  # fmt: skip
OBJECTS = ("lake", "bucket")
DEEPEST = 500


def streaming_of(document: Document, workspace: int) -> Document | None:
    """The override applies to every workspace; without it each has its own setting, or none."""
    admin = document.get("admin")
    if admin and admin["enabled"]:
        return admin
    own = next((item["streaming"] for item in document["workspaces"] if item["id"] == workspace), None)
    return own if own and own["enabled"] else None


def route_of(document: Document, row: Row) -> tuple[str, Document] | None:
    """Where a row goes by some settings, and by which of them; `None` if it is not selected."""
    streaming = streaming_of(document, row.workspace)
    if streaming is None or row.kind not in {KIND_OF[name] for name in streaming["events"]}:
        return None
    levels = streaming.get("log_levels") if row.kind == "log_service" else None
    if levels and json.loads(row.payload).get("level") not in levels:
        return None
    return streaming["destination"], streaming


def message_of(row: Row, streaming: Document) -> Any:
    """What a receiver must get for a row, as plain data."""
    event = plain(row.payload.encode())
    if "job_details" not in streaming["events"]:
        event.pop("lines", None)
    if streaming.get("mask") and "secret" in event:
        event["secret"] = "masked"
    return {"source": "w", "event": event} if streaming.get("message") else event


def is_poisoned(row: Row, destination: str) -> bool:
    """Whether a row can never be delivered: receivers of requests refuse its text, or it is nested too deep for all."""
    return (POISON in row.payload and destination not in OBJECTS) or "[" * DEEPEST in row.payload


@dataclass
class Model:
    """What happened, as far as the guarantee speaks of it."""

    window_seconds: int
    rows: dict[int, Row] = field(default_factory=dict)
    """What the log store holds."""
    planned: dict[int, list[tuple[Document, frozenset[int], bool]]] = field(default_factory=lambda: defaultdict(list))
    """Window to each time that it was planned: by which settings, of which rows; and whether that is certain."""

    def window_of(self, row: Row) -> int:
        """The half-open interval of `recorded_at` that a row is in."""
        return int(row.second // self.window_seconds)

    def plan(self, window: int, document: Document, *, certain: bool) -> None:
        """A window was planned, by these settings, with what the store held."""
        ids = frozenset(row.id for row in self.rows.values() if self.window_of(row) == window)
        if (document, ids, certain) not in self.planned[window]:
            self.planned[window].append((document, ids, certain))

    def is_sure(self, row: Row) -> bool:
        """Whether the log store held a row when its window was planned for sure: else it came late."""
        return any(certain and row.id in ids for _, ids, certain in self.planned[self.window_of(row)])

    def documents(self, window: int) -> list[Document]:
        """The settings that a window was planned by."""
        found: list[Document] = []
        for document, _, _ in self.planned[window]:
            if document not in found:
                found.append(document)
        return found

    def last(self, window: int) -> Document | None:
        """The settings of the last plan that is certain."""
        return next((document for document, _, certain in reversed(self.planned[window]) if certain), None)

    def judge(self, held: dict[str, list[tuple[str, bytes]]], rejected: dict[str, set[int]], owed: set[tuple[int, str]]) -> list[
        str
    ]:  # fmt: skip
        """What is wrong in the end. `held` is what each receiver has (key, message), `rejected` and `owed` what is named."""
        wrong: list[str] = []
        ways = {(window, name): self.ways(window, name) for window in list(self.planned) for name in held}
        copies: dict[tuple[str, int], list[tuple[str, Any]]] = defaultdict(list)
        for receiver, messages in held.items():
            for key, message in messages:
                found = plain(message)
                found = found["event"] if receiver == "splunk" else found
                inner = found.get("event", found)
                copies[receiver, int(inner["id"][1:])].append((key, found))
        for row in self.rows.values():
            plans = self.planned[self.window_of(row)]
            mine = [(document, ids) for document, ids, _ in plans if row.id in ids]
            last = self.last(self.window_of(row))
            must = route_of(last, row) if last is not None and self.is_sure(row) else None
            may = {found[0]: [] for document, _ in mine if (found := route_of(document, row))}
            for document, _ in mine:
                if found := route_of(document, row):
                    may[found[0]].append(message_of(row, found[1]))
            name = f"event {row.id} (workspace {row.workspace}, {row.kind}, window {self.window_of(row)})"
            for receiver in held:
                got = copies.pop((receiver, row.id), [])
                if got and receiver not in may:
                    wrong.append(f"{name} is at {receiver}, where no plan sent it")
                    continue
                if must and must[0] == receiver:
                    excused = (self.window_of(row), receiver) in owed
                    wrong += [f"{name}: {what}" for what in self._must(row, receiver, must[1], got, rejected, excused)]
                if any(found not in may[receiver] for _, found in got):
                    wrong.append(f"{name} came to {receiver} as something else: {got[0][1]!r:.200}")
                times = len({key for key, _ in got}) if receiver not in OBJECTS else len(got)
                if times > (1 if receiver in OBJECTS else ways[self.window_of(row), receiver]):
                    wrong.append(f"{name} is at {receiver} {times} times: {sorted({key for key, _ in got})}")
        for receiver, number in copies:
            wrong.append(f"event {number} is at {receiver}, and the platform never wrote it")
        return wrong

    def _must(
        self, row: Row, receiver: str, streaming: Document, got: list[tuple[str, Any]], rejected: dict[str, set[int]],
        owed: bool,
    ) -> list[str]:  # fmt: skip
        """A selected row is there, or named as rejected or owed; and named as nothing if it is there."""
        named = row.id in rejected.get(receiver, set())
        if is_poisoned(row, receiver):
            return [] if named or owed or got else [f"it is poisoned, and {receiver} has no dead letter of it"]
        if named:
            return [f"it is named as rejected by {receiver}, which refuses nothing of it"]
        if not got:
            return [] if owed else [f"it is not at {receiver}, and not named"]
        if not any(found == message_of(row, streaming) for _, found in got):
            return [f"{receiver} does not have it as the settings say"]
        return []

    def late(self) -> set[int]:
        """The windows that hold rows which came after they were planned, and which their settings select."""
        return {
            window
            for row in self.rows.values()
            if (last := self.last(window := self.window_of(row))) and not self.is_sure(row) and route_of(last, row)
        }

    def ways(self, window: int, receiver: str) -> int:
        """With how many different contents for a receiver a window was planned: so many different requests may hold a row."""
        contents = set()
        for document, ids in {
            (id(document), ids): (document, ids) for document, ids, _ in self.planned[window]
        }.values():
            routed = sorted(
                (number, json.dumps(found[1], sort_keys=True))
                for number in ids
                if number in self.rows and (found := route_of(document, self.rows[number])) and found[0] == receiver
            )
            contents.add((json.dumps(document["destinations"][receiver], sort_keys=True), str(routed)))
        return len(contents)

    def may_stay_owed(self, window: int, receiver: str) -> bool:
        """A rejection is believed only beside acceptances: a window of which a receiver refuses everything stays owed."""
        return any(
            is_poisoned(row, receiver)
            for row in self.rows.values()
            if self.window_of(row) == window
            and any(
                (found := route_of(document, row)) and found[0] == receiver for document, _, _ in self.planned[window]
            )
        )
