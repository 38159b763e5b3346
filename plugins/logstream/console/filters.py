"""How the pages say things: sizes, times, names that may be hostile."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup, escape

from logstream.units import counted, size, span


def as_text(value: Any) -> str:
    """Plain data as people read it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def moment(value: datetime | None) -> str:
    """A time in UTC, to the second."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if value else "-"


def short(value: object, length: int = 80, *, kept: str = "") -> str:
    """A name that may be hostile: not too long, and without what cannot be seen, but for the signs that are `kept`."""
    seen = (sign if sign.isprintable() or sign in kept else "\N{REPLACEMENT CHARACTER}" for sign in str(value))
    text = "".join(seen)
    return text if len(text) <= length else text[: length - 1] + "…"


def passage(value: object, length: int = 2000) -> str:
    """A text that may have lines, such as a message template; of that, what cannot be seen is shown as in a name."""
    return short(value, length, kept="\n\t")


def sentence(text: str) -> str:
    """A text as a sentence: our errors begin in lower case and have no full stop, and a remedy may end with a statement."""
    return text[:1].upper() + text[1:] + ("" if text[-1:] in ".!?;" else ".")


def prose(text: object, length: int = 500) -> Markup:
    """A text of ours, not too long, with what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(short(text, length)))))  # noqa: S704 - escaped


def query_of(**values: object) -> str:
    """A query string of what is not empty."""
    return urlencode({name: value for name, value in values.items() if value not in ("", None, False)})


def spell(names: Sequence[object]) -> str:
    """Several words on one line."""
    return ", ".join(map(str, names))


def told(detail: Mapping[str, Any]) -> str:
    """Plain data in a line: `type s3, passed yes`."""
    shown = {True: "yes", False: "no"}
    found = []
    for key, value in detail.items():
        if value in (None, "", []):
            continue
        text = (
            spell(value) if isinstance(value, list) else shown.get(value, value) if isinstance(value, bool) else value
        )
        found.append(f"{key.replace('_', ' ')} {text}")
    return ", ".join(found)


def iso(value: datetime) -> str:
    """A time for a form's hidden field, to the microsecond."""
    return value.astimezone(UTC).isoformat()


FILTERS = {
    "size": size, "moment": moment, "span": span, "short": short, "passage": passage, "sentence": sentence, "spell": spell,
    "text": as_text, "prose": prose, "counted": counted, "iso": iso, "told": told,
}  # fmt: skip
"""The filters of the pages' templates."""
