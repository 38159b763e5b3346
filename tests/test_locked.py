"""What is locked is what is tested, and what is deployed starts with it."""

from __future__ import annotations

import concurrent.futures
import json
import re
import shlex
from importlib.metadata import version

import pytest

from .compose import AIRFLOWS, compose_environment
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


@pytest.mark.parametrize("name", EXECUTORS)
def test_every_executor_that_we_name_can_be_imported(name: str, production: Production) -> None:
    program = (
        "from airflow.executors.executor_loader import ExecutorLoader\n"
        "print(ExecutorLoader.import_default_executor_cls()[0].__name__)"
    )
    done = production.run("python", "-c", program, environment={"AIRFLOW__CORE__EXECUTOR": name})
    assert done.stdout.split()[-1] == name


START = """
import json, sys
from airflow._shared.module_loading import import_string
from airflow.api_fastapi.app import get_auth_manager_cls
from airflow.cli import cli_config
from airflow.executors.executor_loader import ExecutorLoader
from airflow.providers_manager import ProvidersManager

commands = []
def imported_and_not_run(path):
    commands.append(import_string(path).__name__)
    return lambda *_, **__: None
cli_config.import_string = imported_and_not_run

from airflow.cli.cli_parser import get_parser  # loads the commands of every provider

arguments = get_parser().parse_args(sys.argv[1:])
arguments.func(arguments)
executor, _ = ExecutorLoader.import_default_executor_cls()
databases = [import_string(path).__name__ for path in ProvidersManager().db_managers]
print(json.dumps({
    "command": commands, "executor": executor.__name__,
    "auth": get_auth_manager_cls().__name__, "databases": databases,
}))
"""
"""What a process of Airflow loads before it does anything: its command, the executor, who may log in, the migrations."""


@pytest.mark.parametrize("name", [name for name, service in AIRFLOWS.items() if "command" in service])
def test_every_process_of_the_compose_file_starts_with_what_is_locked(name: str, production: Production) -> None:
    service = AIRFLOWS[name]
    environment = compose_environment(service)
    done = production.run("python", "-c", START, *shlex.split(service["command"]), environment=environment)
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["command"]) == 1, found
    assert found["executor"] == environment["AIRFLOW__CORE__EXECUTOR"]
    assert environment["AIRFLOW__CORE__AUTH_MANAGER"].endswith(f".{found['auth']}")
    assert "FABDBManager" in found["databases"]


def test_the_workers_health_check_finds_celerys_application(production: Production) -> None:
    worker = AIRFLOWS["airflow-worker"]
    words = shlex.split(worker["healthcheck"]["test"][1])
    application = words[words.index("--app") + 1]
    program = (
        "import sys; from celery.app.utils import find_app\n"
        "app = find_app(sys.argv[1]); app.finalize()\n"
        "print(app.conf.broker_url, *sorted(name for name in app.tasks if not name.startswith('celery.')))"
    )
    environment = compose_environment(worker)
    broker, *tasks = production.run("python", "-c", program, application, environment=environment).stdout.split()
    assert broker == environment["AIRFLOW__CELERY__BROKER_URL"]
    assert tasks, "a worker without Airflow's task would take nothing"
