"""Two runs that write the same object of a folder at once: one has taken over, and the other does not know it yet.

And what others have left, or put, where a file is written.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from logstream.airflow.connections import AirflowConnections
from logstream.destinations import file as file_module
from logstream.destinations.file import FileDestination
from logstream.destinations.outcome import Delivered, GiveUp, Retry
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


def part_of(target: Path) -> Path:
    """The temporary name of a file."""
    return target.with_name(f".part-{hashlib.sha256(target.name.encode()).hexdigest()[:24]}")


def left_by_one_killed_in_link(path: Path, name: str) -> Path:
    """An object that has its temporary name, too: who made it was killed between the two steps of `_link`."""
    (path / name).write_bytes(b"it is there")
    part_of(path / name).hardlink_to(path / name)
    return path / name


def test_one_that_was_killed_has_left_a_second_name_of_an_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = left_by_one_killed_in_link(tmp_path, "1.json")
    assert not isinstance(folder(tmp_path).create_now("1.json", b"another"), Delivered)
    assert there.read_bytes() == b"it is there" and files(tmp_path) == ["1.json"]
    left_by_one_killed_in_link(tmp_path, "2.json")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(file_module.os, "fsync", full)
        assert isinstance(folder(tmp_path).put_now("2.json", b"another"), Retry)
    assert (tmp_path / "2.json").read_bytes() == b"it is there"
    left_by_one_killed_in_link(tmp_path, "3.json")
    assert isinstance(folder(tmp_path).put_now("3.json", b"another"), Delivered)
    assert (tmp_path / "3.json").read_bytes() == b"another"
    assert files(tmp_path) == ["1.json", "2.json", "3.json"]


@pytest.mark.parametrize("there", ["link", "link to nothing", "pipe", "socket"])
def test_what_others_have_put_at_the_temporary_name_is_not_written_to(tmp_path: Path, there: str) -> None:
    """Who may write to one customer's folder must not have us write elsewhere, and a pipe stops nothing."""
    out, precious = tmp_path / "out", tmp_path / "precious"
    out.mkdir()
    part = part_of(out / "1.json")
    if there == "pipe":
        os.mkfifo(part)
    elif there == "socket":
        os.mknod(part, stat.S_IFSOCK | 0o600)
    else:
        if there == "link":
            precious.write_text("it stays")
        part.symlink_to(precious)
    assert isinstance(folder(out).put_now("1.json", BODY), Delivered)
    assert (out / "1.json").read_bytes() == BODY and not (out / "1.json").is_symlink()
    assert not precious.exists() if there != "link" else precious.read_text() == "it stays"
    assert files(out) == ["1.json"]


def test_a_folder_that_another_removes_with_its_last_file_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`check`, and the removal of what is superseded, remove a folder that is empty: it may have been made just now."""
    destination, made = folder(tmp_path), Path.mkdir
    left = 2

    def removed(self: Path, *arguments: Any, **options: Any) -> None:
        nonlocal left
        made(self, *arguments, **options)
        if left:
            left -= 1
            self.rmdir()

    monkeypatch.setattr(Path, "mkdir", removed)
    assert isinstance(destination.put_now("a/1.json", BODY), Delivered)
    assert left == 0 and (tmp_path / "a/1.json").read_bytes() == BODY
    # what is no folder stays none
    outcome = destination.put_now("a/1.json/2.json", BODY)
    assert isinstance(outcome, GiveUp) and "correct `path`" in outcome.reason
