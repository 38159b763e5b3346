"""`docs/writing-a-destination.md`, followed: its files make a package that installs, is found, and passes the contract."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from logstream.destinations.base import Destination, Step
from logstream.destinations.object_options import ObjectOptions, Packaging
from logstream.destinations.object_store import ObjectStoreDestination
from logstream.destinations.objects import ObjectDestination
from logstream.destinations.outcome import Delivered, Outcome
from logstream.destinations.request import RequestDestination
from logstream.destinations.transport.secrets import Secrets
from logstream.testing import contract
from logstream.testing.contract import small_parcels
from logstream.testing.vendors import Vendor

PAGE = Path(__file__).parent.parent / "docs" / "writing-a-destination.md"
FILE = re.compile(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files, in a folder."""
    folder = tmp_path_factory.mktemp("acme")
    for name, text in FILE.findall(PAGE.read_text()):
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def installed(package: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the package is installed, into a folder of its own."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
               "--disable-pip-version-check", "--target", str(target), str(package)]  # fmt: skip
    subprocess.run(command, check=True, timeout=120)
    path = os.pathsep.join([str(target), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


def test_the_page_has_every_file_and_no_block_beside_them(package: Path) -> None:
    assert sorted(path.name for path in package.iterdir()) == ["acme_logstream.py", "pyproject.toml", "test_acme.py"]
    assert PAGE.read_text().count("```") == 2 * 3
    assert len((package / "acme_logstream.py").read_text().splitlines()) <= 100


def test_its_options_are_checked_and_its_form_is_drawn(installed: dict[str, str]) -> None:
    program = (
        "from logstream.console.forms import fields_of\n"
        "from logstream.destinations import check_options, destination_types\n"
        "kind = destination_types()['acme']\n"
        "seen, more = fields_of(kind.options_model, {})\n"
        "print(kind.title, [field.name for field in seen], check_options('acme', {'connection': 'c', 'stream': 'A'})[0][0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=installed, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "Acme logs ['connection', 'stream', 'compression'] ('stream',)"


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_its_suite_passes(package: Path, installed: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "test_acme.py"]
    done = subprocess.run(command, check=False, cwd=package, env=installed, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout[-4_000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) >= 35


class Shelf(ObjectDestination[ObjectOptions]):
    """What the page says that a destination of objects gives, and no more."""

    type = "shelf"
    title = "A shelf"
    options_model = ObjectOptions

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.kept: dict[str, bytes] = {}

    def put_now(self, key: str, body: bytes, media_type: str | None = None) -> Outcome:
        self.kept[key] = body
        return Delivered()

    async def get(self, key: str) -> bytes:
        if key not in self.kept:
            raise FileNotFoundError(key)
        return self.kept[key]

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        for key in sorted(self.kept):
            if key.startswith(prefix):
                yield key

    async def delete(self, key: str) -> None:
        del self.kept[key]

    async def check(self) -> AsyncIterator[Step]:
        async for step in self.check_writing("Make room on the shelf"):
            yield step


def test_what_the_page_says_of_objects_is_what_a_class_must_give() -> None:
    text = re.sub(r" \(it blocks: threads call it\)", "", PAGE.read_text())
    (own,) = re.findall(r"`ObjectDestination` and gives (.*?), whose last", text, re.DOTALL)
    (store,) = re.findall(r"`ObjectStoreDestination` and gives (.*?) \(what", text, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", own)) == set(ObjectDestination.__abstractmethods__)
    assert set(re.findall(r"`(\w+)`", store)) == set(ObjectStoreDestination.__abstractmethods__)


@pytest.mark.parametrize("packaging", list(Packaging))
def test_a_class_that_gives_that_alone_keeps_objects(packaging: Packaging) -> None:
    shelf = Shelf("d", ObjectOptions(packaging=packaging), None)  # type: ignore[arg-type]

    async def once() -> None:
        assert [step.ok async for step in shelf.run_check()] == [True, True, True]
        await shelf.start()
        for parcel in small_parcels(shelf, 5):
            assert await shelf.deliver(parcel) == Delivered()
        keys = [key async for key in shelf.listed("")]
        assert len(keys) == (5 if packaging is Packaging.FILE else 1)
        assert all([await shelf.fetch(key) for key in keys])
        await shelf.close()

    asyncio.run(once())


def test_every_name_on_the_page_is_one_of_ours() -> None:
    """Of those that are written like Python's: methods, classes, and what is called with something."""
    known = {name for owner in (Destination, RequestDestination, ObjectDestination, ObjectStoreDestination, Secrets, Vendor, contract)
             for name in dir(owner)}  # fmt: skip
    words = re.sub(r"```.*?```", "", PAGE.read_text(), flags=re.DOTALL)
    called = set(re.findall(r"`self\.(?:secrets\.)?(\w+)\(", words))
    assert called == {"way", "excerpt", "add"} <= known
    named = {
        "entry",
        "encode",
        "limits",
        "accepted",
        "read",
        "put_now",
        "check_writing",
        "causes",
        "passing",
        "make_store",
    }
    assert named <= set(re.findall(r"`(\w+)`", words)) and named <= known
    assert {"RequestContract", "LimitsBytes", "RefusesSingleEvents"} <= set(re.findall(r"`(\w+)`", words)) & known
    assert "chosen" in inspect.signature(ObjectStoreDestination.way).parameters
