"""Rendering many events at once: what frames them by compute kernels, what needs more of an event one by one, into one buffer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from logstream.batches import KINDS, Events, Ints, column_of, data_of, offsets_of
from logstream.errors import BadEvent
from logstream.events import MAX_JOB_BYTES, Event
from logstream.jsontext import FLAT_BYTES, may_nest_deeply
from logstream.messages import Messages
from logstream.rendering.renderer import Frame

RENDERED_BYTES = 8 * 1024 * 1024
"""How many bytes of messages are made at once: a template may be a hundred times the size of its events."""

ALONE = Frame(b"", b"", escaped=False)
"""The frame of messages that are made one by one: number 0."""

_LINE_BREAKS = bytes.maketrans(b"\r\n", b"  ")

Flags = npt.NDArray[np.bool_]

FrameOf = Callable[[int, str], Frame | None]
"""Workspace id and kind to what is around their events' JSON; `None` where messages are made one by one."""

Render = Callable[[Event], bytes]
"""The message of one event. What it raises is that event's fault."""


class Rendered(NamedTuple):
    """Events with their messages, and those that cannot be sent with the reason."""

    events: Events
    messages: Messages
    bad: list[tuple[Event, str]]


class ColumnRenderer:
    """Renders columns of events. `workspaces` are all that may come; `frame_of` is asked once for each and kind."""

    def __init__(self, workspaces: Iterable[int], frame_of: FrameOf, render: Render) -> None:
        self._workspaces = np.array(sorted(workspaces), np.int64)
        self._frame_of, self._render = frame_of, render
        self._frames: dict[Frame, int] = {}
        self._by_key = np.full(len(self._workspaces) * len(KINDS), -1, np.int32)
        self._tabulate()

    def render(self, events: Events) -> Iterator[Rendered]:
        """Render events, in order, some megabytes of messages at a time."""
        frames = self._frames_of(events)
        start = 0
        while start < len(events):
            lengths = np.diff(offsets_of(events.payloads))[start:] + self._sizes[frames[start:]]
            stop = start + max(1, int(np.searchsorted(np.cumsum(lengths), RENDERED_BYTES, "right")))
            rendered, done = self._some(events[start:stop], frames[start:stop])
            yield rendered
            start += done

    def _frames_of(self, events: Events) -> Ints:
        """The number of each event's frame."""
        known = self._workspaces
        if not len(known):
            return np.zeros(len(events), np.int64)
        places = np.minimum(known.searchsorted(events.workspaces), len(known) - 1)
        keys = places * len(KINDS) + events.kinds
        frames = self._by_key[keys]
        if (frames < 0).any():
            for key in np.unique(keys[frames < 0]).tolist():
                place, code = divmod(key, len(KINDS))
                frame = self._frame_of(int(known[place]), KINDS[code])
                self._by_key[key] = self._frames.setdefault(frame, len(self._frames) + 1) if frame is not None else 0
            self._tabulate()
            frames = self._by_key[keys]
        # of what was not asked for `render` says that there is no setting
        return np.where(known[places] == events.workspaces, frames, 0)

    def _tabulate(self) -> None:
        frames = [ALONE, *self._frames]
        self._before = column_of([frame.before for frame in frames])
        self._behind = column_of([frame.behind + b"\n" for frame in frames])
        self._escaped = np.array([frame.escaped for frame in frames])
        self._sizes = np.array([len(frame.before) + len(frame.behind) + 1 for frame in frames], np.int64)

    def _some(self, events: Events, frames: Ints) -> tuple[Rendered, int]:
        """Render events, or as many of the first as make enough bytes; return how many they were."""
        payloads = _Payloads(events.payloads)
        escaped = self._escaped[frames]
        alone = (frames == 0) | payloads.may_be_refused()
        if escaped.any():
            alone |= escaped & payloads.need_a_parser()
            escaped &= ~alone
        bodies, rows = [payloads.column], np.arange(len(events))
        if escaped.any():
            (some,) = np.nonzero(escaped)
            rows[some] = len(rows) + np.arange(len(some))
            bodies.append(_as_text(payloads.column.take(pa.array(some))))
        done, lost, bad = len(events), list[int](), list[tuple[Event, str]]()
        if alone.any():
            frames = np.where(alone, 0, frames)
            made, done, bad = self._one_by_one(events, np.flatnonzero(alone))
            if len(made) == len(events):
                return Rendered(events, Messages(made.values()), bad), done
            own = np.fromiter(made, np.int64, len(made))
            rows[own] = sum(map(len, bodies)) + np.arange(len(own))
            bodies.append(column_of(made.values()))
            lost = [row for row in np.flatnonzero(alone[:done]).tolist() if row not in made]
        if lost or done < len(events):
            kept = np.setdiff1d(np.arange(done), lost)
            events, rows, frames = events.take(kept), rows[kept], frames[kept]
        body = bodies[0] if len(bodies) == 1 and len(rows) == len(bodies[0]) else None
        if body is None:
            body = pa.concat_arrays(bodies).take(pa.array(rows))
        return Rendered(events, self._framed(body, frames), bad), done

    def _one_by_one(self, events: Events, rows: Ints) -> tuple[dict[int, bytes], int, list[tuple[Event, str]]]:
        """The messages of some rows until they are enough, by row; how many events come before the next; what cannot be sent."""
        made: dict[int, bytes] = {}
        bad: list[tuple[Event, str]] = []
        size = 0
        some = events if len(rows) == len(events) else events.take(rows)
        for row, event in zip(rows.tolist(), some, strict=True):
            try:
                made[row] = message = self._render(event)
            except BadEvent as error:
                bad.append((event, str(error)))
            except Exception as error:  # of whatever kind, it is this event's alone
                bad.append((event, f"it cannot be rendered ({type(error).__name__}: {str(error)[:300]})"))
            else:
                size += len(message)
                if size > RENDERED_BYTES:
                    return made, row + 1, bad
        return made, len(events), bad

    def _framed(self, bodies: Any, frames: Ints) -> Messages:
        """Bodies in their frames, a line each."""
        if not len(frames):
            return Messages()
        first = int(frames[0])
        if (frames == first).all():
            before, behind = self._before[first], self._behind[first]
        else:
            index = pa.array(frames)
            before, behind = self._before.take(index), self._behind.take(index)
        lines = pc.binary_join_element_wise(before, bodies, behind, pa.scalar(b"", pa.large_binary()))
        return Messages.of(data_of(lines), offsets_of(lines))


class _Payloads:
    """The payloads of some events without line breaks: valid JSON has them between tokens only, where a space does as well."""

    def __init__(self, payloads: Any) -> None:
        offsets = offsets_of(payloads)
        self._text = bytes(data_of(payloads)[int(offsets[0]) : int(offsets[-1])])
        self._offsets = offsets - offsets[0]
        self._sizes = np.diff(self._offsets)
        if b"\n" in self._text or b"\r" in self._text:
            self._text = self._text.translate(_LINE_BREAKS)
        buffers = [None, pa.py_buffer(self._offsets), pa.py_buffer(self._text)]
        self.column = pa.Array.from_buffers(pa.large_binary(), len(payloads), buffers)

    def may_be_refused(self) -> Flags:
        """Those that may be too large for what they are, or nested too deeply."""
        found: Flags = self._sizes > MAX_JOB_BYTES
        starts, stops = self._offsets[:-1], self._offsets[1:]
        for row in np.flatnonzero(self._sizes > FLAT_BYTES).tolist():
            found[row] |= may_nest_deeply(self._text, int(starts[row]), int(stops[row]))
        return found

    def need_a_parser(self) -> Flags:
        """Those that do not go into a string by escaping quotes and backslashes alone.

        They are JSON that is a string itself, that has other control characters between tokens, or that is not UTF-8.
        """
        octets = np.frombuffer(self._text, np.uint8)
        firsts = octets[np.minimum(self._offsets[:-1], len(octets) - 1)]
        found: Flags = (self._sizes == 0) | (firsts == ord('"'))
        controls = np.flatnonzero(octets < 0x20)
        found[np.searchsorted(self._offsets, controls, "right") - 1] = True
        try:
            self._text.decode()
        except UnicodeDecodeError:
            found[:] = True
        found |= (firsts & 0xC0) == 0x80
        return found


def _as_text(payloads: Any) -> Any:
    """JSON as it stands in a string."""
    for sign in ("\\", '"'):
        payloads = pc.replace_substring(payloads, sign, f"\\{sign}")
    return payloads
