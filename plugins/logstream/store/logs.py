"""The two fields by which log events are selected, `log_type` and `level`, and what SQL may leave out on their account.

One rule says what they are, in Python: `shapes.log_word` of the JSON that an event has at its top level. SQL never decides.
For counting it hands over that very JSON, grouped; for reading it leaves out what cannot hold any of the wanted words as JSON
writes them, and lets through all that might (`may_hold`).
"""

from __future__ import annotations

import re
from collections.abc import Collection

from psycopg import sql

from logstream.shapes import LOG_LEVEL_FIELD, LOG_TYPE_FIELD

FIELDS = (LOG_TYPE_FIELD, LOG_LEVEL_FIELD)
"""The fields, in the order in which `Selection.matches` takes them."""


_SAFE = re.compile(r"[ !#-.0-\[\]-~]*")
"""Words that JSON writes in one way only, `\\u` escapes apart: printable ASCII without `"`, `/` and backslash."""

_SCALAR = re.compile(r"-?[0-9][0-9.e+-]*|true|false")
"""Words that a number or boolean may be."""


def may_hold(text: str, words: Collection[str]) -> sql.Composable:
    """SQL that is true of every JSON text (an SQL expression) one of whose values is one of `words`, in lower case.

    It is true of more: of other fields' values, and of all texts with a `\\u` escape, behind which anything may hide.
    """
    if not all(map(_SAFE.fullmatch, words)):
        return sql.SQL("true")
    patterns = [f"%{word}%" if _SCALAR.fullmatch(word) else f'%"{word}"%' for word in sorted(words)]
    # The one character beside ASCII that becomes ASCII in lower case is the Kelvin sign, which becomes k.
    kelvin = f" or octet_length({text}) > char_length({text})" if any("k" in word for word in words) else ""
    # chr(92) is the backslash: written as itself its meaning would depend on standard_conforming_strings
    condition = (
        f"(lower({text} collate \"C\") like any({{patterns}}) or position(chr(92) || 'u' in {text}) > 0{kelvin})"
    )
    return sql.SQL(condition).format(patterns=sql.Literal(patterns))
