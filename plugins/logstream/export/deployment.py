"""What an export works with: one log store, one control database, connections, and the operator's policies."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Self

from logstream.control.engine import open_control
from logstream.destinations.credentials import Connections, SharedConnections
from logstream.export.send import RetryPolicy
from logstream.ledger.health import HealingPolicy
from logstream.ledger.ledger import Ledger
from logstream.proof.signing import Signer
from logstream.settings.repository import SettingsRepository, Snapshot
from logstream.store.postgres import PostgresStore


class Deployment:
    """The log store, the settings and ledger of the control database, and the connections of one deployment."""

    def __init__(
        self, store_dsn: str, control_dsn: str, connections: Connections, *, policy: RetryPolicy | None = None,
        signer: Callable[[], Signer | None] | None = None, healing: HealingPolicy | None = None,
    ) -> None:  # fmt: skip
        self.store_dsn, self.control_dsn, self.connections = store_dsn, control_dsn, connections
        self.policy = policy or RetryPolicy()
        self.healing = healing or HealingPolicy.from_environment()
        self._make_signer = signer
        self.engine = open_control(control_dsn, pooled=True)
        self.settings = SettingsRepository(self.engine)
        self.ledger = Ledger(self.engine)
        self._stores: dict[int, PostgresStore] = {}
        self._shared: SharedConnections | None = None

    @cached_property
    def signer(self) -> Signer | None:
        """The key that signs manifests, if there is one: looked for only when something is sealed."""
        return self._make_signer() if self._make_signer else None

    def new_connections(self) -> SharedConnections:
        """The connections as they are now: each is read once, and clients are made once, until this is asked for again."""
        self._shared = SharedConnections(self.connections)
        return self._shared

    def take_connections(self) -> SharedConnections:
        """Those of the delivery that went before, the first time; else new ones: what lives on never uses old credentials."""
        shared, self._shared = self._shared, None
        return shared or SharedConnections(self.connections)

    def store(self, snapshot: Snapshot) -> PostgresStore:
        """The log store as a snapshot's settings describe it."""
        if snapshot.id not in self._stores:
            self._stores[snapshot.id] = PostgresStore(self.store_dsn, snapshot.settings.log_store)
        return self._stores[snapshot.id]

    def again(self) -> Deployment:
        """Another one of the same, for another process."""
        return Deployment(
            self.store_dsn, self.control_dsn, self.connections, policy=self.policy, signer=self._make_signer,
            healing=self.healing,
        )  # fmt: skip

    def close(self) -> None:
        """Give back all connections."""
        for store in self._stores.values():
            store.close()
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
