"""Real servers for all tests, each started once, when the first test asks for it."""

from __future__ import annotations

import atexit
import functools
import gc
import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from logstream.testing.postgres import memory_folder, new_database, quick_folder, quick_postgres

# before anything of Airflow is imported: its home, quiet logs, and loopback destinations
_HOME = quick_folder("logstream-tests-")
# the process that only hands tests to others has an empty one
atexit.register(lambda: _HOME.exists() and not any(_HOME.iterdir()) and _HOME.rmdir())
# what exports write is synced, which on a disk took a quarter of the processor's time of the tests that export to folders
if (_memory := memory_folder()) is not None:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_memory))
os.environ["LOGSTREAM_HOME"] = str(_HOME)
os.environ["AIRFLOW_HOME"] = str(_HOME / "airflow-home")
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
os.environ["LOGSTREAM_ALLOW_PRIVATE_ADDRESSES"] = "1"
os.environ["LOGSTREAM_FILE_ROOTS"] = "/"
for _name in ("LOGSTREAM_DSN", "LOGSTREAM_CONTROL_DSN"):
    os.environ.pop(_name, None)

from hypothesis import settings  # noqa: E402

from logstream.cli import main  # noqa: E402
from logstream.control.engine import open_control  # noqa: E402
from logstream.database import connect  # noqa: E402
from logstream.ledger import leases  # noqa: E402
from logstream.store.schema import create_tables  # noqa: E402
from logstream.testing.servers import AzuriteServer, GcsServer, LogSink, S3rver, S3Server  # noqa: E402
from logstream.testing.statements import share_statements  # noqa: E402

from .certificates import Certificate  # noqa: E402
from .databases import older_postgres  # noqa: E402
from .real_stores import SeaweedServer  # noqa: E402
from .stage import PROJECT, Stage, airflow_stage  # noqa: E402, F401
from .ways import PLACE, Nginx, nginx  # noqa: E402

share_statements()

# the same ones in each run; LOGSTREAM_EXAMPLES=2000 tries more
_EXAMPLES = int(os.environ.get("LOGSTREAM_EXAMPLES", "100"))
settings.register_profile("logstream", deadline=None, max_examples=_EXAMPLES, derandomize=True, print_blob=True)
settings.load_profile("logstream")


@pytest.fixture(scope="session", autouse=True)
def _home() -> Iterator[Path]:
    yield _HOME
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_of_wheel() -> Iterator[str]:
    """The DSN of the embedded PostgreSQL, the newest there is, set to know two-phase commit."""
    with quick_postgres(_HOME / "postgres") as dsn:
        yield dsn


@pytest.fixture(scope="session")
def postgres(postgres_of_wheel: str) -> str:
    """The DSN of a PostgreSQL server that knows two-phase commit."""
    return postgres_of_wheel


@pytest.fixture(scope="session")
def postgres_of_debian() -> Iterator[str]:
    """The DSN of the oldest PostgreSQL that can be had everywhere: Debian's 15."""
    with older_postgres() as dsn:
        yield dsn


_numbers = itertools.count(1)


@functools.cache
def _with_control(postgres: str) -> str:
    """The name of a database of a server that has the control schema: copied, it saves each test all migrations."""
    name = "control_template"
    with connect(postgres) as connection:
        connection.execute(f"create database {name}")
    open_control(make_conninfo(postgres, dbname=name)).dispose()
    return name


@functools.cache
def _with_store(postgres: str) -> str:
    """The same, with the tables of a log store, too."""
    name = "store_template"
    with connect(postgres) as connection:
        connection.execute(f"create database {name} template {_with_control(postgres)}")
    with connect(make_conninfo(postgres, dbname=name)) as connection:
        create_tables(connection)
    return name


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """The DSN of a database with nothing in it."""
    with new_database(postgres) as dsn:
        yield dsn


@pytest.fixture
def database(postgres: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The DSN of a database with the control schema, and nothing in it; with empty tables of a log store for tests that have one."""
    template = _with_store if "store" in request.fixturenames else _with_control
    with new_database(postgres, template(postgres)) as dsn:
        yield dsn


@pytest.fixture
def store(database: str) -> Iterator[psycopg.Connection]:
    """A connection to a log store with its tables."""
    with connect(database) as connection:
        if connection.execute("select to_regclass('events')").fetchone() == (None,):
            create_tables(connection)  # a module has a `database` of its own
        yield connection


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """moto's S3 server."""
    with S3Server(_HOME / "s3.log") as server:
        yield server


@pytest.fixture(scope="session")
def s3rver() -> Iterator[S3rver]:
    """A second S3 server, by other people."""
    with S3rver(_HOME / "s3rver", _HOME / "s3rver.log") as server:
        yield server


@pytest.fixture(scope="session")
def seaweed() -> Iterator[SeaweedServer]:
    """SeaweedFS, an S3 server that people run."""
    with SeaweedServer(_HOME / "seaweed", _HOME / "seaweed.log") as server:
        yield server


@pytest.fixture(scope="session")
def azurite() -> Iterator[AzuriteServer]:
    """Azurite. Where Node.js is missing this fails: the tests are of all destinations or they are red."""
    with AzuriteServer(_HOME / "azurite", _HOME / "azurite.log") as server:
        yield server


@pytest.fixture(scope="session")
def gcs() -> Iterator[GcsServer]:
    """A GCS emulator."""
    with GcsServer(_HOME / "gcs.log") as server:
        yield server


@pytest.fixture
def sink() -> Iterator[LogSink]:
    """A strict HTTP log service of the test's own."""
    with LogSink() as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """A new bucket."""
    name = f"bucket-{next(_numbers)}"
    s3.make_bucket(name)
    return name


@pytest.fixture(scope="session")
def http_sink() -> Iterator[LogSink]:
    """An HTTP log service that stays while others come and go before it."""
    with LogSink() as server:
        yield server


@pytest.fixture(scope="session")
def servers(s3: S3Server, azurite: AzuriteServer, gcs: GcsServer, http_sink: LogSink) -> dict[str, int]:
    """The ports of real servers by type, each with a place to put objects: made once, whichever modules a worker is given."""
    s3.make_bucket(PLACE)
    azurite.make_container(PLACE)
    gcs.make_bucket(PLACE)
    return {"s3": s3.port, "azure_blob": azurite.port, "gcs": gcs.port, "http": http_sink.port}


@pytest.fixture(scope="session")
def authority() -> Certificate:
    """An authority that no machine knows."""
    return Certificate.authority()


@pytest.fixture(scope="session")
def secure(servers: dict[str, int], authority: Certificate) -> Iterator[Nginx]:
    """`servers` behind TLS, by that authority."""
    with nginx(authority.sign(), list(servers.values())) as found:
        yield found


_stage = ExitStack()


@pytest.fixture(scope="session")
def stage(postgres: str, s3: S3Server) -> Iterator[Stage]:
    """A real Airflow. The tests that use it run on one worker, one after the other."""
    with _stage:
        yield _stage.enter_context(airflow_stage(postgres, s3, _HOME / "stage"))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Airflow ends with the last test that uses it: its processes have something to do even when there is nothing to do."""
    one_after_another = hasattr(item.config, "workerinput")  # by the scheduling below
    if one_after_another and (nextitem is None or not _uses_airflow(nextitem.nodeid)):
        _stage.close()


AIRFLOW_MODULES = ("test_airflow.py", "test_away.py", "tests/browser/")


def _uses_airflow(nodeid: str) -> bool:
    return any(name in nodeid for name in AIRFLOW_MODULES)


collect_ignore = (
    [] if os.environ.get("LOGSTREAM_SOAK") else ["test_away.py", "test_airflow_fails.py", "test_scale_out.py"]
)
"""What only `make soak` runs."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Divide the tests among workers by module or class, all that use Airflow on one of them."""
    from xdist.scheduler import LoadScopeScheduling

    class ByServers(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return "airflow" if _uses_airflow(nodeid) else str(super()._split_scope(nodeid))

    return ByServers(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What was imported stays: looking through it for garbage, again and again, took a fifth of all tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(autouse=True)
def _short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process' lanes are free again soon: many tests kill."""
    monkeypatch.setattr(leases, "LEASE_SECONDS", 2.0)
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.5)


@pytest.fixture(autouse=True)
def _no_airflow_of_another_test() -> Iterator[None]:
    """A command beside an Airflow takes that one's database for the keeper of connections, for as long as the process lives."""
    yield
    os.environ.pop("_AIRFLOW_PROCESS_CONTEXT", None)


SERVERS = {
    "postgres", "postgres_of_wheel", "postgres_of_debian", "store", "s3", "s3rver", "seaweed", "azurite", "gcs", "servers", "secure",
    "production", "image", "installed", "promtool",
}  # fmt: skip
"""Fixtures that start servers, or install packages."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with such a fixture are no unit tests."""
    for item in items:
        if SERVERS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("servers")


Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Runs the `logstream` command in this process, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        words = list(map(str, arguments))
        capfd.readouterr()
        with monkeypatch.context() as patch:
            for name, value in (environment or {}).items():
                patch.setenv(name, value)
            try:
                code = main(words)
            except SystemExit as end:
                code = int(end.code or 0)
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(words, code, out, err)

    return run


@pytest.fixture
def command(tmp_path: Path) -> Cli:
    """Runs the installed `logstream` command as a process, in a folder of the test's own."""

    def run(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(Path(sys.executable).parent / "logstream"), *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return done

    return run


def one_error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The `error: ...` line of a command that failed with 2; there must be just one line."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert re.match(r"error: \S", lines[0]), lines
    return lines[0]
