"""Where a destination may send to, and how it explains itself."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from logstream.destinations import check_options
from logstream.destinations.registry import destination_type
from logstream.destinations.transport.addresses import VARIABLE as ALLOW_VARIABLE
from logstream.ledger.records import State
from logstream.testing.contract.base import (
    ContractBase,
    steps_of,
)
from logstream.testing.vendors import Vendor


class ReachesSafely(ContractBase):
    """Addresses, redirects, options and the check."""

    def test_this_machine_and_private_networks_are_refused_unless_allowed(
        self, store: psycopg.Connection, server: Vendor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Customers choose addresses; only the operator may open what is inside."""
        self.fill(store, 5)
        saved = self.settings(server)  # some types refuse such an address when it is saved: this was saved before
        monkeypatch.delenv(ALLOW_VARIABLE)
        report = self.export(store, server, settings=saved)
        assert report.state is State.FAILED
        assert ALLOW_VARIABLE in (report.error or "")
        assert server.requests == 0

    def test_redirects_are_not_followed(self, store: psycopg.Connection, server: Vendor) -> None:
        """They would lead around the address check, with the credentials."""
        self.fill(store, 5)
        server.fail, server.answer_headers = (lambda _: 302), {"Location": f"{server.url}/elsewhere"}
        report = self.export(store, server, lanes=1, concurrency=1)
        assert report.state is State.FAILED
        assert "redirects are not followed" in (report.error or "")
        assert server.requests == 1

    def test_options_are_checked_and_explained(self) -> None:
        """Unknown ones are refused; each says what it is for."""
        given = {"connection": "c", **self.options}
        assert any(path == ("no_such_option",) for path, _ in check_options(self.type, {**given, "no_such_option": 1}))
        for name, field in destination_type(self.type).options_model.model_fields.items():
            assert field.description, f"{name} has no description"

    def test_a_check_takes_a_test_event(self, server: Vendor) -> None:
        """Every step says what it found, and a failed one what to do."""
        assert [step.ok for step in asyncio.run(steps_of(self.opened(server)))].count(False) == 0
        server.fail = lambda _: self.permanent_status
        failed = [step for step in asyncio.run(steps_of(self.opened(server))) if not step.ok]
        assert failed and all(step.remedy for step in failed)
