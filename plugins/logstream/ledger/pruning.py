"""Pruning: the ledger forgets the details of complete deliveries of old windows. Their manifests, and counts, stay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, select, update

from logstream.control.tables import (
    SCHEMA,
    deliveries,
    lane_attempts,
    lane_parts,
    lanes,
    losses,
    manifests,
    rejections,
    superseded_parts,
)
from logstream.database import database_errors
from logstream.destinations.parcel import Part
from logstream.ledger.book import Book, any_of
from logstream.ledger.locks import lock_deliveries
from logstream.ledger.losses import Why
from logstream.ledger.records import State
from logstream.ledger.rejections import is_open
from logstream.proof.listings import unpack
from logstream.proof.manifests import BrokenManifest, fields_in, listings_of

# those that were taken before they could be locked
_BUSY = f"""
with locked as materialized (
    select delivery_id, leased_until > clock_timestamp() as leased from {SCHEMA}.lanes where delivery_id = any(%s::bigint[])
    order by delivery_id, lane for update)
select distinct delivery_id from locked where leased
"""  # noqa: S608 - the schema is ours


class Pruning(Book):
    """Forgets."""

    def prune(self, before: datetime) -> int:
        """Forget the parts, and the settled rejections, of complete deliveries of windows that ended by then.

        Counts and manifests stay, and so does all that no manifest tells and somebody may still need:

        - A delivery whose manifest is still to be put beside its data (it was written off while its place was away) keeps what
          that lists: no later manifest of its chain could be put without it.
        - One that supersedes what may be the only copy of events keeps the names of those objects: they would be given to others.
          So does one that has dead letters: what a redelivery had put when it was killed is superseded, too.
        - One that somebody works on, who sends its dead letters again, say, is left: names are chosen by what the ledger knows.
          Who had it, and has paused until the lease ran out, has lost it, and puts nothing more.
        - One of which dead letters have arrived since it was sealed is left until it is sealed again.
        - Superseded names stay that the manifest in force does not list: what a redelivery had put when it was killed, or objects
          of a destination that is a service now.

        Returns how many were pruned.
        """
        to_be_put = select(manifests.c.position).where(
            manifests.c.delivery_id == deliveries.c.id, manifests.c.put_at.is_(None)
        )
        superseded = select(superseded_parts.c.id).where(superseded_parts.c.delivery_id == deliveries.c.id)
        purged = (losses.c.delivery_id == deliveries.c.id) & (losses.c.reason == Why.PURGED)
        lost = select(losses.c.delivery_id).where(purged)
        letters = select(rejections.c.event_id).where(rejections.c.delivery_id == deliveries.c.id, is_open())
        only_copies = superseded.exists() & (deliveries.c.keeps_superseded | lost.exists() | letters.exists())
        leased = (lanes.c.delivery_id == deliveries.c.id) & (lanes.c.leased_until > func.clock_timestamp())
        busy = select(lanes.c.lane).where(leased)
        old = (
            (deliveries.c.window_end <= before)
            & (deliveries.c.state == State.DELIVERED)
            & deliveries.c.pruned_at.is_(None)
        )
        old &= ~to_be_put.exists() & ~only_copies & ~busy.exists()
        with self._writing("pruning the ledger") as connection:
            ids = lock_deliveries(connection, old)
            # once more: while the locks were waited for, others may have written what this goes by
            ids = list(connection.scalars(select(deliveries.c.id).where(any_of(deliveries.c.id, ids), old)))
            taken = set(connection.exec_driver_sql(_BUSY, (ids,)).scalars())
            told = _told(connection, [number for number in ids if number not in taken])
            ids = [number for number in ids if number not in taken and number not in told.less]
            pruned = update(deliveries).where(any_of(deliveries.c.id, ids))
            connection.execute(pruned.values(pruned_at=func.clock_timestamp(), forgotten=None))
            connection.execute(delete(lane_parts).where(any_of(lane_parts.c.delivery_id, ids)))
            # those that were read: what another has noted meanwhile stays
            connection.execute(delete(superseded_parts).where(any_of(superseded_parts.c.id, told.superseded)))
            settled = any_of(rejections.c.delivery_id, ids) & rejections.c.redelivered_at.is_not(None)
            connection.execute(delete(rejections).where(settled))
            left_behind = any_of(lanes.c.delivery_id, ids) & lanes.c.leased_by.is_not(None)
            fenced = {"attempt": lane_attempts.next_value(), "leased_by": None, "leased_until": None}
            connection.execute(update(lanes).where(left_behind).values(fenced))
        return len(ids)

    def pruned(self, delivery_ids: Iterable[int]) -> set[int]:
        """Those of some deliveries that were pruned, and not planned since."""
        some = any_of(deliveries.c.id, delivery_ids) & deliveries.c.pruned_at.is_not(None)
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            return set(connection.scalars(select(deliveries.c.id).where(some)))


class _Told(NamedTuple):
    """What manifests in force tell of some deliveries."""

    less: set[int]
    """The deliveries of which they tell less than has arrived."""
    superseded: list[int]
    """The rows of superseded names, of those deliveries whose manifest lists all of them."""


def _told(connection: Connection, delivery_ids: Sequence[int]) -> _Told:
    """Most deliveries have neither superseded names nor dead letters that have arrived: of those nothing is read."""
    some, arrived = superseded_parts.c, rejections.c.redelivered_at.is_not(None)
    with_names = set(connection.scalars(select(some.delivery_id).where(any_of(some.delivery_id, delivery_ids))))
    of_letters = any_of(rejections.c.delivery_id, delivery_ids) & arrived
    with_letters = set(connection.scalars(select(rejections.c.delivery_id).where(of_letters)))
    if not with_names and not with_letters:
        return _Told(set(), [])
    in_force = _in_force(connection, with_names | with_letters)
    events = func.sum(lanes.c.delivered_events).label("events")
    counting = select(lanes.c.delivery_id, events).where(any_of(lanes.c.delivery_id, with_letters))
    counts = connection.execute(counting.group_by(lanes.c.delivery_id)).all()
    less = {row.delivery_id for row in counts if in_force.get(row.delivery_id, {}).get("events") != row.events}
    names = select(some.id, some.delivery_id, some.entries).where(any_of(some.delivery_id, with_names - less))
    names = names.order_by(some.delivery_id, some.id.desc()).execution_options(yield_per=16)
    superseded: list[int] = []
    for number, rows in groupby(connection.execute(names), key=attrgetter("delivery_id")):
        ids: list[int] = []
        ours = [{"parts": found.parts, "sha256": found.sha256} for found, _ in listings_of(_parts_in(rows, ids))]
        listed = in_force.get(number, {}).get("superseded", [])
        # before them may be those that it took over from an earlier one
        if listed[len(listed) - len(ours) :] == ours:
            superseded += ids
    return _Told(less, superseded)


def _parts_in(rows: Iterable[Any], ids: list[int]) -> Iterator[Part]:
    for row in rows:
        ids.append(row.id)
        yield from unpack(row.entries)


def _in_force(connection: Connection, delivery_ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    """The fields of the newest manifest of each delivery's window."""
    same = (
        (deliveries.c.destination == manifests.c.destination)
        & (deliveries.c.window_start == manifests.c.window_start)
        & (deliveries.c.window_end == manifests.c.window_end)
    )
    query = select(deliveries.c.id, manifests.c.document).join(deliveries, same)
    query = query.where(any_of(deliveries.c.id, delivery_ids)).order_by(manifests.c.position)
    documents = {row.id: row.document for row in connection.execute(query)}
    found: dict[int, dict[str, Any]] = {}
    for number, document in documents.items():
        with suppress(BrokenManifest):  # it tells nothing
            found[number] = fields_in(document)
    return found
