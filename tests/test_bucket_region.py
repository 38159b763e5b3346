"""A bucket in another region: S3 names the right one in a header, and so does the error."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from logstream.destinations.outcome import GiveUp, Outcome
from logstream.destinations.transport.addresses import VARIABLE
from logstream.destinations.transport.network import Network
from logstream.steps import Step
from logstream.testing.servers import CLOSED, Manner

from .certificates import Certificate
from .s3_doubles import S3Double, opened

REDIRECT = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>PermanentRedirect</Code><Message>The bucket you are attempting to access '
    b"must be addressed using the specified endpoint. Please send all future requests to this endpoint.</Message>"
    b"<Endpoint>audit.s3.eu-central-1.amazonaws.com</Endpoint><Bucket>audit</Bucket><RequestId>4442587FB7D0A2F9</RequestId></Error>"
)


class ElsewhereS3(S3Double):
    """The address of a region of S3 in which the bucket is not: 301 for all, without `Location`, as S3 answers.

    `heads_say` is its status for `HEAD` on the bucket. It may stand for a proxy, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.region: str | None = "eu-central-1"
        self.heads_say = 301
        self.asked: list[tuple[str, str, bool]] = []
        """Method, target and whether it was signed, of each request."""

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        self.asked.append((request.command, request.path, "Authorization" in request.headers))
        self.answer_headers = {"Content-Type": "application/xml", "Server": "AmazonS3"}
        if self.region is not None:
            self.answer_headers["x-amz-bucket-region"] = self.region
        return (self.heads_say if self.of_bucket == request.path else 301), REDIRECT

    @property
    def of_bucket(self) -> str:
        """The target of a request for the bucket."""
        return "/audit" if self.endpoint == self.url else f"{self.endpoint}/audit"

    def questions(self) -> list[tuple[str, str, bool]]:
        """What it was asked about the bucket itself."""
        return [one for one in self.asked if one[0] == "HEAD" and "1/a" not in one[1] and "_logstream" not in one[1]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ElsewhereS3]:
    monkeypatch.setenv(VARIABLE, "1")
    server = ElsewhereS3()
    with server:
        yield server


def put(server: ElsewhereS3, puts: int = 1) -> list[Outcome]:
    async def once() -> list[Outcome]:
        async with opened(server) as destination:
            return await asyncio.gather(*(destination.put(f"1/a{number}.json", b"{}") for number in range(puts)))

    return asyncio.run(once())


def check(server: ElsewhereS3) -> list[Step]:
    async def once() -> list[Step]:
        async with opened(server) as destination:
            return [step async for step in destination.check()]

    return asyncio.run(once())


TOLD = "bucket `audit` is in another region, eu-central-1; set region_name of connection `c`"


@pytest.mark.parametrize("status", [301, 403, 400, 200])
def test_a_put_tells_the_region(server: ElsewhereS3, status: int) -> None:
    server.heads_say = status
    (outcome,) = put(server)
    assert isinstance(outcome, GiveUp) and TOLD in outcome.reason, outcome
    assert server.questions() == [("HEAD", "/audit", False)], "asked once, without credentials"


def test_a_check_tells_the_region(server: ElsewhereS3) -> None:
    (step,) = check(server)
    assert not step.ok and TOLD in step.remedy, step
    assert server.questions() == [("HEAD", "/audit", False)]


def test_many_puts_ask_once(server: ElsewhereS3) -> None:
    outcomes = put(server, puts=20)
    assert len(outcomes) == 20 and all(isinstance(one, GiveUp) and TOLD in one.reason for one in outcomes)
    assert len(server.questions()) == 1


@pytest.mark.parametrize(
    "region", [None, "", "x", "eu-central-1; rm -rf", "<b>eu-1</b>", "eu-" * 100 + "1", "http://evil-1"]
)
def test_a_server_that_names_no_region_is_not_quoted(server: ElsewhereS3, region: str | None) -> None:
    server.region = region
    (outcome,) = put(server)
    assert isinstance(outcome, GiveUp) and "is in another region; set region_name" in outcome.reason, outcome


@pytest.mark.parametrize("trouble", ["closed", "cut"])
def test_a_server_that_does_not_answer_the_question(server: ElsewhereS3, trouble: str) -> None:
    if trouble == "closed":
        server.heads_say = CLOSED
    else:
        server.manner = lambda _: Manner.CUT
    (outcome,) = put(server)
    assert "in another region" in getattr(outcome, "reason", ""), outcome
    assert isinstance(outcome, GiveUp)


@pytest.mark.parametrize("virtual", [False, True])
def test_the_question_goes_by_the_connections_proxy(server: ElsewhereS3, virtual: bool) -> None:
    server.network = Network(proxies={"http": server.url}, environment=False)
    server.endpoint, server.virtual = "http://s3.us-east-1.test", virtual
    (outcome,) = put(server)
    assert isinstance(outcome, GiveUp) and TOLD in outcome.reason, outcome
    asked = "http://audit.s3.us-east-1.test/" if virtual else "http://s3.us-east-1.test/audit"
    assert [path for _, path, _ in server.questions()] == [asked]


@pytest.mark.parametrize("known", [True, False])
def test_the_question_is_asked_by_the_connections_authority(
    server: ElsewhereS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """Of a server whose certificate a private authority signs; one of another authority is told as that, and not asked."""
    authority = Certificate.authority()
    (tmp_path / "server.pem").write_text(authority.sign().pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    signer = authority if known else Certificate.authority("another")
    server.network = Network(environment=False, authority=signer.public)
    server.url = server.endpoint = f"https://127.0.0.1:{server.port}"
    (outcome,) = put(server)
    assert isinstance(outcome, GiveUp), outcome
    assert (TOLD in outcome.reason) == known
    assert ("certificate" in outcome.reason) != known
    assert server.questions() == ([("HEAD", "/audit", False)] if known else [])
