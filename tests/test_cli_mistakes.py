"""What the command says of bad input, and of what cannot be delivered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from logstream.testing.servers import AzuriteServer, LogSink, S3Server
from tests.test_cli import FROM, TO, apply, loaded, override

__all__ = ["loaded"]  # fixtures

from .conftest import Cli, one_error_line

DEAD = "postgresql://u:hunter2@127.0.0.1:9/x"


BAD_INPUT: dict[str, tuple[list[str], str]] = {
    "unknown command": (["frobnicate"], "frobnicate"),
    "missing option": (["export", "--dsn", "{dsn}", "--from", FROM], "--to"),
    "unreachable database": (["export", "--dsn", DEAD, "--from", FROM, "--to", TO], "127.0.0.1:9"),
    "unreadable DSN": (["routes", "--dsn", "postgresql://[", "--json"], "DSN"),
    "not a DSN": (["store", "init", "--dsn", "what is this"], "DSN"),
    "no such database": (["routes", "--dsn", "{dsn} dbname=nope"], "nope"),
    "end before start": (["export", "--dsn", "{dsn}", "--from", TO, "--to", FROM], "not after its start"),
    "end in the future": (
        ["export", "--dsn", "{dsn}", "--from", FROM, "--to", "2999-01-01T00:00:00Z"],
        "in the future",
    ),
    "time without offset": (["export", "--dsn", "{dsn}", "--from", "2026-02-03T04:00:00", "--to", TO], "offset"),
    "no time": (["export", "--dsn", "{dsn}", "--from", "yesterday", "--to", TO], "yesterday"),
    "unknown destination": (["export", "--dsn", "{dsn}", "--from", FROM, "--to", TO, "--destination", "no"], '"no"'),
    "owed of an unknown destination": (
        ["owed", "--dsn", "{dsn}", "--destination", "nope"],
        'no destination named "nope"; there are none',
    ),
    "dead letters of an unknown destination": (
        ["rejected", "--dsn", "{dsn}", "--destination", "nope"],
        '"nope"; there',
    ),
    "redelivery to an unknown destination": (["redeliver", "--dsn", "{dsn}", "--destination", "nope"], '"nope"; there'),
    "dead letters to an unknown destination": (
        ["redeliver", "--rejected", "--dsn", "{dsn}", "--destination", "nope"],
        '"nope"; there',
    ),
    **{
        f"a limit of {limit}": (
            ["rejected", "--dsn", "{dsn}", f"--limit={limit}"],
            f"--limit: '{limit}' is not a whole",
        )
        for limit in ("-1", "0", "1.5", "many", "9" * 30, "")
    },
    **{
        f"a wait of {wait}": (
            ["export", "--dsn", "{dsn}", "--from", FROM, "--to", TO, f"--wait={wait}"],
            f"--wait: '{wait}' is not a number",
        )
        for wait in ("-1", "nan", "long")
    },
    "check of an unknown destination": (["destinations", "check", "--dsn", "{dsn}", "no"], '"no"'),
    "settings missing": (["settings", "apply", "--dsn", "{dsn}", "nowhere.yaml"], "nowhere.yaml"),
    "settings not YAML": (["settings", "apply", "--dsn", "{dsn}", "broken.yaml"], "line 2"),
    "settings with a wrong name": (
        ["settings", "apply", "--dsn", "{dsn}", "typo.yaml"],
        'admin.destination: no destination named "lakee"; did you mean "lake"?',
    ),
    "events missing": (["store", "load", "--dsn", "{dsn}", "nowhere.ndjson"], "nowhere.ndjson"),
    "events malformed": (["store", "load", "--dsn", "{dsn}", "bad.ndjson"], "line 3"),
    "template missing": (["preview", "--template", "no.json", "--event", "bad.ndjson"], "no.json"),
    "template wrong": (["preview", "--template", "t.json", "--event", "e.json"], "line 2, column 6"),
    "event wrong": (["preview", "--template", "ok.json", "--event", "broken.yaml"], "broken.yaml"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_clear_line_and_2(cli: Cli, loaded: str, tmp_path: Path, case: str) -> None:
    (tmp_path / "broken.yaml").write_text("admin: {enabled: true}\n  x: [\n")
    lake = {"lake": {"type": "file", "path": "/tmp/x"}}
    typo = {"admin": {"enabled": True, "events": ["job_status"], "destination": "lakee"}, "destinations": lake}
    (tmp_path / "typo.yaml").write_text(yaml.safe_dump(typo))
    good = (
        '{"event": {"id": %d, "workspace_id": 1, "kind": "job", "occurred_at": "2026-01-01T00:00:00Z", "payload": {}}}'
    )
    (tmp_path / "bad.ndjson").write_text("\n".join([good % 90_001, good % 90_002, good % 90_003 + "x", good % 90_004]))
    (tmp_path / "t.json").write_text('{\n"a": {{{log_massage}}}}')
    (tmp_path / "ok.json").write_text("{{{log_message}}}")
    (tmp_path / "e.json").write_text("{}")
    before = state(loaded)
    arguments, place = BAD_INPUT[case]
    error = one_error_line(cli(*[argument.format(dsn=loaded) for argument in arguments]))
    assert place in error
    assert "hunter2" not in error
    assert state(loaded) == before


def state(dsn: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        return [
            connection.execute(f"select count(*) from {table}").fetchone()
            for table in ("events", "workspaces", "logstream.settings_snapshots", "logstream.deliveries")
        ]


def test_a_store_that_is_none(cli: Cli, database: str) -> None:
    error = one_error_line(cli("export", "--dsn", database, "--from", FROM, "--to", TO))
    assert "logstream store init" in error


DELIVERIES: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "missing connection": ({"type": "s3", "connection": "nowhere", "bucket": "audit"}, {}, "AIRFLOW_CONN_NOWHERE"),
    "wrong type of connection": (
        {"type": "s3", "connection": "web", "bucket": "audit"},
        {"AIRFLOW_CONN_WEB": "http://127.0.0.1"},
        "type http",
    ),
    "missing bucket": ({"type": "s3", "connection": "lake", "bucket": "no-such-bucket"}, {}, "no-such-bucket"),
    "wrong credentials": ({"type": "http", "connection": "siem"}, {}, "correct the credentials of connection `siem`"),
    "missing container": ({"type": "azure_blob", "connection": "blobs", "container": "nowhere"}, {}, "nowhere"),
    "wrong key": (
        {"type": "azure_blob", "connection": "blobs_bad", "container": "nowhere"},
        {},
        "does not let this machine in",
    ),
}


@pytest.mark.parametrize("case", DELIVERIES)
def test_what_cannot_be_delivered_is_named_and_1(
    cli: Cli, loaded: str, s3: S3Server, azurite: AzuriteServer, sink: LogSink, tmp_path: Path, case: str
) -> None:
    destination, environment, text = DELIVERIES[case]
    bad = json.loads(azurite.connection)
    bad["extra"] = {name: value.replace("AccountKey=E", "AccountKey=F") for name, value in bad.get("extra", {}).items()}
    if bad.get("password"):
        bad["password"] = "F" + bad["password"][1:]
    connections = {
        "AIRFLOW_CONN_LAKE": s3.connection,
        "AIRFLOW_CONN_SIEM": sink.connection.replace(sink.token, "canary-token-987"),
        "AIRFLOW_CONN_BLOBS": azurite.connection,
        "AIRFLOW_CONN_BLOBS_BAD": json.dumps(bad),
        **environment,
    }
    apply(cli, loaded, tmp_path, override(destination))
    done = cli("export", "--dsn", loaded, "--from", FROM, "--to", TO, "--json", environment=connections)
    assert done.returncode == 1, done.stdout + done.stderr
    (delivery,) = json.loads(done.stdout)["deliveries"]
    assert (delivery["state"], delivery["events"]) == ("failed", 0)
    assert text in delivery["error"]
    assert done.stderr.splitlines() == [f"error: d: {delivery['error']}"]
    assert "canary-token-987" not in done.stdout + done.stderr
    verified = cli("verify", "--dsn", loaded, "--from", FROM, "--to", TO)
    assert verified.returncode == 1 and "not delivered" in verified.stderr
