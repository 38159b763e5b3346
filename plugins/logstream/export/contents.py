"""What of the settings shapes a workspace's messages: idempotency keys name it, and names of objects are masked by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from logstream.ledger.records import fingerprint_of
from logstream.rendering.masking import Masks
from logstream.settings.models import Streaming, by_kind


def contents_of(streamings: Mapping[int, Streaming]) -> dict[int, str]:
    """Workspace id to a digest of its template, its masks and whether its jobs have their `lines`.

    Of each workspace by itself, and of nothing else: that another workspace of the lane is set up, or that more kinds of
    events are streamed, changes no message, and must change no key by which a receiver tells a repetition.
    """
    # an admin's setting is one object for all workspaces
    digests = {id(streaming): _digest(streaming) for streaming in {id(s): s for s in streamings.values()}.values()}
    return {workspace: digests[id(streaming)] for workspace, streaming in streamings.items()}


def masks_of(streamings: Mapping[int, Streaming]) -> dict[int, Callable[[bytes], bytes]]:
    """Workspace id to what masks its events, of those that have masks."""
    made = {id(one): Masks(one.mask).apply for one in {id(s): s for s in streamings.values()}.values() if one.mask}
    return {workspace: made[id(one)] for workspace, one in streamings.items() if one.mask}


def _digest(streaming: Streaming) -> str:
    return fingerprint_of(by_kind(streaming.message), streaming.mask, streaming.selection.drops_lines)
