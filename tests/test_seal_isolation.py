"""Whatever breaks while one delivery is sealed, wherever it breaks: that delivery fails by its name, and all others are sealed.

The places are not listed here. A healthy sealing is watched, and each function that it calls for one destination alone is a
place where an exception is then raised that no code foresees.
"""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any
from unittest.mock import patch

import psycopg
import pytest

from logstream import threads
from logstream.destinations.base import Destination
from logstream.export import isolation
from logstream.export.exporter import Exporter
from logstream.ledger.records import Delivery, State
from logstream.proof.manifests import Manifest, Sealed
from logstream.testing.servers import LogSink
from logstream.verify.verifier import verify
from logstream.window import Window
from tests.test_engine import EVERYTHING, Make, engine, filled
from tests.test_sealing import WINDOWS, folder

__all__ = ["engine", "filled"]

ERRORS = (RuntimeError("broke\0"), KeyError("missing"), TypeError("not a number"))


def names_in(value: object, depth: int = 3) -> set[str]:
    """The destinations that an argument is about."""
    if isinstance(value, Delivery | Manifest | Sealed):
        return {getattr(value, "destination", "being made")}
    if isinstance(value, Destination):
        return {getattr(value, "name", "being made")}
    if isinstance(value, str) and value in ("good", "bad", "also_good"):
        return {value}
    if not depth or isinstance(value, Exporter | str | bytes):
        return set()
    inner: list[object] = []
    if isinstance(value, list | tuple | set):
        inner = list(value)[:20]
    elif isinstance(value, Mapping):
        inner = [*value, *value.values()][:40]
    elif type(value).__module__.startswith("logstream.export"):
        inner = [getattr(value, name, None) for name in getattr(value, "__slots__", ())]
        inner += list(getattr(value, "__dict__", {}).values())
    return {name for item in inner for name in names_in(item, depth - 1)}


def is_for_bad_alone(frame: FrameType) -> bool:
    code = frame.f_code
    if "/logstream/" not in code.co_filename or code.co_filename == isolation.__file__:
        return False
    given = [frame.f_locals.get(name) for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]]
    found: set[str] = set()
    for value in given:
        found |= names_in(value)
    return found == {"bad"}


@contextmanager
def watched(call: Callable[[FrameType], None]) -> Iterator[None]:
    """Call back for each Python function that is called, in any thread that begins meanwhile."""

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            call(frame)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        with patch.dict(threads._pools, clear=True):  # threads of a pool that was there began before
            yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


class Stage:
    """Three destinations that have got a window, and a sealing that can be tried again and again."""

    def __init__(self, exporter: Exporter, store: psycopg.Connection, out: Path, window: Window) -> None:
        self.exporter, self._store, self._out, self.window = exporter, store, out, window
        planned = exporter.plan(window)
        exporter.deliver([key for share in planned.shares for key in share.lanes])
        self.ids = planned.delivery_ids

    def unseal(self) -> None:
        self._store.execute("delete from logstream.manifests")
        self._store.execute("update logstream.deliveries set state = 'planned', error = null")
        self._store.execute("delete from logstream.destinations")
        for place in self._out.glob("*/_manifests"):
            shutil.rmtree(place)

    def seal(self) -> dict[str, Delivery]:
        return {report.destination: report for report in self.exporter.seal(self.ids)}

    def places(self) -> list[CodeType]:
        """The functions that a healthy sealing calls for the destination `bad` alone."""
        found: dict[CodeType, None] = {}

        def note(frame: FrameType) -> None:
            if frame.f_code not in found and is_for_bad_alone(frame):
                found[frame.f_code] = None

        with watched(note):
            assert {report.error for report in self.seal().values()} == {None}
        return list(found)

    def seal_broken_at(self, place: CodeType, error: Exception) -> tuple[dict[str, Delivery], bool]:
        fired: list[CodeType] = []

        def breaks(frame: FrameType) -> None:
            if frame.f_code is place and not fired and is_for_bad_alone(frame):
                fired.append(place)
                raise type(error)(*error.args)

        with watched(breaks):
            reports = self.seal()
        return reports, bool(fired)


@pytest.mark.parametrize("kind", ["file", "http"])
def test_an_exception_at_any_place_fails_one_delivery_by_its_name(
    engine: Make, filled: psycopg.Connection, sink: LogSink, tmp_path: Path, kind: str
) -> None:
    own = [
        {"id": 100 + number, "streaming": {"enabled": True, "events": EVERYTHING, "destination": name}}
        for number, name in enumerate(["good", "bad", "also_good"])
    ]
    hook = {"type": "http", "connection": "sink", "format": "lines"}
    destinations = {
        "good": folder(tmp_path / "good"),
        "bad": folder(tmp_path / "bad") if kind == "file" else hook,
        "also_good": {**hook, "max_events": 7},
    }
    exporter = engine({"workspaces": own, "destinations": destinations})
    stage = Stage(exporter, filled, tmp_path, WINDOWS[0])
    places = stage.places()
    names = {place.co_qualname for place in places}
    assert len(places) > (20 if kind == "file" else 8), names
    for number, place in enumerate(places):
        stage.unseal()
        reports, fired = stage.seal_broken_at(place, ERRORS[number % 3])
        assert fired, place.co_qualname
        for name in ("good", "also_good"):
            assert (reports[name].state, reports[name].error) == (State.DELIVERED, None), place.co_qualname
        bad = reports["bad"]
        if bad.state is not State.DELIVERED:
            # its error says what it is about, and repeats nothing that an unforeseen error quotes
            assert bad.error is not None and "bad" in bad.error, place.co_qualname
            assert type(ERRORS[number % 3]).__name__ in bad.error and "broke\0" not in bad.error, bad.error
            owed = [item.error for item in exporter.ledger.owed()]
            assert owed in ([bad.error], []), place.co_qualname
        # and then it is sealed like any other
        assert {report.error for report in stage.seal().values()} == {None}, place.co_qualname
    assert [finding.what for finding in verify(exporter, stage.window).findings] == []
