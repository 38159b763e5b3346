"""Names of objects that are superseded: whose they are, what is written anew of them, and what it takes to remove what has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowSkipException

from logstream.airflow.operators.seal import SealWindow
from logstream.destinations.parcel import Part, UsedNames
from logstream.export.exporter import Exporter
from logstream.ledger.ledger import Ledger
from logstream.ledger.records import State
from logstream.proof.listings import pack
from logstream.verify.verifier import verify
from logstream.window import Window

from .test_engine import WINDOW, Make, engine, export, filled
from .test_losses import quick
from .test_only_copies import DEEP, apply, document, jobs, purge, there

__all__ = ["engine", "filled"]  # fixtures

NOTE = "insert into logstream.superseded_parts (delivery_id, entries) values (1, %s) returning id"


def noted(name: str, ids: str = "7") -> tuple[bytes]:
    return (pack([Part(name, 1, name[0] * 64, 1, ids)]),)


def known(exporter: Exporter) -> list[str]:
    return [part.name for _, part in exporter.ledger.superseded([1])]


def service(out: Path, path: str = "/in") -> dict[str, Any]:
    """The settings of `document`, whose destination is a service."""
    settings = document(out)
    settings["destinations"]["d"] = {"type": "http", "connection": "sink", "path": path, "format": "array"}
    return settings


def begin_to_write(store: psycopg.Connection, name: str) -> psycopg.Connection:
    """A transaction that has noted a name, and is still to be committed."""
    other = psycopg.connect(store.info.dsn, password=store.info.password)
    other.execute(NOTE, noted(name))
    return other


def test_what_was_numbered_before_and_is_committed_while_they_are_written_anew_stays(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    exporter = quick(engine(document(tmp_path / "out")))
    export(exporter)
    other = begin_to_write(filled, "plan of another run")
    filled.execute(NOTE, noted("announced by a third"))

    def none_of(parts: Iterator[Part]) -> Iterator[Part]:
        assert [part.name for part in parts] == ["announced by a third"]
        other.commit()
        yield from ()

    exporter.ledger.keep_superseded(1, none_of)
    other.close()
    assert known(exporter) == ["plan of another run"]


def test_they_are_read_once_more_where_one_of_them_has_gone_meanwhile(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    """It is counted by now: written anew, it would be there for ever."""
    exporter = quick(engine(document(tmp_path / "out")))
    export(exporter)
    for name in ("superseded", "put and counted", "in force"):
        filled.execute(NOTE, noted(name))
    gone = filled.execute("select id from logstream.superseded_parts order by id offset 1 limit 1").fetchone()

    def but_for(parts: Iterable[Part]) -> Iterator[Part]:
        kept = [part for part in parts if part.name != "in force"]
        filled.execute("delete from logstream.superseded_parts where id = %s", gone)
        yield from kept

    exporter.ledger.keep_superseded(1, but_for)
    assert known(exporter) == ["superseded"]


def test_nothing_is_written_where_nothing_changes(engine: Make, filled: psycopg.Connection, tmp_path: Path) -> None:
    exporter = quick(engine(document(tmp_path / "out")))
    export(exporter)
    filled.execute(NOTE, noted("superseded"))
    query = "select xmin, id from logstream.superseded_parts"
    before = filled.execute(query).fetchall()
    exporter.seal([1])
    assert filled.execute(query).fetchall() == before


def test_requests_of_a_service_are_no_objects(engine: Make, filled: psycopg.Connection, tmp_path: Path) -> None:
    """Not where its delivery keeps what it supersedes, either: nothing can be under their names, however many there were."""
    out = tmp_path / "out"
    exporter = quick(engine(service(out)))
    planned = exporter.plan(WINDOW)
    filled.execute("delete from events where id in (select id from events order by recorded_at desc limit 5)")
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    exporter.seal(planned.delivery_ids)
    for path in ("/one", "/two"):
        apply(exporter, service(out, path))
        export(exporter)
        assert known(exporter) == []
    apply(exporter, document(out))
    (report,) = export(exporter)[1]
    assert report.state is State.DELIVERED and there(out)
    assert known(exporter) == []
    (manifest,) = exporter.ledger.manifests_within(WINDOW)[-1:]
    assert manifest.fields["listings"] and manifest.fields["superseded"] == []


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("purged", ["between plan and reading", "before it is owed", "after pruning"])
def test_a_service_for_a_while_forgets_no_objects(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, version: int, purged: str
) -> None:
    """Nothing had been purged while it was one."""
    out = tmp_path / "out"
    exporter = quick(engine(document(out)))
    export(exporter)
    before = there(out)
    apply(exporter, service(out))
    export(exporter)
    if purged == "after pruning":
        assert exporter.ledger.prune(WINDOW.end) == 1
    apply(exporter, document(out, version))
    planned = exporter.plan(WINDOW)
    if purged == "before it is owed":  # its tasks never ran
        exporter.seal(planned.delivery_ids)
        purge(filled, before, 200)
        exporter.redeliver_owed()
    else:
        purge(filled, before, 200)
        exporter.deliver([key for share in planned.shares for key in share.lanes])
        exporter.seal(planned.delivery_ids)
    assert len(before) == 1_500 and there(out) == before


def test_a_dead_letter_of_a_folder_is_not_sent_to_a_service(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    """Its request would be listed among objects, and be missing there."""
    filled.execute("delete from events")
    jobs(filled, (1, "j1", "{}"), (2, "j2", DEEP))
    out = tmp_path / "out"
    exporter = quick(engine(document(out, lanes=1)))
    export(exporter)
    filled.execute("update events set payload = '{}' where id = 2")
    apply(exporter, service(out))
    (again,) = exporter.redeliver_rejected()
    assert again.delivered == 0 and "export that window again" in (again.error or "")
    apply(exporter, document(out, lanes=1))
    assert verify(exporter, WINDOW).findings == []
    exporter.redeliver_rejected()
    assert there(out) == {1, 2}


def test_what_may_be_removed_is_not_asked_for_each_name(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most of them are gone when a window is sealed once more: ten thousand took eighteen seconds, each time."""
    out = tmp_path / "out"
    exporter = quick(engine(document(out)))
    export(exporter)
    names = [f"d/{WINDOW.slug}/x-{number}" for number in range(2_000)]
    filled.execute(NOTE, (pack([Part(name, 1, "x" * 64, 1, "7") for name in names]),))
    for name in (names[0], names[-1]):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("x")
    standing, asked = Ledger.standing, list[object]()

    def counting(self: Ledger, *arguments: Any) -> object:
        asked.append(arguments)
        return standing(self, *arguments)

    monkeypatch.setattr(Ledger, "standing", counting)
    exporter.seal([1])
    assert len(asked) < len(names) / 10
    assert not (out / names[0]).exists() and not (out / names[-1]).exists()


@pytest.fixture
def planned_again(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Exporter, list[int]]]:
    """A window is delivered; while it is sealed, another run plans it again."""
    out = tmp_path / "out"
    exporter = quick(engine(document(out)))
    planned = exporter.plan(WINDOW)
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    other = quick(Exporter(filled.info.dsn, filled.info.dsn, exporter.connections, policy=exporter.policy))
    seal = Ledger.seal

    def meanwhile(self: Ledger, outcomes: Mapping[int, State], *more: Any, **named: Any) -> Any:
        monkeypatch.setattr(Ledger, "seal", seal)
        apply(other, document(out, 2))
        other.plan(WINDOW)
        return seal(self, outcomes, *more, **named)

    monkeypatch.setattr(Ledger, "seal", meanwhile)
    yield exporter, planned.delivery_ids
    other.close()


def test_the_report_is_what_the_ledger_says(planned_again: tuple[Exporter, list[int]]) -> None:
    exporter, delivery_ids = planned_again
    (report,) = exporter.seal(delivery_ids)
    (delivery,) = exporter.ledger.deliveries([1])
    assert report.state is delivery.state is State.PLANNED
    assert report.taken_over and report.error is None, "it had all arrived"
    assert exporter.ledger.health() == {}, "it tells nothing of the destination"


@pytest.mark.parametrize("own", [True, False])
def test_a_run_proves_nothing_of_its_window_that_another_has_planned_again(
    planned_again: tuple[Exporter, list[int]], monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    """Of a window that it had taken along it is the other run's to say."""
    exporter, delivery_ids = planned_again
    monkeypatch.setattr("logstream.airflow.operators.seal.exporter", lambda: nullcontext(exporter))
    window = WINDOW if own else Window(WINDOW.end, WINDOW.end + (WINDOW.end - WINDOW.start))
    pulled = SimpleNamespace(xcom_pull=lambda task_ids, key: delivery_ids)
    context: Any = {"data_interval_start": window.start, "data_interval_end": window.end, "ti": pulled}
    with pytest.raises(AirflowSkipException, match="another run has planned the window") if own else nullcontext():
        SealWindow(task_id="seal").execute(context)


def test_a_name_is_known_for_its_own_events_though_others_are_forgotten() -> None:
    used = UsedNames([Part("a", 1, "x", 1, "7")], forgotten=True)
    assert not used.for_others("a", "7")
    assert used.for_others("a", "8") and used.for_others("b", "8")
