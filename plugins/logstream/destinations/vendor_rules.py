"""What vendors accept as the value of an option, each rule with its source. Asked when settings are saved.

A rule is a function that raises `ValueError`, in words for the person who fills in the form. Settings that an earlier version
stored are not asked again when they are loaded: what a vendor refuses it then says itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from logstream.destinations.transport.addresses import VARIABLE, private_addresses_allowed


@dataclass(frozen=True, slots=True)
class Accepts:
    """Put beside a field's type in `Annotated`: the rule by which its vendor accepts a value. `None` is not asked about.

    Of a `missing` thing, which this vendor does not have, the rule accepts nothing, and no form shows the field.
    """

    rule: Callable[[Any], None]
    missing: bool = False


def refused_options(options: BaseModel) -> list[tuple[tuple[str | int, ...], str]]:
    """What vendors refuse among options that are whole and of the right types, as (path, problem)."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    for name, field in type(options).model_fields.items():
        value = getattr(options, name)
        for part in field.metadata:
            if isinstance(part, Accepts) and value is not None:
                try:
                    part.rule(value)
                except ValueError as error:
                    found.append(((name,), str(error)))
    return found


def header_value(value: str) -> None:
    """RFC 9110, section 5.5: visible characters and spaces between them. What is not ASCII each server reads in its own way."""
    if not value.isascii() or not value.isprintable():
        raise ValueError("it goes out as an HTTP header: letters, digits, spaces and signs of ASCII only")
    if value != value.strip():
        raise ValueError("it goes out as an HTTP header, which loses spaces at its ends")


def path_without_fragment(path: str) -> None:
    """RFC 9110, section 4.2.5: a fragment is no part of what a server is asked for."""
    if "#" in path:
        raise ValueError("what begins with # is never sent; leave it out, or write %23")


def sumo_fields(given: Mapping[str, str]) -> None:
    """https://help.sumologic.com/docs/manage/fields/#limitations; `X-Sumo-Fields` is `name=value,name=value`."""
    if len(given) > 30:
        raise ValueError(f"Sumo Logic takes 30 fields in a request; these are {len(given)}")
    for name, value in given.items():
        if len(name) > 255:
            raise ValueError(f"{name[:20]}...: a field's name has at most 255 characters")
        if len(value) > 200:
            raise ValueError(f"{name}: Sumo Logic takes 200 characters of a value; this one has {len(value):,}")
        if not name or any(sign in name + value for sign in ",="):
            raise ValueError(f"{name}: no commas and no = in names and values, between which they stand in the header")
        header_value(f"{name}={value}")


def splunk_index(name: str) -> None:
    """https://docs.splunk.com/Documentation/Splunk/latest/Admin/Indexesconf; those that begin with `_` are Splunk's own."""
    if not re.fullmatch(r"[a-z0-9_][a-z0-9_-]*", name) or "kvstore" in name:
        raise ValueError("small letters, digits and the signs _ - only, no - first, and not kvstore")


def splunk_metadata(value: str) -> None:
    """https://docs.splunk.com/Documentation/Splunk/latest/Data/FormateventsforHTTPEventCollector#Event_metadata: texts by which
    Splunk lists, and people search, what it has. An empty one is not sent: then the token's default counts. Which signs a source
    type has is left open: `aws:cloudtrail` and `access-2` are well known.
    """
    if not value.isprintable():
        raise ValueError("one line of letters, digits, signs and spaces only")
    if value != value.strip():
        raise ValueError("no spaces at its ends")


_DATADOG_SITE = re.compile(r"(?:[a-z]{2}\d{1,2}\.)?(?:datadoghq\.com|datadoghq\.eu|ddog-gov\.com)")


def datadog_site(name: str) -> None:
    """https://docs.datadoghq.com/getting_started/site/ (the site parameter, not the address of its pages)"""
    if not _DATADOG_SITE.fullmatch(name):
        raise ValueError(
            "a site is datadoghq.com, datadoghq.eu or ddog-gov.com, or a region's, such as us5.datadoghq.com: without app. "
            "before it (another address goes into the connection's host)"
        )


def datadog_tags(given: list[str] | str) -> None:
    """https://docs.datadoghq.com/getting_started/tagging/#define-tags"""
    for tag in given.split(",") if isinstance(given, str) else given:
        text = tag.strip() if isinstance(given, str) else tag
        if not text[:1].isalpha():
            raise ValueError(f'"{tag}": a tag begins with a letter')
        if len(text) > 200:
            raise ValueError(f'"{text[:20]}...": a tag has at most 200 characters')
        if text.endswith(":") or not all(sign.isalnum() or sign in "_-:./" for sign in text):
            raise ValueError(f'"{tag}": letters, digits and the signs _ - : . / only, no : last')


def loki_labels(given: Mapping[str, str]) -> None:
    """https://github.com/grafana/loki/blob/main/pkg/distributor/validator.go (`len(l.Value)`, which Go counts in bytes) and
    https://grafana.com/docs/loki/latest/configure/#limits_config (`max_label_value_length`)
    """
    for name, value in given.items():
        size = len(value.encode())
        if size > 2_048:
            raise ValueError(f"{name}: Loki takes 2,048 bytes of a label's value; this one has {size:,}")


def loki_tenant(name: str) -> None:
    """https://grafana.com/docs/loki/latest/operations/multi-tenancy/#restrictions"""
    if len(name) > 150 or name in {".", ".."} or not re.fullmatch(r"[A-Za-z0-9!_.*'()-]+", name):
        raise ValueError("at most 150 letters, digits and signs of ! - _ . * ' ( ), and not . or .. alone")


_OF_NEW_RELIC = {
    "accountId": "New Relic drops it: the name is its own",
    "eventType": "New Relic drops it: the name is its own",
    "timestamp": "an entry's time is a number, that of its event",
}


def new_relic_attributes(given: Mapping[str, str]) -> None:
    """https://docs.newrelic.com/docs/logs/log-api/introduction-log-api/#limits and, for names,
    https://docs.newrelic.com/docs/logs/log-api/log-event-data/#attributes
    """
    for name, problem in _OF_NEW_RELIC.items():
        if name in given:
            raise ValueError(f"{name}: {problem}")
    if len(given) > 255:
        raise ValueError("an entry has at most 255 attributes")
    for name, value in given.items():
        if not 1 <= len(name) <= 255:
            raise ValueError(f'"{name[:20]}": an attribute\'s name has 1 to 255 characters')
        if len(value) > 4_094:
            raise ValueError(f"{name}: New Relic keeps 4,094 characters of a value")


def elasticsearch_index(name: str) -> None:
    """https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-create (path parameter `index`)

    Date math (`<logs-{now/d}>`) is refused with the signs that it needs: what is sent again the next day would be there twice.
    """
    if name != name.lower():
        raise ValueError("small letters only")
    if not name.isprintable() or any(sign in name for sign in '\\/*?"<>| ,#:'):
        raise ValueError('no spaces, and none of the signs \\ / * ? " < > | , # :')
    if name.startswith(("-", "_", "+")) or name in {".", ".."}:
        raise ValueError("it may not begin with - _ or +, nor be . or ..")
    if len(name.encode()) > 255:
        raise ValueError("an index has a name of at most 255 bytes")


def immutable_rule_id(name: str) -> None:
    """https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview#uri: the rule's immutable id."""
    if not re.fullmatch(r"dcr-[0-9a-f]{32}", name):
        raise ValueError("it must be the rule's immutable id, dcr- and 32 digits of 0-9 and a-f, not its name")


def ingestion_stream(name: str) -> None:
    """https://learn.microsoft.com/azure/azure-monitor/essentials/data-collection-rule-structure#streamdeclarations"""
    if not re.fullmatch(r"(?:Custom|Microsoft)-[A-Za-z0-9_-]+", name):
        raise ValueError("a stream is Custom- or, of Azure's own tables, Microsoft- and a name")


def ingestion_endpoint(url: str) -> None:
    """https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview#endpoint

    The connection's token goes there: any other server is the operator's to allow.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"it is no address: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("no user and password in it: the connection gives tokens")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError("scheme and host only, nothing behind ? or #")
    if private_addresses_allowed():
        return
    if parts.scheme != "https" or port not in (None, 443):
        raise ValueError("Azure takes https:// only, at its usual port")
    if not re.fullmatch(r"[a-z0-9.-]+\.ingest\.monitor\.azure\.(?:com|us|cn)", parts.hostname or ""):
        raise ValueError(
            "its host ends with .ingest.monitor.azure.com (.us, .cn); an operator can allow others with "
            + VARIABLE
            + "=1"
        )
