"""A destination has two chains of manifests, that beside its data and that in the ledger only: neither ever has a hole."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.control.engine import open_control
from logstream.destinations.file import FileDestination
from logstream.destinations.outcome import GiveUp, Outcome
from logstream.export.exporter import Exporter
from logstream.ledger.ledger import Ledger
from logstream.ledger.manifests import Manifests
from logstream.ledger.records import State
from logstream.proof.manifests import Manifest
from logstream.proof.signing import Signer
from logstream.verify.verifier import verify
from logstream.window import Window
from tests.auditor import audited
from tests.test_engine import START, Make, engine, export, filled
from tests.test_losses import quick
from tests.test_only_copies import DEEP, apply, document
from tests.test_sealing import AFTER, files, manifest, only
from tests.test_superseded_names import service
from tests.test_windows import migrate

__all__ = ["engine", "filled"]  # fixtures

KEY, OTHER_KEY = (Signer.of(base64.b64encode(letter * 32).decode()) for letter in (b"a", b"b"))


def window(number: int) -> Window:
    """One of many short windows, each of which has events."""
    return Window(START + timedelta(seconds=5 * number), START + timedelta(seconds=5 * number + 5))


SPAN = Window(START, window(60).end)


def settings(out: Path, kind: str, **options: Any) -> dict[str, Any]:
    """A destination that is a folder with manifests beside the data (`on`), or without (`off`), or a service."""
    return service(out) if kind == "service" else document(out, manifests=kind == "on", **{"lanes": 1, **options})


def exported(exporter: Exporter, out: Path, kinds: str, first: int = 0, **options: Any) -> None:
    """Export windows one after another, each by a kind of settings."""
    for number, kind in enumerate(kinds.split(), first):
        apply(exporter, settings(out, kind, **options))
        report = only(export(exporter, window(number))[1])
        assert (report.state, report.error) == (State.DELIVERED, None)


def found(exporter: Exporter) -> list[str]:
    return [one.what for one in verify(exporter, SPAN).findings if "never exported" not in one.what]


def unlisted(*folders: Path, arguments: Iterable[str] = ()) -> list[str]:
    """What the auditor's script finds, where that is nothing but objects that no manifest beside the data speaks of."""
    problems = audited(*folders, *arguments).problems
    assert all("is extra: no manifest speaks of it" in problem for problem in problems), problems
    return problems


def clean(exporter: Exporter, out: Path, off: int = 0, arguments: Iterable[str] = ()) -> None:
    """Nothing is found, but that the auditor's script has no manifest of the objects of `off` windows."""
    assert found(exporter) == []
    assert len(unlisted(out, arguments=arguments)) == off


def beside(out: Path) -> list[int]:
    return sorted(int(path.stem) for path in (out / "_manifests" / "d").glob("*.json"))


def rows(connection: psycopg.Connection) -> list[tuple[bool, int]]:
    """Each manifest of the ledger, in order: whether it is in the chain beside the data, and its number there."""
    return connection.execute("select beside, sequence from logstream.manifests order by position").fetchall()


def new_database(connection: psycopg.Connection) -> None:
    connection.execute("truncate logstream.manifests, logstream.deliveries, logstream.windows cascade")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def exporter(engine: Make, out: Path) -> Exporter:
    return quick(engine(settings(out, "on")))


LIVES = [
    "on service on",
    "on off on",
    "on service off service on on",
    "service on",
    "off on",
    "service off on service on",
]


@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("pruned", [False, True])
def test_the_chain_beside_the_data_has_no_hole(
    exporter: Exporter, filled: psycopg.Connection, out: Path, life: str, pruned: bool
) -> None:
    exported(exporter, out, life)
    kinds = life.split()
    on, off = kinds.count("on"), kinds.count("off")
    assert beside(out) == list(range(1, on + 1))
    assert [at for at, _ in rows(filled)] == [kind == "on" for kind in kinds]
    if pruned:
        assert exporter.ledger.prune(AFTER) == len(kinds)
    clean(exporter, out, off)
    was = files(out)
    # a new control database goes on with it, and knows what is there; its own chain in the ledger begins again
    new_database(filled)
    exported(exporter, out, life)
    assert {name: files(out)[name] for name in was} == was
    exported(exporter, out, "on", len(kinds))
    assert beside(out) == list(range(1, on + 2))
    # but for what those beside the data say of a chain in the ledger that is gone
    assert all("the control database that made them is gone" in what for what in found(exporter))
    assert len(unlisted(out)) == off


def test_what_a_manifest_says_of_its_chain(exporter: Exporter, out: Path) -> None:
    exported(exporter, out, "on off service on")
    made = exporter.ledger.manifests_within(SPAN)
    assert [(item.name, item.fields.get("ledger_only")) for item in made] == [
        ("manifest 1", None), ("manifest 1 in the ledger", True), ("manifest 2 in the ledger", True), ("manifest 2", None),
    ]  # fmt: skip
    assert [made[place].fields["previous"] for place in (0, 1)] == [None, None]
    assert (made[2].fields["previous"], made[3].fields["previous"]) == (made[1].digest, made[0].digest)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_each_chain_is_verified(exporter: Exporter, filled: psycopg.Connection, out: Path, number: int) -> None:
    exported(exporter, out, "on service service on")
    gone = exporter.ledger.manifests_within(SPAN)[number]
    filled.execute("delete from logstream.manifests where position = %s", (gone.position,))
    problems = found(exporter)
    assert "it has no manifest: it was removed, or the delivery never sealed" in problems
    if gone.sequence == 1:
        where = "" if gone.beside else " in the ledger"
        assert f"manifest 1 of the chain{where} is removed" in problems


def test_one_of_the_other_chain_is_not_taken_for_one_beside_the_data(
    exporter: Exporter, filled: psycopg.Connection, out: Path
) -> None:
    exported(exporter, out, "off off")
    path = out / "_manifests" / "d" / "00000001.json"
    path.parent.mkdir(parents=True)
    path.write_text(exporter.ledger.manifests_within(SPAN)[0].document)
    assert any("is of the chain in the ledger" in problem for problem in audited(out).problems)
    new_database(filled)
    apply(exporter, settings(out, "on"))
    error = only(export(exporter, window(2))[1]).error or ""
    assert "it is of the chain that is in the ledger only" in error
    path.unlink()
    assert [report.error for report in exporter.redeliver_owed()] == [None]


@pytest.mark.parametrize("between", ["service", "off"])
@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("other", [{}, {"compression": "gzip"}])
def test_a_window_that_is_exported_again_on_the_other_side_of_the_change_and_back(
    exporter: Exporter, filled: psycopg.Connection, out: Path, between: str, pruned: bool, other: dict[str, str]
) -> None:
    exported(exporter, out, "on on on")
    if pruned:
        exporter.ledger.prune(AFTER)
    exported(exporter, out, between, 1)
    if pruned:
        exporter.ledger.prune(AFTER)
    exported(exporter, out, "on", 1, **other)
    assert rows(filled) == [(True, 1), (True, 2), (True, 3), (False, 1), (True, 4)]
    assert beside(out) == [1, 2, 3, 4]
    assert manifest(out, 4)["window"] == window(1).as_json()
    assert found(exporter) == [] or other
    exported(exporter, out, "on", 3)
    assert beside(out) == [1, 2, 3, 4, 5]


def test_a_window_of_a_time_without_manifests_gets_one_beside_the_data(exporter: Exporter, out: Path) -> None:
    """Though it is exported to the same objects: what is in the ledger only is not kept."""
    exported(exporter, out, "on off on")
    clean(exporter, out, 1)
    exported(exporter, out, "on", 1)
    assert beside(out) == [1, 2, 3]
    clean(exporter, out)
    exporter.ledger.prune(AFTER)
    clean(exporter, out)


def test_a_dead_letter_that_arrives_after_pruning_and_a_change(
    exporter: Exporter, filled: psycopg.Connection, out: Path
) -> None:
    """What the ledger has forgotten of a time without manifests is listed nowhere: its next manifest is in the ledger, too."""
    filled.execute("insert into events values (77777, 100, 'job', %s, %s, %s)", (START, START, DEEP))
    exported(exporter, out, "off on", packaging="file")
    exporter.ledger.prune(AFTER)
    filled.execute('update events set payload = \'{"id": "mended"}\' where id = 77777')
    assert [report.error for report in exporter.redeliver_rejected()] == [None]
    assert rows(filled) == [(False, 1), (True, 1), (False, 2)]
    exported(exporter, out, "on", 2, packaging="file")
    assert exporter.ledger.owed() == [] and found(exporter) == []


@contextmanager
def folder_is_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No manifest can be put."""
    put = FileDestination.create_now

    def refuse(self: FileDestination, key: str, *arguments: Any) -> Outcome:
        return GiveUp("it is full") if "_manifests/" in key else put(self, key, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(FileDestination, "create_now", refuse)
        patch.setattr(FileDestination, "put_new", _not_new)
        yield


async def _not_new(*_: object) -> bool:
    return False


@pytest.mark.parametrize("again", [False, True])
def test_what_was_not_put_before_a_change_is_put_after_it_or_made_anew(
    exporter: Exporter, filled: psycopg.Connection, out: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    exported(exporter, out, "on")
    with folder_is_away(monkeypatch):
        assert only(export(exporter, window(1))[1]).state is State.FAILED
    assert rows(filled) == [(True, 1), (True, 2)] and beside(out) == [1]
    exported(exporter, out, "service service", 1 if again else 2)
    apply(exporter, settings(out, "on"))
    # what it lists cannot be listed any more, where its window is of the service now
    assert (only(export(exporter, window(4))[1]).state is State.FAILED) is again
    assert [report.error for report in exporter.redeliver_owed()] == [None]
    exported(exporter, out, "on", 5)
    assert beside(out) == list(range(1, len(beside(out)) + 1)) and exporter.ledger.owed() == []
    assert [number for at, number in rows(filled) if at] == beside(out)
    clean(exporter, out, int(again))  # the folder has what it got of a window that is the service's now


def test_the_end_that_is_dropped_is_that_beside_the_data(
    exporter: Exporter, filled: psycopg.Connection, out: Path
) -> None:
    exported(exporter, out, "on service service on")
    assert not exporter.ledger.drop_end("d", 2), "it was put"
    filled.execute("update logstream.manifests set put_at = null where beside and sequence = 2")
    assert exporter.ledger.drop_end("d", 2)
    assert rows(filled) == [(True, 1), (False, 1), (False, 2)]


def test_what_is_written_off_while_the_folder_is_away_is_put_later(
    exporter: Exporter, filled: psycopg.Connection, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported(exporter, out, "on service")
    apply(exporter, settings(out, "on"))
    with folder_is_away(monkeypatch), monkeypatch.context() as patch:
        patch.setattr(FileDestination, "put_now", lambda *_: GiveUp("it is full"))
        export(exporter, window(2))
        exporter.write_off("d", "dora", "no")
    exported(exporter, out, "service on", 3)
    assert rows(filled) == [(True, 1), (False, 1), (True, 2), (False, 2), (True, 3)]
    assert beside(out) == [1, 2, 3]
    assert audited(out).problems == []


@pytest.mark.parametrize("before", [None, KEY])
def test_a_key_that_comes_or_changes_after_a_chain_has_ended(
    exporter: Exporter, out: Path, before: Signer | None
) -> None:
    exporter.signer = before
    exported(exporter, out, "on service service")
    exporter.signer = OTHER_KEY
    assert any("manifest 2 in the ledger" in what and "signed" in what for what in found(exporter))
    exported(exporter, out, "on", 3)
    keys = [argument for key in (before, OTHER_KEY) if key for argument in ("--key", key.public_key)]
    clean(exporter, out, arguments=keys)
    exported(exporter, out, "service", 4)
    clean(exporter, out, arguments=keys)


def as_one_chain(
    exporter: Exporter, filled: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, export_all: Callable[[], None]
) -> None:
    """What version 0017 makes of it: one chain, all of it noted as put."""
    chain: Any = Manifests.chain

    def in_one(self: Ledger, sealed: Any, *arguments: Any) -> list[Manifest]:
        made: list[Manifest] = chain(self, [replace(item, beside=True) for item in sealed], *arguments)
        elsewhere = {item.delivery_id for item in sealed if not item.beside}
        self.note_put(item for item in made if item.delivery_id in elsewhere)
        return made

    with monkeypatch.context() as patch:
        patch.setattr(Manifests, "chain", in_one)
        patch.setattr("logstream.ledger.manifests.SPACE", 1)
        export_all()
    migrate(exporter.engine, "0017", down=True)
    exporter.engine.dispose()
    open_control(filled.info.dsn).dispose()


@pytest.mark.parametrize(
    ("life", "is_beside"),
    [("on on", True), ("service service", False), ("off off", False), ("off service", False), ("on service off", True),
     ("service on", True)],
)  # fmt: skip
def test_upgrades(
    exporter: Exporter,
    filled: psycopg.Connection,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    life: str,
    is_beside: bool,
) -> None:
    kinds = life.split()
    if "on" not in kinds:  # no settings ever had wanted manifests beside the data
        filled.execute("update logstream.settings_snapshots set document = replace(document::text, '\"manifests\": true', "
                       "'\"manifests\": false')::json")  # fmt: skip
    as_one_chain(exporter, filled, monkeypatch, lambda: exported(exporter, out, life))
    assert rows(filled) == [(is_beside, 1 + place) for place in range(len(kinds))]
    off = kinds.count("off")
    holes = is_beside and len(set(kinds)) > 1
    assert found(exporter) == []
    exported(exporter, out, "service off on on", len(kinds))
    there = [1 + place for place, kind in enumerate(kinds) if kind == "on"]
    end = len(kinds) if is_beside else 0
    assert beside(out) == [*there, end + 1, end + 2], "it goes on, and no new hole comes"
    assert found(exporter) == []
    if not holes:
        clean(exporter, out, off + 1)
    exporter.ledger.prune(AFTER)
    assert found(exporter) == []


def test_an_upgrade_reads_the_documents_where_settings_do_not_tell(
    exporter: Exporter, filled: psycopg.Connection, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it was to have manifests beside its data, and it never got a window then."""
    as_one_chain(exporter, filled, monkeypatch, lambda: exported(exporter, out, "service service"))
    assert rows(filled) == [(False, 1), (False, 2)]


@pytest.mark.parametrize("life", ["service on on", "on service", "on on"])
def test_an_upgrade_knows_what_stores_do_unless_they_are_told(
    exporter: Exporter, filled: psycopg.Connection, out: Path, monkeypatch: pytest.MonkeyPatch, life: str
) -> None:
    """A bucket has manifests beside its data by default: its settings do not say so."""
    bucket = {"type": "s3", "bucket": "bucket", "prefix": "p/", "connection": "x"}

    def of_a_bucket() -> None:
        exported(exporter, out, life)
        filled.execute("create table was as select id, document from logstream.settings_snapshots")
        filled.execute(
            "update logstream.settings_snapshots set document = jsonb_set(document::jsonb, '{destinations,d}', %s)"
            " where document -> 'destinations' -> 'd' ->> 'type' = 'file'",
            (json.dumps(bucket),),
        )

    as_one_chain(exporter, filled, monkeypatch, of_a_bucket)
    filled.execute("update logstream.settings_snapshots s set document = was.document from was where was.id = s.id")
    assert rows(filled) == [(True, 1 + place) for place in range(len(life.split()))]
    exported(exporter, out, "on on", len(life.split()))
    assert exporter.ledger.owed() == [] and found(exporter) == []


@pytest.mark.parametrize(("later", "file"), [("on", "00000001-00000.ndjson.gz"), ("off", "00000001.json")])
def test_what_is_removed_of_a_manifest_that_is_not_in_force_is_found(
    exporter: Exporter, out: Path, later: str, file: str
) -> None:
    """Of the settings that made it there is no delivery any more: its window was exported again by others."""
    exported(exporter, out, "on")
    exported(exporter, out, later, compression="gzip")
    assert found(exporter) == []
    (out / "_manifests" / "d" / file).unlink()
    (what,) = found(exporter)
    assert f"_manifests/d/{file} is missing at the destination" in what
