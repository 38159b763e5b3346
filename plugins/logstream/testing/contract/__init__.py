"""The contracts of destinations, as pytest classes: for ours, and for authors of plug-ins.

`RequestContract`, `LimitsBytes` and `RefusesSingleEvents` are for those that take requests, `ObjectContract` for those that keep
objects, `DeliveryContract` for those that are neither.

    class TestAcme(LimitsBytes):  # and RefusesSingleEvents, where it does
        type = "acme"
        options = {"stream": "audit"}

        @pytest.fixture
        def server(self):
            with AcmeServer() as server:  # a LogSink or a Vendor: strict, counting, and able to fail on purpose
                yield server

Needs pytest; the log store is an embedded PostgreSQL of its own.
"""

from __future__ import annotations

import json
from datetime import timedelta

import psycopg

from logstream.ledger.records import State
from logstream.testing.contract.arriving import Arrives
from logstream.testing.contract.base import (
    CANARY,
    EVERYTHING,
    QUICK,
    START,
    WINDOW,
    WORKSPACES,
    ContractBase,
    StaticConnections,
    canonical,
    ids_in_order,
    killed_at,
    ledger_texts,
    one_event,
    poison,
    small_parcels,
    steps_of,
    stored,
)
from logstream.testing.contract.delivering import DeliveryContract
from logstream.testing.contract.objects import ObjectContract
from logstream.testing.contract.reaching import ReachesSafely
from logstream.testing.contract.refusing import Refuses
from logstream.testing.contract.secrecy import KeepsSecrets
from logstream.testing.contract.withstanding import Withstands
from logstream.testing.vendors import Vendor

__all__ = [
    "CANARY",
    "EVERYTHING",
    "QUICK",
    "START",
    "WINDOW",
    "WORKSPACES",
    "ContractBase",
    "DeliveryContract",
    "LimitsBytes",
    "ObjectContract",
    "RefusesSingleEvents",
    "RequestContract",
    "StaticConnections",
    "canonical",
    "ids_in_order",
    "killed_at",
    "ledger_texts",
    "one_event",
    "poison",
    "small_parcels",
    "steps_of",
    "stored",
]


class RequestContract(Arrives, Refuses, Withstands, KeepsSecrets, ReachesSafely):
    """What every destination that takes requests must hold to."""


class RefusesSingleEvents(RequestContract):
    """Besides, for a receiver that says which event of a request it finds bad (`server.bad` decides)."""

    def test_one_bad_event_is_rejected_and_the_rest_arrives(self, store: psycopg.Connection, server: Vendor) -> None:
        """The ledger names it, with the reason."""
        self.fill(store, self.events)
        poison(store, [3, 500, 501, 1200])
        server.bad = lambda event: "p" in event
        report = self.export(store, server, lanes=2)
        assert (report.state, report.events, report.rejected) == (State.DELIVERED, self.events - 4, 4)
        rows = store.execute("select event_id, reason from logstream.rejections").fetchall()
        assert {row[0] for row in rows} == {3, 500, 501, 1200} and all(row[1] for row in rows)
        assert len(server.taken) == self.events - 4


class LimitsBytes(RequestContract):
    """Besides, for a receiver for which there is an event too large."""

    def test_events_too_large_are_rejected_alone(self, store: psycopg.Connection, server: Vendor) -> None:
        """Before anything is sent: the receiver sees nothing that is beyond its limits."""
        self.fill(store, self.events)
        store.execute(
            "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload)"
            " values (9000, 100, 'job', %s, %s, %s)",
            (START, START + timedelta(minutes=2), json.dumps({"id": "big", "text": "x" * 6_000_000})),
        )
        report = self.export(store, server)
        assert (report.state, report.events, report.rejected) == (State.DELIVERED, self.events, 1)
        (rejection,) = store.execute("select event_id, reason from logstream.rejections").fetchall()
        assert rejection[0] == 9000 and "at most" in rejection[1]
