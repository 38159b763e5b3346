"""What a world shows in the end: at the receivers, in the ledger, by `verify`, and by the auditor's script."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress

import psycopg

from logstream.verify.verifier import verify
from logstream.window import Window
from tests.simulation.audit import audited
from tests.simulation.model import Place, Seen
from tests.simulation.moments import START, moment_of, span_of
from tests.simulation.named import superseded_in
from tests.simulation.receivers import Receiver, messages_of
from tests.simulation.script import Document, keeps_objects
from tests.simulation.workers import Workers


def owed_in(workers: Workers) -> set[Place]:
    """What is owed, as the ledger says."""
    found = workers.quietly(lambda engine: engine.ledger.owed())
    return {(span_of(item.window.start, item.window.end), item.destination) for item in found}


class Witness:
    """Looks at a world whose schedule has reached minute `end`. `documents` are settings snapshots as the script has them."""

    def __init__(
        self, workers: Workers, store: psycopg.Connection, receivers: Mapping[str, Receiver],
        documents: Mapping[int, Document], end: int,
    ) -> None:  # fmt: skip
        self._workers, self._store, self._receivers = workers, store, receivers
        self._documents, self._end = documents, end

    def seen(self) -> Seen:
        """All of it."""
        rejected: dict[str, set[int]] = defaultdict(set)
        for letter in self._workers.quietly(lambda engine: engine.ledger.rejected()):
            rejected[letter.destination].add(letter.event_id)
        lost, written_off = Counter[tuple[Place, int, str]](), Counter[tuple[Place, int, str]]()
        for loss in self._workers.quietly(lambda engine: engine.ledger.losses()):
            place = span_of(loss.window.start, loss.window.end), loss.destination
            named = lost if loss.why == "purged" else written_off
            named[place, loss.workspace_id, loss.kind] += loss.events
        span = Window(START, moment_of(self._end))
        findings = self._workers.quietly(lambda engine: verify(engine, span)).findings
        documents = self._snapshots()
        select = "select window_start, window_end, {} from logstream.{}"
        windows = self._store.execute(select.format("snapshot_id", "windows")).fetchall()
        deliveries = self._store.execute(select.format("snapshot_id, destination", "deliveries")).fetchall()
        return Seen(
            held={name: messages_of(receiver) for name, receiver in self._receivers.items()},
            superseded=self._superseded(),
            windows={span_of(start, end): documents[number] for start, end, number in windows},
            deliveries={(span_of(start, end), name): documents[number] for start, end, number, name in deliveries},
            rejected=rejected,
            owed=owed_in(self._workers),
            lost=lost,
            written_off=written_off,
            verified=[(span_of(item.window.start, item.window.end), item.destination, str(item)) for item in findings],
            audited={name: audited(found.objects) for name, found in self._receivers.items() if keeps_objects(name)},
        )

    def _superseded(self) -> dict[str, set[str]]:
        found = {name: superseded_in(each.objects) for name, each in self._receivers.items() if keeps_objects(name)}
        unsealed = "select id, destination from logstream.deliveries where state <> 'delivered'"
        for number, name in self._store.execute(unsealed).fetchall():
            if name in found:
                parts = self._workers.quietly(lambda engine, of=number: list(engine.ledger.superseded([of])))
                found[name] |= {part.name for _, part in parts}
        return found

    def _snapshots(self) -> dict[int, Document]:
        """All snapshots as the script has their settings; derived ones have the routes of those that they derive from."""
        found: dict[int, Document] = dict(self._documents)
        rows = self._store.execute("select id, author from logstream.settings_snapshots where derived order by id")
        for number, author in rows.fetchall():
            with suppress(KeyError):
                found[number] = found[int(author.rpartition(" ")[2])]
        return found
