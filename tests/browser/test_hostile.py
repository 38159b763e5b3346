"""Hostile names and hostile requests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import expect

from logstream.testing.airflow import USERS

from ..stage import Stage
from .person import OVERRIDDEN, Person, call, start_from

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

HOSTILE = {
    700: "<script>window.broken=1</script><img src=x onerror=window.broken=1>",
    701: "\u202eevil\u202c\u2066name",
    702: "x" * 10_000,
    703: "{{ 7 * 7 }}\"'`</title>",
}


def test_hostile_names_stay_names(admin: Person, stage: Stage) -> None:
    start_from(stage, OVERRIDDEN)
    with psycopg.connect(stage.store, autocommit=True) as store:
        for number, name in HOSTILE.items():
            store.execute("insert into workspaces (id, external_id, name) values (%s, %s, %s)", (number, name, name))
    try:
        admin.page.wait_for_timeout(2_200)  # for as long the list of workspaces is kept
        for path in ("customers", *(f"customers/{number}" for number in HOSTILE), "customers?query=%3Cscript%3E"):
            page = admin.visit(path)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            assert page.evaluate("window.broken") is None
            assert len(page.content()) < 150_000
            assert "\u202e" not in page.inner_text("main")
        expect(page.get_by_role("row", name="<script>window.broken=1").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    finally:
        with psycopg.connect(stage.store, autocommit=True) as store:
            store.execute("delete from workspaces where id >= 700")
    status, _, _ = call(
        stage, "PUT", "api/v1/destinations/%3Cscript%3E", {"type": "file", "path": "/tmp/x"}, If_Match="*"
    )
    assert status == 422


def test_no_request_breaks_it(stage: Stage, tmp_path: Path) -> None:
    script = (
        "import json; from logstream.console.app import create_app, openapi_document\n"
        "print(json.dumps(openapi_document(create_app(), pages=True)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    document = tmp_path / "openapi.json"
    document.write_text(done.stdout)
    token = stage.airflow.call("POST", "/auth/token", {"username": "admin", "password": USERS["admin"]})["access_token"]
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "run", str(document), "--url", f"{stage.airflow.url}/logstream",
        "-H", f"Authorization: Bearer {token}", "--checks", "not_a_server_error", "--phases", "coverage,fuzzing",
        "--max-examples", "3", "--seed", "1", "--exclude-name-regex",
        "^POST .*/(backfills?|redeliveries|deliveries|dead-letters)$",  # they start runs
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "passed" in done.stdout
