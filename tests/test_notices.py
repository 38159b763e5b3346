"""Notices: from what happens to an export to what real receivers get, once each, whatever breaks in between."""

from __future__ import annotations

import email
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

import psycopg
import pytest
import yaml
from aiosmtpd.controller import Controller
from airflow.sdk import BaseNotifier
from airflow.sdk.exceptions import AirflowFailException

from logstream.airflow.operators import CheckDestinations, TellNews
from logstream.airflow.operators import news as telling
from logstream.airflow.operators.news import tell_news
from logstream.console.service import Console
from logstream.control.audit import Actor
from logstream.destinations.http import HttpDestination
from logstream.errors import SettingsError
from logstream.export import checking
from logstream.export.exporter import Exporter
from logstream.export.telling import note_news
from logstream.ledger.audiences import audiences
from logstream.ledger.notices import Notices
from logstream.settings.edits import with_workspace
from logstream.settings.models import DestinationSettings, Settings
from logstream.settings.notices import ReceiverKind
from logstream.testing.servers import LogSink, free_port
from logstream.validation import validate_settings

from .conftest import Cli, one_error_line
from .stage import PROJECT
from .test_engine import Connections, Make, engine, filled
from .test_healing import run, two_destinations

__all__ = ["engine", "filled"]  # fixtures

WEBHOOK = {"kind": "webhook", "connection": "pager", "path": "/notices"}


class Mailbox:
    """A mail server that keeps what it takes."""

    def __init__(self) -> None:
        self.letters: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - the library wants this name
        self.letters.append(email.message_from_bytes(envelope.content, policy=default))
        return "250 kept"


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    found = Mailbox()
    server = Controller(found, hostname="127.0.0.1", port=free_port())
    server.start()
    extra = json.dumps({"from_email": "logstream@example.com", "disable_tls": True, "disable_ssl": True})
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": server.port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_MAIL", json.dumps(connection))
    yield found
    server.stop()


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, str]]]:
    """Slack's `chat.postMessage`, by its own client: what it was sent."""
    posted: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if self.headers["Content-Type"].startswith("application/json"):
                posted.append(json.loads(body))
            else:
                posted.append({key: value[0] for key, value in parse_qs(body).items()})
            posted[-1]["method"] = self.path
            answer = b'{"ok": true}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    extra = json.dumps({"base_url": f"http://127.0.0.1:{server.server_port}/api/"})
    monkeypatch.setenv(
        "AIRFLOW_CONN_CHAT", json.dumps({"conn_type": "slack", "password": "xoxb-0123456789", "extra": extra})
    )
    yield posted
    server.shutdown()
    server.server_close()


@pytest.fixture
def pager(monkeypatch: pytest.MonkeyPatch) -> Iterator[LogSink]:
    with LogSink() as server:
        monkeypatch.setenv("AIRFLOW_CONN_PAGER", server.connection)
        yield server


def texts(pager: LogSink) -> list[str]:
    return [json.loads(body)["text"] for body in pager.bodies]


@pytest.fixture
def failing(engine: Make, sink: LogSink, tmp_path: Path) -> Exporter:
    """A deployment that tells a pager, of which one of two destinations fails."""
    exporter = engine({**two_destinations(tmp_path / "out"), "notices": {"to": [WEBHOOK]}})
    exporter.policy = type(exporter.policy)(attempts=1)
    sink.fail = lambda _: 503
    return exporter


def test_a_suspension_and_a_recovery_are_told_once(failing: Exporter, sink: LogSink, pager: LogSink) -> None:
    told: list[str] = []
    for number in range(8):
        sink.fail = (lambda _: None) if number > 4 else (lambda _: 503)
        run(failing, number)
        assert tell_news(failing, {}) == []
        assert tell_news(failing, {}) == [], "a look at the same tells nothing"
        told += [line.split(":")[0].split(";")[0] for line in texts(pager)[len(told) :]]
    assert told == [
        "destination hook is failing",
        "destination hook lags behind",  # the windows of these tests are of months ago
        "destination hook is suspended",
        "destination hook is back",
        "destination hook has caught up",
    ]
    first = json.loads(pager.bodies[0])
    assert first["topic"] == "failing" and first["destination"] == "hook" and "answered 503" in first["detail"]
    assert pager.paths == ["/notices"] * 5 and max(pager.keys.values()) == 1


def test_two_looks_at_once_tell_it_once(failing: Exporter, pager: LogSink) -> None:
    run(failing, 0)
    with ThreadPoolExecutor(6) as threads:
        problems = list(threads.map(lambda _: tell_news(failing, {}), range(6)))
    assert problems == [[]] * 6
    assert sorted(line.split(":")[0] for line in texts(pager)) == [
        "destination hook is failing",
        "destination hook lags behind",
    ]


def test_a_receiver_that_is_down_is_tried_again_and_holds_up_no_other(
    failing: Exporter, pager: LogSink, mailbox: Mailbox
) -> None:
    document = failing.settings.current().settings.as_document()
    document["notices"]["to"].append({"kind": "smtp", "connection": "mail", "to": "ops@example.com"})
    failing.settings.apply(validate_settings(document))
    run(failing, 0)
    pager.fail = lambda _: 503
    (problem,) = tell_news(failing, {})
    assert problem.startswith("webhook by connection `pager` (/notices): 127.0.0.1 answered 503")
    assert [str(letter["subject"]) for letter in mailbox.letters] == [
        "Logstream: destination hook is failing",
        "Logstream: destination hook lags behind",
    ]
    pager.fail = lambda _: None
    assert tell_news(failing, {}) == []
    assert [line.split(":")[0] for line in texts(pager)] == [
        "destination hook is failing",
        "destination hook lags behind",
    ]
    assert len(mailbox.letters) == 2, "who was told is not told again"
    assert mailbox.letters[0]["to"] == "ops@example.com" and mailbox.letters[0]["from"] == "logstream@example.com"


def test_a_task_that_died_while_it_told_leaves_it_to_a_later_one(
    failing: Exporter, pager: LogSink, filled: psycopg.Connection
) -> None:
    run(failing, 0)
    who = audiences(failing.settings.current().settings)
    assert note_news(failing, who) == 2
    taken = Notices(failing.engine).take([one.key for one in who])
    assert len(taken[who[0].key]) == 2
    assert tell_news(failing, {}) == [] and texts(pager) == [], "another task tells it right now"
    filled.execute("update logstream.notices set taken_until = clock_timestamp() - interval '1 second'")
    assert tell_news(failing, {}) == [] and len(texts(pager)) == 2


def test_what_is_stale_or_for_a_receiver_that_is_gone_is_told_no_more(
    failing: Exporter, pager: LogSink, filled: psycopg.Connection
) -> None:
    run(failing, 0)
    who = audiences(failing.settings.current().settings)
    note_news(failing, who)
    filled.execute(
        "update logstream.notices set noted_at = noted_at - interval '25 hours' where document ->> 'topic' = 'lagging'"
    )
    filled.execute("insert into logstream.notices (receiver, document) values ('all:of-before', '{}')")
    assert tell_news(failing, {}) == []
    assert [line.split(":")[0] for line in texts(pager)] == ["destination hook is failing"]
    assert filled.execute("select count(*) from logstream.notices where told_at is null").fetchone() == (0,)


HOSTILE = b"no {{ 7 * 7 }} <!channel> <b>\x1b[31m \r\nSubject: x " + b"A" * 9_000


def test_what_a_receiver_answers_is_told_as_text(
    failing: Exporter, sink: LogSink, pager: LogSink, mailbox: Mailbox, slack: list[dict[str, str]]
) -> None:
    document = failing.settings.current().settings.as_document()
    document["notices"]["to"] += [
        {"kind": "smtp", "connection": "mail", "to": ["a@example.com", "b@example.com"], "about": "failing"},
        {"kind": "slack", "connection": "chat", "channel": "#audit", "about": ["failing"]},
    ]
    failing.settings.apply(validate_settings(document))
    sink.fail, sink.echo = (lambda _: 403), (lambda *_: HOSTILE)
    run(failing, 0)
    assert tell_news(failing, {}) == []
    (letter,), (message,) = mailbox.letters, slack
    assert message["method"] == "/api/chat.postMessage" and message["channel"] == "#audit"
    page = letter.get_body(("html",)).get_content()
    for text in (texts(pager)[0], message["text"], page):
        assert "{{ 7 * 7 }}" in text and "49" not in text
        assert "<!" not in text and "<b>" not in text and "\x1b" not in text
        assert len(text) < 1_000 and len(text.strip().splitlines()) == 1
    assert str(letter["subject"]) == "Logstream: destination hook is failing"


def test_a_hostile_connection_is_refused_as_for_destinations(
    failing: Exporter, pager: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(failing, 0)
    for connection, problem in (
        ("http://127.0.0.1:9", "127.0.0.1"),
        ("", "there is no Airflow connection `pager`"),
        ("postgres://h/x", "is of type postgres"),
    ):
        monkeypatch.delenv("AIRFLOW_CONN_PAGER", raising=False)
        if connection:
            monkeypatch.setenv("AIRFLOW_CONN_PAGER", connection)
        assert problem in tell_news(failing, {})[0]
    monkeypatch.setenv("AIRFLOW_CONN_PAGER", pager.connection)
    monkeypatch.delenv("LOGSTREAM_ALLOW_PRIVATE_ADDRESSES")
    assert "LOGSTREAM_ALLOW_PRIVATE_ADDRESSES" in tell_news(failing, {})[0]
    monkeypatch.setenv("LOGSTREAM_ALLOW_PRIVATE_ADDRESSES", "1")
    pager.fail, pager.answer_headers = (lambda _: 302), {"Location": "http://169.254.169.254/"}
    assert "redirects are not followed" in tell_news(failing, {})[0]
    pager.fail = lambda number: 401
    pager.echo = lambda head, _: head.encode()
    (problem,) = tell_news(failing, {})
    assert "answered 401" in problem and pager.token not in problem


def test_a_receiver_that_never_answers_is_not_waited_for(
    failing: Exporter, pager: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "TELL_SECONDS", 1.0)
    monkeypatch.setenv("LOGSTREAM_NOTIFIERS", json.dumps([{"class": "tests.test_notices.Hangs"}]))
    run(failing, 0)
    (problem,) = tell_news(failing, {})
    assert "tests.test_notices.Hangs: no answer within" in problem
    assert len(texts(pager)) == 2


class Hangs(BaseNotifier):
    """A chat that never answers."""

    def notify(self, context: Any) -> None:
        Thread(target=lambda: None).start()
        import time

        time.sleep(20)


class Told(BaseNotifier):
    """Keeps what it was told; its text is a template, as other notifiers' are."""

    told: list[str] = []
    template_fields = ("text",)

    def __init__(self, text: str = "{{ logstream }}", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.text = text

    def notify(self, context: Any) -> None:
        self.told.append(self.text)


def test_the_operators_own_notifiers_say_each_thing_once(
    failing: Exporter, monkeypatch: pytest.MonkeyPatch, pager: LogSink
) -> None:
    """A notifier renders its templates in place: called again, it would say the first thing again."""
    Told.told.clear()
    own = [
        {"class": "tests.test_notices.Told"},
        {"class": "tests.test_notices.Told", "text": "{{ logstream.topic }} of {{ logstream.destination }}"},
    ]
    monkeypatch.setenv("LOGSTREAM_NOTIFIERS", json.dumps(own))
    run(failing, 0)
    assert tell_news(failing, {}) == []
    assert sorted(line.split(":")[0] for line in Told.told) == [
        "destination hook is failing",
        "destination hook lags behind",
        "failing of hook",
        "lagging of hook",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x", "is no JSON list of notifiers"),
        ('[{"text": "x"}]', 'each notifier needs its "class"'),
        ('[{"class": "json.JSONDecoder"}]', "is no Airflow notifier"),
        ('[{"class": "no.such.Thing"}]', "no.such.Thing cannot be made (ModuleNotFoundError)"),
        ('[{"class": "tests.test_notices.Told", "texd": "hunter2"}]', "Told cannot be made (TypeError)"),
    ],
)
def test_a_notifier_that_cannot_be_made_is_named_and_holds_up_no_other(
    failing: Exporter, pager: LogSink, monkeypatch: pytest.MonkeyPatch, text: str, problem: str
) -> None:
    monkeypatch.setenv("LOGSTREAM_NOTIFIERS", text)
    run(failing, 0)
    (found,) = tell_news(failing, {})
    assert problem in found and "hunter2" not in found
    assert len(texts(pager)) == 2


def test_changed_settings_are_told(failing: Exporter, pager: LogSink) -> None:
    assert tell_news(failing, {}) == []
    document = failing.settings.current().settings.as_document()
    document["destinations"]["out"]["compression"] = "gzip"
    failing.settings.apply(validate_settings(document), "ada")
    assert tell_news(failing, {}) == []
    assert texts(pager) == ["the settings were changed by ada: 1 destination (out)"]


def test_the_task_is_red_for_a_receiver_that_cannot_be_told(
    failing: Exporter, monkeypatch: pytest.MonkeyPatch, pager: LogSink
) -> None:
    monkeypatch.setattr("logstream.airflow.operators.tell.exporter", lambda: failing)
    run(failing, 0)
    pager.fail = lambda _: 500
    with pytest.raises(AirflowFailException, match="1 receiver could not be told: webhook by connection `pager`"):
        TellNews(task_id="tell").execute({})


# settings


@pytest.mark.parametrize(
    ("receiver", "problem"),
    [
        ({"kind": "email"}, 'notices.to[0].kind: no such choice "email"'),
        ({"class": "os.system"}, "notices.to[0].class: unknown field"),
        ({"connection": "{{ var.value.x }}"}, "notices.to[0].connection: letters, digits"),
        ({"path": "/{{ conn.lake.password }}"}, "notices.to[0].path"),
        ({"kind": "slack", "channel": "{{ x }}", "path": None}, "notices.to[0].channel"),
        ({"kind": "slack", "path": None}, "notices.to[0].channel: is required for kind slack"),
        ({"kind": "smtp", "path": None}, "notices.to[0].to: is required for kind smtp"),
        ({"kind": "smtp", "path": None, "to": ["a@b\nbcc: c@d"]}, "notices.to[0].to[0]"),
        ({"to": ["a@b.example"]}, "notices.to[0].to: goes with kind smtp alone"),
        ({"about": ["suspendet"]}, 'did you mean "suspended"?'),
    ],
)
def test_receivers_that_are_refused(receiver: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError) as refused:
        validate_settings({"notices": {"to": [{**WEBHOOK, **receiver}]}})
    assert problem in str(refused.value)
    own = {"id": 1, "notices": {"to": [{**WEBHOOK, **receiver}]}}
    with pytest.raises(SettingsError, match=r"workspaces\[0\]\.notices"):
        validate_settings({"workspaces": [own]})


def test_a_kind_that_is_not_installed_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, cli: Cli, store: psycopg.Connection, tmp_path: Path
) -> None:
    document = {"notices": {"to": [{"kind": "slack", "connection": "chat", "channel": "#a"}]}}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(document))
    dsn = store.info.dsn
    assert cli("settings", "apply", "--dsn", dsn, "settings.yaml").returncode == 0
    monkeypatch.setattr(ReceiverKind, "package", property(lambda _: "apache-airflow-providers-of-nothing"))
    line = one_error_line(cli("settings", "apply", "--dsn", dsn, "settings.yaml"))
    assert "notices.to[0].kind: slack needs the package apache-airflow-providers-of-nothing" in line
    done = cli("doctor", "--dsn", dsn)
    assert "FAIL all receivers of notices can be told: no (notices.to[0].kind: slack needs" in done.stdout


def test_a_workspaces_receivers_survive_the_console(engine: Make, filled: psycopg.Connection, tmp_path: Path) -> None:
    document = two_destinations(tmp_path / "out")
    document["workspaces"][0]["notices"] = {"to": [WEBHOOK]}
    engine(document)
    console = Console(filled.info.dsn, filled.info.dsn, Connections())
    streaming = {**document["workspaces"][0]["streaming"], "events": ["job_status"]}
    console.settings.save_workspace(100, streaming, Actor("ada"), None)
    kept = console.settings.current().settings
    assert kept.workspaces[0].notices.to[0].connection == "pager" and kept.own[100].events == ("job_status",)
    console.settings.save_workspace(100, None, Actor("ada"), None)
    assert console.settings.current().settings.workspaces[0].notices.to, (
        "a setting that is taken away takes nothing else along"
    )
    # who is told is a change of its own
    before = console.settings.current().id
    more = {**console.settings.document(), "notices": {"to": [WEBHOOK]}}
    assert console.settings.save(more, Actor("ada"), None).id != before
    assert [change.path for change in console.settings.changes_of(console.settings.current().id)] == ["notices.to"]
    assert with_workspace({"workspaces": [{"id": 1, "streaming": {}}]}, 1, None)["workspaces"] == []
    console.exporter.close()


def test_settings_of_before_are_stored_as_they_are() -> None:
    document = {"workspaces": [{"id": 1, "streaming": {}}]}
    assert Settings.model_validate(document).as_document() == document


# the daily check


def test_a_daily_check_finds_each_fault_and_none_hides_another(
    engine: Make, sink: LogSink, pager: LogSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = two_destinations(tmp_path / "out")
    document["destinations"] |= {
        "expired": {"type": "http", "connection": "wrong"},
        "gone": {"type": "http", "connection": "nothing"},
        "hangs": {"type": "http", "connection": "sink", "path": "/hangs"},
        "quiet": {"type": "http", "connection": "wrong"},
    }
    document["notices"] = {"to": [WEBHOOK]}
    exporter = engine(document)
    exporter.ledger.suspend("quiet", "held by ada")
    monkeypatch.setattr(checking, "CHECK_SECONDS", 2.0)
    usual = HttpDestination.open

    async def hang(self: HttpDestination) -> None:
        import asyncio
        import time

        if self.name == "hangs":
            await asyncio.to_thread(time.sleep, 20)
        await usual(self)

    monkeypatch.setattr(HttpDestination, "open", hang)
    monkeypatch.setattr("logstream.airflow.operators.check.exporter", lambda: exporter)
    with pytest.raises(AirflowFailException) as red:
        CheckDestinations(task_id="check").execute({})
    said = str(red.value)
    assert said.startswith("3 of 5 destinations failed: expired: ") and "answered 401" in said
    assert (
        "gone: there is no Airflow connection `nothing`" in said and "hangs: the check did not end within 2 s" in said
    )
    assert tell_news(exporter, {}) == []
    assert [json.loads(body)["topic"] for body in pager.bodies] == ["check"] * 3 + ["held"]
    # the next day two are mended
    monkeypatch.setattr(HttpDestination, "open", usual)
    document["destinations"]["expired"]["connection"] = "sink"
    exporter.settings.apply(validate_settings(document))
    with pytest.raises(AirflowFailException, match="1 of 5 destinations failed: gone"):
        CheckDestinations(task_id="check").execute({})
    assert tell_news(exporter, {}) == []
    told = [line for line in texts(pager)[4:] if "settings" not in line]
    assert told == ["destination expired passes its check again", "destination hangs passes its check again"]


def test_a_plug_in_may_raise_anything() -> None:
    found = checking.check_all({"odd": DestinationSettings.model_validate({"type": "nothing"})}, Connections())
    assert found == {"odd": "destinations.odd: the type 'nothing' is not installed here"}
    assert checking.check_all({}, Connections()) == {}


def test_topics_and_fields_are_documented() -> None:
    page = (PROJECT / "docs/notices.md").read_text()
    from logstream.settings.notices import Receiver, Topic

    for topic in Topic:
        assert f"| `{topic}` | {topic.meaning} |" in page
    for name, field in Receiver.model_fields.items():
        assert f"| `{name}` | {field.description} |" in page
