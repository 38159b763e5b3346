"""Elasticsearch's bulk API."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar, cast
from urllib.parse import parse_qs, urlsplit

from logstream.testing.vendors.base import Refused, Vendor

_SECURITY = {
    "type": "security_exception",
    "reason": "unable to authenticate with provided credentials and anonymous access is not allowed for this request",
    "header": {"WWW-Authenticate": ['Basic realm="security" charset="UTF-8"', "ApiKey"]},
}


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

    def refusal(self, status: int, words: str) -> object:
        """An error with its cause, and the status again."""
        kind = {429: "es_rejected_execution_exception", 413: "content_too_long_exception"}
        cause = {"type": kind.get(status, "illegal_argument_exception"), "reason": words}
        return {"error": {"root_cause": [cause], **cause}, "status": status}

    def authorized(self, request: BaseHTTPRequestHandler) -> bool:
        """`Authorization: ApiKey KEY`."""
        self._path = request.path
        return request.headers.get("Authorization") == f"ApiKey {self.token}"

    def store(self, plain: bytes) -> object:
        """Pairs of lines, ended by a line break."""
        if not plain.endswith(b"\n"):
            reason = "The bulk request must be terminated by a newline [\\n]"
            raise Refused(400, self.refusal(400, reason))
        lines = plain.decode().split("\n")[:-1]
        items: list[dict[str, dict[str, Any]]] = []
        for head, text in zip(lines[::2], lines[1::2], strict=True):
            ((action, where),) = json.loads(head).items()
            document, identity = json.loads(text), where["_id"]
            if len(identity.encode()) > 512 or where["_index"] != where["_index"].lower():
                raise Refused(400, self.refusal(400, f"id or index [{where['_index']}] is not valid"))
            said = self._index(action, identity, document)
            # what it was written into is an index behind the data stream; one that was refused came no further than the stream
            index = f".ds-{where['_index']}-2026.03.01-000001" if said["status"] < 300 else where["_index"]
            items.append({action: {"_index": index, "_id": identity, **said}})
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
