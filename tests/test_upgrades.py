"""Upgrades of the control database, from every version on, with the data of an export that was under way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from logstream.control import migrations
from logstream.control.engine import HEAD, open_control, revision_of
from logstream.errors import DatabaseError
from logstream.export.exporter import Exporter
from logstream.ledger.overview import DeliveryFilter, Overview
from logstream.testing.servers import LogSink
from logstream.verify.verifier import verify
from logstream.window import Window

from .test_engine import Make, engine, filled
from .test_healing import run, two_destinations, window
from .test_windows import migrate

__all__ = ["engine", "filled"]  # fixtures


def versions() -> list[str]:
    """Every version of the schema but the newest, oldest first."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    found = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    return sorted(found)[:-1]


def known(exporter: Exporter, version: str) -> dict[str, Any]:
    """What the ledger says of all that a version of it could say."""
    facts: dict[str, Any] = {
        "settings": exporter.settings.current(),
        "owed": [(one.destination, one.window, one.events) for one in exporter.ledger.owed()],
        "deliveries": [
            (one.destination, one.window, one.state, one.planned, one.delivered, one.rejected, one.bytes)
            for one in Overview(exporter.engine).deliveries(DeliveryFilter())
        ],
        "rejected": [(one.destination, one.event_id, one.reason) for one in exporter.ledger.rejected()],
        "windows": [one.window for one in exporter.ledger.known_windows(Window(window(0).start, window(9).end))],
    }
    if version >= "0002":
        facts["health"] = {
            name: (one.failures, one.error, one.suspended) for name, one in exporter.ledger.health().items()
        }
    return facts


@pytest.fixture
def under_way(engine: Make, sink: LogSink, tmp_path: Path) -> Exporter:
    """A deployment with two destinations: one has got all, the other has a dead letter, then failed and is suspended."""
    exporter = engine(two_destinations(tmp_path / "out"))
    exporter.policy = type(exporter.policy)(attempts=1)
    sink.fail = lambda number: 400 if number == 1 else None
    run(exporter, 0)
    sink.fail = lambda _: 503
    for number in (1, 2, 3):
        run(exporter, number)
    return exporter


def test_there_is_a_version_for_each_number() -> None:
    assert [*versions(), HEAD] == [f"{number:04}" for number in range(1, int(HEAD) + 1)]


@pytest.mark.parametrize(
    "version",
    [
        pytest.param(version, marks=pytest.mark.thorough if version in versions()[1:-1] else ())
        for version in versions()
    ],
)
def test_an_export_that_was_under_way_goes_on_after_an_upgrade(
    version: str, under_way: Exporter, sink: LogSink, filled: psycopg.Connection
) -> None:
    dsn = filled.info.dsn
    before = known(under_way, version)
    assert len(before["owed"]) == 3 and before["rejected"] is not None
    # as that version would have it: what later ones added is gone
    migrate(under_way.engine, version, down=True)
    under_way.engine.dispose()
    assert revision_of(dsn) == version
    open_control(dsn).dispose()
    assert revision_of(dsn) == HEAD
    assert known(under_way, version) == before
    sink.fail = lambda _: None
    for number in range(4, 9):
        run(under_way, number)
    assert under_way.ledger.owed() == []
    found = verify(under_way, Window(window(0).start, window(8).end)).findings
    # the oldest version wrote no manifests, by which verify knows what was delivered then
    unproved = ("no delivery made it", "it has no manifest") if version == "0001" else ()
    assert [str(one) for one in found if not any(words in str(one) for words in unproved)] == []


def test_a_worker_of_before_beside_a_newer_database_ends_before_it_does_anything(
    under_way: Exporter, sink: LogSink, filled: psycopg.Connection
) -> None:
    before, requests = known(under_way, HEAD), sink.requests
    filled.execute("update logstream.alembic_version set version_num = '9999'")
    with pytest.raises(DatabaseError, match="upgrade this worker, it has done nothing"):
        Exporter(filled.info.dsn, filled.info.dsn, under_way.connections)
    filled.execute("update logstream.alembic_version set version_num = %s", (HEAD,))
    assert known(under_way, HEAD) == before and sink.requests == requests
