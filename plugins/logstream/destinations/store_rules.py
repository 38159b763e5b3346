"""What object stores accept as names, classes, metadata and tags, each rule with its source (`vendor_rules.py`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches

_IP_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")


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
