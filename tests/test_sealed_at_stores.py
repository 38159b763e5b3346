"""Sealing at object stores that we did not write."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.airflow.connections import AirflowConnections
from logstream.destinations import open_destination
from logstream.destinations.objects import ObjectDestination
from logstream.export.exporter import Exporter
from logstream.export.send import RetryPolicy
from logstream.testing.servers import AzuriteServer, S3rver, S3Server
from logstream.validation import validate_settings
from logstream.window import Window
from tests.auditor import Audit, audited
from tests.test_engine import export, filled, override
from tests.test_sealing import WINDOWS, apply, data, findings, manifest, only

__all__ = ["filled"]  # fixtures


class Store:
    """A bucket or container of a server, through its destination."""

    def __init__(self, server: Any, kind: str, place: str) -> None:
        self.server, self.kind, self.place = server, kind, place
        server.make_container(place) if kind == "azure_blob" else server.make_bucket(place)

    @property
    def options(self) -> dict[str, Any]:
        where = {"container" if self.kind == "azure_blob" else "bucket": self.place}
        return {"type": self.kind, "connection": "store", "prefix": "audit/", "packaging": "batch", **where}

    def objects(self) -> dict[str, bytes]:
        """All objects, manifests too."""

        async def read() -> dict[str, bytes]:
            stored = validate_settings(override(self.options)).destinations["d"]
            destination = await open_destination("d", stored, AirflowConnections())
            assert isinstance(destination, ObjectDestination)
            try:
                return {key: await destination.get(key) async for key in destination.keys("")}
            finally:
                await destination.close()

        return asyncio.run(read())

    def audited(self, to: Path) -> Audit:
        """The auditor's script over a copy of the bucket."""
        shutil.rmtree(to, ignore_errors=True)
        for key, body in self.objects().items():
            path = to / key.removeprefix("audit/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        return audited(to)


@pytest.fixture(params=["moto", "s3rver", "azurite"])
def bucket_of(
    request: pytest.FixtureRequest, s3: S3Server, s3rver: S3rver, azurite: AzuriteServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Store]:  # fmt: skip
    server: Any = {"moto": s3, "s3rver": s3rver, "azurite": azurite}[request.param]
    kind = "azure_blob" if request.param == "azurite" else "s3"
    monkeypatch.setenv("AIRFLOW_CONN_STORE", server.connection)
    yield Store(server, kind, f"sealing{abs(hash((request.param, datetime.now(UTC)))) % 10**9}")


def test_at_real_object_stores(bucket_of: Store, filled: psycopg.Connection, tmp_path: Path) -> None:
    policy = RetryPolicy(attempts=5, base=0.01, cap=0.1)
    with Exporter(filled.info.dsn, filled.info.dsn, AirflowConnections(), policy=policy) as exporter:
        apply(exporter, bucket_of.options)
        for window in WINDOWS[:3]:
            assert only(export(exporter, window)[1]).error is None
        copy = tmp_path / "copy"
        span = Window(WINDOWS[0].start, WINDOWS[2].end)
        assert findings(exporter, span) == []
        assert bucket_of.audited(copy).code == 0
        # exported anew under other names
        apply(exporter, {**bucket_of.options, "compression": "gzip"})
        assert only(export(exporter, WINDOWS[0])[1]).error is None
        assert findings(exporter, span) == []
        found = bucket_of.audited(copy)
        assert (found.code, found.problems) == (0, [])
        assert manifest(copy, 4)["generation"] == 2
        assert not any(name.endswith(".ndjson") and WINDOWS[0].slug in name for name in data(copy))
        # a restored control database
        there = bucket_of.objects()
        filled.execute("delete from logstream.manifests where sequence > 2")
        assert only(export(exporter, WINDOWS[3])[1]).error is None
        now = bucket_of.objects()
        assert {key: now[key] for key in there} == there
        assert findings(exporter, Window(WINDOWS[0].start, WINDOWS[3].end)) == []
        assert bucket_of.audited(copy).code == 0
