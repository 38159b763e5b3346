"""What was delivered and is purged since stays where it is: whatever the settings become, whatever fails, whenever it is purged.

An object is replaced by one of the very same events or by none.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.airflow.connections import AirflowConnections
from logstream.destinations.file import FileDestination
from logstream.destinations.outcome import GiveUp, Outcome
from logstream.destinations.parcel import Part, UsedNames
from logstream.errors import DatabaseError
from logstream.export.exporter import Exporter
from logstream.ledger.checkpoints import LedgerWriter
from logstream.ledger.parts import Parts
from logstream.ledger.records import State
from logstream.validation import validate_settings

from .test_engine import START, WINDOW, Make, engine, export, filled, override
from .test_losses import quick
from .test_small_windows import WINDOW as SMALL_WINDOW
from .test_small_windows import each_its_own, fill

__all__ = ["engine", "filled"]  # fixtures

Break = Callable[[str], None]
JOB = {"id": "j1", "recipe_id": "r1", "completed_at": "2026-03-01T00:00:01Z", "status": "failed"}
KEY = "x/{destination}/{window}-{lane}-{part}"
DEEP = '{"deep": ' + "[" * 600 + "]" * 600 + "}"
"""An event that no receiver takes: a dead letter."""


def document(out: Path, version: int = 1, streaming: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """Settings by which each message says which event it is of."""
    message = f'{{"v": {version}, "eid": ' + '{{{event.id}}}, "event": {{{log_message}}}}'
    folder = {"type": "file", "path": str(out), "packaging": "batch", "lanes": 2, **options}
    return override(folder, message=message, **(streaming or {}))


def apply(exporter: Exporter, settings: dict[str, Any]) -> None:
    exporter.settings.apply(validate_settings(settings))


def there(out: Path) -> set[int]:
    """The events at the destination."""
    found = set()
    for path in out.rglob("*json*"):
        if "_manifests" not in path.parts and path.is_file():
            body = path.read_bytes()
            lines = gzip.decompress(body) if path.suffix == ".gz" else body
            found.update(json.loads(line)["eid"] for line in lines.splitlines())
    return found


def are_kept(events: set[int], store: psycopg.Connection, *places: Path) -> bool:
    """Whether each event is at one of some places, or in the log store, which can still give it."""
    held = {number for (number,) in store.execute("select id from events").fetchall()}
    return events <= held.union(*map(there, places))


@pytest.fixture
def breaks(monkeypatch: pytest.MonkeyPatch) -> Break:
    """Makes puts fail whose keys hold a text; of an empty one, none."""
    put = FileDestination.put_now

    def those(text: str) -> None:
        def broken(self: FileDestination, key: str, *arguments: Any) -> Outcome:
            return GiveUp("the disk is full") if text and text in key else put(self, key, *arguments)

        monkeypatch.setattr(FileDestination, "put_now", broken)

    return those


def purge(store: psycopg.Connection, delivered: set[int], count: int) -> None:
    store.execute("delete from events where id = any(%s)", (sorted(delivered)[:count],))


def delivered_in_part(
    exporter: Exporter,
    store: psycopg.Connection,
    out: Path,
    breaks: Break,
    purged: int = 200,
    broken: str = "lane-01-of-02",
) -> set[int]:
    """Deliver the window but for the objects whose keys hold a text, and purge some of what is delivered; the delivered events."""
    breaks(broken)
    export(exporter)
    breaks("")
    delivered = there(out)
    purge(store, delivered, purged)
    return delivered


def in_large_objects(store: psycopg.Connection, events: int = 3_000) -> None:
    """Events of one workspace that are several objects."""
    store.execute("delete from events")
    store.execute(
        "insert into events (workspace_id, kind, occurred_at, recorded_at, payload)"
        " select 100, 'user_activity', %(at)s + n * interval '50 ms', %(at)s + n * interval '50 ms',"
        " json_build_object('x', repeat(md5(n::text), 40))::text::jsonb from generate_series(1, %(events)s) n",
        {"at": START, "events": events},
    )


def jobs(store: psycopg.Connection, *names: tuple[int, str, str]) -> None:
    """Jobs by (id of the event, id of the job, payload), a second apart."""
    for number, job, more in names:
        at = START + timedelta(seconds=number)
        store.execute(
            "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload) values (%s, 100, 'job', %s, %s, %s)",
            (number, at, at, json.dumps({**JOB, "id": job, **json.loads(more)})),
        )


@pytest.mark.parametrize(
    ("version", "option"),
    [(2, {}), (1, {"object_mb": 2}), (1, {"manifests": True}), (1, {}), (2, {"compression": "gzip"})],
)
def test_of_a_lane_that_was_delivered_in_part(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, breaks: Break, version: int, option: dict[str, Any]
) -> None:
    in_large_objects(filled)
    out, options = tmp_path / "out", {"lanes": 1, "object_mb": 1}
    exporter = quick(engine(document(out, **options)))
    before = delivered_in_part(exporter, filled, out, breaks, 500, broken="part-00002")
    apply(exporter, document(out, version, **{**options, **option}))
    (report,) = export(exporter)[1]
    assert (report.state, report.error) == (State.DELIVERED, None)
    assert len(before) > 500 and are_kept(before, filled, out)


@pytest.mark.parametrize(
    "away",
    [{"compression": "gzip"}, {"lanes": 3}, {"path": "b"}, {"key": KEY}, {"packaging": "file"}, {"object_mb": 1}],
)
@pytest.mark.parametrize("fails", [False, True])
def test_where_settings_go_there_and_back(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, breaks: Break, away: dict[str, Any], fails: bool
) -> None:
    out = tmp_path / "out"
    other = {**away, "path": str(tmp_path / "b")} if "path" in away else away
    exporter = quick(engine(document(out)))
    before = delivered_in_part(exporter, filled, out, breaks)
    breaks("0" if fails else "")
    apply(exporter, document(out, **other))
    export(exporter)
    breaks("")
    apply(exporter, document(out))
    export(exporter)
    assert before and are_kept(before, filled, out, tmp_path / "b")


def test_where_more_is_selected_later(engine: Make, filled: psycopg.Connection, tmp_path: Path, breaks: Break) -> None:
    """What is held by the newer settings tells nothing of what was delivered by the older ones."""
    filled.execute("delete from events")
    for level, events in (("error", 300), ("debug", 900)):
        filled.execute(
            "insert into events (workspace_id, kind, occurred_at, recorded_at, payload)"
            " select 100 + n %% 12, 'log_service', %(at)s + n * interval '100 ms', %(at)s + n * interval '100 ms',"
            " json_build_object('level', %(level)s::text)::jsonb from generate_series(1, %(events)s) n",
            {"at": START, "events": events, "level": level},
        )
    out = tmp_path / "out"
    exporter = quick(engine(document(out, streaming={"log_levels": ["error"]})))
    before = delivered_in_part(exporter, filled, out, breaks, 60)
    apply(exporter, document(out))
    for _ in range(2):  # `verify` may advise to export it again
        export(exporter)
        assert before and are_kept(before, filled, out)


@pytest.mark.parametrize("version", [1, 2])
def test_of_a_complete_window_that_is_exported_again_and_purged_before_that_is_made_good(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, breaks: Break, version: int
) -> None:
    out = tmp_path / "out"
    exporter = quick(engine(document(out)))
    export(exporter)
    before = there(out)
    apply(exporter, document(out, version))
    breaks("lane-")
    export(exporter)
    breaks("")
    purge(filled, before, 200)
    exporter.redeliver_owed()
    assert are_kept(before, filled, out)


@pytest.mark.parametrize("packaging", ["batch", "parquet"])
def test_of_a_window_that_is_purged_between_plan_and_reading(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, packaging: str
) -> None:
    out = tmp_path / "out"
    exporter = quick(engine(document(out, packaging=packaging)))
    export(exporter)
    before = {path: path.read_bytes() for path in out.rglob("*-part-*")}
    planned = exporter.plan(WINDOW)
    filled.execute("delete from events where id in (select id from events order by recorded_at limit 200)")
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    exporter.seal(planned.delivery_ids)
    after = {path: path.read_bytes() for path in out.rglob("*-part-*")}
    assert before and before.items() <= after.items()
    assert len(after) > len(before)


def test_of_small_deliveries(store: psycopg.Connection, database: str, tmp_path: Path) -> None:
    """They are made together, and know as well what was put before."""
    workspaces = 20
    fill(store, workspaces)
    settings = each_its_own(workspaces, {"type": "file", "path": f"{tmp_path}/out/", "packaging": "batch"}, "path")
    with Exporter(database, database, AirflowConnections()) as exporter:
        exporter.settings.apply(validate_settings(settings))
        planned = exporter.plan(SMALL_WINDOW)
        exporter.deliver([key for share in planned.shares for key in share.lanes])
        exporter.seal(planned.delivery_ids)
        before = {path: path.read_bytes() for path in tmp_path.rglob("*-part-*")}
        again = exporter.plan(SMALL_WINDOW)
        store.execute("delete from events where id in (select min(id) from events group by workspace_id)")
        exporter.deliver([key for share in again.shares for key in share.lanes])
        exporter.seal(again.delivery_ids)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*-part-*")}
    assert len(before) == workspaces * 4 // 5 and before.items() <= after.items()


def test_of_a_delivered_lane_that_a_late_row_begins_anew(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, breaks: Break
) -> None:
    out = tmp_path / "out"
    exporter = quick(engine(document(out)))
    breaks("lane-01-of-02")
    export(exporter)
    before = there(out)
    filled.execute(
        "insert into events (workspace_id, kind, occurred_at, recorded_at, payload)"
        " select workspace_id, 'job', %s, %s, '{}' from events where id = %s",
        (START, START, min(before)),
    )
    breaks("lane-0")
    export(exporter)
    filled.execute("delete from events where id in (select id from events order by recorded_at limit 200)")
    breaks("")
    export(exporter)
    assert are_kept(before, filled, out)


@pytest.mark.parametrize("heal", ["export", "redeliver"])
def test_of_a_job_whose_name_another_has_when_the_lane_goes_on(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, breaks: Break, heal: str
) -> None:
    filled.execute("delete from events")
    jobs(filled, (1, "j1", "{}"), *((n, f"other{n}", "{}") for n in range(2, 150)), (200, "j1", '{"attempt": 2}'))
    out = tmp_path / "out"
    exporter = quick(engine(document(out, packaging="file", lanes=1)))
    breaks("other140")
    export(exporter)
    breaks("")
    before = there(out)
    assert 1 in before
    filled.execute("delete from events where id = 1")
    if heal == "export":
        export(exporter)
    else:
        exporter.redeliver_owed()
    assert are_kept(before | {200}, filled, out) and {1, 200} <= there(out)


@pytest.mark.parametrize("purged", [False, True])
def test_of_a_job_whose_name_a_mended_dead_letter_has(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, purged: bool
) -> None:
    filled.execute("delete from events")
    jobs(filled, (1, "j1", "{}"), (2, "j1", DEEP))
    out = tmp_path / "out"
    exporter = quick(engine(document(out, packaging="file", lanes=1)))
    export(exporter)
    assert there(out) == {1}
    filled.execute("update events set payload = %s where id = 2", (json.dumps({**JOB, "attempt": 2}),))
    if purged:
        filled.execute("delete from events where id = 1")
    (again,) = exporter.redeliver_rejected()
    assert (again.delivered, again.error) == (1, None)
    assert there(out) == {1, 2}


def test_the_same_events_keep_their_names(engine: Make, filled: psycopg.Connection, tmp_path: Path) -> None:
    """Another message of the same events replaces the one before: nothing is there twice."""
    out = tmp_path / "out"
    exporter = quick(engine(document(out)))
    export(exporter)
    before = {path: path.read_bytes() for path in out.rglob("*-part-*")}
    apply(exporter, document(out, 2))
    export(exporter)
    after = {path: path.read_bytes() for path in out.rglob("*-part-*")}
    assert before.keys() == after.keys() and all(body != before[path] for path, body in after.items())


def test_a_name_that_two_may_have_is_for_neither() -> None:
    used = UsedNames([Part("a", 1, "x", 1, "7"), Part("a", 1, "y", 1, "8"), Part("b", 1, "x", 1, "7")])
    assert used.for_others("a", "7") and used.for_others("a", "8") and used.for_others("b", "8")
    assert not used.for_others("b", "7") and not used.for_others("c", "7")


def test_of_what_the_ledger_was_pruned_of(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, breaks: Break
) -> None:
    """The names of the only copies are not forgotten."""
    out = tmp_path / "out"
    exporter = quick(engine(document(out)))
    before = delivered_in_part(exporter, filled, out, breaks)
    apply(exporter, document(out, 2))
    export(exporter)
    assert exporter.ledger.prune(WINDOW.end) == 0
    export(exporter)
    assert before and are_kept(before, filled, out)


@pytest.mark.parametrize("packaging", ["batch", "parquet"])
def test_of_objects_beside_which_a_dead_letter_is_sent_after_pruning(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, breaks: Break, packaging: str
) -> None:
    """Numbers go back where settings do: the next one is not higher than those of what is superseded."""
    in_large_objects(filled)
    large_dead_letter(filled)
    out = tmp_path / "out"
    exporter = quick(engine(document(out, lanes=1, object_mb=1, packaging=packaging)))
    breaks("part-00003")
    export(exporter)
    breaks("")
    before = {path: path.read_bytes() for path in out.rglob("*-part-*")}
    first = 794 if packaging == "batch" else 600
    filled.execute(
        "delete from events where id in (select id from events order by recorded_at offset %s limit 1500)", (first,)
    )
    apply(exporter, document(out, 1, lanes=1, object_mb=4, packaging=packaging))
    export(exporter)
    exporter.ledger.prune(WINDOW.end)
    filled.execute("update events set payload = '{}' where id = 99999")
    exporter.redeliver_rejected()
    after = {path: path.read_bytes() for path in out.rglob("*-part-*")}
    assert before and before.items() <= after.items()


def large_dead_letter(store: psycopg.Connection) -> None:
    at = START + timedelta(seconds=200)
    store.execute(
        "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload) values (99999, 100, 'job', %s, %s, %s)",
        (at, at, DEEP),
    )


@pytest.mark.parametrize("pruned", [False, True])
def test_of_objects_whose_numbers_have_jumped_when_a_dead_letter_is_sent(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, pruned: bool
) -> None:
    in_large_objects(filled)
    large_dead_letter(filled)
    out = tmp_path / "out"
    exporter = quick(engine(document(out, lanes=1, object_mb=2)))
    export(exporter)
    apply(exporter, document(out, lanes=1, object_mb=1))
    export(exporter)
    before = {path: path.read_bytes() for path in out.rglob("*-part-*")}
    if pruned:
        exporter.ledger.prune(WINDOW.end)
    filled.execute("update events set payload = '{}' where id = 99999")
    (again,) = exporter.redeliver_rejected()
    assert (again.delivered, again.error) == (1, None)
    after = {path: path.read_bytes() for path in out.rglob("*-part-*")}
    assert before.items() <= after.items() and 99999 in there(out)


def test_of_a_job_whose_name_the_ledger_has_forgotten(engine: Make, filled: psycopg.Connection, tmp_path: Path) -> None:
    filled.execute("delete from events")
    jobs(filled, (1, "j1", "{}"), (2, "j1", DEEP))
    out = tmp_path / "out"
    exporter = quick(engine(document(out, packaging="file", lanes=1)))
    export(exporter)
    exporter.ledger.prune(WINDOW.end)
    filled.execute("update events set payload = %s where id = 2", (json.dumps({**JOB, "attempt": 2}),))
    exporter.redeliver_rejected()
    assert there(out) == {1, 2}


def test_where_the_destination_is_a_service_for_a_while(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, breaks: Break
) -> None:
    out = tmp_path / "out"
    exporter = quick(engine(document(out)))
    before = delivered_in_part(exporter, filled, out, breaks)
    service = document(out)
    service["destinations"]["d"] = {"type": "http", "connection": "sink", "path": "/in", "format": "array"}
    for settings in (service, document(out)):
        apply(exporter, settings)
        (report,) = export(exporter)[1]
        assert (report.state, report.error) == (State.DELIVERED, None)
    assert before and are_kept(before, filled, out)


@pytest.mark.parametrize("packaging", ["batch", "file"])
@pytest.mark.parametrize("alone", [False, True])
def test_of_dead_letters_whose_redelivery_was_killed(
    engine: Make,
    filled: psycopg.Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    packaging: str,
    alone: bool,
) -> None:
    filled.execute("delete from events")
    jobs(filled, (1, "j1", "{}"), (2, "j2", DEEP), (3, "j3", DEEP))
    out = tmp_path / "out"
    exporter = quick(engine(document(out, lanes=1, packaging=packaging)))
    export(exporter)
    filled.execute("update events set payload = '{}' where id in (2, 3)")

    async def killed(*_: object) -> None:
        raise DatabaseError("the database is gone")

    with monkeypatch.context() as patch:
        patch.setattr(LedgerWriter, "recount", killed)
        exporter.redeliver_rejected()
    assert {1, 2} <= there(out)
    filled.execute("delete from events where id = 2")
    exporter.redeliver_rejected(keys=[(1, 3)] if alone else None)
    assert there(out) == {1, 2, 3}


def test_of_what_another_run_notes_while_a_delivery_is_sealed(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, breaks: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What sealing has read of superseded names is written anew; what has come since stays."""
    out = tmp_path / "out"
    exporter = quick(engine(document(out)))
    export(exporter)
    apply(exporter, document(out, compression="gzip"))
    other = quick(Exporter(filled.info.dsn, filled.info.dsn, exporter.connections, policy=exporter.policy))
    keep, came = Parts.keep_superseded, list[str]()

    def meanwhile(self: Parts, delivery_id: int, still: Callable[[Iterator[Part]], Iterable[Part]]) -> None:
        monkeypatch.setattr(Parts, "keep_superseded", keep)

        def then(parts: Iterator[Part]) -> Iterator[Part]:
            yield from still(parts)
            if not came:
                came.append("the other run")
                apply(other, document(out, 2, compression="gzip"))
                planned = other.plan(WINDOW)
                breaks("lane-")
                other.deliver([key for share in planned.shares for key in share.lanes])
                breaks("")

        keep(self, delivery_id, then)

    monkeypatch.setattr(Parts, "keep_superseded", meanwhile)
    export(exporter)
    before = there(out)
    purge(filled, before, 200)
    (delivery,) = exporter.ledger.deliveries([1])
    assert delivery.state is State.PLANNED, "the other run's plan is not called delivered"
    other.seal([1])
    exporter.redeliver_owed()
    assert {lane.state for lane in exporter.ledger.lanes_in(WINDOW)} == {State.DELIVERED}
    export(exporter)
    other.close()
    assert are_kept(before, filled, out)
