"""`verify` hides nothing of one destination because of another, nor because of what it cannot read of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.export.exporter import Exporter
from logstream.verify import verifier
from logstream.verify.verifier import verify

from .test_engine import WINDOW, Make, engine, export, filled  # noqa: F401
from .test_sealing import folder

# ruff: noqa: F811 - fixtures are imported

KINDS = ["job_details", "user_activity", "api_platform", "log_service"]


@pytest.fixture
def three(engine: Make, filled: psycopg.Connection, tmp_path: Path) -> Exporter:
    """Three destinations, each of which has lost an object."""
    found = engine(
        {
            "workspaces": [
                {"id": 100 + number, "streaming": {"enabled": True, "events": KINDS, "destination": f"d{number}"}}
                for number in range(3)
            ],
            "destinations": {f"d{number}": folder(tmp_path / f"d{number}") for number in range(3)},
        }
    )
    export(found)
    for number in range(3):
        next((tmp_path / f"d{number}").rglob("*part-00000.ndjson*")).unlink()
    return found


def found_at(exporter: Exporter) -> dict[str, str]:
    return {item.destination: item.what for item in verify(exporter, WINDOW).findings}


def again(exporter: Exporter, filled: psycopg.Connection, path: str, value: str) -> Exporter:
    """The exporter of a version to which some stored option of d1 means nothing."""
    filled.execute(
        "update logstream.settings_snapshots"
        f" set document = jsonb_set(document::jsonb, '{{destinations,d1,{path}}}', '\"{value}\"')"
    )
    return Exporter(filled.info.dsn, filled.info.dsn, exporter.connections, policy=exporter.policy)


@pytest.mark.parametrize(("path", "value"), [("type", "plugin_gone"), ("compression", "lz77")])
def test_what_is_stored_and_not_understood_any_more_is_a_finding(
    three: Exporter, filled: psycopg.Connection, path: str, value: str
) -> None:
    other = again(three, filled, path, value)
    told = found_at(other)
    other.close()
    assert {"d0", "d1", "d2"} == set(told)
    assert "cannot be verified" in told["d1"] and value in told["d1"]
    assert "is missing" in told["d0"] and "is missing" in told["d2"]


def test_a_fault_that_is_none_of_ours_is_one_destinations(three: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    opening = verifier.open_destination

    async def broken(name: str, *arguments: Any) -> Any:
        if name == "d1":
            raise ValueError("hunter2")
        return await opening(name, *arguments)

    monkeypatch.setattr(verifier, "open_destination", broken)
    told = found_at(three)
    assert "cannot be verified: that broke (ValueError)" in told["d1"] and "hunter2" not in told["d1"]
    assert "is missing" in told["d0"] and "is missing" in told["d2"]
