"""What vendors accept as the value of an option, each rule with its source. Asked when settings are saved.

A rule is a function that raises `ValueError`, in words for the person who fills in the form. Settings that an earlier version
stored are not asked again when they are loaded: what a vendor refuses it then says itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from logstream.destinations.transport.addresses import VARIABLE, private_addresses_allowed

_IP_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")


@dataclass(frozen=True, slots=True)
class Accepts:
    """Put beside a field's type in `Annotated`: the rule by which its vendor accepts a value. `None` is not asked about."""

    rule: Callable[[Any], None]


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


def s3_bucket(name: str) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html

    Names with capitals or `_`, and long ones, are those of buckets from before March 2018 (and of other servers): of them only
    what no server can have is refused.
    """
    old = name != name.lower() or "_" in name or len(name) > 63
    if _IP_ADDRESS.fullmatch(name):
        raise ValueError("it may not look like an IP address")
    if ".." in name:
        raise ValueError("two points may not stand beside each other")
    if not old and not (name[0].isalnum() and name[-1].isalnum()):
        raise ValueError("a letter or digit must be first and last")
    if name.startswith(("xn--", "sthree-", "amzn-s3-demo-")):
        raise ValueError("it may not begin with xn--, sthree- or amzn-s3-demo-")


def gcs_bucket(name: str) -> None:
    """https://cloud.google.com/storage/docs/buckets#naming"""
    if _IP_ADDRESS.fullmatch(name):
        raise ValueError("it may not look like an IP address")
    if not name[-1].isalnum():
        raise ValueError("a letter or digit must be last")
    if any(len(part) > 63 or not part for part in name.split(".")):
        raise ValueError("what stands between points must have 1 to 63 characters")
    if name.startswith("goog") or "google" in name:
        raise ValueError("it may not begin with goog or hold google")


def azure_container(name: str) -> None:
    """https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata

    The same page says that blobs in `$root` cannot have `/` in their names: ours have.
    """
    if name == "$root":
        raise ValueError("blobs of $root cannot have / in their names, which ours have")
    if "--" in name or name.startswith("-") or name.endswith("-"):
        raise ValueError("before and after each - must be a letter or digit")


def storage_class_among(known: Collection[str]) -> Callable[[str], None]:
    """A rule for storage classes or access tiers; their case does not matter."""

    def rule(name: str) -> None:
        if name.lower() not in {word.lower() for word in known}:
            raise ValueError(f'no such choice "{name}"; choose from {", ".join(known)}')

    return rule


AZURE_TIERS = ("Hot", "Cool", "Cold", "Archive")
"""https://learn.microsoft.com/rest/api/storageservices/put-blob (`x-ms-access-tier`)"""

GCS_CLASSES = (
    "STANDARD",
    "NEARLINE",
    "COLDLINE",
    "ARCHIVE",
    "MULTI_REGIONAL",
    "REGIONAL",
    "DURABLE_REDUCED_AVAILABILITY",
)
"""https://cloud.google.com/storage/docs/storage-classes"""


S3_CLASSES = (
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "OUTPOSTS",
    "GLACIER_IR",
    "SNOW",
    "EXPRESS_ONEZONE",
)
"""https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html (`x-amz-storage-class`)"""


def s3_storage_class(name: str) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html (`x-amz-storage-class`): in capitals.

    Other servers have classes of other names: of these only what is nearly one of Amazon's is refused.
    """
    if name in S3_CLASSES:
        return
    near = get_close_matches(name.upper(), S3_CLASSES, 1, cutoff=0.9)
    if near:
        raise ValueError(f'no such choice "{name}"; did you mean {near[0]}?')


def _metadata(given: Mapping[str, str], most: int) -> None:
    """What holds everywhere: metadata are HTTP headers (RFC 9110, section 5.1: whose names have no case)."""
    if len({name.lower() for name in given}) < len(given):
        raise ValueError("two names differ only by case, which headers do not tell apart")
    for name, value in given.items():
        if value != value.strip():
            raise ValueError(f"{name}: it goes out as an HTTP header, which loses spaces at its ends")
    size = sum(len(name) + len(value) for name, value in given.items())
    if size > most:
        raise ValueError(f"{most:,} bytes of names and values together are taken; these have {size:,}")


def azure_metadata(given: Mapping[str, str]) -> None:
    """https://learn.microsoft.com/rest/api/storageservices/setting-and-retrieving-properties-and-metadata-for-blob-resources:
    8 KB together; a name that is there twice, whatever its case, is answered with 400.
    """
    _metadata(given, 8_192)


def gcs_metadata(given: Mapping[str, str]) -> None:
    """https://cloud.google.com/storage/quotas#objects: 8 KiB of custom metadata."""
    _metadata(given, 8_192)


def s3_metadata(given: Mapping[str, str]) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html: 2 KB of names and values together."""
    _metadata(given, 2_048)


_TAG_VALUE = re.compile(r"[A-Za-z0-9 +\-=._:/@]{0,256}")


def s3_tags(given: Mapping[str, str]) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html and
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_control_S3Tag.html
    """
    for name, value in given.items():
        if name.lower().startswith("aws:"):
            raise ValueError(f"{name}: names that begin with aws: are AWS's own")
        if not _TAG_VALUE.fullmatch(value):
            raise ValueError(f"{name}: letters, digits, spaces and the signs + - = . _ : / @ only")


def azure_tags(given: Mapping[str, str]) -> None:
    """https://learn.microsoft.com/azure/storage/blobs/storage-manage-find-blobs#setting-blob-index-tags"""
    for name, value in given.items():
        if not re.fullmatch(r"[A-Za-z0-9 +\-./:=_]{1,128}", name) or not re.fullmatch(
            r"[A-Za-z0-9 +\-./:=_]{0,256}", value
        ):
            raise ValueError(f"{name}: letters, digits, spaces and the signs + - . / : = _ only")


def no_tags(given: Mapping[str, str]) -> None:
    """Objects of Google Cloud Storage have metadata, and no tags: https://cloud.google.com/storage/docs/metadata"""
    if given:
        raise ValueError("Google Cloud Storage has no tags of objects; use `metadata`")


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
    """https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-create (path parameter `index`)"""
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
