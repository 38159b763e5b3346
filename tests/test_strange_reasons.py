"""What others say, and what a person gives a command, is kept or refused in words, whatever characters it is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from logstream.cli import main
from logstream.destinations.file import FileDestination
from logstream.destinations.http import HttpDestination
from logstream.destinations.objects import ReadError
from logstream.destinations.parcel import EventRef
from logstream.destinations.transport.object_packing import BatchPacker
from logstream.destinations.transport.request_packing import RequestPacker
from logstream.events import Event
from logstream.ledger.health import Outcome
from logstream.ledger.lane_writes import LaneWrite
from logstream.ledger.notices import Notices
from logstream.ledger.records import News, Rejection, State
from logstream.testing.servers import LogSink
from logstream.verify.verifier import verify
from tests.conftest import Cli, one_error_line
from tests.test_engine import WINDOW, Make, engine, filled, override, stored
from tests.test_isolation import own

__all__ = ["engine", "filled", "stored"]

SAID = "it said \0 and \ud83d, which stands alone, and 日本"
SPAN = ["--from", "2026-03-01T00:00:00Z", "--to", "2026-03-02T00:00:00Z"]
KEPT = "it said   and ?, which stands alone, and 日本"


def _lane_failed(exporter: Any, lane: Any) -> str | None:
    assert exporter.ledger.write([LaneWrite.fail(lane, News(), SAID, permanent=False)]) == set()
    return exporter.ledger.lanes([lane.key])[0].last_error


def _event_rejected(exporter: Any, lane: Any) -> str | None:
    rejected = News([Rejection(EventRef(7, 100, "job"), SAID)])
    assert exporter.ledger.write([LaneWrite.checkpoint(lane, rejected)]) == set()
    return exporter.ledger.rejected()[0].reason


def _not_sealed(exporter: Any, lane: Any) -> str | None:
    exporter.ledger.seal({lane.delivery_id: State.FAILED}, {lane.delivery_id: SAID})
    with exporter.engine.connect() as connection:
        return connection.exec_driver_sql("select error from logstream.deliveries").scalar_one()


def _destination_failed(exporter: Any, lane: Any) -> str | None:
    exporter.ledger.note({lane.destination: Outcome(WINDOW, failed=True, reached=False, error=SAID)}, 5)
    return exporter.ledger.health()[lane.destination].error


def _destination_held(exporter: Any, lane: Any) -> str | None:
    exporter.ledger.suspend(lane.destination, SAID)
    return exporter.ledger.health()[lane.destination].error


def _check_failed(exporter: Any, lane: Any) -> str | None:
    Notices(exporter.engine).note_check(lane.destination, SAID)
    return Notices(exporter.engine).failed_checks()[lane.destination]


def _daily_check_failed(exporter: Any, lane: Any) -> str | None:
    Notices(exporter.engine).note_checks({lane.destination: SAID, "another": "it is away"})
    return Notices(exporter.engine).failed_checks()[lane.destination]


@pytest.mark.parametrize(
    "noted",
    [
        _lane_failed,
        _event_rejected,
        _not_sealed,
        _destination_failed,
        _destination_held,
        _check_failed,
        _daily_check_failed,
    ],
)
def test_a_reason_of_any_characters_is_kept(noted: Any, engine: Make, tmp_path: Path) -> None:
    exporter = engine(override({"type": "file", "path": str(tmp_path), "lanes": 1}))
    (key,) = [key for share in exporter.plan(WINDOW).shares for key in share.lanes]
    exporter.ledger.take([key], "a", 1)
    (lane,) = exporter.ledger.lanes([key])
    assert noted(exporter, lane) == KEPT


def test_a_plug_in_that_cannot_be_made_is_planned_with_its_reason(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: Any) -> None:
        raise RuntimeError(SAID)

    exporter = engine(override({"type": "file", "path": str(tmp_path), "lanes": 1}))
    monkeypatch.setattr(FileDestination, "__init__", cannot)
    exporter.plan(WINDOW)
    with exporter.engine.connect() as connection:
        reason = connection.exec_driver_sql("select last_error from logstream.lanes").scalar_one()
    assert KEPT in reason


@pytest.mark.parametrize(
    "arguments",
    [
        ["owed", "--destination", "d", "--write-off", "it is \udcff"],
        ["verify", "--dsn", "postgresql://a:secret\udcff@localhost/x", *SPAN],
        ["settings", "apply", "\udcff.yaml"],
    ],
)
def test_an_argument_that_is_no_text_is_refused_in_words(arguments: list[str], cli: Cli) -> None:
    said = one_error_line(cli(*arguments))
    assert "is no text in UTF-8" in said and "secret" not in said


def test_a_dsn_that_is_no_text_is_refused_in_words(cli: Cli) -> None:
    said = one_error_line(
        cli("verify", *SPAN, environment={"LOGSTREAM_DSN": "postgresql://a:secret\udcff@localhost/x"})
    )
    assert "secret" not in said


def test_a_person_whose_name_is_no_text_can_act(engine: Make, database: str, cli: Cli, tmp_path: Path) -> None:
    exporter = engine(override({"type": "file", "path": str(tmp_path / "out"), "lanes": 1}))
    planned = exporter.plan(WINDOW)
    exporter.seal(planned.delivery_ids)  # nothing was delivered: all of it is owed
    for act in (["--destination", "d", "--write-off", "it is not wanted"], ["--acknowledge"]):
        done = cli("owed", "--dsn", database, *act, environment={"USER": "us\udcffer"})
        assert done.returncode == 0, done.stderr
    assert exporter.ledger.losses("d")[0].acknowledged_by == "us?er"


def test_what_a_destination_that_breaks_says_is_masked_and_no_longer_than_is_worth_reading(
    engine: Make, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its packing breaks, and the error quotes a header that holds a secret, and a whole event."""

    def broken(*_: object) -> Any:
        raise ValueError(f"Authorization: Bearer {sink.token} does not fit to {'{}' * 1_000_000}")

    monkeypatch.setattr(RequestPacker, "pack", broken)
    exporter = engine(override({"type": "http", "connection": "sink", "lanes": 1}))
    planned = exporter.plan(WINDOW)
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    (report,) = exporter.seal(planned.delivery_ids)
    assert report.error is not None and report.error.startswith("delivering broke: ValueError: Authorization: ")
    assert "does not fit" in report.error and sink.token not in report.error and len(report.error) < 700
    (lane,) = report.lanes
    assert lane.last_error == report.error


def raise_for_one_event(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let a destination's code raise for the first event that it meets, and for no other."""
    entry, met = HttpDestination.entry, list[int]()

    def broken(self: HttpDestination, event: Event, message: bytes) -> bytes:
        if event.id:  # of one that is 0 its size is asked for
            met.append(event.id)
        if met and event.id == met[0]:
            raise error
        return entry(self, event, message)

    monkeypatch.setattr(HttpDestination, "entry", broken)


def test_what_is_said_of_an_event_that_cannot_be_packed_is_masked(
    engine: Make, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one event alone, beside others that arrive: it is a dead letter, and people read its reason."""
    raise_for_one_event(monkeypatch, ValueError(f"Bearer {sink.token} is no header for it"))
    exporter = engine(override({"type": "http", "connection": "sink", "lanes": 1}))
    planned = exporter.plan(WINDOW)
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    exporter.seal(planned.delivery_ids)
    (letter, *_) = exporter.ledger.rejected()
    assert "cannot be made ready" in letter.reason and "is no header for it" in letter.reason
    assert sink.token not in letter.reason


def test_a_name_of_an_object_forges_no_line_of_what_verify_says(
    engine: Make, tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may write to the folder names objects, and an administrator's terminal shows them."""
    monkeypatch.setenv("LOGSTREAM_FILE_ROOTS", str(tmp_path))
    exporter = engine(override({"type": "file", "path": str(tmp_path), "packaging": "batch"}))
    planned = exporter.plan(WINDOW)
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    exporter.seal(planned.delivery_ids)
    made = next(tmp_path.rglob("*.ndjson"))
    made.with_name("a\n\x1b[2Jerror: all is well\udcff.ndjson").write_bytes(b"{}")
    assert main(["verify", "--dsn", database, *SPAN[:3], "2026-03-01T00:05:00Z"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("a??[2Jerror: all is well?.ndjson is extra: no delivery made it")


def test_what_a_destination_that_breaks_says_is_masked_in_the_log_of_the_task(
    engine: Make, sink: LogSink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With what led to it, and with the places that raised: the plug-in's author needs those."""

    def broken(*_: object) -> Any:
        try:
            raise KeyError(f"Bearer {sink.token}")
        except KeyError as error:
            raise ValueError(f"Authorization: Bearer {sink.token} does not fit") from error

    monkeypatch.setattr(RequestPacker, "pack", broken)
    exporter = engine(override({"type": "http", "connection": "sink", "lanes": 1}))
    planned = exporter.plan(WINDOW)
    with caplog.at_level("DEBUG", "logstream"):
        exporter.deliver([key for share in planned.shares for key in share.lanes])
    assert "Delivering to " in caplog.text and "does not fit" in caplog.text
    assert "KeyError" in caplog.text and "and then" in caplog.text and "in broken" in caplog.text
    assert sink.token not in caplog.text


def test_what_a_destination_says_that_cannot_be_opened_is_in_no_log(
    engine: Make, sink: LogSink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise ValueError(f"Authorization: Bearer {sink.token} does not fit")

    exporter = engine(override({"type": "http", "connection": "sink", "lanes": 1}))
    planned = exporter.plan(WINDOW)
    monkeypatch.setattr("logstream.export.opening.open_destination", broken)
    with caplog.at_level("DEBUG", "logstream"):
        exporter.deliver([key for share in planned.shares for key in share.lanes])
    assert "cannot be opened" in caplog.text and "in broken" in caplog.text
    assert sink.token not in caplog.text


class Mute(Exception):
    """An exception that has no words: many name a field of an answer that there may not be."""

    def __str__(self) -> str:
        raise AttributeError("response")


def unwraps(*_: object) -> Any:
    try:
        raise ExceptionGroup("of several", [ValueError("one of them")])
    except ExceptionGroup as group:
        raise group.exceptions[0]  # noqa: B904 - as many do who wait for one of several


def says_nothing(*_: object) -> Any:
    raise Mute


@pytest.mark.parametrize("broken", [unwraps, says_nothing])
@pytest.mark.parametrize("packer", [RequestPacker, BatchPacker])
def test_what_a_destination_raises_that_is_hard_to_tell_stops_it_alone(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Any, packer: Any
) -> None:
    monkeypatch.setattr(packer, "pack", broken)
    hook = {"type": "http", "connection": "sink", "lanes": 1}
    if packer is BatchPacker:
        hook = {"type": "file", "path": str(tmp_path / "bad"), "packaging": "batch"}
    exporter = engine(own(("bad", hook), ("good", {"type": "file", "path": str(tmp_path / "good")})))
    planned = exporter.plan(WINDOW)
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    reports = {report.destination: report for report in exporter.seal(planned.delivery_ids)}
    assert reports["good"].state is State.DELIVERED
    assert reports["bad"].state is State.FAILED
    assert ("words cannot be read" if broken is says_nothing else "one of them") in (reports["bad"].error or "")


def test_an_event_of_which_a_destination_s_code_says_nothing_is_rejected(
    engine: Make, sink: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_for_one_event(monkeypatch, Mute())
    exporter = engine(override({"type": "http", "connection": "sink", "format": "array", "lanes": 1}))
    planned = exporter.plan(WINDOW)
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    (report,) = exporter.seal(planned.delivery_ids)
    assert report.state is State.DELIVERED
    (letter,) = exporter.ledger.rejected()
    assert "Mute: (its words cannot be read: AttributeError)" in letter.reason


@pytest.mark.parametrize("error", [ValueError, ReadError])
@pytest.mark.parametrize("place", ["put_now", "get_within", "keys"])
def test_what_a_store_says_while_a_window_is_sealed_or_verified_is_masked(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    place: str, error: type[Exception],
) -> None:  # fmt: skip
    """It may echo the request, with the signature that was sent."""
    exporter = engine(
        override({"type": "file", "path": str(tmp_path), "packaging": "batch", "manifests": True, "lanes": 1})
    )
    planned = exporter.plan(WINDOW)
    exporter.deliver([key for share in planned.shares for key in share.lanes])

    def broken(*_: object, **__: object) -> Any:
        raise error("you sent Authorization: Bearer quick-brown-fox-jumps")

    monkeypatch.setattr(FileDestination, "create_now" if place == "put_now" else place, broken)
    with caplog.at_level("DEBUG", "logstream"):
        (report,) = exporter.seal(planned.delivery_ids)
        found = [str(finding) for finding in verify(exporter, WINDOW).findings]
    told = f"{report.error} {found} {caplog.text}"
    assert (error.__name__ in told or "you sent" in told) and "fox" not in told
