"""The console's own permission, asked of Airflow's real auth managers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager

from logstream.console import access

from .documented import shown
from .fab import MANAGER, Call, fab_airflow

OWN = "Audit log streaming"
RUNS = {("can_read", "DAGs"), ("can_read", "DAG Runs")}
CONNECTIONS = {("can_edit", "Connections"), ("can_read", "Connections")}


@pytest.fixture
def fab(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = object.__new__(FabAuthManager)
    monkeypatch.setattr(access, "get_auth_manager", lambda: manager)


def user(*perms: tuple[str, str]) -> Any:
    return SimpleNamespace(perms=set(perms))


def test_without_it_airflows_rights_decide(fab: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(access.PERMISSION, raising=False)
    holder = user(("can_read", OWN), ("can_edit", OWN))
    assert (access.may_read(holder), access.may_write(holder)) == (False, False)
    operator = user(*RUNS, *CONNECTIONS)
    assert (access.may_read(operator), access.may_write(operator)) == (True, True)
    assert (access.may_read(user(*RUNS)), access.may_write(user(*RUNS))) == (True, False)


def test_with_it_it_alone_decides(fab: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(access.PERMISSION, OWN)
    operator = user(*RUNS, *CONNECTIONS)
    assert (access.may_read(operator), access.may_write(operator)) == (False, False)
    auditor, owner = user(("can_read", OWN)), user(("can_read", OWN), ("can_edit", OWN))
    assert (access.may_read(auditor), access.may_write(auditor)) == (True, False)
    assert (access.may_read(owner), access.may_write(owner)) == (True, True)
    # credentials are connections of Airflow's, by its own rights
    monkeypatch.setattr(access.Connection, "get_team_name", lambda _: None)
    assert not access.may_use_connection(owner, "PUT", "lake")
    assert access.may_use_connection(operator, "PUT", "lake")


def test_a_manager_that_grants_what_was_given_to_no_role_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = object.__new__(SimpleAuthManager)
    monkeypatch.setattr(access, "get_auth_manager", lambda: manager)
    monkeypatch.setenv(access.PERMISSION, OWN)
    viewer, admin = (SimpleAuthManagerUser(username=role, role=role) for role in ("viewer", "admin"))
    assert access.own_permission(viewer, "PUT") is None
    assert (access.may_read(viewer), access.may_write(viewer)) == (True, False)
    assert (access.may_read(admin), access.may_write(admin)) == (True, True)


@pytest.fixture(scope="module")
def call(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    """An api-server that has the permission's name, after the commands of the page have given it to roles."""
    commands = [command.words[1:] for command in shown("airflow") if "roles" in command.words]
    assert len(commands) >= 3
    folder, roles = tmp_path_factory.mktemp("fab"), ["Admin", "Op", "Viewer", "Auditor"]
    with fab_airflow(postgres, folder, "fab_own", roles, {access.PERMISSION: OWN}, commands) as call:
        yield call


@pytest.mark.e2e
@pytest.mark.thorough
@pytest.mark.parametrize(
    ("role", "reads", "writes"), [("Admin", 200, 200), ("Op", 200, 200), ("Viewer", 403, 403), ("Auditor", 200, 403)]
)
def test_it_is_given_by_the_commands_of_the_page(call: Call, role: str, reads: int, writes: int) -> None:
    assert call("GET", "/logstream/api/v1/settings", role=role)[0] == reads
    assert call("PUT", "/logstream/api/v1/settings", {}, role)[0] == writes


def test_an_api_server_starts_though_it_cannot_make_the_permission(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> Any:
        raise OSError("the database is away")

    monkeypatch.setenv(access.PERMISSION, OWN)
    monkeypatch.setenv("AIRFLOW__CORE__AUTH_MANAGER", MANAGER)
    monkeypatch.setattr(access, "create_session", away)
    with caplog.at_level(logging.WARNING, "logstream"):
        access.make_permission()
    assert "cannot be made (OSError)" in caplog.text
