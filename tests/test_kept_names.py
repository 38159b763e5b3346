"""A workspace that is renamed while a delivery is under way keeps its name in it: every event is under one name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.destinations.objects import ObjectDestination
from logstream.ledger.records import State
from logstream.testing.contract import killed_at
from logstream.testing.servers import LogSink

from .test_engine import Make, engine, export, files, filled, override  # noqa: F401 - fixtures

FILES = {"type": "file", "packaging": "file", "key": "{external_id}/{kind}/{event_id}", "lanes": 2, "manifests": False}
RENAME = "update workspaces set external_id = 'new-' || id, name = 'New ' || id"


@pytest.mark.parametrize("killed", [1, 5, 20])
def test_after_a_kill_and_a_rename_every_event_is_under_one_name(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, killed: int  # noqa: F811
) -> None:  # fmt: skip
    document = override({**FILES, "path": str(tmp_path / "out")})
    killed_at(killed, lambda: export(engine(document)), (ObjectDestination, "send"))
    before = {name: body for name, body in files(tmp_path / "out").items() if name.endswith(".json")}
    assert 0 < len(before) < 1_500
    filled.execute(RENAME)
    _, (report,) = export(engine(document))
    assert (report.state, report.events) == (State.DELIVERED, 1_500)
    names = files(tmp_path / "out")
    assert len(names) == 1_500 and before.items() <= names.items()
    assert {name.split("/")[0] for name in names} <= {f"c{number}" for number in range(12)}


def test_a_repeated_request_names_workspaces_as_before(engine: Make, filled: psycopg.Connection, sink: LogSink) -> None:  # noqa: F811
    """What was sent and is not in the books yet is sent again, under the same key and with the same bytes."""
    message = '{"who": "{{{workspace.name}}}/{{{workspace.external_id}}}", "event": {{{log_message}}}}'
    document = override(
        {"type": "http", "connection": "sink", "format": "array", "concurrency": 1, "lanes": 1}, message=message
    )
    filled.execute("update workspaces set name = 'Old ' || id")
    killed_at(1, lambda: export(engine(document)))
    sent = sum(sink.keys.values())
    filled.execute(RENAME)
    export(engine(document))
    assert sum(sink.keys.values()) > sent and sink.changed_repetitions == 0
    assert {event["who"][:3] for event in sink.events()} == {"Old"}


def test_a_window_that_is_exported_after_a_rename_has_the_new_name(
    engine: Make, filled: psycopg.Connection, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    filled.execute(RENAME)
    export(engine(override({**FILES, "path": str(tmp_path / "out")})))
    assert {name[:4] for name in files(tmp_path / "out")} == {"new-"}


def test_dead_letters_are_sent_again_under_the_names_of_their_delivery(
    engine: Make, filled: psycopg.Connection, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    deep = "[" * 3000 + "]" * 3000
    (number,) = filled.execute("select min(id) from events").fetchone() or (0,)
    row: Any = filled.execute("select payload from events where id = %s", (number,)).fetchone()
    filled.execute("update events set payload = %s where id = %s", ('{"deep": ' + deep + "}", number))
    exporter = engine(override({**FILES, "path": str(tmp_path / "out")}))
    _, (report,) = export(exporter)
    assert (report.events, report.rejected) == (1_499, 1)
    filled.execute(RENAME)
    filled.execute("update events set payload = %s where id = %s", (json.dumps(row[0]), number))
    (result,) = exporter.redeliver_rejected()
    assert result.delivered == 1
    assert not [name for name in files(tmp_path / "out") if name.startswith("new-")]


def test_a_workspace_that_joins_a_lane_later_has_its_name_of_then(
    engine: Make, filled: psycopg.Connection, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    document = override({**FILES, "path": str(tmp_path / "out"), "lanes": 1})
    killed_at(2, lambda: export(engine(document)), (ObjectDestination, "send"))
    filled.execute("insert into workspaces values (999, 'late', 'Late')")
    filled.execute("insert into events select 99999, 999, kind, occurred_at, recorded_at, payload from events limit 1")
    filled.execute(RENAME + " where id <> 999")
    _, (report,) = export(engine(document))
    assert report.state is State.DELIVERED
    assert {name.split("/")[0] for name in files(tmp_path / "out")} == {"late", *(f"c{number}" for number in range(12))}
