"""Rules of the repository itself: what deployments, newcomers and plug-ins rely on."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml

from logstream.destinations.documentation import with_options
from logstream.destinations.registry import GROUP, built_in, destination_types
from logstream.rendering import compile_template
from logstream.rendering.preview import preview
from logstream.settings.document import read_document
from logstream.validation import validate_settings

from .conftest import PROJECT, Cli

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
COMPOSE = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
MAKEFILE = (PROJECT / "Makefile").read_text()
COMPOSE_RUN = re.compile(r"docker compose run --rm (?:-T )?(\S+) ([^;<`\n]+)")


def test_built_in_destinations_are_the_entry_points() -> None:
    installed = {point.name: point.value for point in distribution("logstream").entry_points if point.group == GROUP}
    assert installed == built_in()
    assert set(destination_types()) >= set(built_in())


def test_a_deployment_that_copies_plugins_and_installs_nothing_has_all_types() -> None:
    program = (
        "import importlib.metadata\n"
        "importlib.metadata.entry_points = lambda **_: []\n"
        "from logstream.destinations import destination_types\n"
        "print(*sorted(destination_types()))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "plugins")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == sorted(built_in())


@pytest.mark.parametrize("path", sorted((PROJECT / "dags").glob("*.py")), ids=lambda path: path.name)
def test_dags_hold_no_logic(path: Path) -> None:
    tree = ast.parse(path.read_text())
    logic = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.If, ast.For, ast.While, ast.Try)
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, logic)] == []


def test_airflow_loads_only_the_plugin_module() -> None:
    """Airflow executes every module it finds there as a top-level one: our `http.py` would replace the library's."""
    program = (
        "import sys; from airflow._shared.module_loading.file_discovery import find_path_from_directory as find;"
        "print(*find(sys.argv[1], '.airflowignore', 'glob'))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(PROJECT / "plugins")],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    found = {Path(name).name for name in done.stdout.split() if name.endswith(".py")}
    assert found == {"plugin.py"}


@pytest.mark.parametrize(("folder", "installed"), [("plugins", True), ("plugins", False), ("nowhere", True)])
def test_airflow_finds_the_plugin_once(folder: str, installed: bool, tmp_path: Path) -> None:
    """Installed, copied into Airflow's plugins folder, or both."""
    program = (
        "import importlib.metadata, sys\n"
        "try:\n    import importlib_metadata as backport\n"
        "except ImportError:\n    backport = importlib.metadata\n"
        "def hide(module):\n"  # Airflow reads the backport, on some Pythons
        "    every, points = module.distributions, module.entry_points\n"
        "    module.distributions = lambda **k: (found for found in every(**k) if found.name != 'logstream')\n"
        "    module.entry_points = lambda **k: [found for found in points(**k) if found.name != 'logstream']\n"
        "if sys.argv[1] == 'False':\n"
        "    hide(importlib.metadata); hide(backport)\n"
        "from airflow.plugins_manager import _get_plugins\n"
        "plugins, errors = _get_plugins()\n"
        "print([plugin.name for plugin in plugins].count('logstream'), errors, file=sys.stderr)\n"
        "print('logstream.console.app' in sys.modules, file=sys.stderr)\n"
    )
    environment = {"AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / folder), "AIRFLOW_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(installed)],
        capture_output=True, text=True, check=True, timeout=120, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.stderr.splitlines()[-2:] == ["1 {}", "False"], "and only the api-server imports the console"


def test_the_core_imports_no_airflow() -> None:
    core = "logstream.export.exporter logstream.rendering logstream.control.engine logstream.testing.servers"
    program = "import sys\n" + "\n".join(f"import {name}" for name in core.split())
    program += "\nprint([name for name in sys.modules if name.split('.')[0] == 'airflow'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", sorted((PROJECT / "include/templates").glob("*.json")), ids=lambda path: path.stem)
def test_templates_render_every_kind(path: Path) -> None:
    template = path.read_text()
    compile_template(template)
    for event in ("{}", '{"id": "j-1", "context": {"user_id": 1}, "completed_at": "2026-01-01T00:00:00Z"}'):
        json.loads(preview(template, event))


def test_every_make_target_is_explained() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    explained = set(re.findall(r"^([a-z-]+):.*## \S", MAKEFILE, re.MULTILINE))
    assert targets == explained
    listed = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert all(f"make {target}" in listed for target in targets)


def test_what_is_locked_is_within_the_tested_bounds() -> None:
    from packaging.requirements import Requirement

    pins = dict(
        re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\n]+)", (PROJECT / "requirements.lock").read_text(), re.MULTILINE)
    )
    wanted = [
        Requirement(line.split("#")[0])
        for line in (PROJECT / "requirements.txt").read_text().splitlines()
        if line.split("#")[0].strip()
    ]
    for requirement in wanted:
        assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators >= {">=", "<"}, f"{requirement} has no lower or no upper bound"


def test_the_compose_file_is_valid() -> None:
    program = Path(sys.executable).parent / "check-jsonschema"
    subprocess.run(
        [str(program), "--builtin-schema", "vendor.compose-spec", str(PROJECT / "docker-compose.yml")],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip


def test_the_compose_file_runs_all_of_airflow() -> None:
    services = COMPOSE["services"]
    commands = {str(service.get("command")) for service in services.values()}
    assert commands >= {"api-server", "scheduler", "dag-processor", "triggerer", "celery worker"}
    assert {"postgres", "redis"} <= services.keys()
    for name, service in services.items():
        for other in service.get("depends_on", {}):
            assert other in services, f"{name} depends on {other}"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith((".", "/", "$")) or source in COMPOSE["volumes"], volume
    ours = [service for service in services.values() if "build" in service or "image" in service]
    assert len(ours) == len(services)


def test_the_compose_file_holds_no_password() -> None:
    """Passwords come from `.env`; compose refuses to start without them."""
    text = (PROJECT / "docker-compose.yml").read_text()
    needed = set(re.findall(r"\$\{([A-Z_]+):\?", text))
    assert {"POSTGRES_PASSWORD", "AIRFLOW_FERNET_KEY", "AIRFLOW_JWT_SECRET", "AIRFLOW_ADMIN_PASSWORD"} <= needed
    example = (PROJECT / "deploy/example.env").read_text()
    assert all(f"{name}=" in example for name in needed)


def operators_variables() -> set[str]:
    """The variables by which an operator sets Logstream up: those that the package reads."""
    sources = [path for path in (PROJECT / "plugins/logstream").rglob("*.py") if "testing" not in path.parts]
    return {name for path in sources for name in re.findall(r'"(LOGSTREAM_[A-Z_]+)"', path.read_text())}


def test_the_compose_file_hands_on_every_variable_that_is_documented() -> None:
    """Compose reads `.env` for its own use; a service gets what its `environment` names."""
    variables = operators_variables()
    documented = set(re.findall(r"LOGSTREAM_[A-Z_]+", (PROJECT / "docs/operating.md").read_text()))
    assert variables == documented
    for name, service in COMPOSE["services"].items():
        if "build" in service:
            assert variables <= service["environment"].keys(), name


def compose_commands() -> list[tuple[str, str]]:
    texts = [PROJECT / "docker-compose.yml", *documents()]
    found = {match for path in texts for match in re.findall(COMPOSE_RUN, path.read_text())}
    return sorted((service, command.strip()) for service, command in found)


def test_commands_for_the_compose_file_are_there(cli: Cli) -> None:
    """Airflow's entry point makes `airflow ...` of each command: `logstream` needs a service of its own."""
    commands = compose_commands()
    assert {service for service, _ in commands} == {"logstream", "airflow-cli"}
    for service, command in commands:
        words = command.split()
        if COMPOSE["services"][service].get("entrypoint") == ["logstream"]:
            groups = [word for word in words if re.fullmatch("[a-z]+", word)]
            assert cli(*groups, "--help").returncode == 0, command
        else:
            program = "import sys; from airflow.cli.cli_parser import get_parser; get_parser().parse_args(sys.argv[1:])"
            subprocess.run([sys.executable, "-c", program, *words], check=True, capture_output=True, timeout=60)


def test_the_image_is_made_of_files_that_are_here() -> None:
    lines = (PROJECT / "deploy/Dockerfile").read_text().splitlines()
    copied = [line.split()[1:] for line in lines if line.startswith("COPY") and "--from" not in line]
    assert copied
    for words in copied:
        for source in [word for word in words if not word.startswith("--")][:-1]:
            assert (PROJECT / source).exists(), source
    (image,) = {line.split()[1] for line in lines if line.startswith("FROM")}
    pinned = re.search(r"^apache-airflow==([^ ;\n]+)", (PROJECT / "requirements.lock").read_text(), re.MULTILINE)
    assert pinned is not None
    assert f"apache/airflow:{pinned.group(1)}-" in image


def documents() -> list[Path]:
    return [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(PROJECT)))
def test_settings_in_the_docs_are_valid(path: Path, tmp_path: Path) -> None:
    for text in re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL):
        document = yaml.safe_load(text)
        if isinstance(document, dict) and "destinations" in document and "services" not in document:
            (tmp_path / "settings.yaml").write_text(text)
            document = read_document(tmp_path / "settings.yaml")
            validate_settings(document)


def test_ci_runs_what_developers_run() -> None:
    script = PROJECT / ".ci/run"
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert text.splitlines()[-2:] == ["make lint", "make test-all"], "all tests, the thorough ones too"


def test_every_destination_has_a_page() -> None:
    pages = {path.stem for path in (PROJECT / "docs/destinations").glob("*.md")}
    assert set(built_in()) <= pages


@pytest.mark.parametrize("name", sorted(built_in()))
def test_a_destinations_page_has_its_options_as_they_are(name: str) -> None:
    page = (PROJECT / f"docs/destinations/{name}.md").read_text()
    model = destination_types()[name].options_model
    assert with_options(page, model) == page, "run `make docs`"
    assert all(field.description for field in model.model_fields.values())


def test_the_promise_of_the_readme_is_that_of_the_guarantees() -> None:
    (promised,) = re.findall(r"(?:^> .*\n)+", (PROJECT / "README.md").read_text(), re.MULTILINE)
    assert len(promised) > 200 and promised in (PROJECT / "docs/guarantees.md").read_text()


def test_a_page_with_a_heading_gets_its_table() -> None:
    model = destination_types()["file"].options_model
    drawn = with_options("# `acme`: Acme logs\n", model)
    assert drawn.startswith("# `acme`: Acme logs\n\n<!-- options: ") and "| `path` | text |" in drawn
    assert with_options(drawn, model) == drawn


def test_numbers_of_things_are_worded_by_one_function() -> None:
    """`counted` knows of one window; a text that has an s in any case does not."""
    nouns = "windows|gaps|events|lanes|deliveries|destinations|workspaces|requests|objects|manifests|changes|runs"
    # limits are constants, and never one
    worded = re.compile(rf"(?:%[sd]|:,\}}|\)\}}|\.\w+\}}|\}}\}}) (?:more |other )?(?:{nouns})\b")
    found = [
        f"{path.relative_to(PROJECT)}:{number}: {line.strip()}"
        for folder in ("plugins", "include", "docs")
        for path in sorted((PROJECT / folder).rglob("*"))
        if path.suffix in (".py", ".html") and "testing" not in path.parts
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if worded.search(re.sub(r"\{[A-Z_]+(?::,)?\}|\{result\.rejected:,\}", "", line))
    ]
    assert found == []
