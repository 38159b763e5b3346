"""Deliveries that a newer plan has emptied: nothing is left to deliver of them."""

from __future__ import annotations

from pathlib import Path

import psycopg

from logstream.ledger.records import State

from .auditor import audited, mappings_of_reading
from .test_engine import Make, engine, filled, override
from .test_sealing import WINDOWS, apply, data, folder, manifest, only

__all__ = ["engine", "filled"]  # fixtures


def test_a_delivery_that_the_platform_has_purged_whole_is_sealed_and_owed_no_more(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    """A worker is killed before it seals, settings change, the next one is killed before it delivers, and all is purged."""
    out = tmp_path / "out"
    exporter = engine(override(folder(out)))
    planned = exporter.plan(WINDOWS[0])
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    held = data(out)
    apply(exporter, folder(out, compression="gzip"))
    exporter.plan(WINDOWS[0])
    filled.execute("delete from events")
    for _ in range(2):  # the first one is killed before it seals
        filled.execute("update logstream.deliveries set planned_at = planned_at - interval '1 hour'")
        planned = exporter.plan(WINDOWS[1], heal=True)
        assert not planned.shares and planned.owed
    sealed = only(exporter.seal(planned.delivery_ids))
    assert sealed.state is State.DELIVERED and not any(lane.planned for lane in sealed.lanes)
    filled.execute("update logstream.deliveries set planned_at = planned_at - interval '1 hour'")
    assert exporter.ledger.owed() == []
    assert data(out) == held, "they may be the only copies"
    assert sum(listing["parts"] for listing in manifest(out, 1)["superseded"]) == len(held)
    assert audited(out).code == 0


def test_the_auditors_script_keeps_no_mapping_for_each_manifest(tmp_path: Path) -> None:
    """A process may have 65,530: there was a `MemoryError` at 100,000 manifests, which are a year of five minutes' windows."""
    files = [tmp_path / f"{number}.json" for number in range(500)]
    for file in files:
        file.write_bytes(b"{}" * 500)
    assert mappings_of_reading(files) < 100
