"""Object stores: what a put may carry, keys in the user's words, and completeness while one request in five fails."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.airflow.connections import AirflowConnections
from logstream.destinations import check_options
from logstream.destinations.registry import make_destination
from logstream.destinations.transport import object_packing
from logstream.export.exporter import Exporter
from logstream.export.send import RetryPolicy
from logstream.ledger.records import Delivery, State
from logstream.settings.models import DestinationSettings
from logstream.steps import Step
from logstream.store.load import load_file
from logstream.testing.contract import WINDOW, WORKSPACES, canonical, stored
from logstream.testing.events import EventMaker, workspace_line
from logstream.testing.servers import AzuriteServer, FlakyProxy, GcsServer, S3rver, S3Server, free_port
from logstream.validation import validate_settings
from logstream.verify.verifier import verify

from .real_stores import FakeGcsServer, SeaweedServer

EVERYTHING = ["job_details", "user_activity", "api_platform", "log_service"]


def fill(store: psycopg.Connection, folder: Path, events: int) -> None:
    file = folder / "events.ndjson"
    lines = EventMaker(WORKSPACES).lines(events, WINDOW.start, timedelta(minutes=5))
    file.write_text("\n".join([*map(workspace_line, WORKSPACES), *lines]) + "\n")
    load_file(store, file)


class Run:
    """Exports a window, and verifies it, with the settings of the moment."""

    def __init__(self, dsn: str) -> None:
        policy = RetryPolicy(attempts=15, base=0.01, cap=0.1)
        self.exporter = Exporter(dsn, dsn, AirflowConnections(), policy=policy)

    def __call__(self, **destination: Any) -> Delivery:
        document = {
            "admin": {"enabled": True, "events": EVERYTHING, "destination": "d"},
            "destinations": {"d": {"connection": "store", **destination}},
        }
        self.exporter.settings.apply(validate_settings(document))
        planned = self.exporter.plan(WINDOW)
        self.exporter.deliver([key for share in planned.shares for key in share.lanes])
        (report,) = self.exporter.seal(planned.delivery_ids)
        return report

    def findings(self) -> list[str]:
        return [finding.what for finding in verify(self.exporter, WINDOW).findings]


@pytest.fixture
def run(store: psycopg.Connection) -> Iterator[Run]:
    made = Run(store.info.dsn)
    yield made
    made.exporter.close()


def test_s3_objects_are_encrypted_classed_tagged_and_described(
    run: Run, store: psycopg.Connection, s3: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_STORE", s3.connection)
    fill(store, tmp_path, 30)
    key = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    report = run(
        type="s3", bucket=bucket, encryption="aws:kms", kms_key_id=key, storage_class="STANDARD_IA",
        tags={"retention": "7y"}, metadata={"team": "audit"},
    )  # fmt: skip
    assert report.error is None
    name = next(iter(s3.objects(bucket)))
    head = s3.client().head_object(Bucket=bucket, Key=name)
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key)
    assert (head["StorageClass"], head["Metadata"]) == ("STANDARD_IA", {"team": "audit"})
    tags = s3.client().get_object_tagging(Bucket=bucket, Key=name)["TagSet"]
    assert tags == [{"Key": "retention", "Value": "7y"}]
    manifest = s3.client().head_object(Bucket=bucket, Key="_manifests/d/00000001.json")
    assert (manifest["ServerSideEncryption"], manifest["ContentType"]) == ("aws:kms", "application/json")
    assert run.findings() == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"kms_key_id": "k"}, "it goes with encryption: aws:kms only"),
        ({"encryption": "rot13"}, 'no such choice "rot13"'),
        ({"tags": {"a|b": "c"}}, "letters, digits, spaces and the signs"),
        ({"metadata": {"a": "ü"}}, "of ASCII only"),
    ],
)
def test_options_that_no_store_takes_are_refused(options: dict[str, Any], problem: str) -> None:
    ((_, what),) = check_options("s3", {"connection": "c", "bucket": "abc", **options})
    assert problem in what


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"hive": True}, r"logs/workspace_id=\d+/kind=\w+/year=2026/month=0[23]/day=\d\d/\d+\.json"),
        ({"key": "{external_id}/{kind}-{event_id}"}, r"logs/c\d+/\w+-\d+\.json"),
        (
            {"hive": True, "packaging": "batch"},
            r"logs/destination=d/year=2026/month=03/day=01/hour=00/.*-part-00000\.ndjson",
        ),
    ],
)
def test_keys_in_the_users_words(
    run: Run, store: psycopg.Connection, s3: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any], pattern: str,
) -> None:  # fmt: skip
    import re

    monkeypatch.setenv("AIRFLOW_CONN_STORE", s3.connection)
    fill(store, tmp_path, 200)
    report = run(type="s3", bucket=bucket, prefix="logs/", **options)
    assert (report.error, report.events) == (None, 200)
    found = s3.objects(bucket)
    assert all(re.fullmatch(pattern, key) for key in found), sorted(found)[:3]
    assert canonical([json.loads(line) for body in found.values() for line in body.splitlines()]) == stored(store)
    assert run.findings() == []
    s3.client().put_object(Bucket=bucket, Key=next(iter(found)) + ".more", Body=b"{}")
    assert any("is extra" in what for what in run.findings())


@pytest.mark.parametrize("kind", ["s3", "azure_blob", "gcs"])
def test_eleven_thousand_events_are_complete_while_one_request_in_five_fails(
    run: Run, store: psycopg.Connection, s3: S3Server, azurite: AzuriteServer, gcs: GcsServer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, kind: str,
) -> None:  # fmt: skip
    server: Any = {"s3": s3, "azure_blob": azurite, "gcs": gcs}[kind]
    place = f"flaky{kind.replace('_', '')}"
    server.make_bucket(place) if kind != "azure_blob" else azurite.make_container(place)
    monkeypatch.setattr(object_packing, "OBJECT_BYTES", 200_000)
    fill(store, tmp_path, 11_000)
    with FlakyProxy(server.url) as proxy:
        # the proxy in the server's place
        straight = f"127.0.0.1:{server.port}"
        connection = server.connection
        for text in (straight, straight.replace(":", "%3A")):
            connection = connection.replace(text, text.replace(str(server.port), str(proxy.port)))
        assert str(proxy.port) in connection
        monkeypatch.setenv("AIRFLOW_CONN_STORE", connection)
        where = {"container": place} if kind == "azure_blob" else {"bucket": place}
        report = run(type=kind, packaging="batch", compression="none", **where)
        assert (report.state, report.events, report.error) == (State.DELIVERED, 11_000, None)
        assert min(proxy.trouble.values()) > 0 and len(proxy.trouble) == 5
    found: Counter[str] = canonical(
        [json.loads(line) for body in server.objects(place).values() for line in body.splitlines()]
    )
    assert found == stored(store)


@pytest.mark.parametrize("packaging", ["file", "batch"])
@pytest.mark.parametrize("name", ["s3rver", "seaweed"])
def test_s3_servers_by_other_people(
    run: Run, store: psycopg.Connection, request: pytest.FixtureRequest, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, packaging: str, name: str,
) -> None:  # fmt: skip
    server: S3rver | SeaweedServer = request.getfixturevalue(name)
    bucket = f"second-{packaging}"
    server.make_bucket(bucket)
    monkeypatch.setenv("AIRFLOW_CONN_STORE", server.connection)
    fill(store, tmp_path, 400)
    # a prefix with every sign that must be escaped alike by both sides
    report = run(type="s3", bucket=bucket, prefix="a b/c=d+e@f,g:h/", packaging=packaging, compression="gzip")
    assert (report.error, report.events) == (None, 400)
    lines = [line for body in server.objects(bucket).values() for line in gzip.decompress(body).splitlines()]
    assert canonical(list(map(json.loads, lines))) == stored(store)
    assert run.findings() == []
    strange = server.connection.replace("S3RVER:S3RVER", "nobody:S3RVER").replace("weed-key", "nobody")
    monkeypatch.setenv("AIRFLOW_CONN_STORE", strange)
    report = run(type="s3", bucket=bucket, prefix="other/")
    assert report.state is State.FAILED
    assert "the credentials of connection `store` are refused" in (report.error or "")


AZURE_AT = "DefaultEndpointsProtocol=http;AccountName=acme;AccountKey=a2V5;BlobEndpoint=ADDRESS/acme;"


@pytest.mark.parametrize(
    ("kind", "where", "connection"),
    [
        ("s3", {"bucket": "audit"}, {"conn_type": "aws", "login": "a", "password": "b", "extra": {"endpoint_url": "ADDRESS"}}),
        ("azure_blob", {"container": "audit"}, {"conn_type": "wasb", "extra": {"connection_string": AZURE_AT}}),
        ("gcs", {"bucket": "audit"}, {"conn_type": "google_cloud_platform", "extra": {"endpoint_url": "ADDRESS"}}),
    ],
)  # fmt: skip
def test_the_check_of_a_server_that_cannot_be_reached_says_where_to_look(
    kind: str, where: dict[str, str], connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no matter of rights."""
    monkeypatch.setenv(
        "AIRFLOW_CONN_DEAD", json.dumps(connection).replace("ADDRESS", f"http://127.0.0.1:{free_port()}")
    )
    settings = DestinationSettings.model_validate({"type": kind, "connection": "dead", **where})
    destination = make_destination("lake", settings, AirflowConnections())

    async def steps() -> list[Step]:
        return [step async for step in destination.run_check()]

    (step,) = asyncio.run(steps())
    assert not step.ok and step.name.endswith("can be reached"), step
    assert "address in connection `dead`" in step.remedy and "right to write" not in step.remedy


def test_a_gcs_server_that_cannot_be_put_to_is_told_as_that(
    run: Run, store: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeGcsServer(tmp_path / "log") as server:
        server.make_bucket("audit")
        monkeypatch.setenv("AIRFLOW_CONN_STORE", server.connection)
        fill(store, tmp_path, 5)
        report = run(type="gcs", bucket="audit")
    assert report.state is State.FAILED
    assert "does not know Google's XML API" in (report.error or "") and "tried" not in (report.error or "")
