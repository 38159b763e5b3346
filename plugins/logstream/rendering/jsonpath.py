"""JSONPath placeholders: `{{{$.context.user_email}}}`.

No match gives `null`, one match the value, several an array. A path of plain names is walked through the bytes, so the
value comes out as it was written; anything else is jsonpath-ng over the parsed event.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from jsonpath_ng.ext import parse

from logstream.jsontext import dumps, loads

Extract = Callable[[bytes], bytes]

_PLAIN = re.compile(r"""\$((?:\.[A-Za-z_][A-Za-z0-9_]*|\['[^'\\]+'\])+)\Z""")
_STEP = re.compile(r"""\.([A-Za-z_][A-Za-z0-9_]*)|\['([^'\\]+)'\]""")
_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def compile_path(path: str) -> Extract:
    """Compile a JSONPath to a function from an event's JSON to the JSON of what it finds.

    Raises `ValueError` with the parser's reason.
    """
    try:
        expression = parse(path)
    except Exception as error:  # jsonpath-ng raises bare Exceptions
        raise ValueError(str(error).splitlines()[0]) from None

    def search(payload: bytes) -> bytes:
        found = [match.value for match in expression.find(loads(payload))]
        return dumps(found[0] if len(found) == 1 else found or None)

    names = plain_names(path)
    if not names:
        return search

    def walk(payload: bytes) -> bytes:
        value: Any = payload
        try:
            for name in names:
                value = _raw_object.decode(value).get(name)
                if value is None:
                    return b"null"
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            # not an object on the way (no match), or JSON that msgspec refuses
            return search(payload)
        return bytes(value)

    return walk


def plain_names(path: str) -> list[str]:
    """The names of a path of names only, `$.a['b']`; empty for any other."""
    plain = _PLAIN.match(path)
    return [first or second for first, second in _STEP.findall(plain.group(1))] if plain else []
