"""Every field that Airflow's own hooks know is in our tables, and the tables in the docs are those that decide.

The hooks are walked: the fields of their forms, and the names that their sources read from a connection's extra.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from botocore.config import Config

from logstream.airflow.connections.documentation import with_tables
from logstream.airflow.connections.fields import STANDARD, Fate
from logstream.airflow.connections.tables import AWS, HTTP, POSTGRES, TYPES

PROJECT = Path(__file__).resolve().parents[1]
GOOGLE = Path(sys.prefix) / "google-provider" / "airflow/providers/google"
PACKAGES = Path(importlib.util.find_spec("airflow.providers.http").origin).parents[1]  # type: ignore[union-attr, arg-type]

SOURCES = {
    "aws": ["amazon/aws/utils/connection_wrapper.py", "amazon/aws/hooks/base_aws.py"],
    "wasb": ["microsoft/azure/hooks/wasb.py"],
    "azure": ["microsoft/azure/hooks/base_azure.py"],
    "http": ["http/hooks/http.py"],
    "postgres": ["postgres/hooks/postgres.py"],
}
PROVIDERS = {
    "aws": "amazon",
    "wasb": "microsoft/azure",
    "azure": "microsoft/azure",
    "http": "http",
    "postgres": "postgres",
}


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("provider_info", path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def form(kind: str) -> dict[str, Any]:
    """What a provider says of the form of a type of connection."""
    folder = GOOGLE if kind == "google_cloud_platform" else PACKAGES / PROVIDERS[kind]
    info = module(folder / "get_provider_info.py").get_provider_info()
    (found,) = (item for item in info["connection-types"] if item["connection-type"] == kind)
    return dict(found)


def names_read(source: Path) -> Iterator[str]:
    """Names that a hook's source reads from mappings whose own name tells that they are of a connection's extra."""

    def of_extra(node: ast.expr) -> bool:
        return "extra" in ast.unparse(node).lower()

    text = source.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            arguments = [arg for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            reads = node.func.attr in ("get", "pop") and of_extra(node.func.value)
            if (reads or node.func.attr == "_get_field") and arguments:
                yield str(arguments[-1 if node.func.attr == "_get_field" and len(node.args) > 1 else 0].value)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and of_extra(node.value):
            yield str(node.slice.value)
        elif isinstance(node, ast.Compare) and isinstance(node.left, ast.Constant) and of_extra(node.comparators[0]):
            yield str(node.left.value)
        elif isinstance(node, ast.FunctionDef) and f"{node.name}(**extra)" in text:
            # what it takes by name is read
            yield from (argument.arg for argument in node.args.kwonlyargs)


def known(kind: str, name: str) -> bool:
    extras = TYPES[kind].extras
    return name in extras or any(one.startswith(f"{name}.") for one in extras)


@pytest.mark.parametrize("kind", TYPES)
def test_every_field_of_a_form_is_in_the_table(kind: str) -> None:
    fields = form(kind)
    for name in fields.get("conn-fields", {}):
        assert known(kind, name), f"{kind}: the form has a field {name}"
    hidden = set(fields.get("ui-field-behaviour", {}).get("hidden-fields", []))
    for name in STANDARD:
        assert name in hidden or name in TYPES[kind].standard, f"{kind}: the form has a field {name}"


@pytest.mark.parametrize("kind", TYPES)
def test_every_extra_that_a_hook_reads_is_in_the_table(kind: str) -> None:
    sources = [PACKAGES / name for name in SOURCES.get(kind, [])] or [GOOGLE / "common/hooks/base_google.py"]
    read = {name for source in sources for name in names_read(source)} - {""}
    read = {name.removeprefix(TYPES[kind].prefix or "\0") for name in read}
    assert len(read) >= 3, read  # the walk finds what is there
    unknown = {name for name in read if not known(kind, name)}
    assert not unknown, f"{kind}: Airflow's hook reads {sorted(unknown)} from the extra"


def test_every_option_of_boto3s_configuration_is_in_the_table() -> None:
    for name in Config.OPTION_DEFAULTS:
        assert known("aws", f"config_kwargs.{name}"), name


def test_extras_that_airflows_postgres_hook_keeps_for_itself_are_in_the_table() -> None:
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    assert PostgresHook.ignored_extra_options == {
        name for name, field in POSTGRES.extras.items() if field.fate is Fate.REFUSED
    }


def test_options_that_airflows_http_hook_takes_out_of_the_headers_are_in_the_table() -> None:
    """All else is a header there, and here."""
    from airflow.providers.http.hooks.http import _process_extra_options_from_connection

    class Given:
        extra_dejson = dict.fromkeys(HTTP.extras, "x")

    left, taken = _process_extra_options_from_connection(Given, {})
    ours = {"headers", "webhook_secret", "ca", "client_certificate"}
    assert set(left) == ours and len(taken) >= 8


def test_the_page_has_the_tables_that_decide() -> None:
    page = (PROJECT / "docs" / "connections.md").read_text()
    assert with_tables(page, TYPES) == page, "run `make docs`"
    assert "| extra `verify` | used |" in page and AWS.title in page
