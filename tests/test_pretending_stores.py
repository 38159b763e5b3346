"""What answers every request with status 200 is no object store: nothing that it takes is counted as stored."""

from __future__ import annotations

import asyncio
import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.airflow.connections import AirflowConnections
from logstream.destinations.credentials import SharedConnections
from logstream.destinations.object_store import ObjectStoreDestination
from logstream.destinations.outcome import Delivered, GiveUp, Outcome
from logstream.destinations.registry import make_destination
from logstream.settings.models import DestinationSettings
from logstream.testing.servers import LogSink

from .test_object_stores import Run, fill, run  # noqa: F401 - the fixture

PAGE = b"<!doctype html><html><head><title>Sign in</title></head><body>Please sign in</body></html>"
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
KEY = "c2VjcmV0c2VjcmV0c2VjcmV0"
OPTIONS = {"s3": {"bucket": "audit"}, "gcs": {"bucket": "audit"}, "azure_blob": {"container": "audit"}}
ETAGS = ({}, {"ETag": 'W/"5b-abc"'}, {"ETag": '"d41d8cd98f00b204e9800998ecf8427e"'})


class LoginWall(LogSink):
    """A gateway that shows its login page, whatever is asked."""

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__()
        self.answer_headers = {**headers, "Content-Type": "text/html", "Last-Modified": "Sun, 01 Mar 2026 00:00:00 GMT"}

    def receive(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        return 200, PAGE


class Bucket(LogSink):
    """A store that keeps what is put; `denied` to read it, or `gone` when it is read."""

    def __init__(self, *, denied: bool = False, gone: bool = False) -> None:
        super().__init__()
        self.answer_headers = {"ETag": '"1"', "Last-Modified": "Sun, 01 Mar 2026 00:00:00 GMT"}
        self.denied, self.gone = denied, gone
        self.objects: dict[str, bytes] = {}
        self.methods: list[str] = []

    def receive(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        self.methods.append(request.command)
        if request.command == "PUT":
            self.objects[request.path] = body
            return 200, b""
        if request.command == "DELETE":
            return 204, b""
        if self.denied:
            return 403, DENIED
        found = None if self.gone else self.objects.get(request.path)
        return (404, b"") if found is None else (200, found)


def connection(kind: str, url: str) -> str:
    return json.dumps(
        {
            "s3": {"conn_type": "aws", "login": "l", "password": "p", "extra": {"endpoint_url": url}},
            "gcs": {"conn_type": "google_cloud_platform", "extra": {"endpoint_url": url}},
            "azure_blob": {"conn_type": "wasb", "login": "acc", "password": KEY, "host": f"{url}/acc"},
        }[kind]
    )


def destination(name: str, kind: str, connections: Any) -> ObjectStoreDestination[Any]:
    options = DestinationSettings.model_validate({"type": kind, "connection": "store", **OPTIONS[kind]})
    made = make_destination(name, options, connections)
    assert isinstance(made, ObjectStoreDestination)
    return made


async def put(*destinations: ObjectStoreDestination[Any], objects: int = 1) -> list[Outcome]:
    found = []
    for made in destinations:
        await made.start()
        found += await asyncio.gather(*(made.put(f"{made.name}/{number}", b"{}") for number in range(objects)))
        await made.close()
    return found


@pytest.mark.parametrize("headers", ETAGS, ids=["no-etag", "weak", "strong"])
@pytest.mark.parametrize("kind", OPTIONS)
def test_a_login_page_is_no_store(kind: str, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with LoginWall(headers) as wall:
        monkeypatch.setenv("AIRFLOW_CONN_STORE", connection(kind, wall.url))
        assert not any(
            isinstance(one, Delivered) for one in asyncio.run(put(destination("d", kind, AirflowConnections())))
        )

        async def steps() -> list[bool]:
            return [step.ok async for step in destination("d", kind, AirflowConnections()).run_check()]

        assert asyncio.run(steps())[-1] is False


@pytest.mark.parametrize("kind", OPTIONS)
def test_an_export_to_a_login_page_is_not_complete(
    run: Run,  # noqa: F811
    store: psycopg.Connection,
    tmp_path: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(store, tmp_path, 50)
    with LoginWall(ETAGS[2]) as wall:
        monkeypatch.setenv("AIRFLOW_CONN_STORE", connection(kind, wall.url))
        report = run(type=kind, manifests=False, **OPTIONS[kind])
        assert report.events == 0
        assert report.error is not None and "it is no object store" in report.error


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_store_that_keeps_nothing_is_none(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Bucket(gone=True) as bucket:
        monkeypatch.setenv("AIRFLOW_CONN_STORE", connection(kind, bucket.url))
        (outcome,) = asyncio.run(put(destination("d", kind, AirflowConnections())))
        assert isinstance(outcome, GiveUp) and "but it is not there" in outcome.reason


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_connection_that_may_only_write_is_believed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Bucket(denied=True) as bucket:
        monkeypatch.setenv("AIRFLOW_CONN_STORE", connection(kind, bucket.url))
        assert asyncio.run(put(destination("d", kind, AirflowConnections()), objects=3)) == [Delivered()] * 3


@pytest.mark.parametrize("kind", OPTIONS)
def test_one_object_of_a_client_is_read_back(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Bucket() as bucket:
        monkeypatch.setenv("AIRFLOW_CONN_STORE", connection(kind, bucket.url))
        shared = SharedConnections(AirflowConnections())
        several = [destination(name, kind, shared) for name in ("a", "b")]
        assert asyncio.run(put(*several, objects=20)) == [Delivered()] * 40
        assert (bucket.methods.count("PUT"), bucket.methods.count("GET")) == (40, 1)


def test_google_answers_with_an_etag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_STORE", '{"conn_type": "google_cloud_platform", "extra": {"is_anonymous": true}}')
    outcome = destination("d", "gcs", AirflowConnections()).read_error(Exception("ETag Header missing from response"))
    assert isinstance(outcome, GiveUp) and "is not Google" in outcome.reason
