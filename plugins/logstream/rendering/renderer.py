"""From an event's payload to the message that is sent: the one way, for export, preview and console alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import orjson

from logstream.errors import BadEvent, LogstreamError, TemplateError
from logstream.events import MAX_JOB_BYTES, OVERSIZE_LINES, Event, Kind
from logstream.jsonpath.search import TooMuchWork
from logstream.jsontext import may_nest_deeply, not_shallow, one_line, refuse_deep_nesting, without_lines
from logstream.messages import Messages
from logstream.rendering.masking import Masks
from logstream.rendering.template import DEFAULT, NAMING_WORKSPACE, Slot, Template, compile_template
from logstream.rendering.view import EventView
from logstream.settings.models import DEFAULT_KIND, Message, by_kind
from logstream.settings.resolution import Workspace

MESSAGE_ALLOWANCE = 1_000_000
"""Bytes that a message may have beside four times the size of its event."""

_OVERSIZE = orjson.dumps(OVERSIZE_LINES)


class _Bound:
    """A template with its instant filled in: its pieces, and where it wraps the whole event in constants, those."""

    def __init__(self, pieces: tuple[bytes | Slot, ...]) -> None:
        self.pieces = pieces
        # the usual template has one slot for the whole event: constant, payload, constant
        self.wrap = _as_wrap(pieces)
        self.names_workspace = any(isinstance(piece, Slot) and piece.name in NAMING_WORKSPACE for piece in pieces)

    def fill(self, view: EventView) -> bytes:
        """The template's pieces, filled. Raises `TooMuchWork` before a message grows out of proportion to its event."""
        left = MESSAGE_ALLOWANCE + 4 * len(view.payload)
        parts: list[bytes] = []
        for piece in self.pieces:
            part = piece.fill(view) if isinstance(piece, Slot) else piece
            left -= len(part)
            if left < 0:
                raise TooMuchWork(
                    f"the message would be larger than four times its event and {MESSAGE_ALLOWANCE:,} bytes"
                )
            parts.append(part)
        return b"".join(parts)


class Renderer:
    """Renders events for one setting and one lane. Not for several threads at once.

    `template` is that of every kind of event that has none of its own in `by_kind`. `now_ns` is the lane's instant, in
    nanoseconds since 1970. `fallbacks` counts the events for which a template broke and the default message was used instead;
    `fallback_reason` keeps the first mistake. `mask_problem` names a stored mask that is not allowed any more, so that more is
    masked than it says. `names_workspace`: `render` wants the workspace.
    """

    def __init__(
        self, template: Template | None, *, drop_lines: bool, now_ns: int, mask: Sequence[str] = (),
        by_kind: Mapping[str, Template] | None = None,
    ) -> None:  # fmt: skip
        self._drop_lines = drop_lines
        self._masks = Masks(mask) if mask else None
        self._default = _Bound((template or DEFAULT).bind(now_ns))
        self._by_kind = {kind: _Bound(own.bind(now_ns)) for kind, own in (by_kind or {}).items()}
        bound = [self._default, *self._by_kind.values()]
        self.names_workspace = any(own.names_workspace for own in bound)
        self.fallbacks = 0
        self.fallback_reason: str | None = None
        self.mask_problem = self._masks.problem if self._masks else None

    @classmethod
    def of(cls, message: Message | None, *, drop_lines: bool, now_ns: int, mask: Sequence[str] = ()) -> Renderer:
        """A renderer for a stored message; what no longer compiles of it falls back to the default, and it says so."""
        templates: dict[str, Template] = {}
        reason = None
        for kind, source in by_kind(message).items():
            try:
                templates[kind] = _compiled(source)
            except TemplateError as error:
                reason = reason or (str(error) if isinstance(message, str) else f"{kind}: {error}")
                templates[kind] = DEFAULT
        renderer = cls(
            templates.pop(DEFAULT_KIND, None), drop_lines=drop_lines, now_ns=now_ns, mask=mask, by_kind=templates
        )
        renderer.fallback_reason = reason
        return renderer

    def render_plain(self, events: Sequence[Event]) -> Messages | None:
        """Render many events at once, where the template wraps the whole event and no rule has to look into any.

        Returns `None` where one needs to be looked at alone (`render`): the two give the same bytes.
        """
        wrap = self._default.wrap
        if wrap is None or self._by_kind or self._drop_lines or self._masks:
            return None
        payloads = [event[5] for event in events]
        together = b"".join(payloads)  # one look into all takes a third of the time of a look into each
        if any(len(payload) > MAX_JOB_BYTES or may_nest_deeply(payload) for payload in not_shallow(payloads, together)):
            return None
        if b"\n" in together or b"\r" in together:
            payloads = list(map(one_line, payloads))
        return Messages(payloads, *wrap)

    def render(self, event: Event, workspace: Workspace | None = None) -> bytes:
        """Render one event as one line of JSON. Raises `BadEvent` for one that cannot be sent by anyone.

        `workspace` is what `workspace.*` placeholders say; without it they know the workspace's id alone.
        """
        payload = event[5]
        refuse_deep_nesting(payload)
        if event[2] == Kind.JOB:
            if self._drop_lines:
                payload = without_lines(payload)
            elif len(payload) > MAX_JOB_BYTES:
                payload = without_lines(payload, _OVERSIZE)
        if self._masks is not None:
            payload = self._masks.apply(payload)
        payload = one_line(payload)
        bound = self._by_kind.get(event[2], self._default)
        if bound.wrap is not None:
            return bound.wrap[0] + payload + bound.wrap[1]
        try:
            return bound.fill(EventView(event, workspace or Workspace(event[1]), payload))
        except BadEvent:
            raise
        except Exception as error:  # a fault of ours must not keep the event from being sent
            self.fallbacks += 1
            self.fallback_reason = self.fallback_reason or _in_words(error)
            return payload


_compiled = lru_cache(maxsize=32)(compile_template)
"""Thousands of customers, each with a destination of its own, mostly have one template."""


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, LogstreamError) else f"{type(error).__name__}: {error}"


def _as_wrap(pieces: tuple[bytes | Slot, ...]) -> tuple[bytes, bytes] | None:
    slots = [piece for piece in pieces if isinstance(piece, Slot)]
    if len(slots) != 1 or slots[0].name != "log_message" or slots[0].in_string:
        return None
    index = pieces.index(slots[0])
    before, after = pieces[:index], pieces[index + 1 :]
    return b"".join(p for p in before if isinstance(p, bytes)), b"".join(p for p in after if isinstance(p, bytes))
