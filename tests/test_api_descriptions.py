"""What we send to S3, read of it, and let our doubles answer, beside AWS's own description of the API.

botocore carries the description (`service-2.json`), from which AWS makes its clients; it is not of our making. What stands in
our code and not there is a mistake, or is named here with the servers that it is of.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.retries.standard import ThrottledRetryableChecker
from botocore.session import Session

from logstream.destinations.outcome import Delivered
from logstream.destinations.s3 import S3Destination
from logstream.destinations.transport.addresses import VARIABLE

from .s3_doubles import S3Double, opened
from .simulation.receivers import Answer, Receiver
from .test_causes import PASSING, PERMANENT

_SESSION = Session()
S3 = _SESSION.get_service_model("s3")
OF_OTHER_SERVERS = {
    "PathStyleDomainForbidden": "Tencent COS",
    "QuotaExceeded": "Ceph RGW",
    "SecondLevelDomainForbidden": "Alibaba OSS",
    "TooManyRequests": "servers behind gateways, and Cloudflare R2",
    "VirtualHostDomainForbidden": "Huawei OBS",
    "XMinioStorageFull": "MinIO",
}
OF_HTTP = {"accept", "accept-encoding", "connection", "host", "transfer-encoding", "user-agent"}


def described_codes() -> set[str]:
    """Codes of S3's errors, of KMS's as S3 passes them on, and of throttling, which all of AWS's services share."""
    text = S3.shape_for("Error").members["Code"].documentation
    codes = {code.strip() for code in re.findall(r"<i>Code:</i>([^<]*)</p>", text)}
    codes |= {shape.name for shape in S3.error_shapes}
    codes |= set(re.findall(r"<code>(\w+)</code>", S3.operation_model("PutObjectTagging").documentation))
    codes |= {f"KMS.{shape.name}" for shape in _SESSION.get_service_model("kms").error_shapes}
    throttled = ThrottledRetryableChecker._THROTTLED_ERROR_CODES
    codes |= {*throttled, *(f"KMS.{code}" for code in throttled)}
    return codes


def headers_of(shape: str, location: str = "header") -> set[str]:
    """The names of headers, or of a query, of a request or an answer, in small letters where they are headers."""
    found = [member.serialization for member in S3.shape_for(shape).members.values()]
    names = {one["name"] for one in found if one.get("location") == location}
    return {name.lower() for name in names} if location == "header" else names


def test_every_code_that_we_read_is_the_vendors() -> None:
    known = described_codes()
    assert {"PermanentRedirect", "SlowDown", "NoSuchKey"} <= known and "NoSuchThing" not in known
    ours = {*S3Destination.causes, *S3Destination.passing}
    assert ours - known == OF_OTHER_SERVERS.keys()


def test_every_code_that_our_doubles_answer_is_the_vendors() -> None:
    answered = {
        code
        for kind, _, body, _ in [*PERMANENT, *PASSING]
        if kind == "s3"
        for code in re.findall("<Code>([^<]*)", body)
    }
    receiver = Receiver("lake")
    receiver.objects["a"] = b""
    receiver.weather.append("denied")
    answers = [receiver.put("a", b""), receiver.put("a", b"", only_new=True), receiver.get("none")]
    answered |= {code for answer in answers for code in re.findall("<Code>([^<]*)", answer.body.decode())}
    assert {"AccessDenied", "PreconditionFailed", "NoSuchKey"} <= answered
    assert answered - described_codes() <= OF_OTHER_SERVERS.keys()


def elements_unknown(text: bytes, shape: Any) -> set[str]:
    """The elements of an answer that its description does not have, at any depth."""
    found: set[str] = set()
    for element in ElementTree.fromstring(text):
        member = shape.members.get(element.tag)
        if member is None:
            found.add(element.tag)
        elif member.type_name == "list" and len(element):
            found |= elements_unknown(ElementTree.tostring(element), member.member)
    return found


def test_our_doubles_listing_has_the_vendors_elements_and_headers() -> None:
    receiver = Receiver("lake")
    receiver.objects |= {"a/1.json": b"{}", "a/2.json": b"{}"}
    shape = S3.shape_for("ListObjectsV2Output")
    listing = receiver.listing("a/").body
    assert b"<Contents>" in listing and elements_unknown(listing, shape) == set()
    assert elements_unknown(listing.replace(b"ETag", b"Etag"), shape) == {"Etag"}
    for answer, of in ((receiver.put("b", b""), "PutObjectOutput"), (receiver.get("b"), "GetObjectOutput")):
        assert {name.lower() for name in answer.headers} - headers_of(of) <= {"content-type"} | headers_of(
            "GetObjectOutput"
        )


class Recording(S3Double):
    """A store of one object that keeps what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.token = "t"  # which is a header, too
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self._receiver = Receiver("lake")

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        """As the simulation's store does."""
        parts = urlsplit(request.path)
        self.asked.append((request.command, request.path, dict(request.headers.items())))
        key = parts.path.removeprefix("/audit/")
        match request.command:
            case "PUT":
                answer: Answer = self._receiver.put(key, body)
            case "POST":
                (key,) = re.findall("<Key>([^<]*)", body.decode())
                self._receiver.delete(key)
                answer = Answer(200, f"<DeleteResult><Deleted><Key>{key}</Key></Deleted></DeleteResult>".encode())
            case "HEAD":
                answer = Answer(404)
            case _ if "list-type" in parts.query:
                answer = self._receiver.listing("")
            case _:
                answer = self._receiver.get(key)
        self.answer_headers = dict(answer.headers)
        return answer.status, answer.body


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recording]:
    monkeypatch.setenv(VARIABLE, "1")
    server = Recording()
    with server:
        yield server


def signing_headers() -> set[str]:
    """The headers that a signature brings, as botocore signs."""
    request = AWSRequest("GET", "http://127.0.0.1/audit/a")
    request.context["payload_signing_enabled"] = True
    S3SigV4Auth(Credentials("AKIAEXAMPLE", "x", "t"), "s3", "us-east-1").add_auth(request)
    return {name.lower() for name in request.headers}


def test_requests_have_names_that_the_vendor_knows(recording: Recording) -> None:
    options = {
        "storage_class": "STANDARD_IA", "metadata": {"team": "audit"}, "tags": {"retention": "7y"},
        "encryption": "aws:kms", "kms_key_id": "alias/audit",
    }  # fmt: skip

    async def once() -> None:
        async with opened(recording, **options) as made:
            assert isinstance(await made.put("1/a.json", b"{}"), Delivered)
            assert isinstance(await made.put("1/b.json", b"{}", new=True), Delivered)
            assert [step.ok async for step in made.check()] == [True, True, True]
            assert await made.get("1/a.json") == b"{}"
            assert "1/a.json" in [key async for key in made.listed("1/")]

    asyncio.run(once())
    seen: set[str] = set()
    for method, path, headers in recording.asked:
        query = dict(parse_qsl(urlsplit(path).query))
        if method == "POST":
            assert query.keys() <= {"delete"} and "delete" in path
            operation = "DeleteObjects"
        elif query.pop("list-type", "") == "2":
            operation = "ListObjectsV2"
        else:
            operation = {"PUT": "PutObject", "HEAD": "HeadObject", "GET": "GetObject"}[method]
        seen.add(operation)
        known = headers_of(f"{operation}Request") | OF_HTTP | signing_headers()
        names = {name.lower() for name in headers if not name.lower().startswith("x-amz-meta-")}
        if operation == "DeleteObjects":
            # its checksum is the model's `httpChecksum`, and has no member: the names are those that PutObject has
            assert S3.operation_model(operation).http_checksum["requestChecksumRequired"]
            known |= {"content-length", "content-type", "content-md5", "x-amz-checksum-sha256"} & headers_of(
                "PutObjectRequest"
            )
        assert names <= known, (operation, names - known)
        assert query.keys() <= headers_of(f"{operation}Request", "querystring"), path
    assert seen == {"PutObject", "GetObject", "HeadObject", "DeleteObjects", "ListObjectsV2"}
    puts = [set(map(str.lower, headers)) for method, _, headers in recording.asked if method == "PUT"]
    wanted = {"x-amz-storage-class", "x-amz-tagging", "x-amz-server-side-encryption", "x-amz-meta-team", "x-amz-security-token",
              "x-amz-server-side-encryption-aws-kms-key-id"}  # fmt: skip
    assert all(wanted <= names for names in puts)
    assert "if-none-match" in puts[1]
