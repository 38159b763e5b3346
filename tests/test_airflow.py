"""The real thing, end to end: a window through Airflow's scheduler, triggerer and workers."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.airflow.connections import AirflowConnections
from logstream.cli import main
from logstream.database import connect
from logstream.export.exporter import Exporter
from logstream.testing.airflow import DAG, USERS
from logstream.window import Window

from .documented import blocks, commands, lines_of
from .stage import DAY, DAYS, EVERYTHING, FIRST, HOURS, PROJECT, SECOND, THIRD, WINDOWS, Stage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]


def override(destination: dict[str, Any], **streaming: Any) -> dict[str, Any]:
    admin = {"enabled": True, "events": EVERYTHING, "destination": "lake", **streaming}
    return {"admin": admin, "destinations": {"lake": destination}}


def test_a_backfill_over_a_day_gives_the_objects_that_the_command_gives(
    stage: Stage, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.apply(
        override(
            {"type": "s3", "connection": "lake", "bucket": bucket, "packaging": "batch", "compression": "gzip"},
            message='{"source": "workato", "event": {{{log_message}}}}',
        )
    )
    stage.airflow.command(
        "backfill", "create", "--dag-id", DAG, "--from-date", WINDOWS[0].start.isoformat(),
        "--to-date", WINDOWS[-1].start.isoformat(), "--max-active-runs", "4", "--reprocess-behavior", "completed",
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        runs = [run for run in stage.airflow.runs() if run["run_type"] == "backfill"]
        if len(runs) == len(WINDOWS) and all(run["state"] in ("success", "failed") for run in runs):
            break
        time.sleep(1)
    assert [run["state"] for run in runs] == ["success"] * len(WINDOWS)
    intervals = [(run["data_interval_start"], run["data_interval_end"]) for run in runs]
    assert [tuple(map(datetime.fromisoformat, pair)) for pair in intervals] == [(w.start, w.end) for w in WINDOWS]
    by_airflow = stage.s3.objects(bucket)
    assert len(by_airflow) >= 3 * len(WINDOWS)
    for key in by_airflow:
        stage.s3.client().delete_object(Bucket=bucket, Key=key)
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", stage.s3.connection)
    for window in WINDOWS:
        arguments = ["--dsn", stage.store, "--from", window.start.isoformat(), "--to", window.end.isoformat()]
        assert main(["export", *arguments]) == 0
    assert stage.s3.objects(bucket) == by_airflow
    assert main(["verify", "--dsn", stage.store, "--from", DAY.isoformat(), "--to", WINDOWS[-1].end.isoformat()]) == 0


def test_a_run_says_in_words_what_it_did(stage: Stage, tmp_path: Path) -> None:
    stage.apply(override({"type": "file", "path": str(tmp_path / "out"), "packaging": "batch"}))
    assert stage.run(FIRST, "words") == "success"
    events = count(stage.store, FIRST)
    assert "is closed: no transaction writes to the log store any more" in stage.log("words", "wait_for_closed_window")
    routes = stage.log("words", "resolve_routes")
    assert "10 of 10 workspaces stream to 1 destination." in routes
    assert "10 workspaces: admin override" in routes
    assert f"the log store has {events:,} events of 10 workspaces; {events:,} of them" in stage.log(
        "words", "plan_deliveries"
    )
    shares = [task for task in stage.airflow.tasks("words") if task["task_id"] == "deliver"]
    assert all("lake (share" in task["rendered_map_index"] for task in shares)
    logs = "\n".join(stage.log("words", "deliver", index=number) for number in range(len(shares)))
    assert "events of" in logs and "kB" in logs and "in 1 request," in logs and " s." in logs
    assert f"is complete: {events:,} events delivered to 1 destination." in stage.log("words", "seal_window")
    delivered = [line for path in (tmp_path / "out").rglob("*.ndjson") for line in path.read_bytes().splitlines()]
    assert len(delivered) == events


def test_one_broken_destination_fails_at_once_and_delays_no_other(stage: Stage, tmp_path: Path) -> None:
    own = [
        {"id": 100, "streaming": {"enabled": True, "events": EVERYTHING, "destination": "broken"}},
        {"id": 101, "streaming": {"enabled": True, "events": EVERYTHING, "destination": "siem"}},
        {"id": 102, "streaming": {"enabled": True, "events": ["job_status"], "destination": "siem"}},
    ]
    stage.apply(
        {
            "workspaces": own,
            "destinations": {
                "broken": {"type": "http", "connection": "siem_wrong"},
                "siem": {"type": "http", "connection": "siem"},
            },
        }
    )
    # other tests try destinations out at the same service
    before = len(stage.sink.events())
    waiting = "siem_report"
    stage.airflow.call("PATCH", f"/api/v2/dags/{waiting}", {"is_paused": False})
    assert stage.run(SECOND, "broken") == "failed"
    tasks = {(task["task_id"], task["map_index"]): task for task in stage.airflow.tasks("broken")}
    states = Counter(task["state"] for (name, _), task in tasks.items() if name == "deliver")
    assert states == {"failed": 1, "success": 2}
    assert all(task["try_number"] == 1 for task in tasks.values()), "a permanent failure is not tried again"
    assert tasks[("seal_window", -1)]["state"] == "failed"
    sealed = stage.log("broken", "seal_window")
    assert "correct the credentials of connection `siem_wrong`" in sealed
    logs = sealed + "".join(stage.log("broken", name, index=index) for name, index in tasks)
    assert "canary-5f0e-7b1f0c94e2" not in logs and stage.sink.token not in logs
    # who waits for the other one is called all the same: by the DAG of docs/operating.md
    deadline = time.monotonic() + 60
    runs: list[dict[str, Any]] = []
    while not runs and time.monotonic() < deadline:
        time.sleep(0.5)
        runs = stage.airflow.call("GET", f"/api/v2/dags/{waiting}/dagRuns")["dag_runs"]
    assert stage.airflow.wait_for_run(runs[0]["dag_run_id"], dag=waiting) == "success"
    assert f"{SECOND.start:%Y-%m-%dT%H:%M:%SZ} {SECOND.end:%Y-%m-%dT%H:%M:%SZ}" in stage.airflow.log(
        runs[0]["dag_run_id"], "report", dag=waiting
    )
    names = {event["name"] for event in stage.airflow.call("GET", "/api/v2/assets/events?limit=100")["asset_events"]}
    assert "logstream_siem" in names and "logstream_broken" not in names
    with connect(stage.store) as connection:
        wanted = connection.execute(
            "select count(*) from events where recorded_at >= %s and recorded_at < %s"
            " and (workspace_id = 101 or workspace_id = 102 and kind = 'job')",
            (SECOND.start, SECOND.end),
        ).fetchone()
    assert (len(stage.sink.events()) - before,) == wanted
    # that a destination is tried out, again and again, has one key
    sent = {key: times for key, times in stage.sink.keys.items() if not key.startswith("logstream-check-")}
    assert sent and max(sent.values()) == 1


def test_a_run_waits_for_whoever_still_writes(stage: Stage, tmp_path: Path) -> None:
    stage.apply(override({"type": "file", "path": str(tmp_path / "out"), "packaging": "batch"}))
    with psycopg.connect(stage.store) as writer:
        writer.execute(
            "insert into events (workspace_id, kind, occurred_at, recorded_at, payload)"
            " values (100, 'job', %s, %s, '{\"late\": true}')",
            (THIRD.start, THIRD.start),
        )
        stage.airflow.trigger(THIRD, "late")
        deadline = time.monotonic() + 60
        while stage.airflow.tasks("late")[0]["state"] != "deferred" and time.monotonic() < deadline:
            time.sleep(0.5)
        (waiting,) = [task for task in stage.airflow.tasks("late") if task["state"] is not None]
        assert (waiting["task_id"], waiting["state"]) == ("wait_for_closed_window", "deferred")
        writer.commit()
    assert stage.airflow.wait_for_run("late") == "success"
    found = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*.ndjson"))
    assert b'"late": true' in found
    assert len(found.splitlines()) == count(stage.store, THIRD)


@pytest.mark.parametrize("schedule", [None, "none"])
def test_a_run_without_an_interval_fails_at_once_and_names_the_remedy(
    stage: Stage, tmp_path: Path, schedule: str | None
) -> None:
    """`airflow dags trigger logstream_export`, of a DAG with a schedule and of one without."""
    stage.apply(override({"type": "file", "path": str(tmp_path / "out")}))
    if schedule:
        stage.airflow.reschedule(schedule)
    run = f"bare_{schedule}"
    stage.airflow.command("dags", "trigger", DAG, "--run-id", run)
    assert stage.airflow.wait_for_run(run) == "failed"
    tasks = {task["task_id"]: task for task in stage.airflow.tasks(run)}
    assert [(name, task["try_number"]) for name, task in tasks.items() if task["state"] == "failed"] == [
        ("wait_for_closed_window", 1),
        ("seal_window", 1),
    ]
    for name in ("wait_for_closed_window", "seal_window"):
        assert "trigger it with data_interval_start and data_interval_end" in stage.log(run, name)
    if schedule:
        stage.airflow.reschedule(None)


def test_a_window_without_events_is_a_success(stage: Stage, tmp_path: Path) -> None:
    stage.apply(override({"type": "file", "path": str(tmp_path / "out")}))
    empty = Window(DAY - HOURS, DAY)
    assert stage.run(empty, "empty") == "success"
    assert "0 events" in stage.log("empty", "seal_window")


def test_airflows_own_way_to_try_a_dag_exports_a_window(
    stage: Stage, empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/operating.md shows it, at another time. Its interval is the one that ended last by then.

    Its Airflow has no other process, as there: none that takes tasks of the run, or reads the DAG meanwhile, and without the group.
    """
    (lines,) = [
        lines
        for lines in map(list, map(lines_of, blocks(PROJECT / "docs/operating.md")))
        if lines and "dags test" in lines[-1]
    ]
    variable, _, command = lines[-1].partition(" airflow ")
    monkeypatch.setenv(*variable.split("="))
    monkeypatch.setenv("LOGSTREAM_DELIVER_POOLS", "default_pool=la*")  # a group with a task of its own
    told = stage.airflow.home / "lineage.ndjson"  # among what is searched for credentials
    transport = {"type": "file", "log_file_path": str(told), "append": True}
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps(transport))
    # what answers the tasks is a thread of this process here, which a process that is forked has not
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__EXECUTE_IN_THREAD", "True")
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__EXECUTION_TIMEOUT", "120")  # on a busy machine
    stage.apply(override({"type": "file", "path": str(tmp_path / "out"), "packaging": "batch"}))
    window = Window(DAYS[2] + HOURS, DAYS[2] + 2 * HOURS)
    # a run of the schedule may be under way, and plan this window as a gap
    stage.airflow.wait_until_idle()
    stage.airflow.pause()
    try:
        for words in (*lines[:-1], f"airflow {command.replace('2026-11-24T00:05:00Z', window.end.isoformat())}"):
            stage.airflow.command(*words.split()[1:], metadata=empty_database)
    finally:
        stage.airflow.unpause()
    delivered = [line for path in (tmp_path / "out").rglob("*.ndjson") for line in path.read_bytes().splitlines()]
    assert len(delivered) == count(stage.store, window) > 100
    # and what it tells OpenLineage, of each task that delivered
    events = [json.loads(line) for line in told.read_text().splitlines()]
    ended = [
        one for one in events if one["eventType"] == "COMPLETE" and one["job"]["name"] == f"{DAG}.deliver_default_pool"
    ]
    assert {data_set["name"] for one in ended for data_set in one["inputs"]} == {"e2e_store.public.events"}
    outputs = [data_set for one in ended for data_set in one["outputs"]]
    assert {(one["namespace"], one["name"]) for one in outputs} == {("file", str(tmp_path / "out"))}
    assert sum(one["outputFacets"]["outputStatistics"]["rowCount"] for one in outputs) == len(delivered)


def test_the_commands_that_show_the_rest_api_are_run(stage: Stage, tmp_path: Path) -> None:
    """Those of docs/console.md, as they stand there, with a user and the settings' number filled in."""
    (script,) = [block for block in blocks(PROJECT / "docs/console.md") if "curl " in block]
    user = f'"username": "admin", "password": "{USERS["admin"]}"'
    script = script.replace('"username": "...", "password": "..."', user).replace('"42"', "*")
    (tmp_path / "settings.yaml").write_text(f"destinations: {{other: {{type: file, path: {tmp_path}/other}}}}\n")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path, env={**os.environ, "AIRFLOW": stage.airflow.url, "PATH": f"{os.environ['PATH']}:{commands()}"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "etag: " in done.stdout.lower(), done.stdout + done.stderr
    with Exporter(stage.store, stage.store, AirflowConnections()) as engine:
        assert list(engine.settings.current().settings.destinations) == ["other"], done.stdout


def test_no_credential_is_anywhere_that_airflow_or_logstream_writes(stage: Stage) -> None:
    """After all the runs before this one, good and bad: in no log file, in no table of either database."""
    secrets = ["demo-secret-key", stage.sink.token, "canary-5f0e-7b1f0c94e2"]
    files = [path for path in stage.airflow.home.rglob("*") if path.is_file()]
    assert any("deliver" in str(path) for path in files)
    assert [(path, secret) for path in files for secret in secrets if secret.encode() in path.read_bytes()] == []
    for dsn in (stage.store, stage.metadata):
        with connect(dsn) as connection:
            tables = connection.execute(
                "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname not in"
                " ('pg_catalog', 'information_schema')"
            ).fetchall()
            assert len(tables) > 5
            for (table,) in tables:
                for secret in secrets:
                    found = connection.execute(
                        f"select count(*) from {table} t where position(%s in t::text) > 0", (secret,)
                    ).fetchone()
                    assert found == (0,), f"{secret} is in {table}"


def count(store: str, window: Window) -> int:
    with connect(store) as connection:
        row = connection.execute(
            "select count(*) from events where recorded_at >= %s and recorded_at < %s", (window.start, window.end)
        ).fetchone()
    assert row is not None
    return int(row[0])
