"""Isolation: a step for one delivery fails that delivery, whatever it raises, and no other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from logstream.errors import DatabaseAway, is_blameless, ours
from logstream.export.stock import reason_of
from logstream.ledger.records import Delivery
from logstream.threads import is_from_outside


class Isolation:
    """Runs steps for deliveries. `wrong` tells of each that failed why: the first reason that was met.

    All that is done for a delivery when it is sealed is done in one of these steps. So any exception, of a
    destination, a plug-in or of ours, becomes one delivery's failure, with its name, and all others are sealed.
    """

    def __init__(self) -> None:
        self.wrong: dict[int, str] = {}
        self.not_theirs: set[int] = set()
        """Those among them that failed by no fault of their destinations: that tells nothing of those."""

    def sound(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Those of some deliveries that nothing has gone wrong with."""
        return [delivery for delivery in deliveries if delivery.id not in self.wrong]

    @contextmanager
    def step(self, failure: str, *deliveries: Delivery) -> Iterator[None]:
        """What is done in this context is done for these deliveries, and fails no others; `failure` is what is said then."""
        try:
            yield
        except BaseException as error:
            if is_from_outside(error):
                raise
            if is_blameless(error):
                self.not_theirs.update(delivery.id for delivery in deliveries)
            reason = reason_of(error, f"sealing {deliveries[0].destination if deliveries else 'an earlier window'}")
            for delivery in deliveries:
                self.wrong.setdefault(delivery.id, f"{failure}: {reason}")

    async def run(self, failure: str, deliveries: Sequence[Delivery], work: Callable[[], Awaitable[None]]) -> None:
        """A step that waits for what is slow."""
        with self.step(failure, *deliveries):
            await work()

    def together(
        self, failure: str, deliveries: Sequence[Delivery], step: Callable[[Sequence[Delivery]], None]
    ) -> None:
        """Do a step for all at once, which must do all or nothing; if that cannot be, for each by itself.

        Such a step is the ledger's: none of a destination's code is called in it, and no destination is blamed for it.

        Raises `DatabaseAway`: then there is nothing to be done for any of them.
        """
        if not deliveries:
            return
        try:
            step(deliveries)
        except DatabaseAway:
            raise
        except Exception:  # which of them it is, is seen when each is alone
            for delivery in deliveries:
                with self.step(failure, delivery), ours():
                    step([delivery])
