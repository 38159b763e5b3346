"""A control database that is new, or was restored from a backup, beside manifests that are there."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from logstream.ledger.records import State
from logstream.window import Window
from tests.auditor import audited
from tests.test_engine import WINDOW, Make, engine, export, filled, override
from tests.test_sealing import WINDOWS, clean, files, findings, folder, manifest, only

__all__ = ["engine", "filled"]  # fixtures


def forget(connection: psycopg.Connection, after: int) -> None:
    """The control database as it was when so many manifests had been made."""
    connection.execute("delete from logstream.manifests where sequence > %s", (after,))
    connection.execute("delete from logstream.deliveries where id > %s", (after,))


def test_a_restored_control_database_takes_over_the_manifests_that_are_there(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    exporter = engine(override(folder(out)))
    for window in WINDOWS[:4]:
        export(exporter, window)
    before = files(out)
    forget(filled, 2)
    assert only(export(exporter, WINDOWS[4])[1]).error is None
    after = files(out)
    assert {name: after[name] for name in before} == before
    assert manifest(out, 5)["window"] == WINDOWS[4].as_json()
    # the windows that the ledger has forgotten are exported again: to the same objects, by the manifests that are there
    for window in WINDOWS[2:4]:
        assert only(export(exporter, window)[1]).error is None
    assert files(out) == after
    clean(exporter, out)


def test_a_new_control_database_goes_on_with_the_chain(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    exporter = engine(override(folder(out)))
    for window in WINDOWS[:3]:
        export(exporter, window)
    before = files(out)
    forget(filled, 0)
    for window in WINDOWS[:4]:
        assert only(export(exporter, window)[1]).error is None
    after = files(out)
    assert {name: after[name] for name in before} == before
    assert manifest(out, 4)["window"] == WINDOWS[3].as_json()
    span = Window(WINDOWS[0].start, WINDOWS[3].end)
    assert findings(exporter, span) == []
    assert audited(out).code == 0


@pytest.mark.parametrize("there", ["another", "broken"])
def test_a_manifest_that_does_not_follow_is_not_overwritten(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, there: str
) -> None:
    out = tmp_path / "out"
    exporter = engine(override(folder(out)))
    export(exporter, WINDOWS[0])
    body = (out / "_manifests/d/00000001.json").read_text().replace('"sequence":1', '"sequence":2')
    (out / "_manifests/d/00000002.json").write_text(body if there == "another" else "{")
    report = only(export(exporter, WINDOWS[1])[1])
    assert report.state is State.FAILED
    assert "_manifests/d/00000002.json in " in (report.error or "")
    assert "holds another manifest" in (report.error or "") and "Give the destination another name" in (
        report.error or ""
    )
    assert (out / "_manifests/d/00000002.json").read_text() == (body if there == "another" else "{")
    assert [item.sequence for item in exporter.ledger.manifests_within(WINDOW)] == [1]
    # what was in the way is removed: the window is sealed by the next run
    (out / "_manifests/d/00000002.json").unlink()
    assert [report.error for report in exporter.redeliver_owed()] == [None]
    assert findings(exporter, Window(WINDOWS[0].start, WINDOWS[1].end)) == []
