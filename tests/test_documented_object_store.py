"""`docs/writing-an-object-store.md`, followed: its files make a package that installs, is found, and passes the contract."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .test_documented_plug_in import FILE

PAGE = Path(__file__).parent.parent / "docs" / "writing-an-object-store.md"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files, in a folder."""
    folder = tmp_path_factory.mktemp("vault")
    for name, text in FILE.findall(PAGE.read_text()):
        (folder / name).write_text(text)
    return folder


def test_the_page_has_every_file_and_no_block_beside_them(package: Path) -> None:
    assert sorted(path.name for path in package.iterdir()) == ["acme_vault.py", "pyproject.toml", "test_acme.py"]
    assert PAGE.read_text().count("```") == 2 * 3


@pytest.mark.servers
@pytest.mark.thorough
def test_its_suite_passes(package: Path, tmp_path: Path) -> None:
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
               "--disable-pip-version-check", "--target", str(tmp_path), str(package)]  # fmt: skip
    subprocess.run(install, check=True, timeout=120)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "test_acme.py"],
        check=False, cwd=package, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4_000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) >= 10
