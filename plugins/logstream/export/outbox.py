"""Sends a lane's parcels, several at once, and checkpoints them in order."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence

from logstream import clock
from logstream.destinations.base import Destination, Options
from logstream.destinations.parcel import EventRef, Parcel, Part, cursor_of
from logstream.events import Cursor
from logstream.export.limiter import AdaptiveLimit
from logstream.export.refusals import Refusals
from logstream.export.retrying import RetryNews
from logstream.export.select import Unsendable
from logstream.export.send import Confirm, RetryPolicy, Sent, send
from logstream.export.whole_numbers import NumberRows
from logstream.ledger.checkpoints import LedgerWriter
from logstream.ledger.records import Lane, News, Rejection

CHECKPOINT_SECONDS = 1.0
"""How often a lane's counts are written."""

REJECTED_AT_ONCE = 20_000
"""So many dead letters enter the ledger in one write, which has to end in `threads.ANSWER_SECONDS`: they take about a second."""


class Outbox:
    """Sends parcels, several at once, and checkpoints them in order.

    At most the destination's concurrency of parcels is sent and not yet in the ledger: after a crash no more than those
    are sent again. How far a lane has come is written at every step, which is little; its counts and parts about once a
    second. An attempt that resumes packs what lies between the two again and counts it, without sending it. Where sending again
    replaces what is there (objects), there are no steps; what is put is announced before, so that whatever an attempt leaves
    behind is known, also where the lane is then delivered otherwise.

    A parcel that its receiver refused, where it has taken nothing yet, is held: it enters the ledger when refusals are believed
    (`Refusals`), and so is an event of which no message could be made. Parcels behind it are sent meanwhile; one that is taken
    ends the doubt.
    """

    def __init__(
        self,
        lane: Lane,
        writer: LedgerWriter,
        destination: Destination[Options],
        policy: RetryPolicy,
        limit: AdaptiveLimit,
        refusals: Refusals,
        confirm: Confirm | None = None,
        news: RetryNews | None = None,
    ) -> None:
        self._lane, self._writer, self._destination = lane, writer, destination
        self._policy, self._limit, self._confirm = policy, limit, confirm
        self._refusals, self._news = refusals, news
        refusals.when_believed(self._settle_soon)
        self._slots_lent = 0
        """Places given back for parcels that are held."""
        self._slots = asyncio.Semaphore(destination.limits.concurrency)
        self._under_way: deque[tuple[Parcel, asyncio.Task[Sent]]] = deque()
        self._bad = NumberRows(6)
        """Events that cannot be sent, until they are counted: place, id of the workspace, kind and reason by their numbers in
        `_words`, whether it is doubted."""
        self._doubted = NumberRows(2)
        """The places of those among them that are doubted."""
        self._words: dict[str, int] = {}
        self._texts: list[str] = []
        self._rejected: list[Rejection] = []
        self._parts: list[Part] = []
        self._announced: dict[str, int] = {}
        """Names of parcels to the numbers of their announcements."""
        self._settled: list[int] = []
        """Announcements of what is counted."""
        self._irregular = False
        self._settling: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._written = clock.monotonic()

    def reject(self, bad: Sequence[Unsendable]) -> None:
        """Note events that cannot be sent; they enter the ledger with the parcel that comes after them."""
        for row in bad:
            place, event = cursor_of(row.event), row.event
            words = self._number_of(event.kind), self._number_of(row.reason)
            self._bad.append(*place, event.workspace_id, *words, row.doubted)
            if row.doubted:
                self._doubted.append(*place)
                self._refusals.unmade(row.reason)

    def _number_of(self, text: str) -> int:
        number = self._words.setdefault(text, len(self._texts))
        if number == len(self._texts):
            self._texts.append(text)
        return number

    def note(self, parcel: Parcel) -> None:
        """Count a parcel that an earlier attempt delivered, whole, after it had last written its counts."""
        self._refusals.believe()
        self._take_bad(parcel.last, len(self._bad))
        self._count(parcel, Sent(bytes=parcel.size, requests=parcel.requests, parts=parcel.parts))

    async def put(self, parcel: Parcel) -> None:
        """Send a parcel as soon as there is room. Raises what an earlier one failed with."""
        await self._slots.acquire()
        if self._failure is not None:
            raise self._failure
        task = asyncio.create_task(self._send(parcel))
        self._under_way.append((parcel, task))
        task.add_done_callback(self._settle_soon)

    async def _send(self, parcel: Parcel) -> Sent:
        if self._destination.replaces and parcel.parts:
            self._announced[parcel.name] = await self._writer.announce(self._lane, parcel.parts)
        return await send(
            self._destination, parcel, self._policy, self._limit, self._confirm, self._refusals, self._news
        )

    async def drain(self) -> None:
        """Wait until everything is sent, and what is not held is in the ledger."""
        while self._failure is None:
            if self._settling is not None:
                await asyncio.wait([self._settling])
            elif sending := [task for _, task in self._under_way if not task.done()]:
                await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
                await clock.sleep(0)
            elif self._under_way and not self.doubtful:
                self._settle_soon()
            else:
                break
        if self._failure is not None:
            raise self._failure

    async def conclude(self) -> None:
        """Everything is sent and may enter the ledger. Raises `LaneFailed` where refusals are still doubted."""
        await self.drain()
        if self.doubtful:
            raise self._refusals.failure()
        while self._bad:
            self._take_bad(None, REJECTED_AT_ONCE)
            await self._checkpoint()

    @property
    def doubtful(self) -> bool:
        """Whether the next parcel, or the next event that cannot be sent, that would enter the ledger is held."""
        if self._refusals.believed:
            return False
        if not self._under_way:
            return bool(self._doubted)
        parcel, task = self._under_way[0]
        return (bool(self._doubted) and self._doubted.first < parcel.last) or self._is_held(task)

    def _is_held(self, task: asyncio.Task[Sent]) -> bool:
        if self._refusals.believed or not task.done() or task.cancelled() or task.exception():
            return False
        return task.result().refused

    async def abandon(self) -> None:
        """Stop sending what is not sent; what has arrived goes into the ledger."""
        tasks = [task for _, task in self._under_way]
        for task in tasks:
            if not task.done():
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._settling is not None:
            await asyncio.gather(self._settling, return_exceptions=True)
        self._collect()

    @property
    def news(self) -> News:
        """What is not in the ledger yet."""
        return News(list(self._rejected), list(self._parts), announced=list(self._settled))

    def _settle_soon(self, _: object = None) -> None:
        if self._settling is None:
            self._settling = asyncio.create_task(self._settle())

    async def _settle(self) -> None:
        """Write to the ledger what has arrived without a gap, and make room for as much."""
        try:
            while (collected := self._collect()) > 0 or self._is_full:
                due = clock.monotonic() - self._written >= CHECKPOINT_SECONDS
                if due or self._irregular:
                    await self._checkpoint()
                elif not self._destination.replaces:  # else a repetition would do no harm: the ledger can wait
                    await self._writer.step(self._lane)
                self._release(collected)
            self._lend()
        except BaseException as error:
            self._failure = self._failure or error
        finally:
            self._settling = None
            if self._failure is not None:
                # a `put` that waits for room must learn of it
                self._slots.release()

    async def _checkpoint(self) -> None:
        news = self.news
        self._irregular = False
        await self._writer.checkpoint(self._lane, news)
        self._written = clock.monotonic()
        self._lane.trail = 0
        del self._rejected[: len(news.rejected)], self._parts[: len(news.parts)], self._settled[: len(news.announced)]

    def _release(self, places: int) -> None:
        given = min(places, self._slots_lent)
        self._slots_lent -= given
        for _ in range(places - given):
            self._slots.release()

    def _lend(self) -> None:
        """Give back the places of held parcels: what is behind them must be sent to end the doubt."""
        if self.doubtful:
            self._note_failures()
        held = sum(self._is_held(task) for _, task in self._under_way)
        for _ in range(held - self._slots_lent):
            self._slots.release()
        self._slots_lent = max(held, self._slots_lent)

    def _note_failures(self) -> None:
        """What failed behind a held parcel stops the lane, too."""
        for _, task in self._under_way:
            if task.done() and not task.cancelled() and (error := task.exception()):
                self._failure = self._failure or error

    @property
    def _is_full(self) -> bool:
        """Whether there are as many dead letters as are written at once."""
        return len(self._rejected) >= REJECTED_AT_ONCE

    def _collect(self) -> int:
        """Count what has arrived without a gap, until that is as much as is written at once; return how many parcels."""
        collected = 0
        while self._under_way and self._under_way[0][1].done() and self._failure is None and not self.doubtful:
            parcel, task = self._under_way[0]
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            if error is not None:
                self._failure = error
                break
            self._take_bad(parcel.last, REJECTED_AT_ONCE - len(self._rejected))
            if self._is_full:
                break
            self._under_way.popleft()
            self._count(parcel, task.result())
            collected += 1
        return collected

    def _count(self, parcel: Parcel, sent: Sent) -> None:
        lane = self._lane
        lane.count(parcel, sent.bytes, sent.requests)
        if sent.rejected:
            lane.delivered.subtract(sent.rejected_tally)
            lane.rejected.update(sent.rejected_tally)
            self._rejected += [Rejection(event, reason, parcel.name) for event, reason in sent.rejected]
        self._parts += sent.parts
        if (announced := self._announced.pop(parcel.name, None)) is not None:
            self._settled.append(announced)
        self._irregular |= not sent.whole

    def _take_bad(self, until: Cursor | None, most: int) -> None:
        """Count events that cannot be sent: those before a place, if one is given, and so many at the most."""
        end = len(self._rejected) + most
        while self._bad and len(self._rejected) < end and (until is None or self._bad.first[:2] < until):
            recorded_us, event_id, workspace_id, kind, reason, doubted = self._bad.popleft()
            cursor = Cursor(recorded_us, event_id)
            event = EventRef(event_id, workspace_id, self._texts[kind])
            if doubted:
                self._doubted.popleft()
            # behind the last parcel, too: an attempt that resumes must not count it again
            self._lane.counted = max(self._lane.counted or cursor, cursor)
            self._lane.position = max(self._lane.position or cursor, cursor)
            self._lane.rejected.update(Counter({(event.workspace_id, event.kind): 1}))
            self._rejected.append(Rejection(event, self._texts[reason]))
            self._irregular = True
        if not self._bad:  # reasons quote events: of many there may be as many
            self._words.clear()
            self._texts.clear()
