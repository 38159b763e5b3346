"""External ids and names of workspaces, as a lane's objects and messages tell them: one and the same for all of its attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import orjson
from sqlalchemy import select

from logstream.control.tables import SCHEMA
from logstream.control.tables import lanes as table
from logstream.database import database_errors
from logstream.ledger.book import Book, any_of
from logstream.ledger.lanes import lock_in_order
from logstream.ledger.records import Lane
from logstream.settings.resolution import Workspace

_KEEP = f"""
update {SCHEMA}.lanes l set names = n.names
from json_to_recordset(%s::json) as n(delivery_id bigint, lane int, attempt bigint, names json)
where l.delivery_id = n.delivery_id and l.lane = n.lane and l.attempt = n.attempt
"""  # noqa: S608 - the schema is ours

Names = dict[str, list[str | None]]


class LaneNames(Book):
    """Keeps names with their lanes."""

    def workspaces_of(self, lanes: Sequence[Lane], live: Callable[[], Iterable[Workspace]]) -> list[Workspace]:
        """The workspaces of lanes that the caller has leased, named as when each lane was delivered first.

        A workspace that is renamed between an attempt that was killed and the one that goes on would have the same events
        under two names else. `live` gives the log store's workspaces; it is asked where a lane has no names yet.
        """
        query = select(table.c.delivery_id, table.c.lane, table.c.names).where(
            any_of(table.c.delivery_id, {lane.delivery_id for lane in lanes})
        )
        with database_errors("reading the ledger"), self._engine.connect() as connection:
            kept: dict[tuple[int, int], Names] = {(row[0], row[1]): row[2] or {} for row in connection.execute(query)}
        new = {lane.key: _nameless(lane, kept.get(lane.key, {})) for lane in lanes}
        if any(new.values()):
            known = {workspace.id: workspace for workspace in live()}
            rows = []
            for lane in lanes:
                if not new[lane.key]:
                    continue
                found = [known.get(number) or Workspace(number) for number in new[lane.key]]
                kept[lane.key] = {**kept.get(lane.key, {}), **{str(w.id): [w.external_id, w.name] for w in found}}
                names = {"delivery_id": lane.delivery_id, "lane": lane.lane, "attempt": lane.attempt}
                rows.append({**names, "names": kept[lane.key]})
            with self._writing("writing the ledger") as connection:
                lock_in_order(connection, [lane.key for lane in lanes if new[lane.key]])
                connection.exec_driver_sql(_KEEP, (orjson.dumps(rows).decode(),))
        told = dict(chain.from_iterable(kept[lane.key].items() for lane in lanes))
        return [Workspace(int(number), external_id, name) for number, (external_id, name) in told.items()]


def _nameless(lane: Lane, names: Names) -> list[int]:
    return [number for number in lane.workspace_ids if str(number) not in names]
