"""The console under the auth manager of production, Flask AppBuilder's, with the roles that Airflow comes with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from logstream.console.app import create_app
from logstream.database import connect

from .fab import Call, fab_airflow, said_by

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

ROLES = ("Admin", "Op", "User", "Viewer", "Public")


@pytest.fixture(scope="module")
def call(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    """Calls the console as a user of some role: status and answer."""
    environment = {"AIRFLOW_CONN_FROM_OUTSIDE": "http://user:canary-env@outside.example"}
    with fab_airflow(postgres, tmp_path_factory.mktemp("fab"), "fab", ROLES, environment) as call:
        yield call


@pytest.mark.parametrize(
    ("role", "reads", "writes"),
    [("Admin", 200, 200), ("Op", 200, 200), ("User", 200, 403), ("Viewer", 200, 403), ("Public", 403, 403)],
)
def test_roles(call: Call, role: str, reads: int, writes: int) -> None:
    assert call("GET", "/logstream/api/v1/settings", role=role)[0] == reads
    status, page = call("GET", "/logstream/history", role=role)
    assert status == reads
    assert "<h1>" in page
    assert ("To import one" in page) == (writes == 200)
    assert call("PUT", "/logstream/api/v1/settings", {}, role)[0] == writes
    assert call("POST", "/logstream/api/v1/check", {"type": "file", "path": "/nowhere"}, role)[0] == writes
    assert call("GET", "/logstream/api/v1/losses", role=role)[0] == reads
    noted = {"seen": "2026-03-01T00:00:00Z"}
    assert call("POST", "/logstream/api/v1/losses/acknowledge", noted, role)[0] == writes


SECRET, RENEWED, TOKEN = "canary-aws-8d1f", "canary-renewed-77", "canary-token-3c"


def credentials(new: bool, conn_id: str, way: str, kind: str = "s3", **fields: str) -> str:
    """The form of credentials as a browser sends it."""
    marks = {"credential.new": "true"} if new else {}
    given = {f"credential.{way}.{name}": value for name, value in fields.items()}
    return urlencode({"destination_type": kind, "credential.id": conn_id, "credential.way": way, **marks, **given})


def stored(call: Call, conn_id: str) -> tuple[Any, ...]:
    """The row of a connection as it is in Airflow's database."""
    query = (
        "select login, password, is_encrypted, extra, is_extra_encrypted, conn_type from connection where conn_id = %s"
    )
    with connect(call.metadata) as connection:  # type: ignore[attr-defined]
        row = connection.execute(query, (conn_id,)).fetchone()
        assert row is not None
        return tuple(row)


def test_credentials_go_into_airflow_and_never_come_back(call: Call) -> None:
    post, part = "/logstream/parts/credentials", "/logstream/parts/credentials?destination_type=s3&option.connection="
    answers = [call("GET", part + "lake", role="Op")]
    assert "New credentials" in answers[0][1]
    keys = {"access_key_id": "AKIA1", "secret_access_key": SECRET, "region": "eu-west-1"}
    answers.append(call("POST", post, credentials(True, "lake", "keys", **keys), "Op"))
    assert "is created" in answers[-1][1], answers[-1]
    login, password, encrypted, extra, extra_encrypted, kind = stored(call, "lake")
    assert (login, encrypted, extra_encrypted, kind) == ("AKIA1", True, True, "aws")
    assert SECRET not in password and "eu-west-1" not in extra, "Airflow's Fernet key is used"
    # Airflow itself reads what the console wrote
    shown = json.loads(call("GET", "/api/v2/connections/lake", role="Op")[1])
    assert (shown["login"], json.loads(shown["extra"])) == ("AKIA1", {"region_name": "eu-west-1"})
    assert connection_of(call, "lake") == SECRET
    # the form shows what is no secret; an empty secret stays, another one takes its place
    answers.append(call("GET", part + "lake", role="Op"))
    assert "AKIA1" in answers[-1][1] and "eu-west-1" in answers[-1][1] and "unchanged if left empty" in answers[-1][1]
    again = {"access_key_id": "AKIA2", "secret_access_key": "", "region": "eu-west-2"}
    answers.append(call("POST", post, credentials(False, "lake", "keys", **again), "Op"))
    assert "is changed" in answers[-1][1]
    assert (stored(call, "lake")[0], connection_of(call, "lake")) == ("AKIA2", SECRET)
    temporary = {"access_key_id": "AKIA3", "secret_access_key": RENEWED, "session_token": TOKEN}
    answers.append(call("POST", post, credentials(False, "lake", "temporary", **temporary), "Op"))
    assert connection_of(call, "lake") == RENEWED
    answers.append(call("GET", part + "lake", role="Op"))
    # mistakes stand at their fields, and nothing is changed
    for form, wrong in (
        (credentials(True, "lake", "keys", **keys), "there is a connection of this name"),
        (credentials(True, "a b", "keys", **keys), "Letters, digits"),
        (credentials(True, "other", "keys"), "Is required"),
        (credentials(False, "gone", "keys", **keys), "deleted meanwhile"),
        (credentials(False, "lake", "key", "datadog", api_key="x"), "is of type aws"),
        (credentials(True, "bad", "keys", **{**keys, "endpoint": "x" * 60_000}), "at most"),
    ):
        status, answer = call("POST", post, form, "Op")
        answers.append((status, answer))
        assert status == 200 and wrong.lower() in answer.lower(), (wrong, answer)
    assert stored(call, "lake")[0] == "AKIA3"
    log = call("GET", "/api/v2/eventLogs?limit=100", role="Admin")[1]
    assert [entry["event"] for entry in json.loads(log)["event_logs"] if "connection" in entry["event"]] == [
        "post_connection", "patch_connection", "patch_connection"
    ]  # fmt: skip
    for text in (log, *(answer for _, answer in answers)):
        assert not any(secret in text for secret in (SECRET, RENEWED, TOKEN))


def connection_of(call: Call, conn_id: str) -> str:
    """The password of a connection as Airflow's own code decrypts it."""
    helper = call.helper  # type: ignore[attr-defined]
    helper.stdin.write(f"{conn_id}\n")
    helper.stdin.flush()
    return said_by(helper, "password=")


@pytest.mark.parametrize(("role", "writes"), [("User", 403), ("Viewer", 403), ("Public", 403)])
def test_credentials_are_for_those_who_may_edit_connections(call: Call, role: str, writes: int) -> None:
    form = credentials(True, f"of_{role}", "keys", access_key_id="a", secret_access_key="b")
    assert call("POST", "/logstream/parts/credentials", form, role)[0] == writes
    assert call("GET", "/logstream/parts/credentials?destination_type=s3", role=role)[0] == writes
    assert call("POST", "/logstream/parts/rights", "destination_type=s3", role)[0] == writes
    page = call("GET", "/logstream/parts/destination?destination_type=s3", role=role)[1]
    assert "parts/credentials" not in page and "parts/rights" not in page


def test_a_connection_of_the_environment_is_edited_there(call: Call) -> None:
    answer = call(
        "GET", "/logstream/parts/credentials?destination_type=http&option.connection=from_outside", role="Op"
    )[1]
    assert "comes from the environment" in answer and "canary" not in answer
    form = credentials(False, "from_outside", "user", "http", address="https://h", password="x")
    assert "comes from the environment" in call("POST", "/logstream/parts/credentials", form, "Op")[1]


LOOKS = {"/parts/preview", "/parts/event", "/api/v1/preview"}
"""What is posted because it is long, and only looked at."""

LETTER = "{delivery_id}/{event_id}"
TELLS = {
    "/parts/log-store", "/api/v1/log-store", "/parts/credentials", f"/parts/dead-letter/{LETTER}", f"/api/v1/rejected/{LETTER}",
}  # fmt: skip
"""What is read by those who may change alone."""


def test_each_route_and_role(call: Call) -> None:
    """Who may not is refused before anything else is asked of what was sent."""
    routes = [
        (method, route.path)  # type: ignore[attr-defined]
        for route in create_app().routes
        for method in sorted((getattr(route, "methods", None) or set()) - {"HEAD", "OPTIONS"})
    ]
    assert len(routes) > 60
    wrong = []
    for method, path in routes:
        filled = re.sub(r"\{(\w+)\}", lambda found: "lake" if found[1] in ("name", "kind") else "100", path)
        for role in ("User", "Viewer", "Public"):
            body = None if method == "GET" else {} if path.startswith("/api/") else ""
            status, _ = call(method, f"/logstream{filled}", body, role)
            reads = (method == "GET" and path not in TELLS) or path in LOOKS
            if (status == 403) != (role == "Public" or not reads):
                wrong.append((method, path, role, status))
    assert wrong == []


def test_nobody(call: Call) -> None:
    assert call("GET", "/logstream/api/v1/settings")[0] == 401
    assert call("PUT", "/logstream/api/v1/settings", {})[0] == 401
