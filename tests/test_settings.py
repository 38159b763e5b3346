"""settings.yaml: what is refused, where and why; what is stored and shown."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from pydantic import BaseModel, ValidationError

from logstream.control.engine import HEAD, open_control
from logstream.control.tables import SCHEMA, metadata
from logstream.destinations import destination_types
from logstream.errors import DatabaseError, InputError, SettingsError
from logstream.rendering import compile_template
from logstream.settings.document import parse_yaml, read_document, write_yaml
from logstream.settings.explaining import explain
from logstream.settings.models import Settings, Streaming
from logstream.settings.repository import SettingsRepository
from logstream.validation import validate_settings

GOOD = """
admin:
  enabled: true
  events: [job_status, job_details, user_activity, api_platform, log_service]
  log_types: [recipe]
  log_levels: [warn, error]
  message: '{"source": "workato", "event": {{{log_message}}}}'
  destination: lake
workspaces:
  - {id: 1001, streaming: {enabled: true, events: [user_activity], destination: hook}}
  - {id: 1002}
destinations:
  lake: {type: s3, connection: aws_lake, bucket: audit, prefix: logs/, packaging: batch, compression: gzip}
  hook: {type: http, connection: hook}
"""


def parse(document: object) -> Settings:
    return validate_settings(document)


def changed(**changes: Any) -> dict[str, Any]:
    """The good document with values at dotted paths replaced."""
    document = yaml.safe_load(GOOD)
    for path, value in changes.items():
        *parents, last = [int(part) if part.isdigit() else part for part in path.split("__")]
        target = document
        for part in parents:
            target = target[part]
        target[last] = value
    return document


def test_round_trip() -> None:
    settings = parse(yaml.safe_load(GOOD))
    again = parse(parse_yaml(write_yaml(settings.as_document())))
    assert again == settings
    assert again.as_document() == settings.as_document() == yaml.safe_load(GOOD)


@pytest.mark.parametrize("empty", [None, {}, {"workspaces": []}])
def test_nothing_is_settings_too(empty: object) -> None:
    assert parse(empty).admin is None


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], "expected a mapping with admin, workspaces, destinations, not a list"),
        (changed(admim={}), 'admim: unknown field; did you mean "admin"?'),
        (changed(admin__destination="lakee"), 'admin.destination: no destination named "lakee"; did you mean "lake"?'),
        (
            changed(workspaces__0__streaming__destination="hok"),
            'workspaces[0].streaming.destination: no destination named "hok"; did you mean "hook"?',
        ),
        (changed(workspaces__0__id="x"), "workspaces[0].id: must be a whole number (got 'x')"),
        (changed(workspaces__1__id=1001), "workspaces[1].id: 1001 is already set in workspaces[0]"),
        (changed(workspaces__0__streming={}), 'workspaces[0].streming: unknown field; did you mean "streaming"?'),
        (
            changed(admin__events=["job_stats"]),
            'admin.events[0]: no such choice "job_stats"; did you mean "job_status"?',
        ),
        (changed(admin__events=[]), "admin.events: choose at least one of job_status"),
        (changed(admin__events=["job_status"]), "admin.events: log_types and log_levels only go with log_service"),
        (changed(admin__destination=None), "admin.destination: name one; an enabled setting needs it"),
        (changed(admin__mask=["email"]), "admin.mask[0]: a JSONPath begins with $."),
        (changed(admin__mask=["$.a["]), "admin.mask[0]: no JSONPath for a mask: "),
        (changed(admin__enabled="yes"), "admin.enabled: must be true or false (got 'yes')"),
        (changed(admin__message='{"a": 1}'), "admin.message: line 1, column 8: there is no placeholder for the event"),
        (changed(admin__message='{"a":\n {{{log_mesage}}}}'), "admin.message: line 2, column 2: unknown placeholder"),
        (
            changed(admin__message={"job": "{{{log_mesage}}}"}),
            "admin.message.job: line 1, column 1: unknown placeholder",
        ),
        (
            changed(admin__message={"jobb": "{{{log_message}}}"}),
            'admin.message: there is no kind of event "jobb"; did you',
        ),
        (
            changed(admin__message={}),
            "admin.message: give a template for at least one kind of event: job, user_activity",
        ),
        (changed(admin__message={"job": 7}), "admin.message.job: a template is text"),
        (
            changed(admin__message=["{{{log_message}}}"]),
            "admin.message: give a template, or one for each kind of event",
        ),
        (
            changed(destinations__lake__type="s4"),
            'destinations.lake.type: no destination type "s4"; did you mean "s3"?',
        ),
        (changed(destinations__lake__buckett="x"), 'destinations.lake.buckett: unknown field; did you mean "bucket"?'),
        (changed(destinations__lake={"type": "s3", "bucket": "abc"}), "destinations.lake.connection: is required"),
        (changed(destinations__lake={"bucket": "abc"}), "destinations.lake.type: is required"),
        (changed(destinations__lake__packaging="zip"), 'destinations.lake.packaging: no such choice "zip"'),
        (changed(destinations__lake__prefix="/../x"), "destinations.lake.prefix: it may not begin with /"),
        (changed(destinations__lake__secret_key="abc"), "destinations.lake.secret_key: unknown field"),
        (
            changed(destinations={"a/b": {"type": "file", "path": "/x"}}),
            "destinations.a/b: letters, digits and the signs _ . - only",
        ),
    ],
)
def test_mistakes_name_their_place(document: object, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(document)
    assert any(line.startswith(problem) for line in caught.value.problems), caught.value.problems


def test_all_problems_are_found_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        parse(changed(admin__destination="x", workspaces__0__streaming__destination="y"))
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [1", "line 1"),
        ("admin: {}\nadmin: {}\n", 'line 2, column 1: "admin" is given twice'),
        ("a: 1\nb: 2026-13-45\n", 'line 2, column 4: "2026-13-45" is no date'),
        ("b: 2026-01-01 00:00:00 +99:99\n", "is no date"),
        ("- x\n- 0x_\n", 'line 2, column 3: "0x_" is no number'),
        (f"a: {'9' * 5000}\n", f'line 1, column 4: "{"9" * 39}…" is no number'),
        ("a: !!bool maybe\n", '"maybe" is no truth value'),
        ("a: !!timestamp x\n", '"x" is no date'),
        ("a: !!int ''\n", '"" is no number'),
        ("a: !!float x\n", '"x" is no number'),
        ("a: \ud800\n", "unacceptable character"),
        ("? [a]\n: 1\n", "a key must be text"),
        ("a: !!python/object:os.system {}", "could not determine a constructor"),
        ("\x00", "not YAML"),
    ],
)
def test_not_yaml(text: str, problem: str) -> None:
    with pytest.raises(InputError, match="settings") as caught:
        parse_yaml(text)
    assert problem in str(caught.value)


def test_message_file(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"e": {{{log_message}}}}')
    file = tmp_path / "settings.yaml"
    streaming = "enabled: true, events: [job_status], destination: d"
    destinations = "destinations: {d: {type: file, path: /x}}"
    file.write_text(f"admin: {{{streaming}, message_file: m.json}}\n{destinations}")
    assert parse(read_document(file)).admin.message == '{"e": {{{log_message}}}}'  # type: ignore[union-attr]
    file.write_text(f"admin: {{{streaming}, message_file: include/templates/datadog.json}}\n{destinations}")
    assert "{{{datadog}}}" in parse(read_document(file)).admin.message  # type: ignore[operator, union-attr]
    file.write_text(f"workspaces: [{{id: 1, streaming: {{{streaming}, message_file: none.json}}}}]\n{destinations}")
    with pytest.raises(InputError, match=r"workspaces\[0\]\.streaming\.message_file: no file 'none.json'"):
        read_document(file)


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[1] / "include/templates").glob("*.json")), ids=lambda f: f.stem
)
def test_templates_that_come_with_logstream(file: Path) -> None:
    compile_template(file.read_text())


def test_snapshots(database: str) -> None:
    repository = SettingsRepository(open_control(database))
    empty = repository.current()
    assert empty.settings == Settings()
    first = repository.apply(parse(yaml.safe_load(GOOD)), author="ann")
    assert first.id > empty.id
    assert repository.apply(parse(yaml.safe_load(GOOD))).id == first.id
    second = repository.apply(parse(changed(admin__enabled=False)))
    assert repository.current().id == second.id > first.id
    assert repository.get(first.id).settings == first.settings
    with pytest.raises(LookupError):
        repository.get(second.id + 1)


def test_equal_settings_applied_at_once_make_one_snapshot(database: str) -> None:
    open_control(database)
    settings = parse(yaml.safe_load(GOOD))
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: SettingsRepository(open_control(database)).apply(settings).id, range(16)))
    assert len(set(made)) == 1


def test_migrations_make_the_tables_that_code_names(database: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from logstream.control import migrations

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD
    options = {"include_schemas": True, "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA}
    with open_control(database).connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    assert [change for change in found if "alembic_version" not in str(change)] == []


def test_the_control_schema_is_made_once_by_many(empty_database: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        engines = list(pool.map(lambda _: open_control(empty_database), range(8)))
    assert len(engines) == 8


def test_an_old_worker_beside_a_newer_control_database_says_so(database: str) -> None:
    open_control(database)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("update logstream.alembic_version set version_num = '9999'")
    with pytest.raises(DatabaseError, match=r"of a newer Logstream \(schema 9999; this one, .*\): upgrade this worker"):
        open_control(database)


HOSTILE_VALUES: list[Any] = [None, 5, -1, 10**9, "", "x" * 10_000, "a b", "\0", [], {}, ["\0"], {"\0": "\0"}, True, 1.5]


@pytest.mark.parametrize("model", [Streaming, *(kind.options_model for kind in destination_types().values())])
def test_every_mistake_is_told_in_our_own_words(model: type[BaseModel]) -> None:
    for field in model.model_fields:
        for value in HOSTILE_VALUES:
            try:
                model.model_validate({field: value})
            except ValidationError as error:
                told = "\n".join(explain(error, model))
                assert not re.search(r"should|[Vv]alue error|[Ii]nput|\bstring\b|does not have the form", told), told


def test_a_message_for_each_kind_is_kept_as_it_was_given() -> None:
    message = {"job": '{"j": {{{log_message}}}}', "default": "{{{log_message}}}"}
    settings = validate_settings(changed(admin__message=message))
    assert settings.as_document()["admin"]["message"] == message
    assert validate_settings(parse_yaml(write_yaml(settings.as_document()))) == settings


def test_message_files_for_each_kind(tmp_path: Path) -> None:
    document = changed(admin__message_file={"job": "job.json", "default": "include/templates/plain.json"})
    document["admin"].pop("message", None)
    (tmp_path / "job.json").write_text('{"j": {{{log_message}}}}')
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(document))
    admin = validate_settings(read_document(tmp_path / "s.yaml")).admin
    assert admin is not None and isinstance(admin.message, dict)
    assert admin.message["job"] == '{"j": {{{log_message}}}}'
    assert "{{{workspace.external_id}}}" in admin.message["default"]
    (tmp_path / "job.json").unlink()
    with pytest.raises(SettingsError, match=r"admin\.message_file\.job: no file 'job\.json'"):
        read_document(tmp_path / "s.yaml")
