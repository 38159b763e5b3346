"""What every destination must hold to, whatever it sends: the least of the contracts."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any, ClassVar

import psycopg
from pydantic import ValidationError

from logstream.destinations.base import Destination
from logstream.destinations.registry import destination_type
from logstream.ledger.records import State
from logstream.testing.contract.base import ContractBase, canonical, frozen_at, ledger_texts, steps_of, stored


class DeliveryContract(ContractBase):
    """For a destination that sends in a way of its own. Give `server`, `connections` and `messages`.

    `server` may be anything: the tests hand it to `connections`, `settings_for` and `messages`, and to nothing else.
    """

    secrets: ClassVar[tuple[str, ...]] = ()
    """What the connection holds and no text may show."""

    def messages(self, server: Any) -> list[bytes]:
        """Every message that has arrived at the server, one that came twice twice."""
        raise NotImplementedError("give the method `messages`")

    def arrived(self, server: Any) -> Counter[str]:
        """What has arrived, as text that compares."""
        return canonical([json.loads(message) for message in self.messages(server)])

    def test_everything_arrives_once(self, store: psycopg.Connection, server: Any) -> None:
        """In several lanes at once."""
        self.fill(store, self.events)
        report = self.export(store, server, lanes=3)
        assert (report.state, report.events, report.error) == (State.DELIVERED, self.events, None), report
        assert self.arrived(server) == stored(store)

    def test_a_window_of_one_event(self, store: psycopg.Connection, server: Any) -> None:
        """A workspace may be quiet for days."""
        self.fill(store, 1)
        assert self.export(store, server).events == 1
        assert self.arrived(server) == stored(store)

    def test_after_a_worker_that_froze_the_rest_arrives(self, store: psycopg.Connection, server: Any) -> None:
        """It sent, and never came to say so: the next goes on. What `replaces` comes once, all else at least once."""
        self.fill(store, self.events)
        kind = destination_type(self.type)
        settings = self.settings(server, lanes=1)
        frozen_at(self.kill_at, lambda: self.export(store, server, settings=settings), kind)
        report = self.export(store, server, settings=settings)
        assert (report.state, report.events) == (State.DELIVERED, self.events)
        arrived = self.arrived(server)
        assert (arrived if kind.replaces else Counter(arrived.keys())) == stored(store)

    def test_the_check_says_what_it_did(self, server: Any) -> None:
        """Every step has a name, and all of them succeed at a server that is well."""
        steps = asyncio.run(steps_of(self.opened(server)))
        assert steps and all(step.ok and step.name for step in steps), steps

    def test_options_explain_themselves(self) -> None:
        """The console's form and the docs are drawn from them; one that is not known is refused."""
        model = destination_type(self.type).options_model
        assert [name for name, field in model.model_fields.items() if not field.description] == []
        try:
            model.model_validate({"an option of no type": 1})
        except ValidationError as error:
            assert "extra_forbidden" in {item["type"] for item in error.errors()}
        else:
            raise AssertionError("an unknown option is taken")

    def test_secrets_are_in_no_text_of_the_ledger(self, store: psycopg.Connection, server: Any) -> None:
        """Nor in a `repr`."""
        self.fill(store, 10)
        destination: Destination[Any] = self.opened(server)
        report = self.export(store, server)
        texts = [*ledger_texts(store), repr(destination), json.dumps(report.as_json())]
        assert [text for text in texts if any(secret in text for secret in self.secrets)] == []
