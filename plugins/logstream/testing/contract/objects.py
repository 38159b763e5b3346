"""The contract of destinations that keep objects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, TypeVar

import psycopg
import pytest

from logstream.destinations.objects import ObjectDestination, TooLarge
from logstream.destinations.outcome import Delivered, GiveUp
from logstream.destinations.transport.pattern_index import PatternIndex
from logstream.destinations.transport.patterns import pattern_of
from logstream.ledger.records import State
from logstream.testing.contract.base import stored
from logstream.testing.contract.delivering import DeliveryContract

_T = TypeVar("_T")


class ObjectContract(DeliveryContract):
    """For a subclass of `ObjectDestination`. Give `server`, `connections` and `objects`."""

    events: ClassVar[int] = 300  # an object each

    def objects(self, server: Any) -> dict[str, bytes]:
        """Every object at the server whose key does not begin with `_manifests/`, below the prefix, by key."""
        raise NotImplementedError("give the method `objects`")

    def messages(self, server: Any) -> list[bytes]:
        """The lines of all objects: of one event each, or of many."""
        return [line for body in self.objects(server).values() for line in body.splitlines()]

    @pytest.mark.parametrize("packaging", ["file", "batch"])
    def test_an_export_made_again_makes_the_same_objects(
        self, store: psycopg.Connection, server: Any, packaging: str
    ) -> None:
        """The same keys, the same bytes: a window can be exported again at any time."""
        self.fill(store, 300)
        assert self.export(store, server, packaging=packaging).state is State.DELIVERED
        first = self.objects(server)
        assert self.export(store, server, packaging=packaging).state is State.DELIVERED
        assert self.objects(server) == first and self.arrived(server) == stored(store)

    def test_every_key_is_one_that_it_says_it_may_write(self, store: psycopg.Connection, server: Any) -> None:
        """`patterns` tell whether two destinations could write over each other."""
        self.fill(store, 100)
        self.export(store, server)
        destination = self._object_destination(server)
        known = PatternIndex()
        for pattern in destination.patterns():
            known.add(pattern, "ours")
        keys = [destination.root.removesuffix(destination.prefix) + key for key in self.objects(server)]
        assert keys and [key for key in keys if known.find(pattern_of([key])) is None] == []

    def test_objects_are_put_replaced_created_read_listed_and_removed(self, server: Any) -> None:
        """What the engine and `verify` do with them."""

        async def all_of_it(destination: ObjectDestination[Any]) -> None:
            key, other = f"{destination.prefix}a/one.json", f"{destination.prefix}a/two.json"
            assert isinstance(await destination.put(key, b"1"), Delivered)
            assert isinstance(await destination.put(key, b"2"), Delivered), "one of the same key is replaced"
            assert await destination.fetch(key) == b"2"
            assert await destination.get_within(key, 1) == b"2"
            with pytest.raises(TooLarge):
                await destination.get_within(key, 0)
            assert isinstance(await destination.put(other, b"3", new=True), Delivered)
            if isinstance(await destination.put(other, b"4", new=True), GiveUp):  # a store that cannot tell puts it
                assert await destination.fetch(other) == b"3"
            assert sorted([found async for found in destination.listed(f"{destination.prefix}a/")]) == [key, other]
            await destination.delete(key)
            with pytest.raises(FileNotFoundError):
                await destination.fetch(key)
            with pytest.raises(FileNotFoundError):
                await destination.get_within(key, 1)
            await destination.delete(other)
            assert [found async for found in destination.listed(f"{destination.prefix}a/")] == []

        self._with_open(server, all_of_it)

    def test_the_check_leaves_nothing(self, server: Any) -> None:
        """It removes what it wrote."""
        before = self.objects(server)
        self.test_the_check_says_what_it_did(server)
        assert self.objects(server) == before

    def _object_destination(self, server: Any) -> ObjectDestination[Any]:
        destination = self.opened(server)
        assert isinstance(destination, ObjectDestination)
        return destination

    def _with_open(self, server: Any, do: Callable[[ObjectDestination[Any]], Awaitable[_T]]) -> _T:
        async def run() -> _T:
            destination = self._object_destination(server)
            await destination.start()
            try:
                return await do(destination)
            finally:
                await destination.close()

        return asyncio.run(run())
