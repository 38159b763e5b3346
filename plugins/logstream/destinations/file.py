"""`file`: a folder of this machine, or one that is mounted on every worker."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

from pydantic import Field, field_validator

from logstream.datasets import DataSet
from logstream.destinations.base import Step
from logstream.destinations.object_options import ObjectOptions
from logstream.destinations.objects import ObjectDestination, ReadError, TooLarge
from logstream.destinations.outcome import Delivered, GiveUp, Outcome, Retry
from logstream.embedded import home
from logstream.errors import InputError

ROOTS = "LOGSTREAM_FILE_ROOTS"
"""Names the folders below which `file` destinations may write, separated by colons."""


def allowed_roots() -> list[Path]:
    """Those folders; where the operator names none, `LOGSTREAM_HOME` and the working folder, unless that is `/`: services are
    started there, and no operator has chosen it."""
    named = [Path(text).resolve() for text in os.environ.get(ROOTS, "").split(":") if text]
    working = Path().resolve()
    return named or [home().resolve(), *([working] if working != working.parent else [])]


def why_not_allowed(path: str) -> str | None:
    """The folder, and which are allowed where this runs, if it is none of those."""
    # resolved: a link must not lead out of what is allowed
    folder, allowed = Path(path).resolve(), allowed_roots()
    if any(folder.is_relative_to(root) for root in allowed):
        return None
    return f"{path}: an operator can allow a folder above it with {ROOTS}; allowed are {', '.join(map(str, allowed))}"


_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ESTALE}


_NO_FILE = {errno.ELOOP, errno.ENXIO}
"""What opening a link that is not followed, and a socket, ends with."""

FOLDER_TRIES = 10
"""How often a folder is made again that another has removed meanwhile."""


class FileOptions(ObjectOptions):
    """Options of `file`."""

    manifests: bool = Field(
        default=False,
        strict=True,
        description="Put each delivery's manifest beside the data, below `_manifests/`. Left out, it is in the ledger only: who "
        "reads a folder seldom expects anything but events.",
    )
    path: str = Field(
        min_length=1,
        description="The folder, from the root on. It is made if it is not there. It must be below a folder that the operator "
        f"allows ({ROOTS}).",
        examples=["/srv/audit"],
    )

    @field_validator("path")
    @classmethod
    def _is_absolute(cls, path: str) -> str:
        if "\0" in path or not Path(path).is_absolute():
            raise ValueError("it must be a whole path, from / on, without NUL")
        return path


def _without_waiting(path: str, flags: int) -> int:
    """Open what may be a pipe: who opens one waits for another who writes, and none may come."""
    return os.open(path, flags | os.O_NONBLOCK)


class FileDestination(ObjectDestination[FileOptions]):
    """Files in a folder, each written whole: to a temporary name, then moved into place."""

    type = "file"
    title = "Folder"
    options_model = FileOptions

    @property
    def place(self) -> str:
        """The folder."""
        return str(Path(self.options.path).absolute())

    place_option = "path"

    def data_set(self) -> DataSet:
        """The folder."""
        return DataSet("file", self.place)

    @property
    def container(self) -> tuple[str, str]:
        """The file system: folders may lie in one another, and links lead from one to another."""
        return self.type, ""

    @property
    def root(self) -> str:
        """The folder, as it is found where this runs."""
        return f"{str(Path(self.options.path).resolve()).rstrip('/')}/"

    async def open(self) -> None:
        """See that the operator allows the folder. Raises `InputError`."""
        refused = await asyncio.to_thread(why_not_allowed, self.options.path)
        if refused is not None:
            raise InputError(f"destination {self.name} may not write to {refused}")
        await super().open()

    def put_now(self, key: str, body: bytes, media_type: str | None = None) -> Outcome:
        """Write one file so that a reader sees all of it or nothing."""
        return self._write(key, body, Path.replace)

    def create_now(self, key: str, body: bytes, media_type: str | None = None) -> Outcome:
        """The same where no file is."""
        return self._write(key, body, _link)

    def _write(self, key: str, body: bytes, move: Callable[[Path, Path], object]) -> Outcome:
        target = Path(self.options.path) / key
        try:
            # the same name whenever it is tried: what a killed worker left is overwritten, not littered
            temporary = target.with_name(f".part-{hashlib.sha256(target.name.encode()).hexdigest()[:24]}")
            with _in_its_folder(temporary) as file:
                temporary = Path(file.name)
                try:
                    file.truncate()
                    file.write(body)
                    file.flush()
                    os.fsync(file.fileno())
                    os.fchmod(file.fileno(), 0o644)
                    move(temporary, target)
                except BaseException:
                    temporary.unlink(missing_ok=True)
                    raise
        except OSError as error:
            reason = f"{target}: {error.strerror}"
            if error.errno in _PASSING:
                return Retry(reason)
            return GiveUp(f"{reason}; correct `path` or its permissions")
        return Delivered()

    def absent_now(self, key: str) -> bool:
        """Whether there is no such file."""
        try:
            return not os.path.lexists(Path(self.options.path) / key)
        except (OSError, ValueError):
            return False

    async def get(self, key: str) -> bytes:
        """Read one file."""
        return await self._read(key, None)

    async def get_within(self, key: str, most: int) -> bytes:
        """Read one file, if it has no more than so many bytes."""
        return await self._read(key, most)

    async def _read(self, key: str, most: int | None) -> bytes:
        target = Path(self.options.path) / key

        def read() -> bytes:
            with open(target, "rb", opener=_without_waiting) as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode):
                    raise ReadError(f"{target} cannot be read: it is no regular file")
                if most is not None and found.st_size > most:
                    raise TooLarge(key, most)
                return file.read(found.st_size)

        try:
            return await asyncio.to_thread(read)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ReadError(f"{target} cannot be read: {error.strerror}") from None

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        """The files below a folder."""
        root = Path(self.options.path)
        for folder, _, names in await asyncio.to_thread(lambda: list(os.walk(root / prefix))):
            for name in names:
                yield (Path(folder) / name).relative_to(root).as_posix()

    async def delete(self, key: str) -> None:
        """Remove the file, and the folder `check` made for it if it is empty."""
        target = Path(self.options.path) / key
        await asyncio.to_thread(target.unlink)
        try:
            await asyncio.to_thread(target.parent.rmdir)
        except OSError:
            return

    async def check(self) -> AsyncIterator[Step]:
        """Write and remove a file."""
        async for step in self.check_writing(f"Give this user the right to write to {self.options.path}"):
            yield step


def _in_its_folder(temporary: Path) -> BinaryIO:
    """A file to write to, in a folder that is made if it is not there. Others remove it with the last file in it (`delete`), and
    that may be now: what is in a folder holds it."""
    left = FOLDER_TRIES
    while True:
        left -= 1
        try:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            return _ours_alone(temporary)
        except (FileNotFoundError, FileExistsError):
            if not left:
                raise


def _ours_alone(temporary: Path) -> BinaryIO:
    """A file to write to, at that path, or beside it while another run writes there: it may be at the same object.

    The system drops the lock of a process that ends. On a file system without locks we assume one writer. We write to nothing
    but a regular file with one name, and remove what else is at that path: an attacker's link leads elsewhere, and a worker that
    was killed in `_link` leaves a second name of an object that is in its place.
    """
    while True:
        try:
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            return _beside(temporary, instead=True)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return _beside(temporary, instead=True)
        file = open(temporary, "r+b", opener=lambda *_, found=descriptor: found)  # noqa: SIM115 - who asked for it closes it
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there = temporary.lstat()
        except BlockingIOError:
            file.close()
            return _beside(temporary)
        except FileNotFoundError:
            there = None
        except OSError:
            there = os.fstat(descriptor)
        # by now another may have moved what was opened to its place, where it must not be touched
        if there is not None and os.path.samestat(there, os.fstat(descriptor)):
            if there.st_nlink <= 1:
                return file
            file.close()
            return _beside(temporary, instead=True)
        file.close()


def _beside(temporary: Path, *, instead: bool = False) -> BinaryIO:
    """A file of a name that no other has; with `instead`, what is at the usual one is taken away."""
    if instead:
        temporary.unlink(missing_ok=True)
    return temporary.with_name(f"{temporary.name}-{secrets.token_hex(4)}").open("xb")


def _link(temporary: Path, target: Path) -> None:
    """Move a file to a name that is not taken. Raises `FileExistsError`."""
    try:
        target.hardlink_to(temporary)
    except FileExistsError:
        raise
    except OSError:  # mounted file systems without links
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        temporary.replace(target)
    else:
        temporary.unlink()
