"""What a receiver echoes of a connection is masked: in every encoding, cut anywhere, at object stores too."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logstream.airflow.connections import AirflowConnections
from logstream.destinations.base import Destination, Step
from logstream.destinations.objects import ReadError
from logstream.destinations.outcome import Delivered, GiveUp, Outcome, Reject, Retry, Split
from logstream.destinations.registry import make_destination
from logstream.destinations.transport.answers import unpacked
from logstream.destinations.transport.secrets import Secrets
from logstream.errors import InputError
from logstream.settings.models import DestinationSettings
from logstream.settings.resolution import Workspace
from logstream.store.load import load_file
from logstream.testing.contract import one_event
from logstream.testing.echoes import ECHOES, given_away, packed, sent_secrets
from logstream.testing.events import EventMaker, workspace_line
from logstream.testing.servers import EchoingStore, LogSink
from tests.conftest import Cli

# no eight characters of it are in the prose around it
SECRETS = st.text(st.sampled_from("qzjxQZJX0189+/=%&<>\"'\\ é€😀~_-.:"), min_size=8, max_size=60).filter(
    lambda text: len(set(text)) > 5 and text == text.strip()
)


def masking(*secrets: str) -> Secrets:
    made = Secrets()
    made.add(*secrets)
    return made


@given(SECRETS, st.sampled_from(sorted(ECHOES)), st.text(max_size=20))
def test_no_encoding_hides_a_secret(secret: str, way: str, around: str) -> None:
    echo = ECHOES[way](f"Authorization: {secret}\n{around}")
    masked = masking(secret).mask(echo)
    assert given_away(masked, [secret]) == [], (echo, masked)


@given(SECRETS, st.integers(0, 300), st.data())
def test_a_secret_that_is_cut_leaves_at_most_three_characters(secret: str, before: int, data: Any) -> None:
    kept = data.draw(st.integers(4, len(secret)))
    masked = masking(secret).excerpt("." * before + " " + secret[:kept])
    assert secret[:4] not in masked


def test_an_excerpt_is_masked_before_it_is_cut() -> None:
    secrets = masking("hunter2-and-more")
    for before in range(180, 200):
        assert "hunt" not in secrets.excerpt("." * before + "hunter2-and-more")
    assert len(secrets.excerpt("." * 500)) == 200


@pytest.mark.parametrize(
    ("secret", "text", "masked"),
    [
        ("abc12", "wrong password abc12!", "wrong password ***!"),
        ("abc12", "wrong password 'ABC12'", "wrong password '***'"),
        ("abc12", "xabc12 is another word", "xabc12 is another word"),
        ("a", "a is a short secret", "*** is *** short secret"),
        ("", "nothing", "nothing"),
        ("hunter22", "the first seven: hunter2", "the first seven: ***"),
        ("hunter22", "a hunter", "a ***"),
        ("hunter22", "a hunter came", "a hunter came"),
    ],
)
def test_short_secrets_and_beginnings(secret: str, text: str, masked: str) -> None:
    assert masking(secret).mask(text) == masked


def test_addresses_keep_their_host_and_their_ordinary_words() -> None:
    secrets = Secrets()
    secrets.add_url(
        "https://me:pass-word@hooks.example.com/services/T0A1B2C3D/abcdefghijklmnopqrstuvwx?code=quickfox&v=1"
    )
    text = (
        "hooks.example.com: services of T0A1B2C3D at /services/T0A1B2C3D/abcdefghijklmnopqrstuvwx, pass-word, "
        "mnopqrstuv, quickfox, v=1, services are away"
    )
    assert secrets.mask(text) == (
        "hooks.example.com: services of *** at ***, ***, ***, ***, v=1, services are away"
    )  # fmt: skip


def test_what_the_settings_show_is_no_secret() -> None:
    secrets = Secrets()
    secrets.add_headers({"X-Category": "prod/audit", "X-Token": "quick-brown-fox"}, known=["prod/audit"])
    secrets.add_headers({"Content-Type": "application/json", "Idempotency-Key": "ls-0123456789"})
    text = "prod/audit application/json ls-0123456789 quick-brown-fox"
    assert secrets.mask(text) == "prod/audit application/json ls-0123456789 ***"


@pytest.mark.parametrize(
    "text",
    [
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261125/eu-west-1/s3/aws4_request, Signature=" + "a1" * 32,
        "https://store/x?sv=2022-11-02&sig=Zm9vYmFyYmF6cXV4MTIzNDU2%3D&sp=w",
        "SharedKey account:" + "Zm9v" * 10 + "YmE=",
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "ya29.a0AfH6SMBx-0123456789_abcdef",
        json.dumps({"X-Amz-Security-Token": "FwoGZXIvYXdzEBY0123456789"}),
    ],
)
def test_signatures_that_a_library_makes_are_known_by_their_shape(text: str) -> None:
    masked = Secrets().mask(text)
    assert "***" in masked
    for word in ("a1a1a1a1", "Zm9vYmFy", "Zm9vZm9v", "eyJzdWIi", "AfH6SMBx", "FwoGZXIv"):
        assert word not in masked


@pytest.mark.parametrize(
    "text",
    ["The bearer authentication is required", "the request signature we calculated does not match", "400: field sig: missing",
     "connection `acme` answered 404", "j-KGAKfhsz-GYoLeD is no job of recipe 456"],
)  # fmt: skip
def test_ordinary_words_stay(text: str) -> None:
    assert masking("quick-brown-fox-0123456789").mask(text) == text


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate", "zstd", "br", "", "GZIP"]))
def test_answers_that_are_not_packed_as_they_say(data: bytes, encoding: str) -> None:
    assert len(unpacked(data, encoding, 1_000) or b"") <= 1_000


def test_a_small_answer_does_not_unpack_to_a_large_one() -> None:
    assert len(unpacked(packed(b"x" * 50_000_000), "gzip", 1_000) or b"") == 1_000


class Leaky(Destination[Any]):
    """A third party's, which knows nothing of secrets and says all that it has."""

    type, title = "leaky", "Leaky"

    limits: Any = None
    outcome: Outcome | Exception = Delivered()

    def packer(self, lane: Any, part: int) -> Any:
        raise NotImplementedError

    async def open(self) -> None:
        self.secrets.add("quick-brown-fox")
        if self.connections is not None:
            raise self.connections

    async def send(self, parcel: Any) -> Outcome:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def check(self) -> AsyncIterator[Step]:
        yield Step("quick-brown-fox", False, "by quick-brown-fox", "no quick-brown-fox")


TOLD = "it said quick-brown-fox"


@pytest.mark.parametrize(
    "outcome",
    [
        Retry(TOLD, 1.0, (2,)),
        Split(TOLD),
        GiveUp(TOLD),
        Reject({0: TOLD, 1: TOLD}, (2,)),
        ValueError(TOLD),
        OSError(5, TOLD),
    ],
)
def test_every_text_of_a_third_partys_destination_goes_through_the_frame(outcome: Outcome | Exception) -> None:
    async def run() -> list[Any]:
        made = Leaky("d", None, None)  # type: ignore[arg-type]
        made.outcome = outcome
        await made.start()
        return [await made.deliver(None), [step async for step in made.run_check()]]  # type: ignore[arg-type]

    told = str(asyncio.run(run()))
    assert "fox" not in told
    assert "it said ***" in told and "by ***" in told


@pytest.mark.parametrize(
    ("error", "told"),
    [(InputError(TOLD), r"it said \*\*\*"), (ValueError(TOLD), r"destination d cannot be opened \(ValueError\)")],
)
def test_what_stops_a_destination_from_opening_holds_no_secret(error: Exception, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        asyncio.run(Leaky("d", None, error).start())  # type: ignore[arg-type]
    assert "fox" not in str(caught.value)


SECRET_KEY, TOKEN = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "FwoGZXIvYXdzEBYaDKl+Q7Xz/9zTOKENEXAMPLE=="
SIGNATURE = "Q7Xz9zTpmVb4LkDw2s+aYh0cJr8e/Xn5fGuKiB1oMtE="
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@pytest.fixture
def echoing() -> Iterator[EchoingStore]:
    with EchoingStore() as server:
        yield server


STORES: dict[str, Callable[[str], tuple[dict[str, Any], dict[str, Any], list[str]]]] = {
    "s3": lambda url: (
        {"type": "s3", "connection": "store", "bucket": "audit"},
        {"conn_type": "aws", "login": "AKIDEXAMPLE0123", "password": SECRET_KEY,
         "extra": {"endpoint_url": url, "region_name": "eu-west-1", "aws_session_token": TOKEN}},
        [TOKEN, SECRET_KEY, "AKIDEXAMPLE0123"],
    ),
    "azure_blob with a SAS": lambda url: (
        {"type": "azure_blob", "connection": "store", "container": "audit"},
        {"conn_type": "wasb", "host": f"{url}/acme",
         "extra": {"sas_token": f"sv=2022-11-02&sp=rcwl&sig={quote(SIGNATURE, safe='')}"}},
        [SIGNATURE],
    ),
    "azure_blob with a key": lambda url: (
        {"type": "azure_blob", "connection": "store", "container": "audit"},
        {"conn_type": "wasb", "login": "acme", "password": ACCOUNT_KEY, "host": f"{url}/acme"},
        [ACCOUNT_KEY],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", STORES)
def test_what_an_object_store_echoes_is_masked(
    kind: str, echoing: EchoingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, connection, secrets = STORES[kind](echoing.url)
    monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(connection))

    async def run() -> list[str]:
        made: Any = make_destination("d", DestinationSettings.model_validate(options), AirflowConnections())
        told = [str(step) async for step in made.run_check()]
        await made.start()
        told += [str(await made.deliver(one_event(made))), str(await made.put("k", b"{}", "text/plain"))]
        for read in (made.fetch("k"), made.fetch("k", 10), anext(made.listed(""))):
            with pytest.raises((ReadError, FileNotFoundError)) as caught:
                await read
            told.append(str(caught.value))
        await made.close()
        return told

    for number, way in enumerate(ECHOES):
        echoing.status = (400, 401, 403, 404, 409, 411)[number % 6]
        echoing.echo_text = ECHOES[way]
        told = asyncio.run(run())
        signatures = [re.findall(r"Signature=(\w+)|SharedKey acme:(\S+)", head) for head in sent_secrets(echoing.heads)]
        sent = secrets + [part for found in signatures for pair in found for part in pair if part]
        assert [(text, given_away(text, sent)) for text in told if given_away(text, sent)] == []
    assert echoing.requests > 5 * len(ECHOES)


def test_an_echo_is_in_no_command_s_output(
    store: psycopg.Connection, sink: LogSink, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `export`, `owed` and `destinations check` print of a receiver that echoes its requests."""
    dsn = store.info.dsn
    events = EventMaker([Workspace(1, "c1")]).lines(3, datetime(2026, 3, 1, tzinfo=UTC), timedelta(minutes=5))
    (tmp_path / "events.ndjson").write_text("\n".join([workspace_line(Workspace(1, "c1")), *events]) + "\n")
    load_file(store, tmp_path / "events.ndjson")
    (tmp_path / "settings.yaml").write_text(
        "admin: {enabled: true, events: [job_details, user_activity, api_platform, log_service], destination: d}\n"
        "destinations: {d: {type: http, connection: siem}}\n"
    )
    monkeypatch.setenv("AIRFLOW_CONN_SIEM", f"http://quickbrown:foxjumpsover@127.0.0.1:{sink.port}")
    sink.fail, sink.echo = lambda _: 401, lambda head, _: head.encode()
    assert cli("settings", "apply", "--dsn", dsn, tmp_path / "settings.yaml").returncode == 0
    times = ("--from", "2026-03-01T00:00:00Z", "--to", "2026-03-01T00:05:00Z")
    done = [
        cli("export", "--dsn", dsn, *times, "--json"),
        cli("owed", "--dsn", dsn, "--json"),
        cli("destinations", "check", "--dsn", dsn, "d"),
    ]
    assert [code.returncode for code in done] == [1, 0, 1]
    secrets = {"foxjumpsover", *sent_secrets(sink.heads)}
    assert len(secrets) == 2
    for printed in done:
        assert given_away(printed.stdout + printed.stderr, secrets) == []
    assert "answered 401 (POST / HTTP/1.1" in done[0].stdout
