"""The console as Airflow's api-server mounts it, in this process: asked by its ASGI app, as users of Airflow's simple auth manager.

Airflow's own database is an empty SQLite one. What takes a browser, or Airflow's frame, is in `tests/browser`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

ROOT = "/logstream"


@functools.cache
def _airflow() -> Any:
    """Its metadata database with all tables, and its auth manager."""
    from airflow import settings
    from airflow.api_fastapi.app import create_auth_manager
    from airflow.configuration import conf
    from airflow.models.base import Base
    from airflow.utils.db import import_all_models

    conf.set("api_auth", "jwt_secret", "a" * 64)
    import_all_models()
    Base.metadata.create_all(settings.get_engine())
    return create_auth_manager()


def mounted() -> FastAPI:
    """The console as the api-server has it."""
    from logstream.console.app import create_app

    app = FastAPI()
    app.mount(ROOT, create_app())
    return app


@functools.cache
def _shared() -> FastAPI:
    """One for most tests, as one api-server has one for all requests: to make it takes the processor 130 ms."""
    return mounted()


class Asked:
    """The console, asked by a user with a role of the simple auth manager (`admin`, `op`, `user`, `viewer`), or by a stranger.

    It is an application of its own, where none is given.
    """

    def __init__(self, app: FastAPI | None = None) -> None:
        self._manager = _airflow()
        self.app = app or mounted()
        # what is not foreseen is an answer here, as it is behind the api-server
        self.client = TestClient(self.app, raise_server_exceptions=False, follow_redirects=False)

    def __call__(self, method: str, path: str, role: str | None = "admin", **sent: Any) -> Response:
        """Ask for a path below the console's root. A change is of whichever version of the settings is in force."""
        headers = {"If-Match": "*", **sent.pop("headers", {})}
        if role:
            headers["Authorization"] = f"Bearer {self.token(role)}"
        return self.client.request(method, f"{ROOT}/{path}", headers=headers, **sent)

    def token(self, role: str, name: str = "") -> str:
        """A token of Airflow's API for a user of a role."""
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

        return str(self._manager.generate_jwt(SimpleAuthManagerUser(username=name or role, role=role)))

    def version(self) -> int:
        """The version of the settings in force, as a form carries it."""
        return int(self("GET", "api/v1/versions").json()[0]["version"])


@pytest.fixture
def ask(database: str, store: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """The console over a log store that holds its settings and its ledger, too."""
    from logstream.console.deps import the_console

    monkeypatch.setenv("LOGSTREAM_DSN", database)
    the_console.cache_clear()
    yield Asked(_shared())
    the_console().exporter.close()
    the_console.cache_clear()
