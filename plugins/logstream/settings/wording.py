"""What is wrong with a value, in our own words: the validator's are for programmers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from logstream.units import counted

PATTERNS: dict[str, str] = {
    r"^[A-Za-z0-9_.-]+$": "letters, digits and the signs _ . - only",
    r"^[A-Za-z0-9._-]+$": "letters, digits and the signs . _ - only",
    r"^[A-Za-z0-9-]+$": "letters, digits and - only",
    r"^[A-Za-z0-9_-]+$": "letters, digits and the signs _ - only",
    r"^[A-Za-z0-9:/_-]+$": "letters, digits and the signs : / _ - only",
    r"^[A-Za-z_]{1,40}$": "letters and _ only, 40 at most",
    r"^[a-z0-9.-]+$": "small letters, digits and the signs . - only",
    r"^[a-z0-9][a-z0-9._-]+$": "small letters, digits and the signs . _ - only, a letter or digit first",
    r"^[a-zA-Z_][a-zA-Z0-9_]*$": "letters, digits and _ only, no digit first",
    r"^(?:[a-zA-Z]|_[a-zA-Z0-9])[a-zA-Z0-9_]*$": "letters, digits and _ only, no digit first and no two _ first",
    r"^(\$root|\$web|[a-z0-9-]+)$": "small letters, digits and - only, or $root or $web",
    r"^https?://[^\s/]+/?$": "an address like https://host.example, without a path",
    r"^[!-~]+$": "letters, digits and signs of ASCII only, no spaces",
    r"^[!-~]*$": "letters, digits and signs of ASCII only, no spaces",
    r"^[ -~]*$": "letters, digits, spaces and signs of ASCII only",
    r"^[^\r\n]*$": "one line only",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$": "letters, digits and the signs _ . - only, a letter or digit first, 100 at most",
    r"^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?$": "a table's name, or schema.name",
    r"^[A-Za-z_][A-Za-z0-9_]{0,62}$": "letters, digits and _ only, no digit first, 63 at most",
    r"^[A-Za-z][A-Za-z0-9_]{0,63}$": "letters, digits and _ only, a letter first, 64 at most",
    r"^[A-Za-z0-9 +=._:/@-]{1,128}$": "letters, digits, spaces and the signs + = . _ : / @ - only, 128 at most",
}
"""The patterns of our models in words."""


def _characters(count: int) -> str:
    return counted(count, "character")


def _too_few(context: Mapping[str, Any]) -> str:
    least = context["min_length"]
    return "must not be empty" if least == 1 else f"must have at least {least:,} items"


WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "string_type": lambda _: "must be text",
    "string_too_short": lambda context: (
        "must not be empty"
        if context["min_length"] == 1
        else f"must have at least {_characters(context['min_length'])}"
    ),
    "string_too_long": lambda context: f"must have at most {_characters(context['max_length'])}",
    "string_pattern_mismatch": lambda context: PATTERNS.get(
        context["pattern"], f"does not have the form {context['pattern']}"
    ),
    "enum": lambda context: f"must be {context['expected']}".replace("'", ""),
    "int_type": lambda _: "must be a whole number",
    "int_parsing": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "greater_than_equal": lambda context: f"must be {context['ge']:,} or more",
    "less_than_equal": lambda context: f"must be {context['le']:,} or less",
    "bool_type": lambda _: "must be true or false",
    "bool_parsing": lambda _: "must be true or false",
    "list_type": lambda _: "must be a list",
    "tuple_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be a mapping of names to values",
    "model_type": lambda _: "must be a mapping of names to values",
    "model_attributes_type": lambda _: "must be a mapping of names to values",
    "too_short": _too_few,
    "too_long": lambda context: f"must have at most {context['max_length']:,} items",
}
"""The kinds of mistakes that pydantic finds in our models, by its own name for them, to our words."""


def wording(kind: str, context: Mapping[str, Any], otherwise: str) -> str:
    """A mistake in our words; `otherwise` are those of the validator, for kinds that only a third party's model has."""
    words = WORDS.get(kind)
    return words(context) if words else otherwise
