"""`docs/writing-a-destination.md`, followed: its files make a package that installs, is found, and passes the contract."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.timeout(900)
def test_its_suite_passes(package: Path, installed: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "test_acme.py"]
    done = subprocess.run(command, check=False, cwd=package, env=installed, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout[-4_000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) >= 35
