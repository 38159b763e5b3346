"""Two chains of a destination, and workers and control databases of versions that knew one."""

from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.operations import Operations

from logstream.control.engine import HEAD, open_control, revision_of
from logstream.export.exporter import Exporter
from logstream.ledger import manifests as ledger_manifests
from logstream.ledger.manifests import Manifests
from logstream.ledger.records import State
from logstream.proof.manifests import Manifest
from logstream.proof.signing import Signer
from tests.auditor import audited
from tests.test_engine import Make, engine, export, filled
from tests.test_sealing import only
from tests.test_two_chains import (
    KEY,
    OTHER_KEY,
    apply,
    as_one_chain,
    beside,
    exported,
    exporter,
    found,
    new_database,
    out,
    rows,
    settings,
    window,
)  # fmt: skip
from tests.test_windows import migrate

__all__ = ["Make", "engine", "exporter", "filled", "out"]  # fixtures


@pytest.mark.parametrize("later", [KEY, OTHER_KEY], ids=["the same key", "another key"])
@pytest.mark.parametrize("life", ["on on", "service service", "on service on"])
def test_a_signed_chain_goes_on(
    exporter: Exporter, filled: psycopg.Connection, out: Path, monkeypatch: pytest.MonkeyPatch, life: str, later: Signer
) -> None:
    exporter.signer = KEY
    as_one_chain(exporter, filled, monkeypatch, lambda: exported(exporter, out, life))
    assert found(exporter) == []
    exporter.signer = later
    for number, kind in enumerate(("service", "on", "service"), 3):
        exported(exporter, out, kind, number)
        assert found(exporter) == []
    keys = [argument for key in {KEY, later} for argument in ("--key", key.public_key)]
    holes = [problem for problem in audited(out, *keys).problems if problem.endswith("is missing")]
    assert holes == ["d: manifest 2 is missing"] * (life == "on service on"), (
        "an older version left it, and no other came"
    )


@pytest.mark.parametrize("life", ["on service on", "on off on", "service on", "off on", "on service off on"])
def test_the_auditors_script_finds_the_hole_of_before_and_no_more(
    exporter: Exporter, filled: psycopg.Connection, out: Path, monkeypatch: pytest.MonkeyPatch, life: str
) -> None:
    as_one_chain(exporter, filled, monkeypatch, lambda: exported(exporter, out, life))
    before = audited(out).problems
    assert before, "there is a hole"
    exported(exporter, out, "service on service on", len(life.split()))
    assert audited(out).problems == before
    there = [number for number, kind in enumerate(life.split(), 1) if kind == "on"]
    end = len(life.split())
    assert beside(out) == [*there, end + 1, end + 2]


@pytest.mark.filterwarnings("ignore:Column")  # SQLAlchemy misses the key that it leaves out
def test_what_a_worker_of_before_seals_is_owed_and_sealed_again(
    exporter: Exporter, filled: psycopg.Connection, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has opened the control database before that was upgraded. It cannot say in which chain its manifest is."""
    exported(exporter, out, "on service")
    apply(exporter, settings(out, "on"))
    row = ledger_manifests._manifest_row

    def of_before(manifest: Manifest, sealed_at: datetime) -> dict[str, object]:
        return {name: value for name, value in row(manifest, sealed_at).items() if name not in ("position", "beside")}

    with monkeypatch.context() as patch:
        patch.setattr(ledger_manifests, "_manifest_row", of_before)
        report = only(export(exporter, window(2))[1])
    assert report.state is State.FAILED and "null value in column" in (report.error or "")
    assert rows(filled) == [(True, 1), (False, 1)] and beside(out) == [1]
    assert [again.error for again in exporter.redeliver_owed()] == [None]
    assert rows(filled) == [(True, 1), (False, 1), (True, 2)]
    assert found(exporter) == [] and audited(out).problems == []


def test_two_processes_upgrade_at_once(exporter: Exporter, filled: psycopg.Connection, out: Path) -> None:
    exported(exporter, out, "on on")
    migrate(exporter.engine, "0017", down=True)
    exporter.engine.dispose()
    errors: list[BaseException] = []

    def opened() -> None:
        try:
            open_control(filled.info.dsn).dispose()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=opened) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and revision_of(filled.info.dsn) == HEAD
    exported(exporter, out, "service on", 2)
    assert found(exporter) == [] and audited(out).problems == []


def test_settings_are_applied_while_another_process_seals_by_those_of_before(
    exporter: Exporter, engine: Make, filled: psycopg.Connection, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes, each by settings of its own: the chains stay whole, and the later one names the other's end."""
    exported(exporter, out, "on service")
    apply(exporter, settings(out, "on"))
    second = engine(settings(out, "on"))
    chain = Manifests.chain
    begun = False

    def meanwhile(self: Manifests, *arguments: object) -> object:
        nonlocal begun
        if not begun:
            begun = True
            exported(second, out, "service", 3)
        return chain(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Manifests, "chain", meanwhile)
    assert only(export(exporter, window(2))[1]).error is None
    assert rows(filled) == [(True, 1), (False, 1), (False, 2), (True, 2)]
    assert found(exporter) == [] and audited(out).problems == []
    made = exporter.ledger.manifests_within(window(2))[-1]
    assert made.fields["other_chain"]["sequence"] == 2


def test_an_upgrade_looks_again_at_what_came_while_it_read_the_documents(
    exporter: Exporter, filled: psycopg.Connection, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read before the table is locked: a worker of before may make a first manifest beside the data meanwhile."""
    as_one_chain(exporter, filled, monkeypatch, lambda: exported(exporter, out, "service service on"))
    kept = "sequence", "delivery_id", "generation", "window_start", "window_end", "document", "digest", "sealed_at"
    names = ", ".join(kept)
    migrate(exporter.engine, "0017", down=True)
    exporter.engine.dispose()
    filled.execute(f"create table late as select {names} from logstream.manifests where sequence = 3")
    filled.execute("delete from logstream.manifests where sequence = 3")
    alter = Operations.alter_column

    def meanwhile(self: Operations, *arguments: Any, **options: Any) -> None:
        if options.get("new_column_name") == "position":
            filled.execute(
                f"insert into logstream.manifests (destination, {names}, put_at) select 'd', {names}, sealed_at from late"
            )
        alter(self, *arguments, **options)

    monkeypatch.setattr(Operations, "alter_column", meanwhile)
    open_control(filled.info.dsn).dispose()
    assert rows(filled) == [(True, 1), (True, 2), (True, 3)]


@pytest.mark.parametrize("upgraded", [False, True])
def test_there_is_room_for_what_comes_back_later(
    exporter: Exporter, filled: psycopg.Connection, out: Path, monkeypatch: pytest.MonkeyPatch, upgraded: bool
) -> None:
    """A version before had a new database, and made windows a service's; the folder returns with its older manifests of them."""
    exported(exporter, out, "on on")
    new_database(filled)
    never = "replace(document::text, '\"manifests\": true', '\"manifests\": false')::json"
    filled.execute(f"update logstream.settings_snapshots set document = {never}")
    if upgraded:
        as_one_chain(exporter, filled, monkeypatch, lambda: exported(exporter, out, "service service"))
    else:
        exported(exporter, out, "service service")
    exported(exporter, out, "on", 2)
    # the objects that the folder had of these windows are of no delivery that this ledger knows
    assert [what for what in found(exporter) if "is extra" not in what] == []
