"""README and docs, followed: every command that they show is one, and those that can be run here are run, as they stand there."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from logstream.cli import main
from logstream.cli.main import _parser
from logstream.database import connect
from logstream.testing.events import EventMaker, workspace_line
from logstream.testing.servers import S3Server

from .conftest import Cli, one_error_line
from .documented import PAGES, Shown, blocks, lines_of, shown
from .stage import PROJECT, WORKSPACES

README, DOCS = PROJECT / "README.md", PROJECT / "docs"
WINDOW = datetime(2026, 11, 24, tzinfo=UTC)
FROM, TO = "2026-11-24T00:00:00Z", "2026-11-24T00:05:00Z"
EVENTS = 600


@pytest.mark.parametrize("command", shown("logstream"), ids=str)
def test_the_command_line_takes_it(command: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    """In a block it is whole. In a sentence it may leave out what it needs: the words and options that it has are there."""
    if command.in_block:
        _parser().parse_args(command.words[1:])
        return
    words = [word for word in command.words[1:] if word != "--help"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--help"] if not words[-1].startswith("--") else [*words[:-1], "--help"])
    assert end.value.code == 0, capsys.readouterr().err
    help_ = capsys.readouterr().out
    assert [word for word in words if word.startswith("--") and word not in help_] == []


def test_airflow_takes_its_commands() -> None:
    """The same parser that `airflow` has; a process of its own, as Airflow's command line changes much when it is imported."""
    commands = [command.words[1:] for command in shown("airflow")]
    assert len(commands) >= 5
    program = (
        "import json, sys; from airflow.cli.cli_parser import get_parser\n"
        "for words in json.loads(sys.argv[1]): get_parser().parse_args(words)\n"
    )
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, json.dumps(commands)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip


def test_make_has_the_targets_that_are_named() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        text = page.read_text()
        named = set(re.findall(r"`make ([a-z-]+)", text)) | set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE))
        assert named <= targets, page


def bash(script: str, folder: Path, **environment: str) -> str:
    """Run lines as a person does who has this checkout's `.venv` in a folder; return what they print. Stops at a failure."""
    own = {**os.environ, "PATH": f"{folder}:/usr/local/bin:/usr/bin:/bin", "LOGSTREAM_HOME": str(folder), **environment}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, env=own, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def put_events(folder: Path) -> None:
    lines = EventMaker(WORKSPACES).lines(EVENTS, WINDOW, timedelta(minutes=5))
    (folder / "FILE.ndjson").write_text("\n".join([*map(workspace_line, WORKSPACES), *lines]) + "\n")


SYNC = """#!{python}
# stands for `aws s3 sync s3://BUCKET/PREFIX FOLDER`, from the tests' own server
import pathlib, sys
import boto3
source, target = sys.argv[3:5]
bucket, _, prefix = source.removeprefix("s3://").partition("/")
client = boto3.client("s3", endpoint_url="{url}", aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1")
for item in client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
    path = pathlib.Path(target) / item["Key"].removeprefix(prefix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read())
"""


def test_the_readme_exports_a_window_and_an_auditor_verifies_it(
    empty_database: str, s3: S3Server, tmp_path: Path
) -> None:
    """README from its settings to `verify`, with the key and the auditor's script of docs/manifests.md."""
    s3.make_bucket("audit")
    (tmp_path / ".venv").symlink_to(PROJECT / ".venv")
    put_events(tmp_path)
    (tmp_path / "settings.yaml").write_text(blocks(README, "yaml")[0])
    sign, audit = blocks(DOCS / "manifests.md")
    key = bash(sign, tmp_path).split()[-1]
    signing = {"AIRFLOW_CONN_LOGSTREAM_SIGNING": json.dumps(
        {"conn_type": "generic", "password": (tmp_path / "signing.pem").read_text()}
    )}  # fmt: skip
    (script,) = [block for block in blocks(README) if "logstream export" in block]
    script = script.replace(
        "region_name=eu-central-1", f"region_name=eu-central-1&endpoint_url={quote(s3.url, safe='')}"
    )
    printed = bash(script.replace("postgresql://...", f"'{empty_database}'"), tmp_path, **signing)
    assert f"loaded {len(WORKSPACES)} workspaces and {EVENTS} events" in printed
    assert "events to 1 destination" in printed and "nothing is missing" in printed, printed
    assert any(key.startswith("logs/") for key in s3.objects("audit"))

    stub = tmp_path / "aws"
    stub.write_text(SYNC.format(python=sys.executable, url=s3.url))
    stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    # an auditor's Python, with `cryptography` in it; a link to that of a virtual environment is not always of that environment
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(stub.stat().st_mode)
    (tmp_path / "verify_manifests.py").symlink_to(DOCS / "verify_manifests.py")
    audit = audit.replace("PUBLIC_KEY", key)
    first = bash(audit.replace(" --digest SHA256", ""), tmp_path)
    digest = re.findall(r"\b[0-9a-f]{64}\b", first)[-1]
    second = bash(audit.replace("SHA256", digest), tmp_path)
    assert second == first, second
    assert first.splitlines()[-1].startswith("1 manifest, ") and first.endswith(": no problems\n")


def test_the_pages_for_operators_can_be_typed(
    cli: Cli, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each `logstream` line of the blocks in docs/runbook.md, operating.md and log-store.md, at a destination that was away."""
    monkeypatch.setenv("LOGSTREAM_DSN", database)
    put_events(tmp_path)
    assert cli("store", "init").returncode == 0
    assert cli("store", "load", tmp_path / "FILE.ndjson").returncode == 0
    (tmp_path / "out").write_text("a file is where its folder should be")
    admin = {"enabled": True, "events": ["job_details"], "destination": "lake"}
    destinations = {"lake": {"type": "file", "path": str(tmp_path / "out")}}
    (tmp_path / "settings.yaml").write_text(json.dumps({"admin": admin, "destinations": destinations}))
    assert cli("settings", "apply", "settings.yaml").returncode == 0
    assert cli("export", "--from", FROM, "--to", TO).returncode == 1
    typed = 0
    for page in ("runbook", "operating", "log-store"):
        for line in (line for block in blocks(DOCS / f"{page}.md") for line in lines_of(block)):
            command = Shown(DOCS / page, line.replace("NAME", "lake"), in_block=True)
            if line.startswith("logstream "):
                done = cli(*command.words[1:])
                assert done.returncode in (0, 1) and "Traceback" not in done.stderr, (line, done)
                typed += 1
    assert typed > 12
    (tmp_path / "out").unlink()
    assert cli("redeliver", "--destination", "lake").returncode == 0
    assert cli("verify", "--from", FROM, "--to", TO).returncode == 0


def sql_of(page: str) -> dict[str, str]:
    """The SQL of a page, by the first words of each block."""
    return {" ".join(text.split()[:3]): text for text in blocks(DOCS / page, "sql")}


def columns(dsn: str) -> list[tuple[object, ...]]:
    query = (
        "select table_name, column_name, data_type, is_nullable, column_default is null from information_schema.columns"
        " where table_name in ('events', 'workspaces') and table_schema = 'public' order by 1, 2"
    )
    with connect(dsn) as connection:
        return connection.execute(query).fetchall()


def test_the_log_stores_tables_are_those_of_the_page(cli: Cli, empty_database: str, store: psycopg.Connection) -> None:
    with connect(empty_database) as connection:
        connection.execute(blocks(DOCS / "log-store.md", "sql")[0])
    assert columns(empty_database) == columns(store.info.dsn)
    assert cli("store", "check", "--dsn", empty_database).returncode == 0


def test_the_partitioned_log_store_of_the_page_is_one(cli: Cli, empty_database: str, tmp_path: Path) -> None:
    (partitioned,) = [text for text in blocks(DOCS / "log-store.md", "sql") if "partition by" in text]
    with connect(empty_database) as connection:
        connection.execute(partitioned)
        dsn = ("--dsn", empty_database)
        assert cli("store", "init", *dsn).returncode == 0
        checked = cli("store", "check", *dsn)
        assert checked.returncode == 0 and "FAIL" not in checked.stdout and "note" not in checked.stdout, checked.stdout
        put_events(tmp_path)
        assert cli("store", "load", *dsn, tmp_path / "FILE.ndjson").returncode == 0
        found = connection.execute("select count(*) from events_2026_11").fetchone()
        assert found == (EVENTS,)
        # written as the page says that a platform writes: the window of this minute
        connection.execute("create table events_now partition of events default")
        (insert,) = [text for text in blocks(DOCS / "log-store.md", "sql") if text.startswith("insert")]
        connection.execute("insert into workspaces values (1001, 'acme')")
        connection.execute(insert)
        row = connection.execute("select max(id), count(distinct id), count(*) from events").fetchone()
        assert row is not None and row[1] == row[2] == EVENTS + 1


def test_a_table_of_the_platforms_own_is_streamed_by_a_user_who_may_only_read(
    cli: Cli, empty_database: str, database: str, tmp_path: Path
) -> None:
    sql = blocks(DOCS / "log-store.md", "sql")
    (view,) = [text for text in sql if "audit.job_history" in text]
    (rights,) = [text for text in sql if text.startswith("grant")]
    (named,) = [text for text in blocks(DOCS / "log-store.md", "yaml") if "log_store" in text]
    with connect(empty_database) as connection:
        connection.execute("drop role if exists logstream; create role logstream login; create schema audit")
        connection.execute("create table audit.accounts (id int primary key, partner_reference text, name text)")
        connection.execute(
            "create table audit.job_history (id int primary key, account_id int, finished_at timestamptz,"
            " recorded_at timestamptz not null default clock_timestamp(), document json)"
        )
        connection.execute("insert into audit.accounts values (1001, 'acme', 'Acme')")
        connection.execute(
            'insert into audit.job_history values (1, 1001, %s, %s, \'{"id": "j-1"}\')', (WINDOW, WINDOW)
        )
        connection.execute(view)
    both = ("--dsn", make_conninfo(empty_database, user="logstream"), "--control-dsn", database)
    try:
        admin = {"enabled": True, "events": ["job_details"], "destination": "lake"}
        (tmp_path / "settings.yaml").write_text(
            named.replace("destinations: {}", f"destinations: {{lake: {{type: file, path: {tmp_path}/out}}}}")
            + f"admin: {json.dumps(admin)}\n"
        )
        assert "grant usage on schema audit" in one_error_line(cli("settings", "apply", *both, "settings.yaml"))
        with connect(empty_database) as connection:
            connection.execute(rights)
        assert cli("settings", "apply", *both, "settings.yaml").returncode == 0
        assert cli("store", "check", *both).returncode == 0
        done = cli("export", *both, "--from", FROM, "--to", TO)
        assert done.returncode == 0 and "1 event to 1 destination" in done.stdout, done
        assert cli("verify", *both, "--from", FROM, "--to", TO).returncode == 0
    finally:
        with connect(empty_database) as connection:
            connection.execute("drop owned by logstream; drop role logstream")


def test_the_lines_that_store_load_takes_are_those_of_the_page(
    cli: Cli, store: psycopg.Connection, tmp_path: Path
) -> None:
    (lines,) = [text for text in blocks(DOCS / "log-store.md", "json") if '"workspace"' in text]
    (tmp_path / "FILE.ndjson").write_text(lines)
    done = cli("store", "load", "--dsn", store.info.dsn, "FILE.ndjson", "--progress")
    assert done.returncode == 0 and "loaded 1 workspace and 1 event" in done.stdout


def test_the_previews_of_the_page_on_settings_are_made(cli: Cli, tmp_path: Path) -> None:
    text = " ".join((DOCS / "settings.md").read_text().split())
    commands = re.findall(r"`(logstream preview [^`]*)`", text)
    assert commands
    (tmp_path / "event.json").write_text('{"id": "j-1", "recipe_id": 2, "status": "failed"}')
    for name in ("message", "job", "ocsf"):
        (tmp_path / f"{name}.json").write_text('{"event": {{{log_message}}}}')
    for command in commands:
        done = cli(*command.split()[1:])
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["event"]["id"] == "j-1"
