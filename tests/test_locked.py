"""What is locked is what is tested, and what is deployed starts with it."""

from __future__ import annotations

import concurrent.futures
import json
import re
import subprocess
from importlib.metadata import version

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
