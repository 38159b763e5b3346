"""The `logstream` command as its users have it: contracts of options, files, output and exit codes."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
import zstandard

from logstream.control.engine import open_control
from logstream.settings.resolution import Workspace
from logstream.store.load import load_file
from logstream.testing.events import EventMaker, workspace_line
from logstream.testing.servers import AzuriteServer, GcsServer, LogSink, S3Server

from .conftest import Cli, one_error_line

START = datetime(2026, 2, 3, 4, 0, tzinfo=UTC)
FROM, TO = "2026-02-03T04:00:00Z", "2026-02-03T05:05:00+01:00"
WORKSPACES = [
    Workspace(1, None, "Platform", "admin"),
    *(Workspace(1000 + number, f"c{number}" if number else None, f"Customer {number}") for number in range(5)),
]
EVERYTHING = ["job_details", "user_activity", "api_platform", "log_service"]
EVENTS = 200


def write_events(file: Path, events: int = EVENTS, start: datetime = START, first_id: int = 1) -> Path:
    lines = EventMaker(WORKSPACES).lines(events, start, timedelta(minutes=5), first_id)
    file.write_text("\n".join([*map(workspace_line, WORKSPACES), *lines]) + "\n")
    return file


@pytest.fixture
def loaded(store: psycopg.Connection, tmp_path: Path) -> str:
    """The DSN of a filled log store."""
    load_file(store, write_events(tmp_path / "events.ndjson"))
    open_control(store.info.dsn)
    return store.info.dsn


def apply(cli: Cli, dsn: str, folder: Path, document: dict[str, Any]) -> None:
    (folder / "settings.yaml").write_text(yaml.safe_dump(document))
    done = cli("settings", "apply", "--dsn", dsn, "settings.yaml")
    assert done.returncode == 0, done.stderr


def override(destination: dict[str, Any], **streaming: Any) -> dict[str, Any]:
    return {
        "admin": {"enabled": True, "events": EVERYTHING, "destination": "d", **streaming},
        "destinations": {"d": destination},
    }


def payloads(dsn: str) -> Counter[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("select payload::text from events").fetchall()
    return Counter(json.dumps(json.loads(text), sort_keys=True) for (text,) in rows)


def received(bodies: list[bytes]) -> Counter[str]:
    return Counter(
        json.dumps(json.loads(line), sort_keys=True) for body in bodies for line in body.splitlines() if line.strip()
    )


def unpack(key: str, body: bytes) -> bytes:
    if key.endswith(".gz"):
        return gzip.decompress(body)
    return zstandard.ZstdDecompressor().decompressobj().decompress(body) if key.endswith(".zst") else body


def test_help_teaches_every_command(cli: Cli) -> None:
    done = cli("--help")
    assert done.returncode == 0
    for command in ("store", "settings", "routes", "export", "verify", "preview", "destinations"):
        assert command in done.stdout
    assert "AIRFLOW_CONN_" in done.stdout and "LOGSTREAM_DSN" in done.stdout
    assert "--control-dsn" in cli("export", "--help").stdout


@pytest.mark.parametrize(
    ("packaging", "compression"),
    [("file", "none"), ("file", "zstd"), ("batch", "none"), ("batch", "gzip"), ("batch", "zstd")],
)
def test_s3(cli: Cli, loaded: str, s3: S3Server, bucket: str, tmp_path: Path, packaging: str, compression: str) -> None:
    destination = {"type": "s3", "connection": "lake", "bucket": bucket, "prefix": "logs/", "packaging": packaging,
                   "compression": compression}  # fmt: skip
    apply(cli, loaded, tmp_path, override(destination))
    lake = {"AIRFLOW_CONN_LAKE": s3.connection}
    done = cli("export", "--dsn", loaded, "--from", FROM, "--to", TO, "--json", environment=lake)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["window"] == {"start": FROM, "end": "2026-02-03T04:05:00Z"}
    (delivery,) = document["deliveries"]
    assert set(delivery) >= {"destination", "state", "events", "bytes", "requests", "rejected", "error"}
    assert (delivery["destination"], delivery["state"], delivery["events"]) == ("d", "delivered", EVENTS)
    assert (delivery["rejected"], delivery["error"]) == (0, None)
    assert document["totals"]["events"] == EVENTS
    first = s3.objects(bucket)
    assert all(key.startswith("logs/") for key in first)
    assert sum(map(len, first.values())) == delivery["bytes"]
    assert received([unpack(key, body) for key, body in first.items()]) == payloads(loaded)
    assert len(first) == (EVENTS if packaging == "file" else 3)
    head = s3.client().head_object(Bucket=bucket, Key=next(iter(first)))
    plain = "application/json" if packaging == "file" else "application/x-ndjson"
    assert head["ContentType"] == {"gzip": "application/gzip", "zstd": "application/zstd"}.get(compression, plain)
    again = cli("export", "--dsn", loaded, "--from", FROM, "--to", TO, environment=lake)
    assert again.returncode == 0
    assert s3.objects(bucket) == first
    verified = cli("verify", "--dsn", loaded, "--from", FROM, "--to", TO, "--json", environment=lake)
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["events"] == EVENTS


def test_a_job_file_has_the_platforms_path_and_name(cli: Cli, database: str, tmp_path: Path) -> None:
    job = {
        "id": "j-KGAKfhsz-GYoLeD",
        "recipe_id": 456,
        "status": "succeeded",
        "completed_at": "2026-02-03T06:01:02+02:00",
    }
    activity = {"id": 5, "event_type": "user.login"}
    lines = [
        {"workspace": {"id": 1234, "name": "A", "role": "customer"}},
        {"event": {"id": 7, "workspace_id": 1234, "kind": "job", "occurred_at": FROM, "recorded_at": FROM, "payload": job}},
        {"event": {"id": 8, "workspace_id": 1234, "kind": "user_activity", "occurred_at": "2026-02-03T04:00:09Z",
                   "recorded_at": FROM, "payload": activity}},
    ]  # fmt: skip
    (tmp_path / "e.ndjson").write_text("\n".join(map(json.dumps, lines)))
    assert cli("store", "init", "--dsn", database).returncode == 0
    assert cli("store", "load", "--dsn", database, "e.ndjson").returncode == 0
    apply(cli, database, tmp_path, override({"type": "file", "path": str(tmp_path / "out")}))
    assert cli("export", "--dsn", database, "--from", FROM, "--to", TO).returncode == 0
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.json")}
    assert found == {
        "1234/jobs/456/20260203/j-KGAKfhsz-GYoLeD/1234-456-j-KGAKfhsz-GYoLeD-20260203040102-succeeded.json",
        "1234/user_activity/20260203/8/1234-8-20260203040009-user.login.json",
    }


@pytest.mark.parametrize("packaging", ["file", "batch"])
def test_azure_blob(cli: Cli, loaded: str, azurite: AzuriteServer, tmp_path: Path, packaging: str) -> None:
    container = f"container-{packaging}"
    azurite.make_container(container)
    destination = {"type": "azure_blob", "connection": "blobs", "container": container, "prefix": "a/b/",
                   "packaging": packaging, "compression": "gzip"}  # fmt: skip
    apply(cli, loaded, tmp_path, override(destination))
    blobs = {"AIRFLOW_CONN_BLOBS": azurite.connection}
    done = cli("export", "--dsn", loaded, "--from", FROM, "--to", TO, "--json", environment=blobs)
    assert done.returncode == 0, done.stderr
    first = azurite.objects(container)
    assert received([unpack(key, body) for key, body in first.items()]) == payloads(loaded)
    assert cli("destinations", "check", "--dsn", loaded, "d", environment=blobs).returncode == 0
    assert azurite.objects(container) == first


@pytest.mark.parametrize(
    ("packaging", "compression"), [("file", "none"), ("file", "gzip"), ("batch", "none"), ("batch", "zstd")]
)
def test_gcs(cli: Cli, loaded: str, gcs: GcsServer, tmp_path: Path, packaging: str, compression: str) -> None:
    bucket = f"audit{packaging}{compression}"  # the emulator does not decode %2D in names of buckets
    gcs.make_bucket(bucket)
    destination = {"type": "gcs", "connection": "google", "bucket": bucket, "prefix": "a/b/", "packaging": packaging,
                   "compression": compression}  # fmt: skip
    apply(cli, loaded, tmp_path, override(destination))
    google = {"AIRFLOW_CONN_GOOGLE": gcs.connection}
    done = cli("export", "--dsn", loaded, "--from", FROM, "--to", TO, "--json", environment=google)
    assert done.returncode == 0, done.stderr
    first = gcs.objects(bucket)
    assert all(key.startswith("a/b/") for key in first)
    assert received([unpack(key, body) for key, body in first.items()]) == payloads(loaded)
    assert cli("destinations", "check", "--dsn", loaded, "d", environment=google).returncode == 0
    assert cli("export", "--dsn", loaded, "--from", FROM, "--to", TO, environment=google).returncode == 0
    # the emulator deletes nothing: what `check` has made stays
    assert {key for key in gcs.objects(bucket) if "_logstream_check" not in key} == first.keys()


@pytest.mark.parametrize("format_", ["single", "array", "lines"])
def test_http(cli: Cli, loaded: str, sink: LogSink, tmp_path: Path, format_: str) -> None:
    destination = {"type": "http", "connection": "siem", "path": "/in", "format": format_, "compression": "gzip"}
    apply(cli, loaded, tmp_path, override(destination, message='{"source": "workato", "event": {{{log_message}}}}'))
    done = cli(
        "export", "--dsn", loaded, "--from", FROM, "--to", TO, environment={"AIRFLOW_CONN_SIEM": sink.connection}
    )
    assert done.returncode == 0, done.stderr
    assert set(sink.paths) == {"/in"}
    assert all(event["source"] == "workato" for event in sink.events())
    assert received([json.dumps(event["event"]).encode() for event in sink.events()]) == payloads(loaded)
    assert max(sink.keys.values()) == 1


def test_each_its_own_then_the_override(cli: Cli, loaded: str, tmp_path: Path) -> None:
    def file(name: str) -> dict[str, Any]:
        return {"type": "file", "path": str(tmp_path / name), "packaging": "batch"}

    own = [
        {"id": 1, "streaming": {"enabled": True, "events": ["user_activity"], "destination": "oem"}},
        {"id": 1000, "streaming": {"enabled": True, "events": ["job_status"], "destination": "a"}},
        {"id": 1001, "streaming": {"enabled": True, "events": EVERYTHING, "destination": "b"}},
        {"id": 1002, "streaming": {"enabled": False, "events": EVERYTHING, "destination": "b"}},
    ]
    document = {"workspaces": own, "destinations": {name: file(name) for name in ("oem", "a", "b", "all")}}
    apply(cli, loaded, tmp_path, document)
    routes = json.loads(cli("routes", "--dsn", loaded, "--json").stdout)
    assert {route["workspace_id"]: route["destination"] for route in routes} == {
        1: "oem", 1000: "a", 1001: "b", 1002: None, 1003: None, 1004: None,
    }  # fmt: skip
    assert cli("export", "--dsn", loaded, "--from", FROM, "--to", TO).returncode == 0
    with psycopg.connect(loaded) as connection:
        count = dict(connection.execute("select workspace_id || kind, count(*) from events group by 1").fetchall())
    lines = {
        name: [json.loads(line) for path in (tmp_path / name).rglob("*.ndjson") for line in path.open()]
        for name in ("oem", "a", "b")
    }
    assert {name: len(found) for name, found in lines.items()} == {
        "oem": count["1user_activity"],
        "a": count["1000job"],
        "b": sum(events for key, events in count.items() if key.startswith("1001")),
    }
    assert all("lines" not in job and job["account_id"] == 1000 for job in lines["a"])
    assert not (tmp_path / "all").exists()
    admin = {"enabled": True, "events": EVERYTHING, "destination": "all"}
    apply(cli, loaded, tmp_path, {**document, "admin": admin})
    routes = json.loads(cli("routes", "--dsn", loaded, "--json").stdout)
    assert {route["destination"] for route in routes} == {"all"}
    assert all("admin override" in route["reason"] for route in routes)
    later = START + timedelta(minutes=5)
    (tmp_path / "more").mkdir()
    file_ = write_events(tmp_path / "more" / "m.ndjson", 200, later, 10_000)
    assert cli("store", "load", "--dsn", loaded, file_).returncode == 0
    done = cli("export", "--dsn", loaded, "--from", later.isoformat(), "--to", "2026-02-03T04:10:00Z", "--json")
    assert [item["destination"] for item in json.loads(done.stdout)["deliveries"]] == ["all"]
    assert sum(len(path.read_bytes().splitlines()) for path in (tmp_path / "all").rglob("*.ndjson")) == 200
    verified = cli("verify", "--dsn", loaded, "--from", FROM, "--to", "2026-02-03T04:10:00Z")
    assert verified.returncode == 0, verified.stderr


def test_settings_show_round_trips(cli: Cli, loaded: str, tmp_path: Path) -> None:
    document = override(
        {"type": "file", "path": "/tmp/x", "packaging": "batch"}, log_levels=["warn"], message="{{{log_message}}}"
    )
    apply(cli, loaded, tmp_path, document)
    shown = cli("settings", "show", "--dsn", loaded).stdout
    assert yaml.safe_load(shown) == document
    (tmp_path / "shown.yaml").write_text(shown)
    assert cli("settings", "apply", "--dsn", loaded, "shown.yaml").returncode == 0
    assert cli("settings", "show", "--dsn", loaded).stdout == shown


def test_settings_in_a_database_of_their_own(cli: Cli, loaded: str, postgres: str, tmp_path: Path) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("create database control_only")
    control = postgres.replace("dbname=logstream", "dbname=control_only")
    try:
        (tmp_path / "s.yaml").write_text(yaml.safe_dump(override({"type": "file", "path": str(tmp_path / "o")})))
        both = ("--dsn", loaded, "--control-dsn", control)
        assert cli("settings", "apply", *both, "s.yaml").returncode == 0
        assert cli("export", *both, "--from", FROM, "--to", TO).returncode == 0
        with psycopg.connect(control) as connection:
            assert connection.execute("select count(*) from logstream.deliveries").fetchone() == (1,)
            assert connection.execute("select to_regclass('public.events')").fetchone() == (None,)
        with psycopg.connect(loaded) as connection:
            assert connection.execute("select count(*) from logstream.deliveries").fetchone() == (0,)
    finally:
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute("drop database control_only with (force)")


def test_preview(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"who": {{{$.context.user_email}}}, "text": {{{log_message_str}}}}')
    (tmp_path / "e.json").write_text('{"context": {"user_email": "a@b.c"}, "q": "\\"\\u2028"}')
    done = cli("preview", "--template", "t.json", "--event", "e.json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["who"] == "a@b.c"
    assert json.loads(document["text"])["q"] == '"\u2028'


def test_preview_of_a_template_for_each_kind(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"job": {{{$.id}}}}')
    (tmp_path / "all.json").write_text(
        '{"kind": {{{event.kind}}}, "at": {{{event.occurred_at}}}, "of": {{{workspace.id}}}}'
    )
    (tmp_path / "job.event").write_text('{"id": "j-1", "recipe_id": 5, "status": "failed"}')
    (tmp_path / "user.event").write_text('{"event": "user_login", "timestamp": "2019-09-13 17:24:16 UTC"}')
    stored = {"id": 9, "workspace_id": 44, "kind": "genie", "occurred_at": "2026-03-01T00:00:00Z", "payload": {}}
    (tmp_path / "line.event").write_text(json.dumps({"event": stored}))
    templates = ["--template", "job=job.json", "--template", "default=all.json"]

    def shown(event: str, *more: str) -> Any:
        done = cli("preview", *templates, "--event", event, *more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert shown("job.event") == {"job": "j-1"}
    assert shown("user.event") == {"kind": "user_activity", "at": "2019-09-13T17:24:16.000+00:00", "of": 1001}
    assert shown("line.event") == {"kind": "genie", "at": "2026-03-01T00:00:00.000+00:00", "of": 44}
    assert shown("job.event", "--kind", "log_service")["kind"] == "log_service"
    twice = cli("preview", "--template", "job.json", "--template", "all.json", "--event", "job.event")
    assert (twice.returncode, "there are two for default" in twice.stderr) == (2, True)
    # a mistake names its own file, and no other
    (tmp_path / "all.json").write_text('{"kind": {{{event.kind}}')
    wrong = cli("preview", *templates, "--event", "job.event")
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: all.json (of default): line 1"), wrong.stderr


def test_connections_that_do_not_exist_are_warned_of(
    cli: Cli, loaded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_THERE", "aws://")
    (tmp_path / "settings.yaml").write_text(
        "destinations:\n"
        "  lake: {type: s3, connection: there, bucket: audit}\n"
        "  pond: {type: s3, connection: mistyped, bucket: audit-2}\n"
        "notices: {to: [{kind: webhook, connection: pager}, {kind: webhook, connection: There, path: /x}]}\n"
    )
    done = cli("settings", "apply", "--dsn", loaded, "settings.yaml")
    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stderr.splitlines() if "there is no Airflow connection" in line]
    assert [line.split(": ")[2] for line in warned] == ["destinations.pond.connection", "notices.to[0].connection"]
    assert all(line.startswith("warning: settings.yaml: ") for line in warned)


def test_destinations(cli: Cli, loaded: str, s3: S3Server, bucket: str, tmp_path: Path) -> None:
    listed = cli("destinations", "list").stdout
    assert all(name in listed for name in ("file", "s3", "azure_blob", "http"))
    types = {kind["type"]: kind for kind in json.loads(cli("destinations", "list", "--json").stdout)}
    rows = {line.split()[0]: line for line in listed.splitlines()[1:]}
    assert types.keys() == rows.keys() >= {"s3", "http"}
    for name, kind in types.items():
        assert kind["title"] in rows[name] and (kind["connection_type"] or "-") in rows[name]
        options = kind["options"]["properties"]
        assert rows[name].endswith(f" {', '.join(options)}"), "no option is cut off"
        assert all(option.get("description") for option in options.values())
    apply(cli, loaded, tmp_path, override({"type": "s3", "connection": "lake", "bucket": bucket}))
    done = cli("destinations", "check", "--dsn", loaded, "d", environment={"AIRFLOW_CONN_LAKE": s3.connection})
    assert done.returncode == 0, done.stderr
    assert "may write: yes" in done.stdout
    assert s3.objects(bucket) == {}
    apply(cli, loaded, tmp_path, override({"type": "s3", "connection": "lake", "bucket": "not-there-1"}))
    done = cli("destinations", "check", "--dsn", loaded, "d", environment={"AIRFLOW_CONN_LAKE": s3.connection})
    assert done.returncode == 1
    assert "not-there-1" in done.stdout and "create it" in done.stdout


def test_what_a_removed_destination_is_owed_can_still_be_asked_for(cli: Cli, loaded: str, tmp_path: Path) -> None:
    apply(cli, loaded, tmp_path, override({"type": "s3", "connection": "nowhere", "bucket": "audit"}))
    assert cli("export", "--dsn", loaded, "--from", FROM, "--to", TO).returncode == 1
    (listed,) = [line for line in cli("owed", "--dsn", loaded).stdout.splitlines() if line.startswith("d ")]
    assert " failing " in listed, "what `logstream status` says of it"
    (item,) = json.loads(cli("owed", "--dsn", loaded, "--json").stdout)["owed"]
    assert (item["condition"], item["suspended"], item["removed"]) == ("failing", False, False)
    apply(cli, loaded, tmp_path, {"destinations": {"other": {"type": "file", "path": str(tmp_path)}}})
    done = cli("owed", "--dsn", loaded, "--destination", "d", "--json")
    assert done.returncode == 0, done.stderr
    assert [item["destination"] for item in json.loads(done.stdout)["owed"]] == ["d"]
    assert cli("rejected", "--dsn", loaded, "--destination", "d").returncode == 0
    assert cli("rejected", "--dsn", loaded, "--destination", "other").returncode == 0
    unknown = one_error_line(cli("owed", "--dsn", loaded, "--destination", "nope"))
    assert "there are other, d (no longer in the settings)" in unknown
    done = cli("redeliver", "--dsn", loaded, "--destination", "d")
    assert done.returncode == 1 and "destination d was removed from the settings on 20" in done.stderr
    unknown = one_error_line(cli("redeliver", "--dsn", loaded, "--destination", "nope"))
    assert "there are other, d (no longer in the settings)" in unknown


def test_verify_finds_what_changed_in_the_store(cli: Cli, loaded: str, tmp_path: Path) -> None:
    apply(cli, loaded, tmp_path, override({"type": "file", "path": str(tmp_path / "o"), "packaging": "batch"}))
    unexported = cli("verify", "--dsn", loaded, "--from", FROM, "--to", TO)
    assert unexported.returncode == 1 and "never exported" in unexported.stderr
    assert cli("export", "--dsn", loaded, "--from", FROM, "--to", TO).returncode == 0
    with psycopg.connect(loaded) as connection:
        (gone,) = connection.execute("delete from events where id = 5 returning kind").fetchone()  # type: ignore[misc]
        connection.execute(
            "insert into events (workspace_id, kind, occurred_at, recorded_at, payload) values (1004, %s, %s, %s, '{}')",
            ("user_activity" if gone == "job" else "job", START, START),
        )
    done = cli("verify", "--dsn", loaded, "--from", FROM, "--to", TO, "--json")
    assert done.returncode == 1
    found = " ".join(finding["what"] for finding in json.loads(done.stdout)["findings"])
    assert "1 event is in the log store and not there" in found
    assert "1 event was delivered that the log store no longer holds" in found


def test_the_embedded_database_is_the_default(command: Cli, tmp_path: Path) -> None:
    home = {"LOGSTREAM_HOME": str(tmp_path / "home")}
    write_events(tmp_path / "e.ndjson", 50)
    assert command("store", "init", environment=home).returncode == 0
    assert command("store", "init", environment=home).stdout == "the log store is ready\n"
    done = command("store", "load", "e.ndjson", "--progress", environment=home)
    assert done.returncode == 0, done.stderr
    assert "50 events" in done.stdout
    assert len(json.loads(command("routes", "--json", environment=home).stdout)) == len(WORKSPACES)
