"""`logstream doctor` and `logstream control`: each fault of a deployment is a step that says so, and nothing else is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg.conninfo import make_conninfo

from logstream import clock, doctor
from logstream.control.engine import HEAD, open_control
from logstream.database import connect
from logstream.destinations import registry

from .conftest import Cli, one_error_line
from .stage import PROJECT


@pytest.fixture
def database(empty_database: str) -> str:
    """What is looked at has nothing in it that a test did not put there."""
    return empty_database


@pytest.fixture
def deployed(store: psycopg.Connection, cli: Cli, tmp_path: Path) -> str:
    """The DSN of a deployment in which nothing is wrong."""
    assert cli("store", "init", "--dsn", store.info.dsn).returncode == 0
    apply(cli, store.info.dsn, tmp_path, {"type": "file", "path": str(tmp_path / "out")})
    return store.info.dsn


def apply(cli: Cli, dsn: str, folder: Path, destination: dict[str, Any]) -> None:
    document = {"admin": {"enabled": True, "events": ["user_activity"], "destination": "lake"}, "destinations": {"lake": destination}}  # fmt: skip
    (folder / "settings.yaml").write_text(yaml.safe_dump(document))
    done = cli("settings", "apply", "--dsn", dsn, "settings.yaml")
    assert done.returncode == 0, done.stderr


def faults(cli: Cli, *arguments: str, environment: dict[str, str] | None = None) -> list[str]:
    """The steps that failed; the exit code says the same."""
    done = cli("doctor", *arguments, environment=environment)
    found = [line.removeprefix("FAIL ") for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert done.returncode == (1 if found else 0), (done.stdout, done.stderr)
    assert all(re.match(r"(ok  |note|FAIL) \S", line) for line in done.stdout.splitlines()), done.stdout
    return found


def test_nothing_is_wrong(cli: Cli, deployed: str) -> None:
    assert faults(cli, "--dsn", deployed) == []
    out = cli("doctor", "--dsn", deployed).stdout
    for looked_at in (
        "Airflow 3.3",
        "Python",
        "control database",
        "log store answers",
        "clock",
        "writer",
        "destination types",
    ):
        assert looked_at in out


def test_a_misspelt_variable(cli: Cli, deployed: str) -> None:
    (fault,) = faults(cli, "--dsn", deployed, environment={"LOGSTREAM_OWED_PER_RUNS": "5"})
    assert "LOGSTREAM_OWED_PER_RUNS" in fault and "Did you mean LOGSTREAM_OWED_PER_RUN?" in fault


def test_every_variable_that_is_read_is_known() -> None:
    places = [
        PROJECT / "plugins",
        PROJECT / "dags",
        PROJECT / "deploy",
        PROJECT / "docker-compose.yml",
        PROJECT / "Makefile",
    ]
    files = [file for place in places for file in (place.rglob("*") if place.is_dir() else [place]) if file.is_file()]
    texts = [file.read_text(errors="replace") for file in files if "__pycache__" not in file.parts]
    named = {name for text in texts for name in re.findall(r"\bLOGSTREAM_[A-Z_]*[A-Z]\b", text)}
    assert named | doctor.ELSEWHERE == {*doctor.VARIABLES, *doctor.ELSEWHERE}


def test_a_database_that_is_away(cli: Cli, deployed: str) -> None:
    away = make_conninfo(deployed, host="127.0.0.1", port="9", password="hunter2hunter2")
    found = faults(cli, "--dsn", away, "--control-dsn", deployed)
    assert found[0].startswith("the log store answers: no")
    found = faults(cli, "--dsn", deployed, "--control-dsn", away)
    assert found[0].startswith("the control database answers: no")
    assert "hunter2" not in "".join(found)


def test_a_connection_that_is_not_there_and_one_that_cannot_be_read(cli: Cli, deployed: str, tmp_path: Path) -> None:
    lake = {"type": "gcs", "connection": "nowhere", "bucket": "audit"}
    apply(cli, deployed, tmp_path, lake)
    (fault,) = faults(cli, "--dsn", deployed)
    assert fault.startswith("destination lake and its connection") and "nowhere" in fault
    broken = 'google-cloud-platform://?keyfile_dict={"private_key": "hunter2hunter2"}'
    (fault,) = faults(cli, "--dsn", deployed, environment={"AIRFLOW_CONN_NOWHERE": broken})
    assert "lake" in fault and "hunter2" not in fault


def test_a_plug_in_that_breaks_when_it_is_imported(
    cli: Cli, deployed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "acme_broken.py").write_text("raise RuntimeError('no licence')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    known = registry.registered()
    monkeypatch.setattr(registry, "_references", lambda: {**known, "acme": "acme_broken:Acme"})
    found = faults(cli, "--dsn", deployed)
    assert [
        fault
        for fault in found
        if fault.startswith("destination type acme can be loaded: no") and "no licence" in fault
    ]


def test_a_destination_of_a_type_that_is_gone_or_broken_has_no_connection_to_correct(
    cli: Cli, deployed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = registry.registered()
    monkeypatch.setattr(registry, "_references", lambda: {**known, "acme_gone": known["file"]})
    apply(cli, deployed, tmp_path, {"type": "acme_gone", "path": str(tmp_path / "out")})
    monkeypatch.setattr(registry, "_references", lambda: known)
    registry.destination_type.cache_clear()
    (gone,) = faults(cli, "--dsn", deployed)
    assert gone.startswith("destination lake") and "is not installed" in gone and "Install the package" in gone
    monkeypatch.setattr(registry, "_references", lambda: {**known, "acme_gone": "acme_nowhere:Acme"})
    for fault in (told := faults(cli, "--dsn", deployed)):
        assert "correct or uninstall the package" in fault and "Airflow connection" not in fault
    assert len(told) == 2


def test_a_writer_that_keeps_windows_open(cli: Cli, deployed: str, store: psycopg.Connection) -> None:
    store.execute("insert into workspaces (id, role) values (1, 'customer')")
    insert = "insert into events (workspace_id, kind, occurred_at, payload) values (1, 'job', now(), '{}')"
    with connect(deployed, autocommit=False) as writer:
        writer.execute(insert)
        assert faults(cli, "--dsn", deployed) == [], "it has only begun"
        writer.execute("prepare transaction 'hung'")
    (fault,) = faults(cli, "--dsn", deployed)
    assert "prepared transaction" in fault and "windows open" in fault
    store.execute("rollback prepared 'hung'")
    assert faults(cli, "--dsn", deployed) == []


class Ahead(clock.Clock):
    """A machine whose clock is ten minutes ahead."""

    def time_ns(self) -> int:
        return super().time_ns() + 600 * 10**9


def test_clocks_that_differ(cli: Cli, deployed: str) -> None:
    with clock.use(Ahead()):
        found = faults(cli, "--dsn", deployed)
    assert len([fault for fault in found if "clock agrees" in fault and "600" in fault]) == 2


@contextmanager
def as_user(dsn: str, admin: psycopg.Connection) -> Iterator[str]:
    admin.execute("create role looker login password 'looker'")
    try:
        yield make_conninfo(dsn, user="looker", password="looker")
    finally:
        admin.execute("drop owned by looker; drop role looker")


def test_rights_that_are_missing(cli: Cli, deployed: str, store: psycopg.Connection) -> None:
    with as_user(deployed, store) as dsn:
        store.execute(
            "grant usage on schema logstream to looker; grant select on all tables in schema logstream to looker"
        )
        found = faults(cli, "--dsn", deployed, "--control-dsn", dsn)
        assert [fault for fault in found if fault.startswith("its tables may be written: no")]
        store.execute("grant all on all tables in schema logstream to looker")
        assert faults(cli, "--dsn", deployed, "--control-dsn", dsn) == []
        found = faults(cli, "--dsn", dsn, "--control-dsn", deployed)
        assert [fault for fault in found if fault.startswith("events may be read")], found


def test_the_schema_before_and_after_an_upgrade(cli: Cli, store: psycopg.Connection) -> None:
    dsn = store.info.dsn
    done = cli("control", "current", "--dsn", dsn)
    assert (done.returncode, done.stdout) == (1, "there is no schema yet; `logstream control upgrade` makes it\n")
    assert [fault for fault in faults(cli, "--dsn", dsn) if "logstream control upgrade" in fault]
    done = cli("control", "upgrade", "--dsn", dsn)
    assert (done.returncode, done.stdout) == (0, f"{HEAD}: upgraded from nothing\n")
    assert cli("control", "upgrade", "--dsn", dsn).stdout == f"{HEAD}: was up to date\n"
    assert cli("control", "current", "--dsn", dsn).returncode == 0
    store.execute("update logstream.alembic_version set version_num = '9999'")
    done = cli("control", "current", "--dsn", dsn)
    assert done.returncode == 1 and "upgrade Logstream here" in done.stdout
    assert [fault for fault in faults(cli, "--dsn", dsn) if "Upgrade Logstream on this machine" in fault]
    assert "newer Logstream" in one_error_line(cli("control", "upgrade", "--dsn", dsn))
    assert store.execute("select version_num from logstream.alembic_version").fetchone() == ("9999",)


def test_the_dags_are_looked_for_where_airflow_looks(
    cli: Cli, deployed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.configuration import conf
    from airflow.secrets.metastore import MetastoreBackend

    environment = {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": os.environ.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "sqlite://")
    }
    get = conf.get
    monkeypatch.setattr(
        conf, "get", lambda *asked, **how: str(tmp_path) if "dags_folder" in asked else get(*asked, **how)
    )
    monkeypatch.setattr(MetastoreBackend, "get_connection", lambda *_, **__: None)  # an Airflow that has none
    (fault,) = faults(cli, "--dsn", deployed, environment=environment)
    assert fault.startswith("the DAGs are in Airflow's folder: no")
    (tmp_path / "logstream_export.py").write_text("")
    assert faults(cli, "--dsn", deployed, environment=environment) == []


def test_an_empty_deployment_says_what_to_do_first(cli: Cli, database: str) -> None:
    found = faults(cli, "--dsn", database)
    assert "control upgrade" in found[0]
    assert [fault for fault in found if "store init" in fault]
    open_control(database)
    assert timedelta() < doctor.WRITER_AGE
