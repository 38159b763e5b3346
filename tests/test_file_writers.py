"""Two runs that write the same object of a folder at once: one has taken over, and the other does not know it yet."""

from __future__ import annotations

import errno
import fcntl
import threading
from collections import Counter
from pathlib import Path

import pytest

from logstream.airflow.connections import AirflowConnections
from logstream.destinations import file as file_module
from logstream.destinations.file import FileDestination
from logstream.destinations.outcome import Delivered
from logstream.destinations.registry import make_destination
from logstream.settings.models import DestinationSettings

BODY = b"{}" * 50_000


def folder(path: Path) -> FileDestination:
    settings = DestinationSettings.model_validate({"type": "file", "path": str(path)})
    found = make_destination("out", settings, AirflowConnections())
    assert isinstance(found, FileDestination)
    return found


def files(path: Path) -> list[str]:
    return sorted(found.name for found in path.rglob("*") if found.is_file())


@pytest.mark.parametrize("create", [False, True])
def test_both_are_told_that_it_is_there_and_no_reader_sees_half_of_it(tmp_path: Path, create: bool) -> None:
    said: Counter[str] = Counter()
    together = threading.Barrier(2)
    torn: list[int] = []

    def write(destination: FileDestination) -> None:
        put = destination.create_now if create else destination.put_now
        for number in range(100):
            together.wait()
            outcome = put(f"a/{number}.json", BODY)
            there = (tmp_path / f"a/{number}.json").read_bytes()
            if there != BODY:
                torn.append(len(there))
            said["delivered" if isinstance(outcome, Delivered) else str(outcome)] += 1

    threads = [threading.Thread(target=write, args=(folder(tmp_path),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not torn
    if create:  # one of them is first
        assert said.pop("delivered") == 100 and all("File exists" in reason for reason in said), said
    else:
        assert said == {"delivered": 200}
    assert files(tmp_path) == sorted(f"{number}.json" for number in range(100))


def test_one_that_is_writing_is_not_disturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[Path] = []
    replace = Path.replace

    def noted(self: Path, target: Path) -> Path:
        names.append(self)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    destination = folder(tmp_path)
    assert isinstance(destination.put_now("1.json", BODY), Delivered)
    with names[0].open("wb") as other:
        fcntl.flock(other.fileno(), fcntl.LOCK_EX)
        other.write(b"half")
        other.flush()
        assert isinstance(destination.put_now("1.json", BODY), Delivered)
        assert names[1] != names[0] and names[0].read_bytes() == b"half"
    # it was killed: what it has left is overwritten
    assert isinstance(destination.put_now("1.json", b"{}"), Delivered)
    assert names[2] == names[0]
    assert (tmp_path / "1.json").read_bytes() == b"{}" and files(tmp_path) == ["1.json"]


def test_file_systems_without_locks_are_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(file_module.fcntl, "flock", none)
    assert isinstance(folder(tmp_path).put_now("1.json", BODY), Delivered)
    assert (tmp_path / "1.json").read_bytes() == BODY and files(tmp_path) == ["1.json"]
