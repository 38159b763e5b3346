"""What fresh eyes broke: each of these was seen to fail before it was mended."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.destinations.transport.answers import is_page
from logstream.export.exporter import Exporter
from logstream.ledger.coverage import AskedBy
from logstream.ledger.records import State
from logstream.validation import validate_settings
from logstream.verify.verifier import verify
from logstream.window import Window
from tests.test_engine import EVERYTHING, START, WINDOW, Make, engine, export, filled, override

__all__ = ["engine", "filled"]  # fixtures


def minutes(start: float, end: float) -> Window:
    return Window(START + timedelta(minutes=start), START + timedelta(minutes=end))


def whats(exporter: Exporter, span: Window) -> list[str]:
    return [finding.what for finding in verify(exporter, span).findings]


def batches(folder: Path) -> dict[str, Any]:
    return {"type": "file", "path": str(folder), "packaging": "batch"}


def test_a_range_that_cuts_a_window_is_verified_whole(engine: Make, tmp_path: Path) -> None:
    exporter = engine(override(batches(tmp_path / "out")))
    export(exporter, minutes(0, 2))
    export(exporter, minutes(1, 3))
    assert whats(exporter, minutes(1, 3)) == []
    assert whats(exporter, minutes(0.5, 1)) == []
    assert any("never exported" in what for what in whats(exporter, minutes(1, 4))), "the fourth minute is"


def test_a_window_is_verified_by_the_settings_that_it_was_planned_by_last(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    """A run for one destination came first, by newer settings than those that decide for the others."""

    def document(enabled: bool) -> dict[str, Any]:
        streaming = {"enabled": enabled, "events": EVERYTHING}
        return {
            "workspaces": [
                {"id": number, "streaming": {**streaming, "destination": name}} for number, name in ((100, "a"), (101, "b"))
            ],
            "destinations": {name: batches(tmp_path / name) for name in "ab"},
        }  # fmt: skip

    exporter = engine(document(enabled=True))
    off = exporter.settings.apply(validate_settings(document(enabled=False)))
    on = exporter.settings.apply(validate_settings(document(enabled=True)))
    for snapshot_id, moment in ((off.id - 1, 0), (off.id, 1), (on.id, 60)):
        filled.execute(
            "update logstream.settings_snapshots set created_at = %s where id = %s",
            (START + timedelta(minutes=moment), snapshot_id),
        )
    planned = exporter.plan(minutes(2, 3), only=["b"])
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    exporter.seal(planned.delivery_ids)
    planned = exporter.plan(minutes(4, 5), asked_by=AskedBy.SCHEDULE, carrier="run", heal=True)
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    exporter.seal(planned.delivery_ids)
    assert exporter.ledger.coverage().gaps() == []
    assert whats(exporter, minutes(2, 3)) == []


def test_nothing_is_extra_in_a_pruned_window_whose_objects_are_not_known_any_more(engine: Make, tmp_path: Path) -> None:
    exporter = engine(override(batches(tmp_path / "out")))
    export(exporter)
    assert whats(exporter, WINDOW) == []
    exporter.ledger.prune(WINDOW.end)
    assert whats(exporter, WINDOW) == []


def test_a_run_with_an_old_view_of_the_lanes_does_not_undo_what_another_has_completed(
    engine: Make, tmp_path: Path
) -> None:
    exporter = engine(override(batches(tmp_path / "out")))
    _, (report,) = export(exporter)
    assert report.state is State.DELIVERED
    exporter.ledger.seal({report.id: State.FAILED})
    assert [delivery.state for delivery in exporter.ledger.deliveries([report.id])] == [State.DELIVERED]
    assert exporter.ledger.owed() == []


@pytest.mark.parametrize(
    ("answer", "page"),
    [
        (b"<html><body>Please log in</body></html>", True),
        (b"  \r\n<!DOCTYPE html>", True),
        (b'<?xml version="1.0"?><!doctype html><p>', True),
        (b" " * 70_000 + b"<html>", True),
        (b"\xef\xbb\xbf<head><title>x</title>", True),
        ("\ufeff<!doctype html><body>".encode("utf-16-le"), True),
        ("<!doctype html>".encode("utf-16"), True),
        (b'<meta http-equiv="refresh" content="0">', True),
        (b"<script>location = '/login'</script>", True),
        (b"", False),
        (b"ok", False),
        (b'{"text": "<html>"}', False),
        (b'<?xml version="1.0"?><Response/>', False),
    ],
)
def test_pages_in_every_dress(answer: bytes, page: bool) -> None:
    assert is_page(answer) is page
