"""No secret appears anywhere, whatever a receiver answers."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable

import psycopg
import pytest

from logstream.destinations.transport.secrets import EXCERPT
from logstream.testing.contract.base import (
    CANARY,
    ContractBase,
    ledger_texts,
    one_event,
    steps_of,
)
from logstream.testing.echoes import ECHOES, cut_at_secrets, given_away, packed, sent_secrets
from logstream.testing.servers import HALF
from logstream.testing.vendors import Vendor


class KeepsSecrets(ContractBase):
    """Secrets are in no text that leaves the destination."""

    def test_secrets_appear_nowhere(
        self, store: psycopg.Connection, server: Vendor, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Not in the ledger, in errors, in logs or in a `repr`, whatever the receiver answers."""
        self.fill(store, 5)
        caplog.set_level(logging.DEBUG)
        server.token = CANARY
        connections = self.connections(server)
        written = [repr(connections.http("contract")), repr(self.opened(server))]
        server.failure_answer = lambda status: f"{status}: no token {CANARY} at {server.url}/{CANARY}".encode()  # type: ignore[method-assign]
        for status in (400, 401, 413, 503, HALF, None):  # every status, without an export each: the next test
            server.fail = lambda _, status=status: status  # type: ignore[misc]
            report = self.export(store, server, connections)
            written += [repr(report), json.dumps(report.as_json())]
        written += ledger_texts(store)
        written += [record.getMessage() for record in caplog.records]
        assert [text for text in written if CANARY in text] == []

    def test_what_a_receiver_echoes_is_masked(self, server: Vendor) -> None:
        """In every encoding, cut anywhere, packed or not, with every status, by an export and by a check."""

        async def outcomes() -> list[str]:
            destination = self.opened(server)
            await destination.start()
            try:
                return [str(await destination.deliver(one_event(destination))) for _ in range(2)]
            finally:
                await destination.close()

        server.token, server.fail = CANARY, lambda _: 400
        asyncio.run(outcomes())
        secrets = {server.token, *sent_secrets(server.heads)}

        def cut(head: str) -> list[str]:
            sent = {server.token, *sent_secrets(server.heads[-1:])}
            return list(cut_at_secrets(head, sent, EXCERPT))

        ways: list[Callable[[str], str]] = [*ECHOES.values()]
        ways += [lambda head, n=n: (cut(head) or [head])[n % max(1, len(cut(head)))] for n in range(15)]  # type: ignore[misc]
        for number, way in enumerate(ways):
            server.fail = lambda _, number=number: (400, 401, 403, 404, 413, 429, 500)[number % 7]  # type: ignore[misc]
            server.answer_headers = {"Content-Encoding": "gzip"} if number % 2 else {}
            server.echo = lambda head, _, way=way, pack=number % 2: (packed if pack else bytes)(way(head).encode())
            written = [*asyncio.run(outcomes()), *map(str, asyncio.run(steps_of(self.opened(server))))]
            secrets |= sent_secrets(server.heads)
            for text in written:
                assert given_away(text, secrets) == [], (number, text, given_away(text, secrets))

    def test_an_echo_reaches_neither_ledger_nor_logs(
        self, store: psycopg.Connection, server: Vendor, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Through the whole engine: errors, dead letters and the log."""
        self.fill(store, 5)
        caplog.set_level(logging.DEBUG)
        server.token = CANARY
        written: list[str] = []
        for status in (400, 403, 413, 503):
            server.fail, server.echo = (lambda _, status=status: status), lambda head, _: head.encode()  # type: ignore[misc]
            report = self.export(store, server)
            written += [repr(report), json.dumps(report.as_json())]
        written += ledger_texts(store) + [record.getMessage() for record in caplog.records]
        assert any("answered" in text for text in written)
        secrets = {server.token, *sent_secrets(server.heads)}
        told = [(text, given_away(text, secrets)) for text in written if given_away(text, secrets)]
        assert told == [], told
