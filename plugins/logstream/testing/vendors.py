"""One strict fake for each vendor without a server of its own: documented limits, authentication and answers.

Each takes what its vendor takes and refuses what its vendor refuses. `fail` makes trouble (see `LogSink`); `bad` says which
events the vendor finds invalid. `taken` are the events as they were before the vendor's wrapping.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar, cast
from urllib.parse import parse_qs, quote, urlsplit

from logstream.testing.servers import LogSink, decoded

Answer = tuple[int, bytes]

_SECURITY = {
    "type": "security_exception",
    "reason": "unable to authenticate with provided credentials and anonymous access is not allowed for this request",
    "header": {"WWW-Authenticate": ['Basic realm="security" charset="UTF-8"', "ApiKey"]},
}
_NO_ACCESS = "The authentication token provided does not have access to ingest data for the data collection rule."


class Refused(Exception):
    """A request that the vendor refuses: status and answer."""

    def __init__(self, status: int, answer: object = "") -> None:
        super().__init__(status)
        self.status, self.answer = status, answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()


class Vendor(LogSink):
    """What the fakes share."""

    path: str
    accepted = 200
    max_bytes = 1_000_000

    def __init__(self, token: str = "vendor-token-0123456789") -> None:
        super().__init__(token=token)
        self.bad: Callable[[Any], bool] = lambda _: False
        self.poison: Callable[[bytes], int | None] = lambda _: None
        """A status by which a whole body is refused for what is in it, by a gateway or by the vendor; `None` to take it."""
        self.taken: list[Any] = []

    @property
    def connection(self) -> str:
        """An Airflow connection to it: the password is the token."""
        return f"http://:{quote(self.token)}@127.0.0.1:{self.port}"

    def authorized(self, request: BaseHTTPRequestHandler) -> bool:
        """Whether a request has the right credentials."""
        raise NotImplementedError

    def store(self, plain: bytes) -> object:
        """Check and keep a body; return the answer. Raises `Refused`."""
        raise NotImplementedError

    def receive(self, request: BaseHTTPRequestHandler, body: bytes) -> Answer:
        """Path, credentials, size, then the vendor's own rules."""
        try:
            if self.path not in (request.path, request.path.partition("?")[0]):
                raise Refused(*self.missing)
            if not self.authorized(request):
                raise Refused(*self.unauthorized)
            plain = decoded(body, request.headers.get("Content-Encoding"))
            if len(plain) > self.max_bytes:
                raise Refused(413, {"error": "too large"})
            if (status := self.poison(plain)) is not None:
                raise Refused(status, {"error": "there is something in it"})
            answer = self.store(plain)
        except Refused as refused:
            return refused.status, refused.answer
        except (ValueError, KeyError, TypeError) as error:
            return 400, json.dumps({"error": str(error)}).encode()
        self.keep(request, body, plain)
        return self.accepted, b"" if answer is None else json.dumps(answer).encode()

    unauthorized: tuple[int, object] = (403, {"error": "forbidden"})
    missing: tuple[int, object] = (404, {"error": "not found"})

    def take_event(self, event: Any) -> None:
        """Keep one event."""
        self.taken.append(event)


class SplunkHec(Vendor):
    """Splunk's HTTP Event Collector: JSON objects one after another; codes in the answer.

    https://docs.splunk.com/Documentation/Splunk/latest/Data/TroubleshootHTTPEventCollector (statuses, codes and texts)
    """

    path = "/services/collector/event"
    unauthorized = (403, {"text": "Invalid token", "code": 4})
    own_headers: ClassVar = {
        "Content-Type": "application/json; charset=UTF-8",
        "X-Content-Type-Options": "nosniff",
        "Vary": "Authorization",
        "X-Frame-Options": "SAMEORIGIN",
        "Server": "Splunkd",
    }

    def authorized(self, request: BaseHTTPRequestHandler) -> bool:
        """`Authorization: Splunk TOKEN`."""
        given = request.headers.get("Authorization")
        if given is None:
            raise Refused(401, {"text": "Token is required", "code": 2})
        if not given.startswith("Splunk "):
            raise Refused(401, {"text": "Invalid authorization", "code": 3})
        return request.headers.get("Authorization") == f"Splunk {self.token}"

    def store(self, plain: bytes) -> object:
        """Events before an invalid one are indexed."""
        text, decoder, place, number = plain.decode(), json.JSONDecoder(), 0, 0
        if not text.strip():
            raise Refused(400, {"text": "No data", "code": 5})
        while place < len(text):
            document, place = decoder.raw_decode(text, place)
            while place < len(text) and text[place] in " \r\n\t":
                place += 1
            index = document.get("index", "main")
            if not re.fullmatch(r"[a-z0-9_][a-z0-9_-]*", index):
                raise Refused(400, {"text": "Incorrect index", "code": 7, "invalid-event-number": number})
            if "event" not in document:
                raise Refused(400, {"text": "Event field is required", "code": 12, "invalid-event-number": number})
            if document["event"] in ("", None):
                raise Refused(400, {"text": "Event field cannot be blank", "code": 13, "invalid-event-number": number})
            unknown = document.keys() - {"time", "host", "source", "sourcetype", "index", "fields", "event"}
            if unknown or not isinstance(document["time"], int | float) or self.bad(document["event"]):
                raise Refused(400, {"text": "Invalid data format", "code": 6, "invalid-event-number": number})
            self.take_event(document["event"])
            number += 1
        return {"text": "Success", "code": 0}


class Datadog(Vendor):
    """Datadog's intake: an array of at most 1,000 entries of at most 1 MB.

    `SubmitLog`, `HTTPLogItem` and `HTTPLogErrors` of Datadog's API description (OpenAPI, `/api/v2/logs`).
    """

    path = "/api/v2/logs"
    accepted = 202
    max_bytes = 5_000_000
    own_headers: ClassVar = {
        "Content-Type": "application/json",
        "Strict-Transport-Security": "max-age=31536000; includeSubDomains; preload",
        "X-Content-Type-Options": "nosniff",
        "Accept-Encoding": "identity,gzip,x-gzip,deflate,x-deflate,zstd",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    unauthorized = (
        403,
        {"errors": [{"status": "403", "title": "Forbidden", "detail": "Api key is missing or not valid"}]},
    )

    def authorized(self, request: BaseHTTPRequestHandler) -> bool:
        """`DD-API-KEY`."""
        return request.headers.get("DD-API-KEY") == self.token

    def store(self, plain: bytes) -> object:
        """Every entry needs a message that is text."""
        entries = json.loads(plain)
        if not isinstance(entries, list) or len(entries) > 1_000:
            raise self._refused("expected an array of at most 1,000 entries")
        for entry in entries:
            if not isinstance(entry["message"], str) or len(json.dumps(entry)) > 1_100_000:
                raise self._refused("an entry needs a message that is text, and has at most 1 MB")
            for name in ("ddsource", "ddtags", "hostname", "service"):
                if not isinstance(entry.get(name, ""), str):
                    raise self._refused(f"{name} must be text")
        for entry in entries:
            self.take_event(json.loads(entry["message"]))
        return {}

    @staticmethod
    def _refused(detail: str) -> Refused:
        return Refused(400, {"errors": [{"status": "400", "title": "Bad Request", "detail": detail}]})


class SumoLogic(Vendor):
    """An HTTP source of Sumo Logic: its URL is the secret.

    https://help.sumologic.com/docs/send-data/hosted-collectors/http-source/troubleshooting/ (a success says nothing)
    """

    own_headers: ClassVar = {
        "Content-Type": "text/plain",
        "Strict-Transport-Security": "max-age=31536000 ; includeSubDomains",
        "X-Content-Type-Options": "nosniff",
    }
    missing = (
        401,
        {
            "status": 401,
            "id": "5A0JJ-8HZ7R-2BW2C",
            "code": "unauthorized",
            "message": "Credential could not be verified.",
        },
    )

    @property
    def path(self) -> str:  # type: ignore[override]
        """The secret path."""
        return f"/receiver/v1/http/{self.token}"

    @property
    def connection(self) -> str:
        """An Airflow connection whose host is the whole URL."""
        return json.dumps({"conn_type": "http", "host": f"{self.url}{self.path}"})

    def authorized(self, request: BaseHTTPRequestHandler) -> bool:
        """A request to the secret URL is."""
        return True

    def store(self, plain: bytes) -> object:
        """One event a line."""
        for event in [json.loads(line) for line in plain.decode().split("\n") if line]:
            self.take_event(event)
        return None


class AzureMonitor(Vendor):
    """Azure Monitor's Logs Ingestion API.

    https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview (codes, limits, what a record needs)
    """

    own_headers: ClassVar = {
        "Content-Type": "application/json; charset=utf-8",
        "api-supported-versions": "2021-11-01-preview, 2023-01-01, 2023-04-24",
        "x-ms-client-request-id": "00000000-0000-0000-0000-000000000000",
        "Strict-Transport-Security": "max-age=15724800; includeSubDomains",
    }
    unauthorized = (403, {"error": {"code": "OperationFailed", "message": _NO_ACCESS}})

    rule, stream = "dcr-0123456789abcdef0123456789abcdef", "Custom-Audit_CL"
    path = f"/dataCollectionRules/{rule}/streams/{stream}?api-version=2023-01-01"
    accepted = 204

    def authorized(self, request: BaseHTTPRequestHandler) -> bool:
        """A bearer token."""
        if request.headers.get("Content-Encoding") not in (None, "gzip"):
            raise Refused(415, {"error": {"code": "UnsupportedMediaType", "message": "gzip is the one encoding"}})
        return request.headers.get("Authorization") == f"Bearer {self.token}"

    def store(self, plain: bytes) -> object:
        """Every record needs `TimeGenerated`."""
        records = json.loads(plain)
        if not isinstance(records, list) or not all(isinstance(record["TimeGenerated"], str) for record in records):
            message = "A record lacks TimeGenerated, or it is no time."
            raise Refused(400, {"error": {"code": "InvalidRecord", "message": message}})
        for record in records:
            del record["TimeGenerated"]
            self.take_event(record)
        return None


class GrafanaLoki(Vendor):
    """Loki's push API; basic authentication as Grafana Cloud's.

    https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs and its `limits_config`: answers are plain text.
    """

    path = "/loki/api/v1/push"
    accepted = 204
    own_headers: ClassVar = {
        "Content-Type": "text/plain; charset=utf-8",
        "X-Content-Type-Options": "nosniff",
        "Via": "1.1 google",
    }
    unauthorized: tuple[int, object] = (401, {"status": "error", "error": "authentication error: invalid token"})

    @property
    def connection(self) -> str:
        """An Airflow connection with login and password."""
        return f"http://12345:{quote(self.token)}@127.0.0.1:{self.port}"

    def authorized(self, request: BaseHTTPRequestHandler) -> bool:
        """Basic."""
        import base64

        wanted = base64.b64encode(f"12345:{self.token}".encode()).decode()
        return request.headers.get("Authorization") == f"Basic {wanted}"

    def store(self, plain: bytes) -> object:
        """Streams have labels; values are pairs of texts. A bad line refuses the request."""
        events = []
        for stream in json.loads(plain)["streams"]:
            if not stream["stream"] or not all(isinstance(value, str) for value in stream["stream"].values()):
                raise Refused(400, "error at least one label pair is required per stream\n")
            for name, value in stream["stream"].items():
                if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) or len(name) > 1_024 or len(value) > 2_048:
                    raise Refused(400, f'error parsing labels: invalid label "{name}"\n')
            if len(stream["stream"]) > 15:
                raise Refused(400, "stream has too many label names; limit 15\n")
            moments = [int(moment) for moment, _ in stream["values"]]
            if moments != sorted(moments):
                raise Refused(400, "entry out of order")
            for moment, line in stream["values"]:
                if not (isinstance(moment, str) and moment.isdigit() and len(moment) == 19) or len(line) > 256_000:
                    raise Refused(400, "bad value")
                events.append(json.loads(line))
        if any(map(self.bad, events)):
            raise Refused(400, "entry with timestamp too far behind")
        for event in events:
            self.take_event(event)
        return None


class NewRelic(Vendor):
    """New Relic's Log API: it answers before it looks at what it got.

    https://docs.newrelic.com/docs/logs/log-api/introduction-log-api/
    """

    own_headers: ClassVar = {
        "Content-Type": "application/json; charset=UTF-8",
        "Access-Control-Allow-Methods": "GET, POST, PUT, HEAD, OPTIONS",
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Origin": "*",
        "X-Served-By": "cache-0123",
    }
    unauthorized: tuple[int, object] = (403, {})

    path = "/log/v1"
    accepted = 202

    def authorized(self, request: BaseHTTPRequestHandler) -> bool:
        """`Api-Key`."""
        return request.headers.get("Api-Key") == self.token

    def store(self, plain: bytes) -> object:
        """Blocks with common attributes and logs."""
        for block in json.loads(plain):
            if block.keys() - {"common", "logs"}:
                raise Refused(400, {})
            for entry in block["logs"]:
                if not isinstance(entry["timestamp"], int) or len(str(entry["timestamp"])) != 13:
                    raise Refused(400, {})
                self.take_event(json.loads(entry["message"]))
        return {"requestId": f"{uuid.uuid4()}"}


class Elasticsearch(Vendor):
    """The bulk API of a data stream: a status for each document; one whose id is there is a conflict.

    https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
    """

    own_headers: ClassVar = {"X-elastic-product": "Elasticsearch", "Content-Type": "application/json"}
    unauthorized = (401, {"error": {"root_cause": [_SECURITY], **_SECURITY}, "status": 401})

    path = "/_bulk"
    max_bytes = 15_000_000

    def __init__(self, token: str = "vendor-token-0123456789") -> None:
        super().__init__(token)
        self.documents: dict[str, Any] = {}
        self.busy: Callable[[str], bool] = lambda _: False
        self.knows_filter_path = True
        """Whether it gives the part of its answer that was asked for; a proxy before it may not pass that on."""
        self._path = ""

    def authorized(self, request: BaseHTTPRequestHandler) -> bool:
        """`Authorization: ApiKey KEY`."""
        self._path = request.path
        return request.headers.get("Authorization") == f"ApiKey {self.token}"

    def store(self, plain: bytes) -> object:
        """Pairs of lines, ended by a line break."""
        if not plain.endswith(b"\n"):
            reason = "The bulk request must be terminated by a newline [\\n]"
            cause = {"type": "illegal_argument_exception", "reason": reason}
            raise Refused(400, {"error": {"root_cause": [cause], **cause}, "status": 400})
        lines = plain.decode().split("\n")[:-1]
        items: list[dict[str, dict[str, Any]]] = []
        for head, text in zip(lines[::2], lines[1::2], strict=True):
            ((action, where),) = json.loads(head).items()
            document, identity = json.loads(text), where["_id"]
            if len(identity.encode()) > 512 or where["_index"] != where["_index"].lower():
                cause = {
                    "type": "illegal_argument_exception",
                    "reason": f"id or index [{where['_index']}] is not valid",
                }
                raise Refused(400, {"error": {"root_cause": [cause], **cause}, "status": 400})
            items.append(
                {action: {"_index": where["_index"], "_id": identity, **self._index(action, identity, document)}}
            )
        errors = any(status >= 300 for item in items for status in (next(iter(item.values()))["status"],))
        return self._filtered({"took": 1, "errors": errors, "items": items})

    def _index(self, action: str, identity: str, document: Any) -> dict[str, Any]:
        """What is said of one document, in full length, as the server says it."""
        if not isinstance(document.get("@timestamp"), str):
            missing = "data stream timestamp field [@timestamp] is missing"
            return {"status": 400, "error": {"type": "document_parsing_exception", "reason": missing}}
        if self.bad(document):
            cause = {"type": "illegal_argument_exception", "reason": "x" * 200}
            error = {"type": "document_parsing_exception", "reason": "failed to parse", "caused_by": cause}
            return {"status": 400, "error": error}
        if self.busy(identity):
            return {"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "the queue is full"}}
        if action == "create" and identity in self.documents:
            return {
                "status": 409,
                "error": {"type": "version_conflict_engine_exception", "reason": f"[{identity}]: there"},
            }
        self.documents[identity] = document
        self.take_event({name: value for name, value in document.items() if name != "@timestamp"})
        shards = {"total": 2, "successful": 1, "failed": 0}
        return {"_version": 1, "result": "created", "_shards": shards, "_seq_no": len(self.documents), "_primary_term": 1,
                "status": 201}  # fmt: skip

    def _filtered(self, answer: dict[str, Any]) -> dict[str, Any]:
        """What `filter_path` asks for, as the server gives it: an item with nothing that was asked for is left out."""
        asked = parse_qs(urlsplit(self._path).query).get("filter_path")
        if not asked or not self.knows_filter_path:
            return answer
        return cast(dict[str, Any], _only(answer, [path.split(".") for path in asked[0].split(",")]))


def _only(found: Any, paths: list[list[str]]) -> Any:
    """The parts of a document below some paths, of which `*` is any name; lists are gone through."""
    if isinstance(found, list):
        return [part for item in found if (part := _only(item, paths))]
    kept: dict[str, Any] = {}
    for name, value in found.items():
        below = [path[1:] for path in paths if path[0] in (name, "*")]
        if [] in below:
            kept[name] = value
        elif below and isinstance(value, dict | list) and (part := _only(value, below)):
            kept[name] = part
    return kept


VENDORS: dict[str, type[Vendor]] = {
    "splunk_hec": SplunkHec,
    "datadog": Datadog,
    "sumo_logic": SumoLogic,
    "azure_monitor": AzureMonitor,
    "grafana_loki": GrafanaLoki,
    "new_relic": NewRelic,
    "elasticsearch": Elasticsearch,
}
"""Type of destination to its fake."""
