"""What PostgreSQL's catalogue says of a table or view: its kind and its columns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import psycopg
from psycopg import sql

from logstream.errors import NotSetUp
from logstream.store import encodings


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `type` is PostgreSQL's own short name of it (`int8`, `timestamptz`), that of a domain's base type.

    `category` is the type's `typcategory` (`S` for texts, `E` for enums); `declared` is the type as people write it.
    """

    name: str
    type: str
    category: str
    declared: str
    not_null: bool

    @property
    def precision(self) -> int:
        """Of a time: the digits of a second that it keeps, 0 to 6."""
        given = re.search(r"\((\d)\)", self.declared)
        return int(given.group(1)) if given else 6


@dataclass(frozen=True)
class Relation:
    """A table or view. `kind` is its `relkind`; `name` is qualified and quoted, fit for any search path.

    `encoding` is that of its database.
    """

    oid: int
    name: str
    kind: str
    encoding: str
    columns: Mapping[str, Column]

    @cached_property
    def codec(self) -> str | None:
        """Python's name for the encoding of texts that are sent as their bytes; `None` where they are sent as UTF-8.

        Not every text of a database is one in UTF-8: in `SQL_ASCII` they are any bytes (most often UTF-8), in `WIN1252` they may
        hold bytes that stand for no character. PostgreSQL itself converts from the two encodings that Python does not know.
        """
        if self.encoding == "UTF8":
            return None
        if self.encoding == "SQL_ASCII":
            return "utf-8"
        return encodings.codec_of(self.encoding)

    def sent(self, text: str) -> str:
        """A text (an SQL expression) as it is sent to us: as its bytes where it may be none in UTF-8 (`codec`).

        PostgreSQL would end the whole statement at the first text that it cannot send as UTF-8.
        """
        return text if self.codec is None else f"convert_to({text}, '{self.encoding}')"

    def received(self, text: str | bytes | None) -> str | None:
        """A text that was `sent`: bytes that are no character stand in it as `\\xe9`, so texts that differ still do."""
        return encodings.read(text, self.codec or "utf-8", strict=False) if isinstance(text, bytes) else text

    def utf8(self, text: bytes) -> tuple[bytes, str | None]:
        """The UTF-8 of a text that was `sent`, and why there is none (`None` where there is)."""
        if self.codec is None or self.codec == "utf-8":
            return text, None  # it is looked at where it is parsed
        try:
            return (text if text.isascii() else encodings.read(text, self.codec).encode()), None
        except UnicodeDecodeError as error:
            return text, f"its payload is not {self.encoding} (byte {error.start})"


KINDS = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "S": "sequence",
    "i": "index",
    "c": "composite type",
    "t": "TOAST table",
    "I": "partitioned index",
}
"""PostgreSQL's `relkind` in words."""

_RELATION = """
select c.oid, format('%I.%I', n.nspname, c.relname), c.relkind::text, current_setting('server_encoding')
from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass({})
"""

# A domain is what it is of; a view's columns are never known to be NOT NULL.
_COLUMNS = """
with recursive columns as (
    select a.attnum, a.attname, a.attnotnull as not_null, format_type(a.atttypid, a.atttypmod) as declared,
           t.typname, t.typtype, t.typcategory, t.typbasetype
    from pg_attribute a join pg_type t on t.oid = a.atttypid
    where a.attrelid = {} and a.attnum > 0 and not a.attisdropped
    union all
    select c.attnum, c.attname, c.not_null, c.declared, t.typname, t.typtype, t.typcategory, t.typbasetype
    from columns c join pg_type t on t.oid = c.typbasetype where c.typtype = 'd'
)
select attname::text, typname::text, typcategory::text, declared, not_null
from columns where typtype <> 'd' order by attnum
"""


def identifier(name: str) -> sql.Identifier:
    """A relation's name, as the settings have it, as SQL: as it is written, upper case included."""
    return sql.Identifier(*name.split("."))


def describe(connection: psycopg.Connection, name: str) -> Relation:
    """Look a table or view up. Raises `NotSetUp` if there is none that this user can see."""
    quoted = identifier(name).as_string(connection)
    found = connection.execute(sql.SQL(_RELATION).format(sql.Literal(quoted))).fetchone()
    if found is None:
        remedy = "run `logstream store init`" if name in ("events", "workspaces") else "correct `log_store`"
        raise NotSetUp(f'the log store has no table or view "{name}" (or it is not on the search path); {remedy}')
    oid, qualified, kind, encoding = found
    rows = connection.execute(sql.SQL(_COLUMNS).format(sql.Literal(oid))).fetchall()
    return Relation(oid, qualified, kind, encoding, {row[0]: Column(*row) for row in rows})
