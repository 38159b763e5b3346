"""Masks hold for the names of objects, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.export.exporter import Exporter

from .databases import postgres  # noqa: F401 - on the oldest and the newest PostgreSQL
from .test_store_contract import EVERYTHING, START, WINDOW, Export, platform  # noqa: F401 - a fixture

JOB = {"id": "j-secret1", "recipe_id": "r-secret2", "status": "secret3", "completed_at": "2024-11-12T13:14:15Z"}
LOGIN = {"event": "secret4", "timestamp": "2026-03-01T00:00:00Z"}


def filled(database: psycopg.Connection, *rows: tuple[str, dict[str, Any]]) -> psycopg.Connection:
    for number, (kind, payload) in enumerate(rows, 1):
        database.execute(
            "insert into events values (%s, %s, %s, %s, %s, %s)",
            (number, 1 + number % 2, kind, START, START, json.dumps(payload)),
        )
    return database


def exported(dsn: str, folder: Path, mask: list[str], **options: Any) -> list[str]:
    """The names below a folder after an export with masks."""
    document = {
        "admin": {"enabled": True, "events": EVERYTHING, "destination": "d", "mask": mask},
        "destinations": {"d": {"type": "file", "path": str(folder), "manifests": False, **options}},
        "log_store": {"events": "events"},
    }
    done = Export(dsn, folder, **document)
    assert [(report.rejected, report.error) for report in done.reports] == [(0, None)]
    assert done.findings == []
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*.json"))


MASKS = [
    ["$.id", "$.recipe_id", "$.status", "$.completed_at", "$.event"],
    ["$..id", "$.*"],
    ["$.*"],
    [r'$.["\u0069d"]', "$.recipe_id", "$.status", "$.completed_at", "$.event"],
]


@pytest.mark.parametrize("mask", MASKS)
def test_what_is_masked_is_in_no_name(platform: psycopg.Connection, tmp_path: Path, mask: list[str]) -> None:  # noqa: F811
    filled(platform, ("job", JOB), ("user_activity", LOGIN))
    folder = tmp_path / "out"
    names = exported(platform.info.dsn, folder, mask)
    assert names == [
        "1/user_activity/20260301/2/1-2-20260301000000-masked.json",
        "2/jobs/masked/20260301/1/2-masked-1-20260301000000-masked.json",
    ]
    assert not [file for file in folder.rglob("*.json") if b"secret" in file.read_bytes()]


def test_masked_jobs_of_one_second_do_not_replace_each_other(platform: psycopg.Connection, tmp_path: Path) -> None:  # noqa: F811
    """Neither in one window, nor in two, of which the second knows nothing of the first's names."""
    jobs = [("job", {**JOB, "id": f"j-{number}"}) for number in range(6)]
    filled(platform, *jobs)
    names = exported(platform.info.dsn, tmp_path / "out", ["$.id"])
    assert len(names) == 6 and not [name for name in names if "j-" in name]
    later = WINDOW.end.isoformat()
    platform.execute(
        "insert into events select id + 10, workspace_id, kind, occurred_at, %s, payload from events", (later,)
    )
    with Exporter(platform.info.dsn, platform.info.dsn, None) as exporter:  # type: ignore[arg-type]
        window = type(WINDOW)(WINDOW.end, WINDOW.end + (WINDOW.end - WINDOW.start))
        planned = exporter.plan(window)
        exporter.deliver([key for share in planned.shares for key in share.lanes])
    assert len(list((tmp_path / "out").rglob("*.json"))) == 12


def test_names_are_masked_by_each_workspaces_own_masks(platform: psycopg.Connection, tmp_path: Path) -> None:  # noqa: F811
    filled(platform, ("job", JOB), ("job", JOB))
    folder = tmp_path / "out"
    own = {"enabled": True, "events": ["job_details"], "destination": "d"}
    document = {
        "admin": None,
        "workspaces": [
            {"id": 1, "streaming": own}, {"id": 2, "streaming": {**own, "mask": ["$.recipe_id"]}},
        ],
        "destinations": {"d": {"type": "file", "path": str(folder), "manifests": False, "lanes": 1}},
        "log_store": {"events": "events"},
    }  # fmt: skip
    Export(platform.info.dsn, folder, **document)
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*.json")) == [
        "1/jobs/r-secret2/20241112/j-secret1/1-r-secret2-j-secret1-20241112131415-secret3.json",
        "2/jobs/masked/20241112/j-secret1/2-masked-j-secret1-20241112131415-secret3.json",
    ]


def test_dead_letters_are_sent_again_under_masked_names(platform: psycopg.Connection, tmp_path: Path) -> None:  # noqa: F811
    filled(platform, ("job", JOB), ("job", {**JOB, "id": 7, "deep": 1}))
    folder = tmp_path / "out"
    deep = "[" * 3000 + "]" * 3000
    platform.execute("update events set payload = %s where id = 2", (json.dumps(JOB)[:-1] + f', "deep": {deep}}}',))
    exported_names = Export(
        platform.info.dsn,
        folder,
        admin={"enabled": True, "events": EVERYTHING, "destination": "d", "mask": ["$.recipe_id"]},
        destinations={"d": {"type": "file", "path": str(folder), "manifests": False}},
        log_store={"events": "events"},
    )
    assert list(exported_names.rejected) == [2]
    platform.execute("update events set payload = %s where id = 2", (json.dumps(JOB),))
    with Exporter(platform.info.dsn, platform.info.dsn, None) as exporter:  # type: ignore[arg-type]
        (result,) = exporter.redeliver_rejected()
    assert result.delivered == 1
    assert not [str(file) for file in folder.rglob("*.json") if "secret2" in str(file)]
