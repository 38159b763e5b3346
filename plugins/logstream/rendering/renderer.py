"""From an event's payload to the message that is sent: the one way, for export, preview and console alike."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from logstream.errors import BadEvent, LogstreamError, TemplateError
from logstream.events import MAX_JOB_BYTES, OVERSIZE_LINES, Event, Kind
from logstream.jsontext import may_nest_deeply, one_line, refuse_deep_nesting, without_lines
from logstream.messages import Messages
from logstream.rendering.masking import Masks
from logstream.rendering.search import TooMuchWork
from logstream.rendering.template import DEFAULT, Slot, Template, compile_template
from logstream.rendering.view import EventView

MESSAGE_ALLOWANCE = 1_000_000
"""Bytes that a message may have beside four times the size of its event."""

_OVERSIZE = orjson.dumps(OVERSIZE_LINES)


class Renderer:
    """Renders events for one setting and one lane. Not for several threads at once.

    `now_ns` is the lane's instant, in nanoseconds since 1970. `fallbacks` counts the events for which the template broke
    and the default message was used instead; `fallback_reason` keeps the first mistake. `mask_problem` names a stored mask
    that is not allowed any more, so that more is masked than it says.
    """

    def __init__(self, template: Template | None, *, drop_lines: bool, now_ns: int, mask: Sequence[str] = ()) -> None:
        bound = (template or DEFAULT).bind(now_ns)
        self._drop_lines = drop_lines
        self._masks = Masks(mask) if mask else None
        self._pieces = bound
        # the usual template has one slot for the whole event: constant, payload, constant
        self._wrap = _as_wrap(bound)
        self.fallbacks = 0
        self.fallback_reason: str | None = None
        self.mask_problem = self._masks.problem if self._masks else None

    @classmethod
    def of(cls, message: str | None, *, drop_lines: bool, now_ns: int, mask: Sequence[str] = ()) -> Renderer:
        """A renderer for a stored message; one that no longer compiles falls back to the default, and says so."""
        try:
            template = compile_template(message) if message is not None else None
        except TemplateError as error:
            renderer = cls(None, drop_lines=drop_lines, now_ns=now_ns, mask=mask)
            renderer.fallback_reason = str(error)
            return renderer
        return cls(template, drop_lines=drop_lines, now_ns=now_ns, mask=mask)

    def render_plain(self, events: Sequence[Event]) -> Messages | None:
        """Render many events at once, where the template wraps the whole event and no rule has to look into any.

        Returns `None` where one needs to be looked at alone (`render`): the two give the same bytes.
        """
        if self._wrap is None or self._drop_lines or self._masks:
            return None
        payloads = [event[5] for event in events]
        for index, payload in enumerate(payloads):
            if b"\n" in payload or b"\r" in payload:
                payloads[index] = one_line(payload)
            if len(payload) > MAX_JOB_BYTES or may_nest_deeply(payload):
                return None
        return Messages(payloads, *self._wrap)

    def render(self, kind: str, payload: bytes) -> bytes:
        """Render one event as one line of JSON. Raises `BadEvent` for one that cannot be sent by anyone."""
        refuse_deep_nesting(payload)
        if kind == Kind.JOB:
            if self._drop_lines:
                payload = without_lines(payload)
            elif len(payload) > MAX_JOB_BYTES:
                payload = without_lines(payload, _OVERSIZE)
        if self._masks is not None:
            payload = self._masks.apply(payload)
        payload = one_line(payload)
        if self._wrap is not None:
            return self._wrap[0] + payload + self._wrap[1]
        try:
            return self._fill(payload)
        except BadEvent:
            raise
        except Exception as error:  # what nobody foresaw must not keep the event from being sent
            self.fallbacks += 1
            self.fallback_reason = self.fallback_reason or _in_words(error)
            return payload

    def _fill(self, payload: bytes) -> bytes:
        """The template's pieces, filled. Raises `TooMuchWork` before a message grows out of proportion to its event."""
        view, left = EventView(payload), MESSAGE_ALLOWANCE + 4 * len(payload)
        parts: list[bytes] = []
        for piece in self._pieces:
            part = piece.fill(view) if isinstance(piece, Slot) else piece
            left -= len(part)
            if left < 0:
                raise TooMuchWork(
                    f"the message would be larger than four times its event and {MESSAGE_ALLOWANCE:,} bytes"
                )
            parts.append(part)
        return b"".join(parts)


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, LogstreamError) else f"{type(error).__name__}: {error}"


def _as_wrap(pieces: tuple[bytes | Slot, ...]) -> tuple[bytes, bytes] | None:
    slots = [piece for piece in pieces if isinstance(piece, Slot)]
    if len(slots) != 1 or slots[0].name != "log_message" or slots[0].in_string:
        return None
    index = pieces.index(slots[0])
    before, after = pieces[:index], pieces[index + 1 :]
    return b"".join(p for p in before if isinstance(p, bytes)), b"".join(p for p in after if isinstance(p, bytes))
