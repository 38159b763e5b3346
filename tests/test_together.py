"""Small deliveries that are made together: as a pipeline for each would have made them, and any trouble is one's alone."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.airflow.connections import AirflowConnections
from logstream.destinations.file import FileDestination
from logstream.destinations.objects import ObjectDestination
from logstream.destinations.outcome import GiveUp, Outcome, Retry
from logstream.destinations.parcel import Parcel, Part
from logstream.destinations.transport import object_packing
from logstream.export import deliver, members, memory, one_pass, together
from logstream.export.deliver import LaneResult
from logstream.export.exporter import Exporter
from logstream.export.opening import Destinations
from logstream.export.pipeline import DeliveryPipeline
from logstream.export.send import RetryPolicy
from logstream.ledger.checkpoints import LedgerWriter
from logstream.proof.listings import unpack
from logstream.settings.models import Settings
from logstream.store.postgres import PostgresStore
from logstream.validation import validate_settings
from tests.test_small_windows import MANY, START, WINDOW, each_its_own, fill, statements

NEVER = 1_000_000
KINDS = ["job_status", "user_activity", "log_service"]


@pytest.fixture
def pipelines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The destinations that get a pipeline."""
    names: list[str] = []

    class Noted(DeliveryPipeline):
        def __init__(self, lanes: Any, *rest: Any) -> None:
            names.append(lanes[0].destination)
            super().__init__(lanes, *rest)

    monkeypatch.setattr(deliver, "DeliveryPipeline", Noted)
    return names


def shapes_of_life(store: psycopg.Connection) -> None:
    """Thirty workspaces: quiet ones, one event, a few of all kinds at one instant, a busy one, one with rows that are no events."""
    store.execute("insert into workspaces (id, external_id) select n, 'c' || n from generate_series(1, 30) n")
    add = "insert into events (workspace_id, kind, occurred_at, recorded_at, payload) select"
    said = "jsonb_build_object('id', n, 'level', (array['info', 'error'])[1 + mod(n, 2)], 'log_type', 'recipe')::json"
    for kind in ("job", "user_activity", "log_service"):
        store.execute(
            f"{add} w, %s, %s::timestamptz, %s::timestamptz + make_interval(secs => mod(n, 3)), {said}"
            " from generate_series(1, 27) w, generate_series(1, 7) n where mod(w, 4) <> 0",
            (kind, START, START),
        )
    store.execute(f"{add} 28, 'job', %s, %s, '{{\"id\": 1}}'", (START, START))
    store.execute(
        f"{add} 29, 'job', %s, %s, json_build_object('id', n, 'note', repeat('x', 900)) from generate_series(1, 400) n",
        (START, START),
    )
    for workspace in (18, 21, 24, 30):  # batches of some blocks, in each compression; two of them of two objects
        store.execute(
            f"{add} %s, 'job', %s, %s::timestamptz + make_interval(secs => n * 0.001), json_build_object('id', n, 'note', "
            "(select string_agg(md5((n * 100 + i)::text), '') from generate_series(1, 40) i)) from generate_series(1, 900) n",
            (workspace, START, START),
        )
    store.execute(f"{add} 5, 'job', 'infinity', %s, '{{}}'", (START,))


def settings_of(folder: Path) -> dict[str, Any]:
    """A destination for each workspace: batches, files and Parquet; with templates, names and narrowed logs."""
    document = each_its_own(30, {"type": "file", "path": f"{folder}/"}, "path")
    for number, workspace in enumerate(document["workspaces"], start=1):
        streaming = workspace["streaming"]
        streaming["events"] = KINDS
        if number % 5 == 0:
            streaming |= {"log_levels": ["error"]}
        if number % 7 == 0:
            streaming |= {"message": '{"who": "{{{workspace.external_id}}}", "event": {{{log_message}}}}'}
        options = document["destinations"][f"d{number}"]
        options["packaging"] = ("batch", "file", "parquet")[number % 3]
        options["compression"] = ("none", "gzip", "zstd")[number // 3 % 3]
        options["lanes"] = 1 + number % 2
    # two workspaces of several lanes share a destination
    document["workspaces"][10]["streaming"]["destination"] = "d10"
    document["destinations"]["d10"]["lanes"] = 4
    return document


def outcome(store: psycopg.Connection, folder: Path) -> dict[str, Any]:
    """All that an export leaves behind, but times and attempts."""
    lanes = store.execute(
        "select destination, lane, l.state, delivered::text, rejected::text, sizes::text, bytes, requests, part, position_us,"
        " position_id, counted_us, counted_id, trail, planned::text, leased_by, last_error, names::text"
        " from logstream.lanes l join logstream.deliveries d on d.id = l.delivery_id order by 1, 2"
    ).fetchall()
    # one after another: how many are noted together is a matter of time
    parts: dict[tuple[str, int], list[Part]] = {}
    for destination, lane, entries in store.execute(
        "select destination, lane, entries from logstream.lane_parts join logstream.deliveries d on d.id = delivery_id"
        " order by 1, 2, parcels"
    ):
        parts.setdefault((destination, lane), []).extend(unpack(entries))
    return {
        "lanes": lanes,
        "parts": parts,
        "dead": store.execute("select event_id, reason, request from logstream.rejections order by 1").fetchall(),
        "left": store.execute("select * from logstream.superseded_parts").fetchall(),
        "objects": {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()},
    }


def exported(database: str, settings: dict[str, Any]) -> list[LaneResult]:
    """Plan and deliver the window, with short waits."""
    policy = RetryPolicy(attempts=3, base=0.01, cap=0.02)
    with Exporter(database, database, AirflowConnections(), policy=policy) as exporter:
        exporter.settings.apply(validate_settings(settings))
        planned = exporter.plan(WINDOW)
        return exporter.deliver([key for share in planned.shares for key in share.lanes])


def errors(results: list[LaneResult]) -> dict[str, str]:
    """Destination to what stopped its lane."""
    return {result.lane.destination: result.error for result in results if result.error}


@pytest.mark.parametrize(("chunk", "taken"), [(one_pass.CHUNK_EVENTS, one_pass.TAKEN_BYTES), (50, 1), (1000, 100_000)])
def test_together_is_as_each_alone(
    store: psycopg.Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipelines: list[str],
    chunk: int, taken: int,
) -> None:  # fmt: skip
    shapes_of_life(store)
    monkeypatch.setattr(one_pass, "CHUNK_EVENTS", chunk)
    monkeypatch.setattr(one_pass, "TAKEN_BYTES", taken)
    monkeypatch.setattr(object_packing, "OBJECT_BYTES", 900_000)
    found = []
    for fewest in (NEVER, 1):
        monkeypatch.setattr(together, "FEWEST", fewest)
        folder = tmp_path / str(fewest)
        pipelines.clear()
        results = exported(database, settings_of(folder))
        assert errors(results) == {}
        found.append(outcome(store, folder))
        store.execute("drop schema logstream cascade")
    alone, joint = found
    assert joint == alone
    assert len(alone["objects"]) > 100
    assert [row[1] for row in alone["dead"]] == ["its occurred_at is not in the years 1 to 9999"]
    # what is large, and what has a row that is no event, has a pipeline
    assert sorted(pipelines) == ["d29", "d5"]


def test_very_many_are_delivered_with_few_statements(
    store: psycopg.Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipelines: list[str]
) -> None:
    fill(store, MANY)
    readings: list[object] = []
    read = PostgresStore.read

    def noted(*given: Any, **more: Any) -> Any:
        readings.append(given)
        return read(*given, **more)

    monkeypatch.setattr(PostgresStore, "read", noted)
    folder = {"type": "file", "path": f"{tmp_path}/out/", "packaging": "batch"}
    with Exporter(database, database, AirflowConnections()) as exporter:
        exporter.settings.apply(validate_settings(each_its_own(MANY, folder, "path")))
        planned = exporter.plan(WINDOW)
        with statements(exporter.engine) as made:
            results = exporter.deliver([key for share in planned.shares for key in share.lanes])
    assert len(results) == MANY * 4 // 5 and errors(results) == {}
    assert pipelines == []
    assert len(readings) <= 5
    assert len(made) < 40, made


Put = Callable[[FileDestination, str, bytes], Outcome | None]


@pytest.fixture
def putting(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Put]]:
    """Destination to what is done in the place of its first put; all others are put."""
    first: dict[str, Put] = {}
    put = FileDestination.put_now

    def put_now(self: FileDestination, key: str, body: bytes, media_type: str | None = None) -> Outcome:
        instead = first.pop(self.name, None)
        said = instead(self, key, body) if instead else None
        return put(self, key, body, media_type) if said is None else said

    monkeypatch.setattr(FileDestination, "put_now", put_now)
    yield first


def batches(tmp_path: Path, workspaces: int = 30) -> dict[str, Any]:
    """Settings by which each workspace has batches in a folder of its own."""
    return each_its_own(workspaces, {"type": "file", "path": f"{tmp_path}/out/", "packaging": "batch"}, "path")


def test_who_is_in_trouble_has_a_pipeline_and_no_other(
    store: psycopg.Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipelines: list[str],
    putting: dict[str, Put],
) -> None:  # fmt: skip
    fill(store, 30)
    monkeypatch.setattr(together, "STALL_SECONDS", 0.3)
    go = threading.Event()

    def broken(*_: object) -> Outcome:
        raise SystemExit("a plug-in ends the process")

    def hangs(*_: object) -> Outcome:
        go.wait(60)
        return Retry("too late")

    putting |= {"d1": lambda *_: Retry("busy"), "d2": lambda *_: GiveUp("no such folder"), "d3": broken, "d4": hangs}
    try:
        results = exported(database, batches(tmp_path))
    finally:
        go.set()
    assert errors(results) == {}
    assert sorted(pipelines) == ["d1", "d2", "d3", "d4"]
    lanes = outcome(store, tmp_path / "out")["lanes"]
    assert {row[2] for row in lanes} == {"delivered"} and len(lanes) == 24
    assert outcome(store, tmp_path / "out")["left"] == []


def test_a_parcel_of_many_objects_is_not_slow_for_their_number(
    store: psycopg.Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipelines: list[str]
) -> None:
    """Thirty-two puts to S3, one after another, take more than a second: a customer with a few such parcels was never done here."""
    fill(store, 12)
    store.execute(
        "insert into events (workspace_id, kind, occurred_at, recorded_at, payload)"
        " select 1, 'user_activity', %s, %s, '{}' from generate_series(1, 130)",
        (START, START),
    )
    monkeypatch.setattr(together, "SLOW_SECONDS", 0.05)
    put = FileDestination.put_now

    def as_far_away(self: FileDestination, key: str, body: bytes, media_type: str | None = None) -> Outcome:
        time.sleep(0.005)
        return put(self, key, body, media_type)

    monkeypatch.setattr(FileDestination, "put_now", as_far_away)
    documents = each_its_own(12, {"type": "file", "path": f"{tmp_path}/out/", "packaging": "file"}, "path")
    assert errors(exported(database, documents)) == {}
    assert pipelines == []


def test_what_is_put_is_announced_before(
    store: psycopg.Connection, database: str, tmp_path: Path, putting: dict[str, Put], pipelines: list[str]
) -> None:
    from logstream.proof.listings import unpack

    fill(store, 30)
    unannounced: list[str] = []

    def look(destination: FileDestination, key: str, _: bytes) -> None:
        with psycopg.connect(database) as connection:
            query = "select entries from logstream.superseded_parts join logstream.deliveries d on d.id = delivery_id"
            rows = connection.execute(f"{query} where destination = %s", (destination.name,)).fetchall()
        if key not in {part.name for (entries,) in rows for part in unpack(entries)}:
            unannounced.append(key)

    putting |= {f"d{number}": look for number in range(1, 31)}
    assert errors(exported(database, batches(tmp_path))) == {}
    assert len(putting) == 6  # the quiet ones
    assert unannounced == pipelines == []


def test_a_lane_that_is_taken_over_is_left_to_who_has_it(
    store: psycopg.Connection, database: str, tmp_path: Path, putting: dict[str, Put]
) -> None:
    fill(store, 30)

    def taken_over(destination: FileDestination, *_: object) -> None:
        with psycopg.connect(database) as connection:
            connection.execute(
                "update logstream.lanes l set attempt = nextval('logstream.lane_attempts'), leased_by = 'another'"
                " from logstream.deliveries d where d.id = l.delivery_id and d.destination = %s",
                (destination.name,),
            )

    putting["d7"] = taken_over
    stopped = errors(exported(database, batches(tmp_path)))
    assert stopped.keys() == {"d7"} and "was taken over by another attempt" in stopped["d7"]
    lanes = {row[0]: row for row in outcome(store, tmp_path / "out")["lanes"]}
    assert (lanes["d7"][2], lanes["d7"][6]) == ("delivering", 0)
    assert {row[2] for name, row in lanes.items() if name != "d7"} == {"delivered"}


def test_what_was_put_and_not_counted_is_put_again_and_is_the_same(
    store: psycopg.Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 30)
    reference = tmp_path / "reference"
    assert errors(exported(database, batches(reference))) == {}
    wanted = outcome(store, reference / "out")
    store.execute("drop schema logstream cascade")

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(LedgerWriter, "finish_all", killed)
        with pytest.raises(Killed):
            exported(database, batches(tmp_path))
    left = outcome(store, tmp_path / "out")
    assert left["objects"] == wanted["objects"] and len(left["left"]) == 24
    assert {row[2] for row in left["lanes"]} == {"delivering"}
    store.execute("update logstream.lanes set leased_until = null")
    assert errors(exported(database, batches(tmp_path))) == {}
    assert outcome(store, tmp_path / "out") == wanted


def test_a_ledger_that_cannot_write_them_together_may_write_each(
    store: psycopg.Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipelines: list[str]
) -> None:
    from logstream.errors import DatabaseError

    fill(store, 30)

    async def refused(*_: object) -> None:
        raise DatabaseError("a row that the ledger does not take")

    monkeypatch.setattr(LedgerWriter, "finish_all", refused)
    assert errors(exported(database, batches(tmp_path))) == {}
    assert len(pipelines) == 24
    found = outcome(store, tmp_path / "out")
    assert {row[2] for row in found["lanes"]} == {"delivered"} and found["left"] == []


@pytest.mark.parametrize("error", [RuntimeError("a broken plug-in"), asyncio.CancelledError()])
def test_opening_that_breaks_in_a_way_of_its_own_keeps_no_other_waiting(
    database: str, store: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    fill(store, 30)
    get, broken = Destinations.get, ["d3"]

    async def breaks(self: Destinations, name: str, settings: Settings) -> Any:
        if name in broken:
            broken.remove(name)  # once: its pipeline opens it
            raise error
        return await get(self, name, settings)

    monkeypatch.setattr(Destinations, "get", breaks)
    done: list[list[LaneResult]] = []
    exporting = threading.Thread(target=lambda: done.append(exported(database, batches(tmp_path))), daemon=True)
    exporting.start()
    exporting.join(60)
    assert done, "the export has not ended"
    assert errors(done[0]) == {}
    assert len(list(tmp_path.rglob("*.ndjson*"))) == 24


def test_one_who_narrows_very_many_logs_to_a_few_sends_no_other_to_a_pipeline(
    store: psycopg.Connection, database: str, tmp_path: Path, pipelines: list[str]
) -> None:
    fill(store, 30)
    add = "insert into events (workspace_id, kind, occurred_at, recorded_at, payload) select %s, 'log_service', %s, %s, %s"
    # what the log store cannot tell from a log of that type without taking it apart
    many, one = '{"log_type": "connector", "message": "recipe"}', '{"log_type": "recipe"}'
    for workspace in (3, 4):
        store.execute(f"{add} from generate_series(1, 2000)", (workspace, START, START, many))
        store.execute(add, (workspace, START, START, one))
    settings = batches(tmp_path)
    for workspace in (3, 4):
        settings["workspaces"][workspace - 1]["streaming"] |= {"events": ["log_service"], "log_types": ["recipe"]}
    assert errors(exported(database, settings)) == {}
    assert sorted(pipelines) == ["d3", "d4"]
    lanes = outcome(store, tmp_path / "out")["lanes"]
    assert {row[2] for row in lanes} == {"delivered"} and len(lanes) == 24
    assert len(list((tmp_path / "out").rglob("*.ndjson"))) == 24


@pytest.mark.parametrize("named", [False, True])
def test_messages_that_are_far_larger_than_their_events_are_not_all_in_memory(
    store: psycopg.Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipelines: list[str],
    named: bool,
) -> None:  # fmt: skip
    fill(store, 60)
    settings, packed = batches(tmp_path, 60), list[int]()
    who = "{{{workspace.external_id}}}" if named else ""
    for workspace in settings["workspaces"]:
        message = f'{{"padding": "{"x" * 90_000}", "who": "{who}", "event": {{{{{{log_message}}}}}}}}'
        workspace["streaming"] |= {"message": message}
    finish = one_pass.OnePass.finish

    def noted(self: one_pass.OnePass) -> None:
        finish(self)
        packed.append(sum(one.member.packed for one in self._all))

    monkeypatch.setattr(one_pass.OnePass, "finish", noted)
    monkeypatch.setattr(one_pass, "PACKED_BYTES", 2_000_000)
    monkeypatch.setattr(one_pass, "LEAST_PACKED", 2_000_000)
    assert errors(exported(database, settings)) == {}
    assert all(size <= 2_200_000 for size in packed) and sum(packed) > 0
    assert len(pipelines) > 0
    lanes = outcome(store, tmp_path / "out")["lanes"]
    assert {row[2] for row in lanes} == {"delivered"} and len(lanes) == 48


@pytest.mark.parametrize("method", ["put", "send"])
def test_a_plug_in_that_stores_in_a_way_of_its_own_is_asked_in_that_way(
    database: str, store: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    fill(store, 30)
    inherited, asked = getattr(ObjectDestination, method), list[str]()

    async def of_its_own(self: ObjectDestination[Any], *given: Any, **more: Any) -> Outcome:
        asked.append(self.name)
        return await inherited(self, *given, **more)  # type: ignore[no-any-return]

    monkeypatch.setattr(FileDestination, method, of_its_own, raising=False)
    options = {"type": "file", "path": f"{tmp_path}/", "packaging": "batch"}
    results = exported(database, each_its_own(30, options, "path"))
    assert errors(results) == {} and len(results) == 24
    assert set(asked) == {result.lane.destination for result in results}


def test_a_pack_is_cut_by_what_is_held_and_what_is_too_large_has_a_pipeline(
    store: psycopg.Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipelines: list[str]
) -> None:
    shapes_of_life(store)
    packs: list[list[str]] = []
    begun = together.DeliveriesTogether._begun

    def noted(self: together.DeliveriesTogether, pack: Any) -> one_pass.OnePass:
        packs.append([member.destination.name for member in pack])
        return begun(self, pack)

    monkeypatch.setattr(together.DeliveriesTogether, "_begun", noted)
    # batches of some blocks hold one block, a compressor's 300 KB and a fifth of their events
    monkeypatch.setattr(together, "PACK_BYTES", 1_800_000)
    monkeypatch.setattr(together, "MOST_BYTES", 1_200_000)
    monkeypatch.setattr(members, "MOST_BYTES", 1_200_000)
    settings = batches(tmp_path)
    for options in settings["destinations"].values():
        options["compression"] = "gzip"
    for workspace in settings["workspaces"]:
        workspace["streaming"]["events"] = KINDS
    store.execute("update events set payload = json_build_object('note', repeat('x', 1500)) where workspace_id = 30")
    assert errors(exported(database, settings)) == {}
    assert "d30" in pipelines and not {"d18", "d21", "d24"} & set(pipelines)
    large = [len({"d18", "d21", "d24"} & set(pack)) for pack in packs]
    assert sum(large) == 3 and max(large) <= 2


def test_of_memory_that_is_shared_what_is_for_chunks_is_given_back_before_what_is_held() -> None:
    async def shared() -> list[str]:
        budget, said = memory.MemoryBudget(10 * memory.LEAST_BYTES * memory.CHUNKS), list[str]()
        chunks = memory.LEAST_BYTES * memory.CHUNKS

        async def second() -> None:
            async with budget.share(0, held=4 * chunks):
                said.append("second")

        async with budget.share(0, held=5 * chunks) as no_more_chunks:
            waiting = asyncio.create_task(second())
            await asyncio.sleep(0)
            said.append("first")
            no_more_chunks()
            no_more_chunks()  # once more gives nothing
            await asyncio.sleep(0.01)
            said.append("first has more")
        await waiting
        async with asyncio.timeout(1), budget.share(0, held=9 * chunks):
            said.append("all is back")
        return said

    assert asyncio.run(shared()) == ["first", "second", "first has more", "all is back"]


def test_what_is_hardly_compressed_makes_later_packs_smaller(
    store: psycopg.Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipelines: list[str]
) -> None:
    store.execute("insert into workspaces (id) select n from generate_series(1, 16) n")
    store.execute(
        "insert into events (workspace_id, kind, occurred_at, recorded_at, payload) select w, 'job', %s, %s, json_build_object('note', "
        "(select string_agg(encode(sha256((w * 1e6 + n * 1000 + i)::text::bytea), 'base64'), '') from generate_series(1, 30) i))"
        " from generate_series(1, 16) w, generate_series(1, 400) n",
        (START, START),
    )
    sizes: list[int] = []
    begun = together.DeliveriesTogether._begun

    def noted(self: together.DeliveriesTogether, pack: Any) -> one_pass.OnePass:
        sizes.append(len(pack))
        return begun(self, pack)

    monkeypatch.setattr(together.DeliveriesTogether, "_begun", noted)
    monkeypatch.setattr(together, "PACK_BYTES", 3_000_000)
    monkeypatch.setattr(together, "PACK_DELIVERIES", 8)  # the first pack is cut before anything is known
    monkeypatch.setattr(together, "PACKS", 1)
    settings = batches(tmp_path, 16)
    for options in settings["destinations"].values():
        options["compression"] = "gzip"
    for workspace in settings["workspaces"]:
        workspace["streaming"]["events"] = KINDS
    assert errors(exported(database, settings)) == {}
    assert pipelines == [] and sum(sizes) == 16 and sizes[-1] < sizes[0]


def test_events_that_are_far_larger_than_planned_are_not_all_read_in_vain(
    store: psycopg.Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipelines: list[str]
) -> None:
    store.execute("insert into workspaces (id) select n from generate_series(1, 20) n")
    store.execute(  # the log store keeps these compressed, and plans are made of what it keeps
        "insert into events (workspace_id, kind, occurred_at, recorded_at, payload) select w, 'job', %s, "
        "%s::timestamptz + make_interval(secs => n * 0.001), json_build_object('note', repeat('abcdefgh', 2000))"
        " from generate_series(1, 20) w, generate_series(1, 40) n",
        (START, START),
    )
    for name, value in {"PACKED_BYTES": 3_000_000, "LEAST_PACKED": 3_000_000, "TAKEN_BYTES": 1}.items():
        monkeypatch.setattr(one_pass, name, value)
    monkeypatch.setattr(one_pass, "CHUNK_EVENTS", 40)
    in_vain: list[int] = []
    leave = members.Packaging.leave

    def noted(self: members.Packaging) -> None:
        in_vain.append(self.bytes)
        leave(self)

    monkeypatch.setattr(members.Packaging, "leave", noted)
    settings = batches(tmp_path, 20)
    for workspace in settings["workspaces"]:
        workspace["streaming"]["events"] = KINDS
    assert errors(exported(database, settings)) == {}
    assert 0 < len(pipelines) < 20 and sum(in_vain) <= len(pipelines) * 16_020 * 3


def test_what_is_put_is_in_memory_no_longer(
    store: psycopg.Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, putting: dict[str, Put],
    pipelines: list[str],
) -> None:  # fmt: skip
    fill(store, 30)
    monkeypatch.setattr(together, "PACK_BYTES", 1)
    gc.collect()
    others, alive = {id(one) for one in gc.get_objects() if type(one) is Parcel}, list[int]()

    def look(*_: object) -> None:
        alive.append(sum(type(one) is Parcel and id(one) not in others for one in gc.get_objects()))

    putting |= {f"d{number}": look for number in range(1, 31)}
    assert errors(exported(database, batches(tmp_path))) == {} and pipelines == []
    assert len(alive) == 24 and max(alive) <= 2 * together.PACKS + 2


def test_large_events_that_the_log_store_compresses_are_delivered_together(
    store: psycopg.Connection, database: str, tmp_path: Path, pipelines: list[str]
) -> None:
    fill(store, 10)
    store.execute(
        "insert into events (workspace_id, kind, occurred_at, recorded_at, payload) select 2, 'user_activity', %s, %s,"
        " json_build_object('note', repeat('ten bytes ', 10000)) from generate_series(1, 20)",
        (START, START),
    )
    assert errors(exported(database, batches(tmp_path, 10))) == {}
    assert pipelines == []
