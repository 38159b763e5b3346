"""JSONPaths, compiled: `$.context.user_email`, `$.lines[*].input`, `$..email`, `$.lines[?(@.error != null)].input`.

jsonpath-ng reads the path; what is compiled is a list of allowed steps: names, indexes, slices, wildcards, descendants
and filters (RFC 9535). Everything else that jsonpath-ng knows is refused: its regular expressions (`=~`, `sub()`) can take
for ever on a text made for it, and run where nothing can stop them. `search` evaluates the steps and counts its work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jsonpath_ng as ng
from jsonpath_ng.ext import filter as ng_filter
from jsonpath_ng.ext import parse
from jsonpath_ng.ext.parser import ExtendedJsonPathLexer

MAX_PATH_CHARACTERS = 1_000
MAX_PATH_STEPS = 64
MAX_DESCENTS = 2
"""How many `..` a path may have, those in its filters included: each multiplies the work."""

ALLOWED = "use names, indexes, slices, *, .. and filters that compare (==, !=, <, <=, >, >=, &&, ||, !)"
REGEX_REMEDY = "compare with ==, or filter where the events are received"

COMPARISONS = frozenset({"==", "=", "!=", "<", "<=", ">", ">="})


class PathError(ValueError):
    """A JSONPath that cannot be used. `offset` is the place in the path, `None` where the reason names it."""

    def __init__(self, reason: str, offset: int | None = None) -> None:
        self.offset = offset
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Names:
    """The members of an object that have one of these names."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Indexes:
    """These elements of an array."""

    indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """A range of elements of an array."""

    start: int | None
    stop: int | None
    step: int | None


@dataclass(frozen=True, slots=True)
class Wildcard:
    """All members of an object, all elements of an array."""


@dataclass(frozen=True, slots=True)
class Descend:
    """What `steps` find in a value and in everything below it."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """The members or elements for which all conditions hold."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Exists:
    """Whether a path finds anything; `negated`: whether it finds nothing."""

    path: Path
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Compares:
    """Whether a value that `path` finds compares so with a literal, or with a value that another path finds."""

    path: Path
    operator: str
    operand: Any


@dataclass(frozen=True, slots=True)
class AllOf:
    """Whether all conditions hold."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Whether one of the conditions holds."""

    conditions: tuple[Condition, ...]


Step = Names | Indexes | Slice | Wildcard | Descend | Filter
Condition = Exists | Compares | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class Path:
    """A compiled path. `from_root` is false only in filters, for paths that begin with `@`."""

    from_root: bool
    steps: tuple[Step, ...]

    @property
    def plain_names(self) -> tuple[str, ...]:
        """The names of a path of single names only, `$.a['b']`; empty for any other."""
        names = [step.names[0] for step in self.steps if isinstance(step, Names) and len(step.names) == 1]
        return tuple(names) if len(names) == len(self.steps) else ()


@lru_cache(maxsize=4_096)
def compile_path(path: str) -> Path:
    """Compile a JSONPath that begins with `$`.

    Raises `PathError` with the reason, and where it is known with the offset in the path: no JSONPath, something that is
    not allowed, or a path over a limit.
    """
    if len(path) > MAX_PATH_CHARACTERS:
        raise PathError(f"it is longer than {MAX_PATH_CHARACTERS:,} characters")
    if not path.startswith("$"):
        raise PathError("it does not begin with $", 0)
    try:
        _refuse_operators(path)
        expression = parse(_decoded(path))
    except PathError:
        raise
    except Exception as error:  # jsonpath-ng raises bare Exceptions
        raise PathError(str(error).splitlines()[0]) from None
    compiled = _path(expression)
    _check_limits(compiled)
    return compiled


def compile_widened(path: str) -> tuple[Path, str | None]:
    """Compile a stored path; of one that is not allowed (any more), the longest beginning that is, and the reason.

    What the beginning finds holds all that the path could have found: a mask made from it masks more, never less.
    """
    try:
        return compile_path(path), None
    except PathError as error:
        reason = str(error)
    everything = Path(from_root=True, steps=())
    if len(path) > MAX_PATH_CHARACTERS:
        return everything, reason
    try:
        node: Any = parse(_decoded(path, strict=False))
    except Exception:
        return everything, reason
    while isinstance(node, ng.Child | ng.Descendants | ng.Where):
        node = node.left
        try:
            compiled = _path(node)
            _check_limits(compiled)
        except PathError:
            continue
        return (compiled if compiled.from_root else everything), reason
    return everything, reason


_QUOTED = re.compile(r"""(['"])((?:[^\\]|\\.)*?)\1""", re.DOTALL)
_ESCAPE = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))", re.DOTALL
)
_SHORT_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "/": "/", "\\": "\\", "'": "'", '"': '"'}


def _decoded(path: str, *, strict: bool = True) -> str:
    """The path with the escapes in its quoted names and texts decoded (RFC 9535, section 2.3.1.1).

    jsonpath-ng takes the character after a backslash as it is: `$['\\u0061']` would be the name `u0061`, and a mask of it
    would mask nothing. Raises `PathError` for an escape that is none; without `strict` it stays as jsonpath-ng takes it.
    """

    def decode(match: re.Match[str], begin: int) -> str:
        high, low, unit, short = match.groups()
        if high:
            return (bytes.fromhex(high) + bytes.fromhex(low)).decode("utf-16-be")
        character = chr(int(unit, 16)) if unit else _SHORT_ESCAPES.get(short)
        if character is None or "\ud800" <= character <= "\udfff":
            if strict:
                raise PathError(
                    f"{match.group()} is no escape; a backslash itself is written twice", begin + match.start()
                )
            return match.group()
        return f"\\{character}" if character in "\\'\"" else character

    def decode_text(quoted: re.Match[str]) -> str:
        begin = quoted.start(2)
        text = _ESCAPE.sub(lambda escape: decode(escape, begin), quoted.group(2))
        return quoted.group(1) + text + quoted.group(1)

    return _QUOTED.sub(decode_text, path)


def _refuse_operators(path: str) -> None:
    """Refuse what executes regular expressions before the parser compiles any, with its place."""
    for token in ExtendedJsonPathLexer().tokenize(path):
        if token.type == "FILTER_OP" and token.value == "=~":
            raise PathError(f"regular expressions (=~) are not allowed; {REGEX_REMEDY}", path.find("=~"))
        if token.type == "NAMED_OPERATOR" and token.value != "this":
            shown = str(token.value).partition("(")[0][:20]
            raise PathError(f"the operator `{shown}` is not allowed; {ALLOWED}", path.find("`"))


def _path(node: Any) -> Path:
    if isinstance(node, ng.Root):
        return Path(True, ())
    if type(node) is ng.This:
        return Path(False, ())
    if isinstance(node, ng.Child | ng.Descendants):
        left, right = _path(node.left), _path(node.right)
        if right.from_root:
            raise PathError("$ may only stand at its beginning")
        steps = right.steps if isinstance(node, ng.Child) else (Descend(right.steps),)
        return Path(left.from_root, left.steps + steps)
    return Path(False, (_step(node),))


def _step(node: Any) -> Step:
    if type(node) is ng.Fields:
        return Names(tuple(map(str, node.fields)))
    if type(node) is ng.Index:
        return Indexes(tuple(node.indices))
    if type(node) is ng.Slice:
        return Slice(node.start, node.end, node.step)
    if type(node) is ng.Wildcard:
        return Wildcard()
    if type(node) is ng_filter.Filter:
        return Filter(tuple(map(_condition, node.expressions)))
    raise PathError(f"{_shown(node)} is not allowed; {ALLOWED}")


def _condition(node: Any) -> Condition:
    if type(node) is ng_filter.And:
        return AllOf(tuple(map(_condition, node.operands)))
    if type(node) is ng_filter.Or:
        return AnyOf(tuple(map(_condition, node.operands)))
    if type(node) is not ng_filter.Expression:
        raise PathError(f"{_shown(node)} is not allowed in a filter; {ALLOWED}")
    target = _path(node.target)
    if node.op is None or node.op == "!":
        return Exists(target, negated=node.op == "!")
    if node.op not in COMPARISONS:
        raise PathError(f"the comparison {node.op} is not allowed; {REGEX_REMEDY}")
    return Compares(target, node.op, _path(node.value) if isinstance(node.value, ng.JSONPath) else node.value)


def _shown(node: Any) -> str:
    text = str(node)
    return text if len(text) <= 60 else text[:57] + "..."


def _check_limits(path: Path) -> None:
    steps = list(_all_steps(path.steps))
    if len(steps) > MAX_PATH_STEPS:
        raise PathError(f"it has {len(steps)} steps; the limit is {MAX_PATH_STEPS}")
    descents = sum(isinstance(step, Descend) for step in steps)
    if descents > MAX_DESCENTS:
        raise PathError(f"it has {descents} times `..`; the limit is {MAX_DESCENTS}")


def _all_steps(steps: tuple[Step, ...]) -> Iterator[Step]:
    """The steps with those inside `..` and filters."""
    for step in steps:
        yield step
        if isinstance(step, Descend):
            yield from _all_steps(step.steps)
        elif isinstance(step, Filter):
            for condition in step.conditions:
                yield from _steps_of(condition)


def _steps_of(condition: Condition) -> Iterator[Step]:
    if isinstance(condition, AllOf | AnyOf):
        for inner in condition.conditions:
            yield from _steps_of(inner)
        return
    yield from _all_steps(condition.path.steps)
    if isinstance(condition, Compares) and isinstance(condition.operand, Path):
        yield from _all_steps(condition.operand.steps)
