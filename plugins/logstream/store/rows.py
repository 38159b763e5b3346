"""From the log store's rows to events: the SELECT list, and what of it is no event.

Every column is cast in the SELECT, so that what arrives is of one shape whatever the platform's table is like. A row that is
no event (a NULL where there must be none, a time that no receiver can read, an unknown kind) arrives too: its `kind`
carries the reason. One SQL expression says so for counting and reading alike, so the two cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import msgspec

from logstream.errors import BadEvent
from logstream.events import NO_WORKSPACE, UNKNOWN_KIND, Kind
from logstream.jsontext import loads
from logstream.store.catalogue import Relation
from logstream.store.contract import JSON

LOWEST = -(2**63)
"""The smallest bigint."""

NAMELESS = LOWEST + 2**32
"""Below this are the numbers that stand for ids where rows have none."""

_MARK = "\x01"
"""Before and after the reason in the kind of a row that is no event."""

NO_KIND = "its kind is NULL"
NO_ID = "its id is NULL"
_REASONS = {
    "workspace_id": "its workspace_id is NULL",
    "occurred_at": "its occurred_at is NULL",
    "payload": "its payload is NULL",
}
OUT_OF_RANGE = "its occurred_at is not in the years 1 to 9999"
REASONS = frozenset({NO_KIND, NO_ID, OUT_OF_RANGE, *_REASONS.values()})

KNOWN_KINDS = tuple(kind.value for kind in Kind)


def is_nameless(event_id: int) -> bool:
    """Whether a number stands for the id of a row that has none."""
    return event_id <= NAMELESS


def kind_in(text: str) -> tuple[str, str | None]:
    """The kind of a row, and why it is no event (`None` for one that is), from what the SELECT gives as its kind."""
    if text in KNOWN_KINDS:
        return text, None
    if text.startswith(_MARK):
        _, reason, kind = text.split(_MARK, 2)
        if reason in REASONS:
            return (kind if kind in KNOWN_KINDS else UNKNOWN_KIND), reason
    shown = text if len(text) <= 40 else text[:39] + "…"
    return UNKNOWN_KIND, f'there is no kind "{shown}"'


def not_json(payload: bytes) -> str | None:
    """Why a text is no JSON, `None` for one that is. Takes what PostgreSQL's `json` takes, lone surrogates included."""
    if not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError as error:
            return f"its payload is not UTF-8 (byte {error.start})"
    try:
        _raw.decode(payload)
    except (msgspec.MsgspecError, RecursionError):
        try:
            loads(payload)
        except BadEvent as error:
            return str(error)
    return None


_raw = msgspec.json.Decoder(msgspec.Raw)


@dataclass(frozen=True, eq=False)
class Rows:
    """The SQL of one relation's rows, under the name `e`.

    Where the catalogue knows that a column is never NULL, nothing is spent on the question.
    """

    relation: Relation

    def _may_be_null(self, column: str) -> bool:
        return not self.relation.columns[column].not_null

    @property
    def ids_may_be_null(self) -> bool:
        """Whether there may be rows that have no id."""
        return self._may_be_null("id")

    @property
    def is_json(self) -> bool:
        """Whether PostgreSQL has seen to it that payloads are JSON, and sends them in UTF-8."""
        return self.relation.codec is None and self.relation.columns["payload"].type in JSON

    @cached_property
    def source(self) -> str:
        """The FROM clause."""
        return f"{self.relation.name} as e"

    @cached_property
    def workspace(self) -> str:
        """The workspace's id, `NO_WORKSPACE` where it is NULL."""
        if self._may_be_null("workspace_id"):
            return f"coalesce(e.workspace_id::bigint, '{NO_WORKSPACE}'::bigint)"
        return "e.workspace_id::bigint"

    @cached_property
    def plain_kind(self) -> str:
        """The kind as it is, NULL included."""
        return 'e.kind::text collate "C"'

    @cached_property
    def kind(self) -> str:
        """The kind, with the reason where the row is no event. Never NULL."""
        cases = []
        if self._may_be_null("kind"):
            cases.append(f"when e.kind is null then {_marked(NO_KIND)}")
        cases += [
            f"when e.{column} is null then {_marked(reason)} || e.kind::text"
            for column, reason in _REASONS.items()
            if self._may_be_null(column)
        ]
        # Python's and RFC 3339's years; infinity is beyond them, too
        span = "between '0001-01-01 00:00:00+00'::timestamptz and '9999-12-31 23:59:59.999999+00'::timestamptz"
        cases.append(f"when e.occurred_at not {span} then {_marked(OUT_OF_RANGE)} || e.kind::text")
        return f'(case {" ".join(cases)} else e.kind::text end collate "C")'

    @cached_property
    def payload_text(self) -> str:
        """The payload as text."""
        return "e.payload::text"

    @cached_property
    def columns(self) -> str:
        """The SELECT list of a reading: id, workspace, two times, kind, payload; none of them NULL if the id is not."""
        occurred = "coalesce(e.occurred_at, e.recorded_at)" if self._may_be_null("occurred_at") else "e.occurred_at"
        payload = self.payload_text
        if self.relation.columns["payload"].type == "json":
            payload = "e.payload"  # sent as its text, as it was written
        if self._may_be_null("payload"):
            payload = f"coalesce({self.payload_text}, '')"
        if self.relation.codec is not None:
            payload = self.relation.sent(f"{payload}::text")
        return f"e.id::bigint, {self.workspace}, {occurred}, e.recorded_at, {self.relation.sent(self.kind)}, {payload}"

    @property
    def order(self) -> str:
        """The order of a reading. Of the columns themselves: of what they are cast to, no index has an order."""
        return "e.recorded_at, e.id"


def _marked(reason: str) -> str:
    return f"chr(1) || '{reason}' || chr(1)"
