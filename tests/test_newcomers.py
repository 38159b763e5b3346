"""What people who follow the docs for the first time run into: each is told what it is, and what to do."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from psycopg.conninfo import make_conninfo

from logstream.airflow.connections import AirflowConnections
from logstream.airflow.connections.lookup import NoSuchConnection
from logstream.airflow.operators import WaitForClosedWindow
from logstream.database import connect
from logstream.destinations.registry import built_in, destination_type
from logstream.errors import ConnectionNotFound

from .conftest import Cli, one_error_line

FROM, TO = "2026-03-01T00:00:00Z", "2026-03-01T00:05:00Z"


def write(folder: Path, document: object) -> Path:
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(document) if document is not None else "# nothing yet\n")
    return path


def streaming(**given: Any) -> dict[str, Any]:
    return {"enabled": True, "events": ["job_status"], "destination": "lake", **given}


def lake(folder: Path) -> dict[str, Any]:
    return {"lake": {"type": "file", "path": str(folder / "lake")}}


@pytest.mark.parametrize("document", [None, {}, {"destinations": {}, "workspaces": []}])
def test_an_empty_file_removes_no_settings_unasked(
    cli: Cli, store: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: object
) -> None:
    dsn = ("--dsn", store.info.dsn)
    # where there are none it asks nothing
    assert cli("settings", "apply", *dsn, write(tmp_path, document)).returncode == 0
    given = write(tmp_path, {"admin": streaming(), "destinations": lake(tmp_path)})
    assert cli("settings", "apply", *dsn, given).returncode == 0
    kept = cli("settings", "show", *dsn).stdout
    empty = write(tmp_path, document)
    assert "--yes" in one_error_line(cli("settings", "apply", *dsn, empty))

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    refused = cli("settings", "apply", *dsn, empty)
    assert refused.returncode == 2 and "Go on? [y/N]" in refused.stderr
    assert cli("settings", "show", *dsn).stdout == kept
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert cli("settings", "apply", *dsn, empty).returncode == 0
    assert yaml.safe_load(cli("settings", "show", *dsn).stdout) == (document or {})
    assert cli("settings", "apply", *dsn, write(tmp_path, {"destinations": lake(tmp_path)})).returncode == 0
    assert cli("settings", "apply", *dsn, "--yes", write(tmp_path, document)).returncode == 0


def test_every_mistake_in_settings_is_named_at_once(cli: Cli, database: str, tmp_path: Path) -> None:
    document = {
        "admin": streaming(events=["job_statuss"], mask=["user"], log_types=3, colour="red"),
        "workspaces": [{"id": "x"}],
        "destinations": {"lake": {"type": "fil"}, "pond": {"type": "file", "path": "relative"}},
    }
    error = one_error_line(cli("settings", "apply", "--dsn", database, write(tmp_path, document)))
    places = [
        "admin.events[0]: ", "admin.mask[0]: ", "admin.log_types: ", "admin.colour: ", "workspaces[0].id: ",
        "destinations.lake.type: ", "destinations.pond.path: ",
    ]  # fmt: skip
    assert [place for place in places if place not in error] == []


def test_words_and_workspaces_that_are_not_known_are_warned_of(
    cli: Cli, store: psycopg.Connection, tmp_path: Path
) -> None:
    store.execute("insert into workspaces values (1, 'one')")
    logs = streaming(events=["log_service"], log_levels=["wran", "ERROR", "30"], log_types=["recipe", "elephant"])
    document = {
        "workspaces": [{"id": number, "streaming": logs} for number in (1, 7)],
        "destinations": lake(tmp_path),
    }
    done = cli("settings", "apply", "--dsn", store.info.dsn, write(tmp_path, document))
    assert done.returncode == 0
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert [
        line for line in warnings if 'workspaces[0].streaming.log_levels[0]: "wran"' in line and 'mean "warn"' in line
    ]
    assert [line for line in warnings if 'workspaces[1].streaming.log_types[1]: "elephant"' in line]
    assert [line for line in warnings if "the log store has no workspace 7;" in line]
    assert len(warnings) == 5


def test_an_export_of_nothing_says_why(cli: Cli, store: psycopg.Connection, tmp_path: Path) -> None:
    """The newcomer's events occurred in the window, and were inserted later."""
    store.execute("insert into workspaces values (1, 'one')")
    insert = "insert into events (workspace_id, kind, occurred_at, recorded_at, payload) values (1, %s, %s, %s, '{}')"
    store.execute(insert, ("job", FROM, datetime(2026, 3, 2, tzinfo=UTC)))
    document = {"admin": streaming(), "destinations": lake(tmp_path)}
    window = ("--dsn", store.info.dsn, "--from", FROM, "--to", TO)
    assert cli("settings", "apply", *window[:2], write(tmp_path, document)).returncode == 0
    done = cli("export", *window)
    assert done.returncode == 0
    assert "no events of this window; windows go by recorded_at" in done.stderr
    store.execute(insert, ("user_activity", FROM, FROM))
    done = cli("export", *window)
    assert "1 event is in this window, and the settings stream none of them" in done.stderr
    store.execute(insert, ("job", FROM, FROM))
    done = cli("export", *window, "--json")
    assert json.loads(done.stdout)["totals"]["events"] == 1
    assert "note: the log store has" not in done.stderr and "stream none" not in done.stderr


def test_a_log_store_that_may_only_be_read(
    cli: Cli, store: psycopg.Connection, empty_database: str, tmp_path: Path
) -> None:
    """Settings and ledger elsewhere; its owner grants what docs/log-store.md says, and nothing is to be made in it."""
    store.execute("drop role if exists looker; create role looker login")
    store.execute("create schema audit; create view audit.rows as select * from events")
    try:
        with connect(empty_database) as control:
            control.execute("grant create on database " + control.info.dbname + " to looker")
        both = (
            "--dsn", make_conninfo(store.info.dsn, user="looker"),
            "--control-dsn", make_conninfo(empty_database, user="looker"),
        )  # fmt: skip
        done = cli("store", "init", *both)
        assert (done.returncode, done.stderr) == (0, "")
        named = write(tmp_path, {"log_store": {"events": "audit.rows"}})
        error = one_error_line(cli("settings", "apply", *both, named))
        assert "`grant usage on schema audit` to the user of this DSN" in error
        store.execute("grant usage on schema audit to looker; grant select on audit.rows, workspaces to looker")
        assert cli("settings", "apply", *both, named).returncode == 0
        assert cli("store", "check", *both).returncode == 0
    finally:
        store.execute("drop owned by looker")
        with connect(empty_database) as control:
            control.execute("drop owned by looker cascade; drop role looker")


@pytest.mark.parametrize("missing", ["tables", "a column"])
def test_a_task_fails_for_good_where_the_log_store_was_never_made(
    store: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Airflow's retries took ten minutes to say the same four times."""
    dsn = store.info.dsn
    if missing == "tables":
        store.execute("drop table events, workspaces")
    else:
        store.execute("alter table events add column other int; alter table events drop column payload")
    context: Any = {
        "data_interval_start": datetime(2026, 3, 1, tzinfo=UTC),
        "data_interval_end": datetime(2026, 3, 1, 0, 5, tzinfo=UTC),
    }
    monkeypatch.setattr("logstream.airflow.databases.databases", lambda: (dsn, dsn))
    with pytest.raises(AirflowFailException, match="store init" if missing == "tables" else "events.payload"):
        WaitForClosedWindow(task_id="wait").execute(context)


def test_a_task_is_tried_again_where_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    away = "postgresql://127.0.0.1:9/x"
    monkeypatch.setattr("logstream.airflow.databases.databases", lambda: (away, away))
    context: Any = {
        "data_interval_start": datetime(2026, 3, 1, tzinfo=UTC),
        "data_interval_end": datetime(2026, 3, 1, 0, 5, tzinfo=UTC),
    }
    with pytest.raises(AirflowException) as caught:
        WaitForClosedWindow(task_id="wait").execute(context)
    assert not isinstance(caught.value, AirflowFailException)


def test_a_connection_that_airflow_cannot_read_is_not_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", "aws://k:s3cr3t-5f0e@/?region_name=x&endpoint_url=http://127.0.0.1:9")
    with pytest.raises(ConnectionNotFound, match="percent-encoded") as caught:
        AirflowConnections().aws("lake")
    assert "s3cr3t" not in str(caught.value) and not isinstance(caught.value, NoSuchConnection)


BROKEN = {
    "cannot be imported": ("import nothing_of_that_name\n", "ModuleNotFoundError"),
    "raises when it is imported": ("raise RuntimeError('of the plug-in')\n", "of the plug-in"),
    "has no such class": ("", "has no attribute"),
    "is no destination": ("class Broken: ...\n", "no subclass of Destination"),
    "lacks methods": (
        "from logstream.destinations.base import Destination, Options\n"
        "class Broken(Destination[Options]): type, title, options_model = 'broken', 'Broken', Options\n",
        "lacks check, limits, packer, send",
    ),
    "cannot be made": (
        "from logstream.destinations.file import FileDestination\n"
        "class Broken(FileDestination):\n"
        "    def __init__(self, *given): raise LookupError('of its own')\n",
        "LookupError: of its own",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_a_plug_in_that_cannot_be_used_is_one_line_and_hides_no_other(
    cli: Cli, store: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    module = f"plug_in_that_{fault.replace(' ', '_')}"
    code, words = BROKEN[fault]
    (tmp_path / f"{module}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    references = {**built_in(), "broken": f"{module}:Broken"}
    monkeypatch.setattr("logstream.destinations.registry._references", lambda: references)
    destination_type.cache_clear()
    dsn = ("--dsn", store.info.dsn)
    both = {**lake(tmp_path), "b": {"type": "broken", "path": str(tmp_path / "b")}}
    given = write(tmp_path, {"admin": streaming(), "destinations": both})
    listed = cli("destinations", "list")
    assert listed.returncode == 0 and "new_relic" in listed.stdout
    if fault == "cannot be made":
        # its options alone are right: only a delivery finds it
        assert cli("settings", "apply", *dsn, given).returncode == 0
        assert words in one_error_line(cli("destinations", "check", *dsn, "b"))
    else:
        assert words in listed.stderr
        error = one_error_line(cli("settings", "apply", *dsn, given))
        assert words in error and "destinations.b.type: " in error and module in error
    destination_type.cache_clear()


def test_settings_that_end_all_streaming_say_so(cli: Cli, store: psycopg.Connection, tmp_path: Path) -> None:
    dsn = ("--dsn", store.info.dsn)
    some = {"destinations": lake(tmp_path)}
    assert "warning" not in cli("settings", "apply", *dsn, write(tmp_path, some)).stderr
    assert (
        "warning"
        not in cli(
            "settings", "apply", *dsn, write(tmp_path, {"admin": streaming(), "destinations": lake(tmp_path)})
        ).stderr
    )
    done = cli("settings", "apply", *dsn, write(tmp_path, some))
    assert done.returncode == 0 and "nothing is streamed any more" in done.stderr


def test_a_folder_that_is_not_allowed_here_is_warned_of(
    cli: Cli, store: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGSTREAM_FILE_ROOTS", f"{tmp_path}/allowed")
    document = {"admin": streaming(), "destinations": lake(tmp_path / "allowed")}
    assert "warning" not in cli("settings", "apply", "--dsn", store.info.dsn, write(tmp_path, document)).stderr
    done = cli(
        "settings", "apply", "--dsn", store.info.dsn, write(tmp_path, {**document, "destinations": lake(tmp_path)})
    )
    assert done.returncode == 0
    assert f"destinations.lake.path: nothing here may write to {tmp_path}/lake" in done.stderr
    assert f"LOGSTREAM_FILE_ROOTS; allowed are {tmp_path}/allowed" in done.stderr


def test_verify_says_of_which_pruned_windows_it_knows_no_objects(
    cli: Cli, store: psycopg.Connection, tmp_path: Path
) -> None:
    store.execute("insert into workspaces (id) values (1)")
    store.execute(
        "insert into events (workspace_id, kind, occurred_at, recorded_at, payload) values (1, 'job', %s, %s, '{}')",
        (FROM, FROM),
    )
    dsn = ("--dsn", store.info.dsn)
    span = (*dsn, "--from", FROM, "--to", TO)
    for manifests, words in ((False, "the objects of 1 delivery were not looked at"), (True, "")):
        settings = {"admin": streaming(), "destinations": {"lake": {**lake(tmp_path)["lake"], "manifests": manifests}}}
        assert cli("settings", "apply", *dsn, write(tmp_path, settings)).returncode == 0
        assert cli("export", *span).returncode == 0
        assert "not looked at" not in cli("verify", *span).stdout
        assert cli("prune", *dsn, "--before", TO).returncode == 0
        done = cli("verify", *span)
        assert done.returncode == 0 and words in done.stdout and ("not looked at" in done.stdout) is not manifests
        assert json.loads(cli("verify", *span, "--json").stdout)["unlisted"] == (not manifests)


def test_of_a_role_named_like_the_control_schema_the_log_store_is_where_others_find_it(
    cli: Cli, postgres: str, empty_database: str
) -> None:
    with connect(empty_database) as owner:
        owner.execute("do $$ begin if not exists (select from pg_roles where rolname = 'logstream') then create role logstream"
                      " login; end if; end $$")  # fmt: skip
        owner.execute("grant all on schema public to logstream")
        owner.execute(f'grant all on database "{owner.info.dbname}" to logstream')
    dsn = make_conninfo(empty_database, user="logstream")
    cli("status", "--dsn", dsn)  # makes the control schema
    assert cli("store", "init", "--dsn", dsn).returncode == 0
    with connect(empty_database) as owner:
        query = "select schemaname from pg_tables where tablename in ('events', 'workspaces')"
        assert owner.execute(query).fetchall() == [("public",), ("public",)]
    assert cli("store", "init", "--dsn", dsn).returncode == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x1f\x8b\x08\x00", "it is no text in UTF-8"),
        ('{"workspace": {"id": 1}}'.encode("utf-16"), "it is no text in UTF-8"),
        (b'{"event": {"id": 1, "workspace_id": 1, "kind": "jobs"}}', "kinds are job, user_activity"),
        (
            b'{"event": {"id": 1, "workspace_id": 1, "kind": "job", "occurred_at": "yesterday"}}',
            "as 2026-11-24T00:00:00Z",
        ),
        (b'{"workspace": {"id": 1}', "a brace or a quote is missing"),
    ],
)
def test_a_file_that_cannot_be_loaded_says_what_to_do(
    cli: Cli, store: psycopg.Connection, tmp_path: Path, content: bytes, words: str
) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(content)
    assert words in one_error_line(cli("store", "load", "--dsn", store.info.dsn, file))


def test_a_file_with_a_byte_order_mark_is_loaded(cli: Cli, store: psycopg.Connection, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(b'\xef\xbb\xbf{"workspace": {"id": 7}}\r\n')
    assert cli("store", "load", "--dsn", store.info.dsn, file).returncode == 0
    assert store.execute("select id from workspaces").fetchall() == [(7,)]
