"""What is locked is what is tested, and what is deployed starts with it."""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from .production import Production, locked
from .stage import PROJECT

TEXTS = ("docker-compose.yml", "*.md", "docs/**/*.md", "deploy/*", "benchmarks/*.md", "include/demo/*", ".ci/*")
CODE = ("plugins/**/*.py", "dags/*.py", "benchmarks/*.py", "tests/*.py")


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Production:
    return Production(tmp_path_factory.mktemp("production"))


def test_what_is_locked_is_what_is_tested() -> None:
    pins = locked()
    assert len(pins) > 200
    assert {name: version(name) for name in pins} == pins


PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


def test_the_pythons_are_those_that_the_readme_names() -> None:
    assert f"Python {PYTHONS[0]} to {PYTHONS[-1]} " in (PROJECT / "README.md").read_text()


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_what_is_locked_has_a_wheel_for_each_python(python: str, lock: str, tmp_path: Path) -> None:
    """`make setup` compiles nothing: a machine need not have a compiler."""
    done = subprocess.run(
        [Path(sys.executable).parent / "uv", "pip", "install", "--dry-run", "--no-deps", "--only-binary", ":all:",
         "--python-version", python, "--target", tmp_path, "--requirement", PROJECT / lock],
        env={"UV_SYSTEM_CERTS": "true", "UV_NATIVE_TLS": "true", **os.environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def named_executors() -> list[str]:
    """Each of Airflow's executors that a file of ours names: in words, or as a process's configuration."""
    found: set[str] = set()
    for patterns, expression in ((TEXTS, r"\b([A-Z][a-z]\w*Executor)\b"), (CODE, r'CORE__EXECUTOR"?[:=] ?"(\w+)')):
        for path in (path for pattern in patterns for path in PROJECT.glob(pattern) if path.is_file()):
            found |= set(re.findall(expression, path.read_text()))
    return sorted(name for name in found if not hasattr(concurrent.futures, name))


EXECUTORS = named_executors()


def test_executors_are_named() -> None:
    assert set(EXECUTORS) >= {"CeleryExecutor", "LocalExecutor"}


IMPORTING = """
import json, os, sys
from airflow.executors.executor_loader import ExecutorLoader

for name in json.loads(sys.argv[1]):
    # each in a process of its own: another's import must not help it
    if os.fork() == 0:
        os.environ["AIRFLOW__CORE__EXECUTOR"] = name
        print(name, ExecutorLoader.import_default_executor_cls()[0].__name__)
        sys.exit()
    os.wait()
"""


@pytest.fixture(scope="module")
def imported(production: Production) -> subprocess.CompletedProcess[str]:
    """What production's Airflow says of the class that it imports for each of the executors."""
    return production.run("python", "-c", IMPORTING, json.dumps(EXECUTORS))


@pytest.mark.thorough
@pytest.mark.parametrize("name", EXECUTORS)
def test_every_executor_that_we_name_can_be_imported(name: str, imported: subprocess.CompletedProcess[str]) -> None:
    assert f"{name} {name}" in imported.stdout.splitlines(), imported.stderr
