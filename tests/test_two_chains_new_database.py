"""Two chains of a destination and a control database that is new, or restored: what is at the folder is taken over."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from logstream.export.exporter import Exporter
from tests.auditor import audited
from tests.test_engine import Make, engine, filled
from tests.test_losses import quick
from tests.test_sealing import AFTER, files
from tests.test_two_chains import (
    beside,
    clean,
    exported,
    exporter,
    found,
    new_database,
    out,
    rows,
    settings,
    unlisted,
    window,
)  # fmt: skip

__all__ = ["Make", "engine", "exporter", "filled", "out"]  # fixtures


OF_BEFORE = "is extra: no delivery made it", "speaks of a delivery that the ledger no longer holds"


def other_than_of_before(problems: list[str]) -> list[str]:
    """What is found beside what a new ledger cannot know: windows that it has not exported again."""
    return [what for what in problems if not what.endswith(OF_BEFORE)]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("between", ["service", "off"])
def test_the_folder_returns_after_a_new_database_began_otherwise(
    exporter: Exporter, filled: psycopg.Connection, out: Path, order: tuple[int, ...], between: str
) -> None:
    """Manifests that are taken over are older than one in the ledger only, whichever of them is the end of the chain."""
    for number in order:
        exported(exporter, out, "on", number)
    new_database(filled)
    exported(exporter, out, between, 0)
    exported(exporter, out, "on on", 3)
    assert beside(out) == [1, 2, 3, 4, 5] and audited(out).problems == []
    in_force = exporter.ledger.manifests_within(window(0))[-1]
    assert (in_force.beside, in_force.sequence) == (False, 1)
    assert sorted(rows(filled)) == [(False, 1), *((True, number) for number in range(1, 6))]
    assert other_than_of_before(found(exporter)) == []


@pytest.mark.parametrize("last", [0, 1, 2])
def test_a_manifest_of_before_is_kept_beside_a_newer_one_in_the_ledger(
    exporter: Exporter, filled: psycopg.Connection, out: Path, last: int
) -> None:
    """The service's is newer than what is taken over, and knew nothing of it."""
    exported(exporter, out, "on on on")
    new_database(filled)
    exported(exporter, out, "service", 2)
    exported(exporter, out, "on", last)
    assert other_than_of_before(found(exporter)) == []
    exported(exporter, out, "on", last)
    assert beside(out) == [1, 2, 3, *[4] * (last == 2)] and audited(out).problems == []


def test_many_are_taken_over_behind_one_that_is_older_than_the_ledgers(
    exporter: Exporter, filled: psycopg.Connection, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch goes on behind the one before, though that ended with a manifest that is before all others."""
    monkeypatch.setattr("logstream.export.beside.AT_A_TIME", 2)
    for number in (1, 0, 2, 3, 4):
        exported(exporter, out, "on", number)
    new_database(filled)
    exported(exporter, out, "service", 0)
    exported(exporter, out, "on", 5)
    assert beside(out) == [1, 2, 3, 4, 5, 6] and audited(out).problems == []
    assert sorted(number for at, number in rows(filled) if at) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("between", ["service", "off"])
@pytest.mark.parametrize("known", [1, 2, 3])
def test_a_restored_database_goes_on_with_both(
    exporter: Exporter, filled: psycopg.Connection, out: Path, between: str, known: int
) -> None:
    """It has so many manifests; the chain in the ledger is shorter than what those beside the data say of it."""
    life = f"on {between} on {between}"
    exported(exporter, out, life)
    filled.execute(
        "delete from logstream.manifests where position > (select position from logstream.manifests"
        " order by position limit 1 offset %s)", (known - 1,),
    )  # fmt: skip
    filled.execute("delete from logstream.deliveries where id > %s", (known,))
    filled.execute("delete from logstream.windows where window_start >= %s", (window(known).start,))
    was = files(out)
    exported(exporter, out, "on", 4)
    for number, kind in enumerate(life.split()):
        if number >= known:
            exported(exporter, out, kind, number)
    # but for what is said of manifests in the ledger that are gone
    assert [what for what in found(exporter) if not what.endswith("the control database that made them is gone")] == []
    assert {name: files(out)[name] for name in was} == was
    assert beside(out) == list(range(1, len(beside(out)) + 1))
    off = life.count("off")
    assert len(unlisted(out)) == off


@pytest.mark.parametrize("pruned", [False, True])
def test_what_was_taken_over_is_made_good_when_its_window_is_exported_again(
    exporter: Exporter, filled: psycopg.Connection, out: Path, pruned: bool
) -> None:
    """The folder's manifests of a window that is the service's by now: older, and never in force again."""
    exported(exporter, out, "on on")
    new_database(filled)
    exported(exporter, out, "service service on")
    assert rows(filled) == [(True, 1), (True, 2), (False, 1), (False, 2), (True, 3)]
    if pruned:
        exporter.ledger.prune(AFTER)
    for number in (0, 1):
        assert exporter.ledger.manifests_within(window(number))[-1].name == f"manifest {number + 1} in the ledger"
        exported(exporter, out, "on", number)
    assert beside(out) == [1, 2, 3, 4, 5]
    clean(exporter, out)


def test_numbers_of_settings_are_not_those_of_the_database_before(
    engine: Make, filled: psycopg.Connection, out: Path
) -> None:
    """A manifest that was taken over was looked for in the folder that the settings of its number have here."""
    exporter = quick(engine(settings(out, "on")))
    for compression in ("none", "gzip", "zstd"):
        exported(exporter, out, "on", compression=compression)
    new_database(filled)
    filled.execute("delete from logstream.settings_snapshots where id > 1")
    filled.execute("select setval(pg_get_serial_sequence('logstream.settings_snapshots', 'id'), 1)")
    exporter = quick(engine(settings(out, "on", compression="zstd")))
    for folder, number in ((out, 0), (out.with_name("moved"), 1)):
        exported(exporter, folder, "on", number, compression="zstd")
        assert found(exporter) == []
    (out / "_manifests" / "d" / "00000002.json").unlink()
    assert found(exporter) == ["manifest _manifests/d/00000002.json is missing at the destination"]
