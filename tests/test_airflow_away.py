"""Airflow cannot say whether it has a connection or a Variable: Logstream takes nothing else for it, and blames no destination."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from airflow.providers.amazon.aws.secrets.secrets_manager import SecretsManagerBackend
from airflow.sdk.exceptions import AirflowSecretsBackendAccessDenied
from botocore.stub import Stubber

from logstream.airflow.connections import SIGNING_CONNECTION, AirflowConnections
from logstream.airflow.connections.lookup import NoSuchConnection, unknown_connections
from logstream.airflow.databases import databases, store_database
from logstream.airflow.operators.notify import operators_own
from logstream.airflow.operators.wait import WindowClosedTrigger
from logstream.errors import AirflowAway, ConnectionNotFound, is_blameless, is_permanent
from logstream.ledger.records import State
from tests.asked import Asked, ask
from tests.supervised import FAILURES, MANY, Supervisor
from tests.test_engine import Make, engine, filled
from tests.test_healing import window

__all__ = ["ask", "engine", "filled"]  # fixtures

KEY = base64.b64encode(bytes(range(32))).decode()
AWS = {"conn_type": "aws", "login": "key", "password": "secret", "extra": '{"region_name": "eu-west-1"}'}
WASB = {
    "conn_type": "wasb",
    "extra": '{"connection_string": "AccountName=a;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:1/a"}',
}
CONNECTIONS = {
    "logstream_store": {"conn_type": "postgres", "host": "db", "login": "u", "schema": "store"},
    "logstream_control": {"conn_type": "postgres", "host": "db", "login": "u", "schema": "control"},
    SIGNING_CONNECTION: {"conn_type": "generic", "password": KEY},
    "lake": AWS,
    "blobs": WASB,
    "siem": {"conn_type": "http", "host": "http://127.0.0.1:1"},
}
LOOK_UPS: dict[str, Callable[[], object]] = {
    "databases": databases,
    "store": store_database,
    "key": lambda: AirflowConnections().signer(),
    "s3": lambda: AirflowConnections().aws("lake"),
    "blob": lambda: AirflowConnections().azure_blob("blobs"),
    "http": lambda: AirflowConnections().http("siem"),
    "notifiers": operators_own,
}


def to_folder(path: Path) -> dict[str, Any]:
    admin = {"enabled": True, "events": ["job_status"], "destination": "lake"}
    return {"admin": admin, "destinations": {"lake": {"type": "file", "path": str(path), "manifests": True}}}


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    notifiers = json.dumps([{"class": "airflow.providers.slack.notifications.slack.SlackNotifier"}])
    return Supervisor.of_this_process(monkeypatch, CONNECTIONS, {"logstream_notifiers": notifiers})


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("what", LOOK_UPS)
def test_nothing_else_is_taken_for_what_airflow_cannot_say(supervisor: Supervisor, what: str, failure: str) -> None:
    supervisor.fails, supervisor.failure = MANY, failure
    with pytest.raises(AirflowAway, match="Airflow cannot say whether there is one") as failed:
        LOOK_UPS[what]()
    assert is_blameless(failed.value) and not is_permanent(failed.value)
    assert not isinstance(failed.value, ConnectionNotFound)


@pytest.mark.parametrize("what", LOOK_UPS)
@pytest.mark.parametrize("after", [1, 2])
def test_what_failed_once_is_found_or_is_not_known(supervisor: Supervisor, what: str, after: int) -> None:
    """Airflow's own look-up fails, and the question after it may be answered: never is it an answer that there is none."""
    supervisor.fails = after
    try:
        found = LOOK_UPS[what]()
    except AirflowAway:
        assert after == 2
        found = LOOK_UPS[what]()
    assert found
    if what == "databases":
        assert [psycopg.conninfo.conninfo_to_dict(dsn)["dbname"] for dsn in databases()] == ["store", "control"]


def test_a_connection_that_does_not_exist_is_missing(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGSTREAM_DSN", "postgresql://u@elsewhere/store")
    supervisor.connections = {}
    supervisor.variables = {}
    assert databases() == ("postgresql://u@elsewhere/store",) * 2
    assert AirflowConnections().signer() is None and operators_own() == []
    assert unknown_connections(["lake"]) == ["lake"]
    with pytest.raises(NoSuchConnection, match="there is no Airflow connection `lake`"):
        AirflowConnections().aws("lake")


@pytest.mark.parametrize("what", ["s3", "blob"])
def test_providers_hooks_go_by_what_was_found(
    supervisor: Supervisor, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow's AWS hook takes a connection that it does not find for an empty one: the machine's own credentials."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-machine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-machine")
    answer, asked = supervisor.send, []

    def once(question: Any) -> object:
        if getattr(question, "conn_id", None):
            asked.append(question.conn_id)
            if len(asked) > 1:
                raise BrokenPipeError
        return answer(question)

    supervisor.send = once  # type: ignore[method-assign]
    found: Any = LOOK_UPS[what]()
    assert len(asked) == 1
    if what == "s3":
        assert found.provider()["access_key_id"] == "key"


def test_a_destination_is_not_blamed_and_tried_again(engine: Make, tmp_path: Path, supervisor: Supervisor) -> None:
    exporter = engine(
        {
            "admin": {"enabled": True, "events": ["job_status"], "destination": "siem"},
            "destinations": {"siem": {"type": "http", "connection": "siem"}},
        }
    )
    exporter.connections = AirflowConnections()
    for number in range(4):
        planned = exporter.plan(window(number))
        supervisor.fails = MANY
        results = exporter.deliver([key for share in planned.shares for key in share.lanes])
        assert results and not any(result.permanent for result in results)
        assert all("Airflow cannot say" in str(result.error) for result in results)
        sealed = exporter.seal(planned.delivery_ids)
        assert {report.state for report in sealed} == {State.FAILED} and not sealed.changes
        supervisor.fails = 0
    assert exporter.ledger.health() == {}


def test_nothing_is_sealed_unsigned_because_the_key_cannot_be_looked_up(
    engine: Make, tmp_path: Path, supervisor: Supervisor
) -> None:
    exporter = engine(to_folder(tmp_path))
    manifests = tmp_path / "_manifests" / "lake"
    exporter._make_signer = AirflowConnections().signer
    planned = exporter.plan(window(0))
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    supervisor.fails = MANY
    with pytest.raises(AirflowAway):
        exporter.seal(planned.delivery_ids)
    assert not manifests.exists()
    supervisor.fails = 0
    assert {report.state for report in exporter.seal(planned.delivery_ids)} == {State.DELIVERED}
    assert {path.suffix for path in manifests.iterdir()} >= {".json", ".sig"}


def test_a_trigger_waits_until_airflow_says_where_the_log_store_is(
    supervisor: Supervisor, filled: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asked the embedded PostgreSQL, or `LOGSTREAM_DSN`, whether the window is closed there."""
    given = psycopg.conninfo.conninfo_to_dict(filled.info.dsn)
    supervisor.connections = {
        "logstream_store": {"conn_type": "postgres", "host": given["host"], "login": given["user"], "schema": given["dbname"]}
    }  # fmt: skip
    monkeypatch.setenv("LOGSTREAM_DSN", "host=127.0.0.1 port=1 connect_timeout=1 dbname=elsewhere")
    monkeypatch.setattr("logstream.airflow.operators.wait.AWAY_SECONDS", 0.01)
    supervisor.fails = 5
    until = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    trigger = WindowClosedTrigger(window(0).start.isoformat(), window(0).end.isoformat(), ["events"], until)

    async def first() -> Any:
        async for event in trigger.run():
            return event.payload
        return None

    assert set(asyncio.run(first())) == {"seconds"}
    assert supervisor.fails == 0


@pytest.mark.parametrize("path", ["destinations", "api/v1/destinations"])
def test_a_page_cannot_be_shown_just_now(ask: Asked, supervisor: Supervisor, path: str) -> None:
    """Where the first request to a process found no `logstream_store`, all its pages were of another database until it ended."""
    supervisor.connections, supervisor.fails = {}, MANY
    answer = ask("GET", path)
    assert answer.status_code == 503 and "Airflow cannot say whether there is one" in answer.text
    supervisor.fails = 0
    assert ask("GET", path).status_code == 200


def test_airflows_own_database_is_away(engine: Make, filled: psycopg.Connection, tmp_path: Path) -> None:
    """Of the command beside an Airflow: it reads connections from Airflow's database."""
    engine(to_folder(tmp_path))
    done = subprocess.run(
        [str(Path(sys.executable).parent / "logstream"), "export", "--dsn", filled.info.dsn,
         "--from", window(0).start.isoformat(), "--to", window(0).end.isoformat()],
        env={**os.environ, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql+psycopg://u:canary@127.0.0.1:1/airflow"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "connection `logstream_signing`: Airflow cannot say whether there is one (MetastoreBackend: " in done.stderr
    assert "canary" not in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "_manifests").exists()


@pytest.mark.parametrize("what", LOOK_UPS)
def test_secrets_backends_that_cannot_be_made_cannot_say(
    supervisor: Supervisor, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A destination was blamed, and what the maker of a secrets backend raised, its arguments perhaps, was shown."""

    def make() -> list[Any]:
        raise ConnectionError("canary")

    monkeypatch.setattr("airflow.sdk.execution_time.supervisor.ensure_secrets_backend_loaded", make)
    with pytest.raises(AirflowAway, match=r"\(ConnectionError\)") as failed:
        LOOK_UPS[what]()
    assert "canary" not in str(failed.value) and is_blameless(failed.value)


def test_a_denial_is_no_fault_of_the_environments_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was said to be unreadable, for good: Airflow asks no other backend after one that denies."""
    monkeypatch.setenv("AIRFLOW_CONN_SIEM", "http://127.0.0.1:1")

    class Denies:
        def get_connection(self, conn_id: str) -> None:
            raise AirflowSecretsBackendAccessDenied(conn_id)

    monkeypatch.setattr("airflow.sdk.execution_time.supervisor.ensure_secrets_backend_loaded", lambda: [Denies()])
    with pytest.raises(AirflowAway, match="AirflowSecretsBackendAccessDenied"):
        AirflowConnections().http("siem")


def test_that_backends_cannot_be_made_is_no_fault_of_the_environments_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was said to be unreadable: in tasks, `secrets_backend` of `[workers]` is made anew for each look-up."""
    monkeypatch.setenv("AIRFLOW_CONN_SIEM", "http://127.0.0.1:1")

    def make() -> list[Any]:
        raise ConnectionError("canary")

    monkeypatch.setattr("airflow.sdk.execution_time.supervisor.ensure_secrets_backend_loaded", make)
    with pytest.raises(AirflowAway, match=r"\(ConnectionError\)"):
        AirflowConnections().http("siem")


def test_a_command_says_in_words_that_a_secrets_backend_cannot_be_made(tmp_path: Path) -> None:
    """Importing Airflow makes it."""
    (tmp_path / "backends_of_ours.py").write_text(
        "from airflow.sdk.bases.secrets_backend import BaseSecretsBackend\n"
        "class Backend(BaseSecretsBackend):\n"
        "    def __init__(self):\n"
        "        raise ConnectionError('canary')\n",
        encoding="utf-8",
    )
    search = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-m", "logstream.cli", "doctor", "--dsn", "host=127.0.0.1 port=1 dbname=x"],
        env={**os.environ, "PYTHONPATH": search, "AIRFLOW__SECRETS__BACKEND": "backends_of_ours.Backend"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "Airflow cannot say whether there is one (ConnectionError)" in said, said
    assert "canary" not in said and "Traceback" not in said


def test_settings_are_stored_though_airflow_cannot_say_which_connections_there_are(
    filled: psycopg.Connection, tmp_path: Path
) -> None:
    """What only warns of mistyped names refused them."""
    (tmp_path / "settings.yaml").write_text("destinations: {pond: {type: s3, connection: mistyped, bucket: audit}}\n")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "logstream"), "settings", "apply", "--dsn", filled.info.dsn, "settings.yaml"],
        env={**os.environ, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql+psycopg://u:canary@127.0.0.1:1/airflow"},
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (
        "warning: settings.yaml: whether each connection exists was not checked: connection `mistyped`: " in done.stderr
    )
    assert "canary" not in done.stderr


@pytest.mark.parametrize("code", ["InternalServiceError", "DecryptionFailure", "InvalidRequestException"])
def test_what_amazons_keeper_takes_for_a_no_cannot_be_seen(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/connections.md tells; once this fails, it can be left out there."""
    client = boto3.client("secretsmanager", "eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")
    backend = SecretsManagerBackend()
    vars(backend)["client"] = client
    monkeypatch.setattr("airflow.sdk.execution_time.supervisor.ensure_secrets_backend_loaded", lambda: [backend])
    monkeypatch.setenv("LOGSTREAM_DSN", "postgresql://u@elsewhere/store")
    with Stubber(client) as answers:
        for _ in range(2):
            answers.add_client_error("get_secret_value", code)
        assert store_database() == "postgresql://u@elsewhere/store"
    with Stubber(client) as answers, pytest.raises(AirflowAway):
        for _ in range(2):
            answers.add_client_error("get_secret_value", "ThrottlingException")
        store_database()
