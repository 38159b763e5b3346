"""Whether a receiver that refuses events is to be believed.

A receiver that refuses everything is failing: a wrong index, a wrong format, a changed contract, a limit in its options that is
smaller than every event. Were it believed, all its events would become dead letters and the run would be green. It does not
matter whether the receiver refuses them or they are refused here, before they are sent, on its behalf; nor whether no message
can be made of them, by a mask that looks too long or by a fault of ours.

So a rejection is believed only beside acceptances: of other events in
this run, or in the ledger since the destination's options last changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from logstream.errors import DeliveryError
from logstream.units import counted

MOST_DOUBTED = 50
"""So many events may be refused before the first is taken; then the destination counts as failing, unless it has taken others of
the same window: in other lanes, or before this attempt. A burst of bad events that is longer than this, and stands before all
good ones of a window, needs a person to look at it."""


class LaneFailed(DeliveryError):
    """A lane cannot go on. `permanent`: a person must act first; trying again cannot help. `after`: seconds asked to wait.

    `refused`: its receiver refuses events for their content, and has taken none: other windows may still be taken.
    """

    def __init__(self, reason: str, *, permanent: bool, after: float | None = None, refused: bool = False) -> None:
        super().__init__(reason)
        self.permanent, self.after, self.refused = permanent, after, refused


class Refusals:
    """What one destination took and refused of a window, in all lanes of a task. Of one event loop.

    `recall` tells whether it has taken others of the window, in other tasks or attempts; it is asked before it counts as failing.
    """

    def __init__(self, recall: Callable[[], Awaitable[bool]] | None = None) -> None:
        self.believed = False
        self._recall = recall
        self._doubted = 0
        self._unmade = 0
        self._reason = ""
        self._waiting: list[Callable[[], object]] = []

    def when_believed(self, call: Callable[[], object]) -> None:
        """Call once, as soon as refusals are believed."""
        self._waiting.append(call)

    def believe(self) -> None:
        """The receiver has taken an event, now or before: what it refuses is refused for what it is."""
        if self.believed:
            return
        self.believed = True
        for call in self._waiting:
            call()

    async def refuse(self, events: int, reason: str) -> None:
        """Events that stand alone are refused. Raises `LaneFailed` where it has refused too many and taken none."""
        self._doubted += events
        self._reason = reason
        if self._doubted > MOST_DOUBTED:
            await self._require_belief()

    def unmade(self, reason: str) -> None:
        """No message can be made of an event. Unlike `refuse`, this is said before the events around it are sent."""
        self._unmade += 1
        self._reason = reason

    async def nothing_made(self) -> None:
        """No message was made of any event so far. Raises `LaneFailed` where that is so of too many, and none was taken."""
        if self._unmade > MOST_DOUBTED:
            await self._require_belief()

    async def _require_belief(self) -> None:
        if not self.believed and self._recall is not None and await self._recall():
            self.believe()
        if not self.believed:
            raise self.failure()

    def failure(self) -> LaneFailed:
        """Why a receiver that takes nothing counts as failing."""
        events = counted(self._doubted + self._unmade, "event")
        said = f"it refused each of {events}, and took none" if self._doubted else f"none of {events} can be sent"
        return LaneFailed(
            f"{said}, so none of them is rejected: {self._reason}; correct the destination's options, its connection, the "
            "message template or the masks",
            permanent=True,
            refused=True,
        )
