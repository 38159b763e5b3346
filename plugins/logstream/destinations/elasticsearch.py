"""`elasticsearch`: the bulk API of Elasticsearch, and of what speaks it (OpenSearch)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

import orjson
from pydantic import Field

from logstream.destinations.access.requests import ELASTICSEARCH
from logstream.destinations.base import Limits
from logstream.destinations.credentials import HttpCredentials
from logstream.destinations.outcome import Delivered, GiveUp, Outcome, Reject, Retry
from logstream.destinations.parcel import Parcel
from logstream.destinations.request import RequestDestination, RequestOptions
from logstream.destinations.transport.answers import object_in
from logstream.destinations.transport.urls import at_endpoint
from logstream.destinations.vendor_rules import Accepts, elasticsearch_index
from logstream.events import EPOCH, Event
from logstream.jsontext import with_member
from logstream.shapes import is_time_or_milliseconds, time_of

ALREADY_THERE = 409

FILTER_PATH = "errors,items.*.status,items.*.error.type,items.*.error.reason"
"""All that is wanted of an answer: in full it is as long as the request. `status` is in every item, so that their order tells
which document each is."""


class Action(StrEnum):
    """What is done with a document whose id is there already."""

    CREATE = "create"
    INDEX = "index"


class ElasticsearchOptions(RequestOptions):
    """Options of `elasticsearch`."""

    index: Annotated[str, Accepts(elasticsearch_index)] = Field(
        min_length=1, description="The index or data stream.", examples=["workato-audit"]
    )
    action: Action = Field(
        default=Action.CREATE,
        description="create: one that is there stays (data streams need it). index: it is replaced.",
    )


class ElasticsearchDestination(RequestDestination[ElasticsearchOptions]):
    """Posts documents with stable ids, so that a repetition makes none."""

    type = "elasticsearch"
    title = "Elasticsearch"
    options_model = ElasticsearchOptions
    kept_in = ("index",)
    access = ELASTICSEARCH
    content_type = "application/x-ndjson"

    @property
    def limits(self) -> Limits:
        """5 MB a request, the lower end of what is advised."""
        return Limits(bytes=5_000_000, concurrency=self.options.concurrency)

    def url(self, credentials: HttpCredentials) -> str:
        """The bulk endpoint."""
        return at_endpoint(credentials.base_url, "/_bulk", f"filter_path={FILTER_PATH}")

    def authentication(self, credentials: HttpCredentials) -> Mapping[str, str]:
        """Basic with a login; a password alone is an API key."""
        if credentials.login is None and credentials.password:
            return {"Authorization": f"ApiKey {credentials.password}"}
        return super().authentication(credentials)

    def entry(self, event: Event, message: bytes) -> bytes:
        """An action line and the document, which has the event's time as `@timestamp` unless it has a good one."""
        action = {self.options.action.value: {"_index": self.options.index, "_id": f"{event[1]}-{event[2]}-{event[0]}"}}
        moment = (EPOCH + timedelta(microseconds=time_of(event))).isoformat(timespec="microseconds")
        return (
            orjson.dumps(action)
            + b"\n"
            + with_member(message, "@timestamp", moment, "message", is_time_or_milliseconds)
        )

    def encode(self, entries: Sequence[bytes]) -> bytes:
        """Pairs of lines."""
        return b"\n".join(entries) + b"\n"

    def read(self, status: int, headers: Mapping[str, str], answer: bytes, parcel: Parcel) -> Outcome:
        """A status for each document: those refused for load are sent again, bad ones rejected."""
        if status != 200:
            return super().read(status, headers, answer, parcel)
        document = object_in(answer)
        items = _items(document)
        if items is None:
            return Retry("Elasticsearch's answer cannot be read")
        if len(items) != len(parcel.events):
            return Retry(f"Elasticsearch answered for {len(items)} of {len(parcel.events)} documents")
        if _contradicts(document["errors"], items):
            return Retry(
                "Elasticsearch's answer contradicts itself: what it says of documents is not what it says of all"
            )
        again, bad = [], {}
        for index, item in enumerate(items):
            code = item["status"]
            if code < 300 or code == ALREADY_THERE:
                continue
            if code == 429 or code >= 500:
                again.append(index)
            elif code in (401, 403, 404):
                return GiveUp(
                    f"Elasticsearch answered {code}: {_why(item)}; correct the rights of the connection, or `index`"
                )
            else:
                bad[index] = f"Elasticsearch answered {code}: {_why(item)}"
        if bad:
            return Reject(bad, tuple(again))
        return Retry("Elasticsearch is busy", only=tuple(again)) if again else Delivered()

    def accepted(self, status: int, headers: Mapping[str, str], answer: bytes) -> bool:
        """Only as `read` reads it."""
        return False


def _items(document: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """What is said of each document; `None` if that is nothing that Elasticsearch says."""
    items = document.get("items")
    if not isinstance(document.get("errors"), bool) or not isinstance(items, list):
        return None
    said = [next(iter(item.values()), None) if isinstance(item, dict) else None for item in items]
    told = [one for one in said if isinstance(one, dict) and _is_status(one.get("status"))]
    return told if len(told) == len(items) else None


def _contradicts(errors: bool, items: list[dict[str, Any]]) -> bool:
    """Whether an answer says that something failed and names nothing, or takes a document and names its error."""
    taken = [item["status"] < 300 for item in items]
    return (errors and all(taken)) or any(item.get("error") for item, good in zip(items, taken, strict=True) if good)


def _is_status(value: object) -> bool:
    """Whether it is what a document can have become: no truth, no redirect."""
    return type(value) is int and (200 <= value < 300 or 400 <= value < 600)


def _why(item: Any) -> str:
    error = item.get("error")
    text = f"{error.get('type')}: {error.get('reason')}" if isinstance(error, dict) else str(error)
    return text[:2_000]
