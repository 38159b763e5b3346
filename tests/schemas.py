"""What receivers' schemas want of a message, as they are published; each check raises `AssertionError` naming what is wrong.

OCSF: its JSON schema (`ocsf_json_schema`) and py-ocsf-models. ECS: its generated list of fields (`data/ecs_8_17_0.json`). Splunk:
the fields of the Common Information Model (`data/cim.json`). Datadog: its default standard attributes (`data/datadog.json`).
Each file of `data` names its source and licence.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from py_ocsf_models.events.base_event import BaseEvent
from py_ocsf_models.objects.api import API
from py_ocsf_models.objects.user import User

DATA = Path(__file__).parent / "data"
ECS = json.loads((DATA / "ecs_8_17_0.json").read_text())
CIM = json.loads((DATA / "cim.json").read_text())["models"]
DATADOG = json.loads((DATA / "datadog.json").read_text())["attributes"]

_UNIX = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Sent:
    """What is known of an event beside its message: when it happened, in microseconds since 1970, and its payload."""

    unix_us: int
    payload: bytes

    @property
    def unix_ms(self) -> int:
        """When it happened, in milliseconds."""
        return self.unix_us // 1_000

    @property
    def says_much(self) -> bool:
        """Whether the event has the fields that its kind usually has."""
        document = json.loads(self.payload)
        return isinstance(document, dict) and len(document) > 5


@cache
def _ocsf_validator(class_uid: int) -> Any:
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.5.0"))
    return jsonschema_rs.validator_for(schema.get_class_schema(schema.lookup_class_name_from_uid(class_uid)))


def is_ocsf(message: Any, sent: Sent) -> None:
    """An event of its class of OCSF 1.5.0, with the event's time."""
    problems = [
        f"{list(error.instance_path)}: {error.message}"
        for error in _ocsf_validator(message["class_uid"]).iter_errors(message)
    ]
    assert not problems
    BaseEvent.model_validate(message)
    for user in (message.get("user"), message.get("actor", {}).get("user")):
        if user is not None:
            User.model_validate(user)
    if "api" in message:
        API.model_validate(message["api"])
    assert message["type_uid"] == message["class_uid"] * 100 + message["activity_id"]
    assert message["time"] == sent.unix_ms


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values that are no objects, with their paths in dots."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, f"{path}.{name}" if path else name)
    else:
        yield path, value


ECS_TYPES: dict[str, Callable[[Any], object]] = {
    "keyword": lambda value: isinstance(value, str) and value,
    "wildcard": lambda value: isinstance(value, str) and value,
    "match_only_text": lambda value: isinstance(value, str) and value,
    "date": lambda value: datetime.fromisoformat(value).tzinfo,
    "ip": lambda value: "%" not in value and ipaddress.ip_address(value),  # Elasticsearch takes no zones
    "long": lambda value: type(value) is int and -(2**63) <= value < 2**63,
}
ECS_OWN = {"workato", "labels"}
"""Fields of ours, and the object that ECS leaves to its users."""


def is_ecs(message: Any, sent: Sent) -> None:
    """A document of ECS's fields, types and allowed values."""
    for path, value in leaves({name: value for name, value in message.items() if name not in ECS_OWN}):
        kind = ECS["fields"][path]
        assert isinstance(value, list) == (path in ECS["arrays"]), path
        for item in value if isinstance(value, list) else [value]:
            assert ECS_TYPES[kind](item) not in (False, None, ""), (path, item)
    assert all(isinstance(value, str) for value in message["labels"].values())
    event = message["event"]
    for name in ("kind", "outcome"):
        assert event[name] in ECS["allowed"][f"event.{name}"]
    assert set(event["type"]) <= ECS["allowed"]["event.type"].keys()
    for category in event.get("category", []):
        assert set(event["type"]) <= set(ECS["allowed"]["event.category"][category]), (category, event["type"])
    assert (datetime.fromisoformat(message["@timestamp"]) - _UNIX) // timedelta(milliseconds=1) == sent.unix_ms


CIM_OWN = {"time", "kind", "id", "event", "severity", "workspace_id", "workspace_external_id", "workspace_name"}
"""Fields that no data model has."""

CIM_CHANGES = {"acl_modified", "cleared", "created", "deleted", "modified", "read", "stopped", "updated"}
"""`action` in the data model Change, as Splunk's manual prescribes it (docs.splunk.com, CIM, "Change")."""

CIM_NOT_SAID = {
    "Change": {"dvc", "object_attrs"},
    "Web": {
        "action", "dest_port", "url_domain", "category", "bytes", "bytes_in", "bytes_out", "http_user_agent",
        "http_user_agent_length",
    },
}  # fmt: skip
"""Fields that the data model wants and that no event of the platform says."""

CIM_OF_PLATFORM = {"src", "user", "object", "object_category", "object_id"}
"""Fields that are of a member of a team, and of a thing: the platform itself, acting, has none."""


def cim_model_of(message: Any) -> str | None:
    """The data model that a message is for, by its kind and what happened."""
    if message["kind"] == "user_activity":
        return "Authentication" if re.search("log(in|out)", message["signature"], re.IGNORECASE) else "Change"
    return "Web" if message["kind"] == "api_platform" else None


def is_cim(message: Any, sent: Sent, *, whole: bool = False) -> None:
    """Only fields of CIM's data models; `whole`: those that its own model wants, unless no event says them."""
    known = {name for model in CIM.values() for name in model["fields"]}
    assert message.keys() <= known | CIM_OWN, message.keys() - known - CIM_OWN
    assert all(isinstance(value, str | int) for name, value in message.items() if name != "event")
    model = cim_model_of(message)
    fields = CIM[model]["fields"] if model else {}
    for name, field in fields.items():
        if name in message and "expected" in field:
            assert message[name] in field["expected"], (name, message[name])
    if model == "Change":
        assert message["action"] in CIM_CHANGES
    if whole and model:
        wanted = {name for name, field in fields.items() if field["type"] == "required"}
        missing = wanted - message.keys() - CIM_NOT_SAID.get(model, set())
        platform_acted = not json.loads(sent.payload).get("user")
        assert missing <= (CIM_OF_PLATFORM if platform_acted and model != "Web" else set()), missing
    assert message["time"] == f"{sent.unix_us // 1_000_000}.{sent.unix_us % 1_000_000:06d}"


DATADOG_OWN = {
    "ddsource", "ddtags", "service", "timestamp", "status", "message", "evt.category", "evt.id",
    "workspace.id", "workspace.external_id", "workspace.name",
}  # fmt: skip
"""The members of an entry of the log intake, and attributes of ours."""

DATADOG_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "number": (int, float)}


def is_datadog(message: Any, sent: Sent) -> None:
    """An entry of the log intake whose attributes are Datadog's standard ones, of their types, or ours."""
    for path, value in leaves(message):
        if path not in DATADOG_OWN:
            assert type(value) in DATADOG_TYPES[DATADOG[path]], (path, value)
    json.loads(message["message"])
    assert message["timestamp"] == sent.unix_ms
    assert message["status"] in {"debug", "info", "warn", "error", "critical"}
    assert message["evt"]["outcome"] in {"success", "failure", "unknown"}
    assert all(re.fullmatch(r"[a-z_]+:[^,\s]+", tag) for tag in message["ddtags"].split(","))


def is_envelope(message: Any, sent: Sent) -> None:
    """Our plain envelope: the event and what the log store says of it."""
    assert (datetime.fromisoformat(message["occurred_at"]) - _UNIX) // timedelta(milliseconds=1) == sent.unix_ms
    assert message["event"] == json.loads(sent.payload)


def is_sumo(message: Any, sent: Sent) -> None:
    """A line with the `timestamp` that Sumo Logic finds by itself: 13 digits."""
    assert message["timestamp"] == sent.unix_ms
    assert message["event"] == json.loads(sent.payload)


def is_hec(message: Any, sent: Sent) -> None:
    """An entry of Splunk's HTTP Event Collector around CIM's fields."""
    assert message.keys() <= {"time", "host", "source", "sourcetype", "index", "fields", "event"}
    assert round(message["time"] * 1_000_000) == sent.unix_us
    assert all(isinstance(value, str) for value in message["fields"].values())
    is_cim(message["event"], sent)


def is_loki_push(message: Any, sent: Sent) -> None:
    """A push of one stream with one value."""
    ((stream,),) = (message["streams"],)
    assert all(isinstance(value, str) and value for value in stream["stream"].values())
    ((moment, line),) = stream["values"]
    assert moment == str(sent.unix_us * 1_000)
    assert json.loads(line) == json.loads(sent.payload)


def is_new_relic_post(message: Any, sent: Sent) -> None:
    """A post of one block with one log."""
    (block,) = message
    assert block.keys() == {"common", "logs"}
    (entry,) = block["logs"]
    assert entry["timestamp"] == sent.unix_ms
    assert json.loads(entry["message"]) == json.loads(sent.payload)


WANTED: dict[str, Callable[[Any, Sent], None]] = {
    "ocsf": is_ocsf,
    "elastic_ecs": is_ecs,
    "splunk": is_cim,
    "datadog": is_datadog,
    "plain": is_envelope,
    "sumo_logic": is_sumo,
    "grafana_loki": is_envelope,
    "http_splunk_hec": is_hec,
    "http_grafana_loki": is_loki_push,
    "http_new_relic": is_new_relic_post,
}
"""Template to what its messages must be."""
