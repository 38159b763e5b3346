"""The console's own rules: forms, edits, changes, lists of many customers, charts, words. No browser and no Airflow."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logstream.console.filters import short, size, span
from logstream.console.forms import Control, fields_of, options_of, streaming_of
from logstream.console.layout import jinja
from logstream.console.mistakes import label_of, mistakes_of
from logstream.console.service import Console
from logstream.control.audit import Actor
from logstream.destinations import check_options, destination_types
from logstream.errors import DatabaseError, InputError, SettingsError
from logstream.events import Kind
from logstream.ledger.overview import DeliveryFilter
from logstream.settings.changes import SettingsChange, changes
from logstream.settings.document import parse_yaml
from logstream.settings.edits import Locked, users_of, with_admin, with_destination, with_workspace
from logstream.settings.message_files import shipped_templates
from logstream.settings.models import Settings
from logstream.settings.repository import SettingsMoved
from logstream.shapes.samples import sample_event
from logstream.steps import Step
from logstream.validation import validate_settings
from logstream.window import Window

from .test_engine import Connections

ANN = Actor("ann", "192.0.2.7")
BEN = Actor("ben", "192.0.2.7")
START = datetime(2026, 3, 1, tzinfo=UTC)


def parsed(document: dict[str, Any]) -> Settings:
    return validate_settings(document)


# forms


def sent(kind: str, options: dict[str, Any]) -> dict[str, list[str]]:
    """What a browser sends of the form of a destination that has these options."""
    seen, more = fields_of(destination_types()[kind].options_model, options)
    form: dict[str, list[str]] = {}
    for field in (*seen, *more):
        if field.control is not Control.SWITCH or field.value:
            form[field.id] = [field.value]
    return form


EXAMPLES: dict[str, dict[str, Any]] = {
    "s3": {
        "connection": "c",
        "bucket": "audit",
        "metadata": {"owner": "audit", "team": "a b"},
        "manifests": False,
        "lanes": 8,
    },
    "http": {"connection": "c", "sign": True, "format": "lines", "max_events": 7},
    "datadog": {"connection": "c", "tags": ["env:prod", "team:audit"]},
    "grafana_loki": {"connection": "c", "labels": {"job": "x"}, "workspace_label": "workspace"},
    "file": {"path": "/tmp/x", "compression": "zstd"},
}


@pytest.mark.parametrize("kind", sorted(destination_types()))
def test_a_form_gives_back_the_options_it_shows(kind: str) -> None:
    model = destination_types()[kind].options_model
    options = EXAMPLES.get(kind, {})
    assert options_of(model, sent(kind, options)) == options
    for field in (*fields_of(model, {})[0], *fields_of(model, {})[1]):
        assert field.help, "every option says what it is for"


def test_what_a_form_cannot_read_is_left_for_the_model_to_refuse() -> None:
    form = {"option.connection": ["c"], "option.bucket": ["audit"], "option.lanes": ["many"]}
    options = options_of(destination_types()["s3"].options_model, form)
    assert options["lanes"] == "many"
    assert [path for path, _ in check_options("s3", options)] == [("lanes",)]


@given(st.dictionaries(st.sampled_from(["enabled", "events", "log_types", "message", "mask", "destination_name"]),
                       st.lists(st.text(max_size=20), max_size=3)))  # fmt: skip
def test_no_form_breaks_the_reading_of_a_setting(form: dict[str, list[str]]) -> None:
    streaming = streaming_of(form)
    try:
        parsed(with_admin({}, streaming))
    except SettingsError as error:
        assert error.problems


def test_filters_of_logs_go_with_log_events_only() -> None:
    form = {"events": ["job_status"], "log_types": ["recipe"], "log_levels": ["warn, error"]}
    assert streaming_of(form) == {"enabled": False, "events": ["job_status"]}
    form = {**form, "events": ["log_service"], "mask": ["$.a[0,1]\r\n$.b"], "enabled": ["true"]}
    assert streaming_of(form) == {
        "enabled": True,
        "events": ["log_service"],
        "log_types": ["recipe"],
        "log_levels": ["warn", "error"],
        "mask": ["$.a[0,1]", "$.b"],
    }


def test_a_template_for_each_kind_in_the_form() -> None:
    form = {"message": ["{{{log_message}}}"], "message.job": ['{"j":\r\n {{{log_message}}}}'], "message.genie": [" "]}
    assert streaming_of(form)["message"] == {"job": '{"j":\n {{{log_message}}}}', "default": "{{{log_message}}}"}
    assert streaming_of({"message": ["{{{log_message}}}"]})["message"] == "{{{log_message}}}", "one stays one text"
    assert streaming_of({"message.job": ["{{{log_message}}}"]})["message"] == {"job": "{{{log_message}}}"}
    wrong = mistakes_of(streaming_of({"message.job": ["{{{gone}}}"], "message": ["{{{now}}}"]}), "", None, ())
    assert wrong["message.job"].startswith("line 1, column 1: unknown placeholder")
    assert wrong["message"].startswith("line 1, column 9: there is no placeholder for the event")
    assert label_of("message.user_activity") == "Message template of user activity"


# edits and changes

LAKE = {"type": "file", "path": "/tmp/x"}
ON = {"enabled": True, "events": ["job_status"], "destination": "lake"}


def test_edits_leave_everything_else_alone() -> None:
    document: dict[str, Any] = {"version": 1, "workspaces": [{"id": 5, "streaming": ON}, {"id": 6}]}
    assert list(with_admin(document, ON)) == ["version", "admin", "workspaces"]
    assert with_admin(with_admin(document, ON), None) == document
    assert with_workspace(document, 5, None)["workspaces"] == [{"id": 6}]
    assert with_workspace(document, 6, ON)["workspaces"] == [{"id": 5, "streaming": ON}, {"id": 6, "streaming": ON}]
    assert with_workspace(document, 7, ON)["workspaces"][-1] == {"id": 7, "streaming": ON}
    assert with_destination(with_destination(document, "lake", LAKE), "lake", None)["destinations"] == {}
    assert document == {"version": 1, "workspaces": [{"id": 5, "streaming": ON}, {"id": 6}]}, "they copy"


@pytest.mark.parametrize("streaming", [ON, None])
def test_a_workspace_is_locked_while_the_admin_setting_is_on(streaming: dict[str, Any] | None) -> None:
    with pytest.raises(Locked, match="applies to every workspace"):
        with_workspace({"admin": ON}, 5, streaming)
    assert with_workspace({"admin": {**ON, "enabled": False}}, 5, ON)["workspaces"]


def test_changes_are_told_by_id_and_not_by_place() -> None:
    before = parsed({"admin": ON, "workspaces": [{"id": 5}, {"id": 6}], "destinations": {"lake": LAKE}})
    after = parsed(
        {
            "admin": {**ON, "events": ["job_details"]},
            "workspaces": [{"id": 4, "streaming": ON}, {"id": 6}],
            "destinations": {"lake": LAKE, "pond": {**LAKE, "path": "/tmp/y", "lanes": 2}},
        }
    )
    assert changes(before, before) == []
    found = {change.path: (change.before, change.after) for change in changes(before, after)}
    assert found["admin.events"] == (["job_status"], ["job_details"])
    assert found["destinations.pond.lanes"] == (None, 2)
    assert found["workspaces[4].destination"] == (None, "lake")
    assert not any(path.startswith("workspaces[6]") for path in found)
    back = {change.path: (change.after, change.before) for change in changes(after, before)}
    assert back == found


def test_who_uses_a_destination() -> None:
    settings = parsed({"admin": ON, "workspaces": [{"id": 5, "streaming": ON}], "destinations": {"lake": LAKE}})
    assert users_of(settings, "lake") == (True, [5])
    assert users_of(settings, "pond") == (False, [])


# the console over a database


@pytest.fixture
def console(database: str, store: psycopg.Connection) -> Console:
    return Console(database, database, Connections())


def fill(store: psycopg.Connection, workspaces: int) -> None:
    with store.cursor() as cursor, cursor.copy("copy workspaces (id, external_id, name) from stdin") as copy:
        for number in range(1, workspaces + 1):
            copy.write_row((number, f"ext-{number}" if number % 3 else None, f"Customer {number}"))


def test_two_who_save_at_a_time(console: Console) -> None:
    first = console.settings.save({"admin": {**ON, "enabled": False}, "destinations": {"lake": LAKE}}, ANN, None)
    second = console.settings.save_admin({**ON, "enabled": False, "events": ["job_details"]}, BEN, first.id)
    with pytest.raises(SettingsMoved, match="by ben") as moved:
        console.settings.save_admin({**ON, "enabled": False, "events": ["user_activity"]}, ANN, first.id)
    assert moved.value.current.id == second.id
    told = moved.value.changes
    assert told == [SettingsChange("admin.events", ["job_status"], ["job_details"])]
    restored = console.settings.restore(first.id, ANN, second.id)
    assert restored.author == f"ann (version {first.id} again)"
    assert console.settings.current().settings.admin == first.settings.admin
    assert [version.author for version in console.settings.versions(limit=3)] == [restored.author, "ben", "ann"]
    assert console.settings.changes_of(second.id) == told


def test_nothing_is_saved_that_does_not_hold_together(console: Console) -> None:
    before = console.settings.current().id
    with pytest.raises(SettingsError) as error:
        console.settings.save_admin(ON, ANN, None)
    assert error.value.problems == ['admin.destination: no destination named "lake"']
    with pytest.raises(LookupError, match="pond"):
        console.settings.save_destination("pond", None, ANN, None)
    console.settings.save(with_destination({"admin": ON}, "lake", LAKE), ANN, None)
    with pytest.raises(SettingsError, match="no destination named"):
        console.settings.save_destination("lake", None, ANN, None)
    assert console.settings.current().id == before + 1


def test_the_log_store_is_checked(console: Console, store: psycopg.Connection) -> None:
    steps = console.settings.check_log_store()
    assert len(steps) > 15 and all(step.ok for step in steps), list(map(str, steps))
    before = console.settings.current().id
    store.execute("create view loose as select * from events where false")
    store.execute(
        "create view wrong as select id::text, workspace_id, kind, occurred_at, recorded_at, payload from events"
    )
    with pytest.raises(DatabaseError, match=r"events\.id is an integer: no \(text\)"):
        console.settings.save({"log_store": {"events": "wrong"}}, ANN, None)
    assert console.settings.current().id == before
    console.settings.save({"log_store": {"events": "loose"}}, ANN, None)
    store.execute("drop view loose")
    store.execute("create view loose as select id as number from events")
    missing = [step for step in console.settings.check_log_store() if not step.ok]
    assert [step.detail for step in missing] == ["there is no such column"] * 6
    part = jinja.env.get_template("parts/log_store.html")
    shown = part.render(
        steps=[Step("<b>", False, "why", "Mend it."), Step("an index", True, "no", "Make one.", advice=True)]
    )
    assert "&lt;b&gt;" in shown and "Mend it." in shown and ">note<" in shown and "Make one." in shown
    assert "Cannot connect" in part.render(mistakes=["cannot connect"])


def test_ten_thousand_customers(console: Console, store: psycopg.Connection) -> None:
    fill(store, 10_000)
    own = [{"id": number, "streaming": ON} for number in range(1, 5_001)]
    console.settings.save({"workspaces": own, "destinations": {"lake": LAKE}}, ANN, None)
    assert console.customers.page().total == 10_000
    assert [customer.workspace.id for customer in console.customers.page("customer 77").customers][:3] == [77, 770, 771]
    assert console.customers.page("LAKE").total == 5_000
    assert console.customers.page("ext-77").total == len(
        [n for n in range(1, 10_001) if str(n).startswith("77") and n % 3]
    )
    last = console.customers.page(sort="id", descending=True, limit=2).customers
    assert [customer.workspace.id for customer in last] == [10_000, 9_999]
    assert console.customers.page(offset=9_990, limit=50).customers[-1].workspace.id == 10_000
    assert {customer.condition for customer in console.customers.page(condition="waiting").customers} == {"waiting"}
    assert len(console.customers.overridden()) == 5_000
    text = console.settings.as_yaml()
    assert parsed(parse_yaml(text)) == console.settings.current().settings


def test_customers_show_what_is_owed(console: Console, store: psycopg.Connection, tmp_path: Path) -> None:
    fill(store, 3)
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    console.settings.save(
        {
            "workspaces": [
                {"id": 1, "streaming": {**ON, "events": ["user_activity"], "destination": "bad"}},
                {"id": 2, "streaming": {**ON, "events": ["user_activity"], "destination": "good"}},
            ],
            "destinations": {
                "bad": {"type": "file", "path": str(blocked)},
                "good": {"type": "file", "path": str(tmp_path / "out")},
            },
        },
        ANN,
        None,
    )
    for workspace in (1, 2, 2):
        store.execute(
            "insert into events (workspace_id, kind, occurred_at, recorded_at, payload)"
            " values (%s, 'user_activity', %s, %s, %s)",
            (workspace, START, START, json.dumps(sample_event("user_activity"))),
        )
    window = Window(START, START + timedelta(minutes=5))
    planned = console.exporter.plan(window)
    console.exporter.deliver([key for share in planned.shares for key in share.lanes])
    console.exporter.seal(planned.delivery_ids)
    bad, good = (console.customers.find(number) for number in (1, 2))
    assert (bad.condition, good.condition) == ("failing", "up to date")
    assert bad.status is not None and bad.status.owed == 1
    assert bad.lag is not None and good.lag is None
    assert good.status is not None and good.status.delivered_until == window.end
    assert [events for _, events in console.customers.deliveries(good)] == [2]
    assert console.customers.page(sort="owed", descending=True).customers[0].workspace.id == 1
    assert console.customers.find(3).destination is None
    with pytest.raises(LookupError, match="4"):
        console.customers.find(4)
    (failed,) = console.deliveries.newest(DeliveryFilter(state="failed"))
    assert (failed.destination, failed.planned, failed.delivered) == ("bad", 1, 0)
    assert failed.error
    found = console.deliveries.newest(DeliveryFilter())
    assert [item.delivered for item in found if item.destination == "good"] == [2]
    assert console.deliveries.newest(DeliveryFilter(before=(found[0].window.start, found[0].id))) == found[1:]
    (moment,) = console.deliveries.timeline()
    assert (moment.events, moment.open) == (2, 1)
    # by hand: nothing is sent, and a run does not probe
    console.destinations.hold("good", ANN)
    assert console.customers.find(2).condition == "held"
    later = Window(window.end, window.end + timedelta(minutes=5))
    store.execute(
        "insert into events (workspace_id, kind, occurred_at, recorded_at, payload) values (2, 'user_activity', %s, %s, '{}')",
        (later.start, later.start),
    )
    planned = console.exporter.plan(later, heal=True)
    lanes = [key for share in planned.shares for key in share.lanes]
    console.exporter.deliver(lanes)
    assert not any(lane.destination == "good" for lane in console.exporter.ledger.lanes(lanes))
    console.exporter.seal(planned.delivery_ids)
    assert console.customers.find(2).status.owed == 1  # type: ignore[union-attr]
    assert {report.destination for report in console.exporter.redeliver_owed()} == {"bad"}, (
        "one that is held must be named"
    )
    assert [report.destination for report in console.exporter.redeliver_owed("good")] == ["good"]
    assert console.customers.find(2).condition == "up to date"
    with pytest.raises(LookupError, match="nowhere"):
        console.destinations.hold("nowhere", ANN)


def test_only_some_destinations_of_a_window(console: Console, store: psycopg.Connection, tmp_path: Path) -> None:
    fill(store, 2)
    own = [
        {"id": number, "streaming": {**ON, "events": ["user_activity"], "destination": name}}
        for number, name in ((1, "one"), (2, "two"))
    ]
    places = {name: {"type": "file", "path": str(tmp_path / name)} for name in ("one", "two")}
    console.settings.save({"workspaces": own, "destinations": places}, ANN, None)
    for workspace in (1, 2):
        store.execute(
            "insert into events (workspace_id, kind, occurred_at, recorded_at, payload) values (%s, 'user_activity', %s, %s, '{}')",
            (workspace, START, START),
        )
    planned = console.exporter.plan(Window(START, START + timedelta(minutes=5)), only=["two"])
    assert [list(item.pending.deliveries) for item in planned.windows] == [["two"]]


# previews


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("name", [None, *shipped_templates()])
def test_every_template_renders_every_sample(console: Console, kind: str, name: str | None) -> None:
    found = console.messages.preview(
        {"message": shipped_templates()[name] if name else None, "events": ["job_details"]}, kind
    )
    assert found.error is None
    assert json.loads(found.message or "")


def test_previews_say_what_is_wrong_and_where(console: Console) -> None:
    found = console.messages.preview({"message": '{"a":\n {{{nope}}}}'}, "job")
    assert (found.line, found.column) == (2, 2)
    masked = console.messages.preview({"mask": ["$.user.email"], "events": ["user_activity"]}, "user_activity")
    assert json.loads(masked.message or "")["user"]["email"] == "masked"
    status = console.messages.preview({"events": ["job_status"]}, "job")
    assert "lines" not in json.loads(status.message or "")
    with pytest.raises(SettingsError, match="mask"):
        console.messages.preview({"mask": ["no path"]}, "job")
    regex = console.messages.preview(
        {"message": "{{{$.a[?(@.b =~ '(a+)+$')]}}}"}, "job", event={"a": [{"b": "a" * 60 + "!"}]}
    )
    assert (regex.line, regex.column) == (1, 14)
    assert "regular expressions (=~) are not allowed" in (regex.error or "")
    with pytest.raises(SettingsError, match="regular expressions"):
        console.messages.preview({"mask": ["$.a[?(@.b =~ '(a+)+$')]"]}, "job", event={"a": [{"b": "a" * 60 + "!"}]})
    assert "up to 262,144 are previewed" in (
        console.messages.preview({}, "job", event={"a": "x" * 300_000}).error or ""
    )
    nested: Any = 1
    for _ in range(5_000):
        nested = [nested]
    assert console.messages.preview({}, "job", event={"a": nested}).error == "the event is nested too deeply"
    each = {"job": '{"j": {{{$.id}}}}', "default": '{"of": {{{workspace.name}}}, "k": {{{event.kind}}}}'}
    shown = console.messages.preview({"message": each}, "job")
    assert (json.loads(shown.message or "")["j"], shown.template_of) == ("j-hXkmDAyQ-P9cydn", "job")
    other = console.messages.preview({"message": each}, "genie")
    assert (json.loads(other.message or ""), other.template_of) == ({"of": "Acme Corp", "k": "genie"}, "default")
    broken = console.messages.preview({"message": {**each, "job": "{\n{{{gone}}}"}}, "job")
    assert (broken.line, broken.template_of) == (2, "job")
    assert "no such event" in (console.messages.preview({}, "job", newest=True).error or "")


def test_the_newest_real_event(console: Console, store: psycopg.Connection) -> None:
    fill(store, 2)
    insert = "insert into events (workspace_id, kind, occurred_at, payload) values (%s, 'job', now(), %s)"
    store.execute(insert, (1, '{"id": "old"}'))
    store.execute(insert, (2, '{"id": "new"}'))
    store.execute(insert, (2, json.dumps({"id": "huge", "x": "y" * 300_000})))
    assert json.loads(console.messages.preview({}, "job", newest=True).message or "") == {"id": "new"}
    assert json.loads(console.messages.preview({}, "job", newest=True, workspace_id=1).message or "") == {"id": "old"}
    envelope = {
        "message": '{"w": {{{workspace.id}}}, "n": {{{workspace.name}}}, "id": {{{event.id}}}, "e": {{{$.id}}}}'
    }
    shown = json.loads(console.messages.preview(envelope, "job", newest=True, workspace_id=1).message or "")
    assert (shown["w"], shown["e"]) == (1, "old")
    assert shown["n"] != "Acme Corp", "a real event is shown with its own customer"


# trying destinations out


def test_a_check_says_what_is_wrong_before_it_tries(console: Console, tmp_path: Path) -> None:
    steps = console.destinations.check("x", {"type": "file", "path": str(tmp_path)}, ANN)
    assert steps
    assert all(step.ok for step in steps)
    with pytest.raises(InputError, match="no destination type"):
        console.destinations.check("x", {"type": "nope"}, ANN)
    with pytest.raises(SettingsError, match="path"):
        console.destinations.check("x", {"type": "file"}, ANN)
    (step,) = console.destinations.check("x", {"type": "http", "connection": "missing"}, ANN)
    assert (step.ok, step.name) == (False, "connection")


def test_a_check_goes_nowhere_it_may_not(
    database: str, store: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from logstream.destinations.credentials import HttpCredentials

    monkeypatch.delenv("LOGSTREAM_ALLOW_PRIVATE_ADDRESSES")
    metadata = HttpCredentials(base_url="http://169.254.169.254")
    console = Console(database, database, Connections(metadata=metadata))
    steps = console.destinations.check("x", {"type": "http", "connection": "metadata"}, ANN)
    assert [step.ok for step in steps] == [False]
    assert "not a public address" in str(steps[0])


# words and charts


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.4, "0.4 s"), (42, "42 s"), (600, "10 min"), (7_300, "2 h"), (timedelta(days=3), "3 d")],
)
def test_durations(value: Any, text: str) -> None:
    assert span(value) == text


def test_sizes() -> None:
    assert [size(count) for count in (0, 999, 1_500, 2_000_000)] == ["0 B", "999 B", "1.5 kB", "2.0 MB"]


@given(st.text(max_size=300))
def test_names_are_short_and_can_be_seen(text: str) -> None:
    shown = short(text, 40)
    assert len(shown) <= 40
    assert shown.isprintable()
