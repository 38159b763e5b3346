"""The engine against receivers that fail: what goes in comes out, once at objects, with a stable key at requests."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.transport import session
from logstream.errors import ConnectionNotFound, LogstreamError
from logstream.export.exporter import Exporter
from logstream.export.send import RetryPolicy
from logstream.ledger.records import State
from logstream.settings.resolution import Workspace
from logstream.testing.contract import killed_at
from logstream.testing.filling import fill
from logstream.testing.servers import LogSink
from logstream.validation import validate_settings
from logstream.window import Window

START = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(minutes=5))
WORKSPACES = [Workspace(100 + number, f"c{number}") for number in range(12)]
EVERYTHING = ["job_details", "user_activity", "api_platform", "log_service"]
QUICK = RetryPolicy(attempts=12, base=0.005, cap=0.02)


class Connections:
    """Connections from a dictionary, where Airflow is not wanted."""

    def __init__(self, **http: HttpCredentials) -> None:
        self._http = http

    def aws(self, connection: str) -> Any:
        raise ConnectionNotFound(connection)

    azure_blob = gcs = azure_token = aws

    def http(self, connection: str, default_url: str | None = None) -> HttpCredentials:
        if connection not in self._http:
            raise ConnectionNotFound(f"there is no Airflow connection `{connection}`")
        return self._http[connection]


@pytest.fixture
def filled(store: psycopg.Connection) -> psycopg.Connection:
    fill(store, WORKSPACES, 1_500, START, timedelta(minutes=5))
    return store


Make = Callable[..., Exporter]


@pytest.fixture
def engine(filled: psycopg.Connection, sink: LogSink) -> Iterator[Make]:
    """Makes an engine over the filled store, with a settings document in force."""
    made: list[Exporter] = []
    credentials = HttpCredentials(sink.url, headers={"Authorization": f"Bearer {sink.token}"})
    wrong = HttpCredentials(sink.url, headers={"Authorization": "Bearer no"})
    dead = HttpCredentials("http://127.0.0.1:9")
    nowhere = HttpCredentials("http://no-such-host.invalid")

    def make(document: dict[str, Any], policy: RetryPolicy = QUICK) -> Exporter:
        connections = Connections(sink=credentials, wrong=wrong, dead=dead, nowhere=nowhere)
        exporter = Exporter(filled.info.dsn, filled.info.dsn, connections, policy=policy)
        settings = validate_settings(document)
        exporter.settings.apply(settings)
        made.append(exporter)
        return exporter

    yield make
    for exporter in made:
        exporter.close()


def override(destination: dict[str, Any], **streaming: Any) -> dict[str, Any]:
    admin = {"enabled": True, "events": EVERYTHING, "destination": "d", **streaming}
    return {"admin": admin, "destinations": {"d": destination}}


def export(exporter: Exporter, window: Window = WINDOW):  # type: ignore[no-untyped-def]
    planned = exporter.plan(window)
    results = exporter.deliver([key for share in planned.shares for key in share.lanes])
    return results, exporter.seal(planned.delivery_ids)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def stored(connection: psycopg.Connection) -> Counter[str]:
    """The payloads of the window, as text that compares."""
    rows = connection.execute("select payload::text from events").fetchall()
    return Counter(json.dumps(json.loads(text), sort_keys=True) for (text,) in rows)


def canonical(documents: list[Any]) -> Counter[str]:
    return Counter(json.dumps(document, sort_keys=True) for document in documents)


@pytest.mark.parametrize("packaging", ["file", "batch"])
def test_files_hold_each_event_once_and_again_is_the_same(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, packaging: str
) -> None:
    exporter = engine(override({"type": "file", "path": str(tmp_path / "out"), "packaging": packaging}))
    results, (report,) = export(exporter)
    assert (report.state, report.events, report.error) == (State.DELIVERED, 1_500, None)
    assert all(result.error is None for result in results)
    first = files(tmp_path / "out")
    documents = [json.loads(line) for body in first.values() for line in body.splitlines()]
    assert canonical(documents) == stored(filled)
    export(exporter)
    assert files(tmp_path / "out") == first


def test_each_workspace_goes_to_its_own_destination_and_nowhere_else(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    own = [
        {
            "id": w.id,
            "streaming": {
                "enabled": w.id % 3 > 0,
                "events": ["job_status", "user_activity"],
                "destination": f"d{w.id}",
            },
        }
        for w in WORKSPACES[:-1]
    ]
    destinations = {
        f"d{w.id}": {"type": "file", "path": str(tmp_path / str(w.id)), "packaging": "batch"} for w in WORKSPACES
    }
    exporter = engine({"workspaces": own, "destinations": destinations})
    _, reports = export(exporter)
    for workspace in WORKSPACES:
        found = [
            json.loads(line) for body in files(tmp_path / str(workspace.id)).values() for line in body.splitlines()
        ]
        query = "select payload::text from events where workspace_id = %s and kind in ('job', 'user_activity')"
        wanted = [json.loads(text) for (text,) in filled.execute(query, (workspace.id,))]
        for document in wanted:
            document.pop("lines", None)
        streams = workspace.id % 3 > 0 and workspace is not WORKSPACES[-1]
        assert canonical(found) == canonical(wanted if streams else [])
    # then the administrator takes over: everything to one place, own settings ignored
    again = engine(
        {**override({"type": "file", "path": str(tmp_path / "lake"), "packaging": "batch"}), "workspaces": []}
    )
    export(again)
    found = [json.loads(line) for body in files(tmp_path / "lake").values() for line in body.splitlines()]
    assert canonical(found) == stored(filled)
    assert sum(report.events for report in reports) < 1_500


def test_events_of_a_workspace_that_is_not_listed(engine: Make, filled: psycopg.Connection, tmp_path: Path) -> None:
    filled.execute("alter table events drop constraint events_workspace_id_fkey")
    filled.execute("delete from workspaces where id = 100")
    _, (report,) = export(engine(override({"type": "file", "path": str(tmp_path / "out"), "packaging": "batch"})))
    assert report.events == 1_500


def test_bad_events_are_rejected_with_the_reason_and_the_rest_goes_on(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    deep = '{"a":' + "[" * 9_999 + "]" * 9_999 + "}"
    for identity, moment in (
        (9_001, START),
        (9_002, START + timedelta(seconds=150)),
        (9_003, START + timedelta(seconds=299.9)),
    ):
        filled.execute("insert into events values (%s, 100, 'job', %s, %s, %s)", (identity, moment, moment, deep))
    exporter = engine(override({"type": "file", "path": str(tmp_path / "out"), "packaging": "batch"}))
    planned = exporter.plan(WINDOW)
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    (report,) = exporter.seal(planned.delivery_ids)
    assert (report.state, report.events, report.rejected) == (State.DELIVERED, 1_500, 3)
    rejected = exporter.ledger.rejected(planned.delivery_ids)
    assert [(row.event_id, row.workspace_id, row.kind) for row in rejected] == [
        (n, 100, "job") for n in (9_001, 9_002, 9_003)
    ]
    assert all("nested 10,000 levels deep" in row.reason for row in rejected)


def test_a_template_that_breaks_is_reported(engine: Make, tmp_path: Path) -> None:
    exporter = engine(override({"type": "file", "path": str(tmp_path / "out"), "packaging": "batch"}))
    snapshot = exporter.settings.current()
    document = snapshot.settings.as_document()
    document["admin"]["message"] = '{"x": {{{gone}}}}'
    from logstream.settings.models import Settings

    exporter.settings.apply(Settings.model_validate(document))
    results, (report,) = export(exporter)
    assert report.events == 1_500
    assert all("the default message was sent instead" in (result.remarks or "") for result in results)


@pytest.mark.parametrize(
    "options",
    [{}, {"format": "array", "max_events": 7, "compression": "zstd"}, {"format": "lines", "compression": "gzip"}],
)
def test_requests_arrive_complete_while_one_in_five_fails(
    engine: Make, filled: psycopg.Connection, sink: LogSink, options: dict[str, Any]
) -> None:
    sink.fail = lambda number: (429, 503, 0, 500)[number % 4] if number % 5 == 0 else None
    _, (report,) = export(engine(override({"type": "http", "connection": "sink", "path": "/in", **options})))
    assert (report.state, report.error, report.events) == (State.DELIVERED, None, 1_500)
    assert canonical(sink.events()) == stored(filled)
    assert max(sink.keys.values()) == 1
    assert set(sink.paths) == {"/in"}
    assert report.requests == sink.requests


def test_a_receiver_that_is_too_slow_gets_it_again(
    engine: Make, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "TIMEOUT_SECONDS", 0.3)

    def fail(number: int) -> int | None:
        if number == 2:
            time.sleep(1.0)
        return None

    sink.fail = fail
    document = override({"type": "http", "connection": "sink", "format": "lines", "lanes": 1, "concurrency": 1})
    _, (report,) = export(engine(document))
    assert (report.state, report.events, report.error) == (State.DELIVERED, 1_500, None)
    # it had taken what it was too slow to say so of: the same key tells
    *once, repeated = sorted(sink.keys.values())
    assert set(once) == {1} and repeated > 1
    assert sink.changed_repetitions == 0


def test_a_name_that_does_not_resolve_may_do_so_later(engine: Make) -> None:
    exporter = engine(
        override({"type": "http", "connection": "nowhere", "lanes": 1}), RetryPolicy(attempts=2, base=0.01)
    )
    results, (report,) = export(exporter)
    assert [result.permanent for result in results] == [False]
    assert report.state is State.FAILED
    assert "no-such-host.invalid: cannot" in (report.error or "")


def test_retry_after_is_honoured(engine: Make, sink: LogSink) -> None:
    times: list[float] = []

    def fail(_: int) -> int | None:
        times.append(time.monotonic())
        return 429 if len(times) == 1 else None

    sink.fail, sink.answer_headers = fail, {"Retry-After": "1"}
    export(
        engine(
            override(
                {
                    "type": "http",
                    "connection": "sink",
                    "format": "lines",
                    "max_events": 5_000,
                    "max_bytes": 90_000_000,
                    "lanes": 1,
                }
            )
        )
    )
    assert times[1] - times[0] >= 1.0


@pytest.mark.parametrize(
    ("connection", "error", "permanent", "requests"),
    [
        ("wrong", "answered 401", True, 1),
        ("dead", "cannot connect", False, 0),
        ("missing", "there is no Airflow connection `missing`", True, 0),
    ],
)
def test_what_cannot_be_delivered_is_said_and_delays_nobody(
    engine: Make, sink: LogSink, tmp_path: Path, connection: str, error: str, permanent: bool, requests: int
) -> None:
    def setting(identity: int, destination: str) -> dict[str, Any]:
        return {"id": identity, "streaming": {"enabled": True, "events": EVERYTHING, "destination": destination}}

    document = {
        "workspaces": [setting(100, "broken"), setting(101, "fine")],
        "destinations": {
            "broken": {"type": "http", "connection": connection, "format": "lines", "lanes": 1},
            "fine": {"type": "file", "path": str(tmp_path / "fine")},
        },
    }
    results, reports = export(engine(document))
    broken, fine = reports
    assert (broken.state, fine.state) == (State.FAILED, State.DELIVERED)
    assert error in (broken.error or "")
    assert fine.events > 0 and broken.events == 0
    assert [result.permanent for result in results if result.error] == [permanent]
    assert sink.requests == requests


def test_after_a_fix_only_what_is_owed_is_delivered(engine: Make, filled: psycopg.Connection, sink: LogSink) -> None:
    document = override({"type": "http", "connection": "sink", "concurrency": 1, "lanes": 1})
    # the receiver dies in the middle and refuses everything after
    sink.fail = lambda number: 503 if number > 700 else None
    _, (report,) = export(engine(document))
    assert (report.state, report.events) == (State.FAILED, 700)
    assert "503" in (report.error or "")
    sink.fail = lambda _: None
    _, (report,) = export(engine(document))
    assert (report.state, report.events) == (State.DELIVERED, 1_500)
    assert canonical(sink.events()) == stored(filled)
    assert max(sink.keys.values()) == 1
    # complete, it is exported again on purpose: the same keys, the same bodies
    export(engine(document))
    assert set(sink.keys.values()) == {2}
    assert sink.changed_repetitions == 0


@pytest.mark.parametrize("status", [403, 503])
def test_a_receiver_that_stops_in_the_middle_of_a_long_window_ends_the_export(
    engine: Make, filled: psycopg.Connection, sink: LogSink, status: int
) -> None:
    """More is read ahead than is sent: what is read in vain must hold nothing up."""
    filled.execute(
        "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload) select 100000 + n, 100, 'job', t, t,"
        " json_build_object('id', 'j-' || n, 'text', repeat('x', 1500)) from (select n, timestamptz '2026-03-01 00:00Z'"
        " + n * interval '20 ms' as t from generate_series(1, 12000) n) made"
    )
    options = {"format": "array", "max_bytes": 200_000, "lanes": 1, "concurrency": 1}
    exporter = engine(override({"type": "http", "connection": "sink", **options}))
    sink.fail = lambda number: status if number > 3 else None
    ended: list[Any] = []
    run = threading.Thread(target=lambda: ended.append(export(exporter)), daemon=True)
    run.start()
    run.join(60)
    assert ended, "the export does not end"
    _, (report,) = ended[0]
    assert report.state is State.FAILED and str(status) in (report.error or "")
    assert 0 < report.events == len(sink.events())


def test_other_settings_void_a_checkpoint(engine: Make, filled: psycopg.Connection, sink: LogSink) -> None:
    sink.fail = lambda number: 503 if number > 100 else None
    document = override({"type": "http", "connection": "sink", "lanes": 1})
    export(engine(document))
    sink.fail = lambda _: None
    sink.bodies.clear()
    sink.headers.clear()
    document["admin"]["message"] = '{"v": 2, "e": {{{log_message}}}}'
    _, (report,) = export(engine(document))
    assert report.events == 1_500
    assert canonical([event["e"] for event in sink.events()]) == stored(filled)


@pytest.mark.parametrize(("crash_at", "concurrency"), [(1, 1), (2, 8), (30, 8), (64, 1), (65, 1), (64, 8), (400, 8)])
def test_after_a_kill_at_most_what_was_under_way_is_sent_twice(
    engine: Make, sink: LogSink, crash_at: int, concurrency: int
) -> None:
    document = override(
        {"type": "http", "connection": "sink", "concurrency": concurrency, "lanes": 1},
        message='{"at": {{{now_utc_nano}}}, "e": {{{log_message}}}}',
    )
    killed_at(crash_at, lambda: export(engine(document)))
    assert crash_at <= len(sink.keys) < 1_500
    _, (report,) = export(engine(document))
    assert (report.state, report.events) == (State.DELIVERED, 1_500)
    repeated = [key for key, times in sink.keys.items() if times > 1]
    assert len(repeated) <= concurrency
    assert sink.changed_repetitions == 0
    assert len(sink.keys) == 1_500
    once = {json.dumps(event, sort_keys=True) for event in sink.events()}
    assert len(once) == 1_500


@pytest.mark.parametrize("crash_at", [1, 2, 3])
def test_after_a_kill_object_stores_end_with_the_same_objects(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int
) -> None:
    from logstream.destinations.file import FileDestination
    from logstream.destinations.transport import object_packing

    monkeypatch.setattr(object_packing, "OBJECT_BYTES", 100_000)
    whole = {"type": "file", "path": str(tmp_path / "whole"), "packaging": "batch", "compression": "gzip", "lanes": 2}
    export(engine(override(whole)))
    broken = override({**whole, "path": str(tmp_path / "broken")})
    killed_at(crash_at, lambda: export(engine(broken)), (FileDestination, "put"))
    assert files(tmp_path / "broken") != files(tmp_path / "whole")
    _, (report,) = export(engine(broken))
    assert report.state is State.DELIVERED
    assert len(files(tmp_path / "whole")) > 6
    assert files(tmp_path / "broken") == files(tmp_path / "whole")


def test_two_at_once_on_one_window(engine: Make, filled: psycopg.Connection, sink: LogSink) -> None:
    document = override({"type": "http", "connection": "sink", "concurrency": 4})
    exporters = [engine(document) for _ in range(2)]
    outcomes: list[Any] = []

    def run(exporter: Exporter) -> None:
        try:
            outcomes.append(export(exporter)[1])
        except LogstreamError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run, args=(exporter,)) for exporter in exporters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reports = [outcome for outcome in outcomes if not isinstance(outcome, LogstreamError)]
    assert reports and all(report.state is State.DELIVERED for (report,) in reports), outcomes
    # each event arrived, and no key ever had two bodies
    assert set(canonical(sink.events())) == set(stored(filled))
    assert len(sink.keys) == 1_500 and sink.changed_repetitions == 0


def test_redirects_are_not_followed(engine: Make, sink: LogSink) -> None:
    sink.fail, sink.answer_headers = (lambda _: 302), {"Location": "http://169.254.169.254/"}
    _, (report,) = export(engine(override({"type": "http", "connection": "sink", "lanes": 1})))
    assert "redirects are not followed" in (report.error or "")
    assert sink.requests <= 8


def test_private_addresses_are_refused(engine: Make, sink: LogSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOGSTREAM_ALLOW_PRIVATE_ADDRESSES")
    _, (report,) = export(engine(override({"type": "http", "connection": "sink"})))
    assert "is not a public address" in (report.error or "")
    assert sink.requests == 0


def test_a_full_disk_is_retried_and_a_forbidden_folder_is_not(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from logstream.destinations import file

    (tmp_path / "blocked").write_text("a file where the folder should be")
    results, (report,) = export(engine(override({"type": "file", "path": str(tmp_path / "blocked" / "x"), "lanes": 1})))
    assert [result.permanent for result in results] == [True]
    assert "correct `path`" in (report.error or "")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file.os, "fsync", full)
    results, (report,) = export(
        engine(override({"type": "file", "path": str(tmp_path / "full"), "lanes": 1, "packaging": "batch"}))
    )
    assert [result.permanent for result in results] == [False]
    assert "No space left on device" in (report.error or "")
    assert files(tmp_path / "full") == {}


def test_a_plug_in_that_breaks_stops_no_other(engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from logstream.destinations.http import HttpDestination

    def broken(self: Any, entries: Any) -> bytes:
        raise TypeError("a bug")

    monkeypatch.setattr(HttpDestination, "encode", broken)
    own = [
        {"id": 100, "streaming": {"enabled": True, "events": EVERYTHING, "destination": "hook"}},
        {"id": 101, "streaming": {"enabled": True, "events": EVERYTHING, "destination": "fine"}},
    ]
    destinations = {
        "hook": {"type": "http", "connection": "sink"},
        "fine": {"type": "file", "path": str(tmp_path / "fine")},
    }
    _, reports = export(engine({"workspaces": own, "destinations": destinations}))
    fine, hook = reports
    assert (fine.state, fine.error) == (State.DELIVERED, None) and fine.events > 0
    assert hook.state is State.FAILED and "TypeError: a bug" in (hook.error or "")
