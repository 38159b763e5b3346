"""Options of destinations that keep objects: how events become objects, and where these are put."""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from logstream.destinations.base import ConnectionOptions, Options
from logstream.destinations.transport.compression import Compression
from logstream.destinations.transport.layouts import Layout, PlatformLayout
from logstream.destinations.transport.parquet import ENVELOPE, Columns
from logstream.destinations.transport.templates import HIVE, HIVE_BATCHES, HIVE_EVENTS, TemplateLayout


class Packaging(StrEnum):
    """How events become objects."""

    FILE = "file"
    BATCH = "batch"
    PARQUET = "parquet"


def _safe_prefix(prefix: str) -> str:
    parts = prefix.split("/")
    if prefix.startswith("/") or any(part in (".", "..") for part in parts) or "" in parts[:-1]:
        raise ValueError("it may not begin with /, and no part of it may be empty, . or ..")
    if any(character < " " or character in '\\{}%`"<>#|^~[]*?' or character > "~" for character in prefix):
        raise ValueError("letters, digits and the signs /_.=-+@,:;!&()' only")
    return prefix


class ObjectOptions(Options):
    """Options of destinations that keep objects."""

    packaging: Packaging = Field(
        default=Packaging.FILE,
        description="file: one object for each event, named by the platform's rule. batch: NDJSON objects, few and large. "
        "parquet: the same in columns, for query engines.",
    )
    compression: Compression = Field(
        default=Compression.NONE,
        description="none, gzip or zstd. packaging parquet compresses its columns: with zstd, unless gzip is chosen.",
    )
    object_mb: int | None = Field(
        default=None,
        ge=1,
        le=512,
        strict=True,
        description="packaging batch and parquet: an object is cut when it holds this many MiB of messages, before "
        "compression (32).",
        examples=[64],
    )
    columns: Columns = Field(
        default_factory=dict,
        max_length=200,
        description="packaging parquet: columns of values that are found in the message, by name, beside those of the envelope: "
        "a JSONPath, and `as int64`, `as float64` or `as boolean` for what is no text.",
        examples=[{"status": "$.status", "calls": "$.calls_count as int64"}],
    )
    key: str | None = Field(
        default=None,
        min_length=1,
        max_length=300,
        description="A template for keys, instead of the platform's rule; the suffix is added. packaging file: {destination} "
        "{workspace_id} {external_id} {kind} {event_id} {yyyy} {mm} {dd} {hh} {window}; batch and parquet: {destination} {yyyy} "
        "{mm} {dd} {hh} {window} {window_start} {window_end} {lane} {part}.",
        examples=["{external_id}/{kind}/{yyyy}/{mm}/{dd}/{event_id}"],
    )
    hive: bool = Field(
        default=False,
        strict=True,
        description="Folders in Hive's style, `workspace_id=1001/year=2026/`, that query engines read as partitions.",
    )
    manifests: bool = Field(
        default=True, strict=True, description="Put each delivery's manifest beside the data, below `_manifests/`."
    )

    @model_validator(mode="after")
    def _layout_is_sound(self) -> ObjectOptions:
        try:
            self.layout  # noqa: B018 - it is made, or says what is wrong
        except ValueError as error:
            raise ValueError(f"key: {error}") from None
        if self.columns and self.packaging is not Packaging.PARQUET:
            raise ValueError("columns: only packaging parquet has columns")
        # query engines tell no capitals apart, and read Hive's folders as columns
        names, folders = [name.lower() for name in self.columns], set(HIVE.values()) if self.hive else set()
        taken = sorted({*ENVELOPE, *folders} & set(names) | {name for name in names if names.count(name) > 1})
        if taken:
            raise ValueError(f"columns: there is a column {taken[0]} already; choose another name")
        return self

    @cached_property
    def layout(self) -> Layout:
        """Where objects are put. Raises `ValueError` for a template that is none."""
        of_events = self.packaging is Packaging.FILE
        template = self.key or ((HIVE_EVENTS if of_events else HIVE_BATCHES) if self.hive else None)
        if template is None:
            return PlatformLayout()
        make = TemplateLayout.of_events if of_events else TemplateLayout.of_batches
        return make(template, hive=self.hive)


Prefix = Annotated[
    str,
    AfterValidator(_safe_prefix),
    Field(max_length=500, description="Put before every key.", examples=["logs/"]),
]


Text = Annotated[str, Field(max_length=256, pattern=r"^[ -~]*$")]
StorageClass = str | None


def storage_class(example: str) -> Any:
    """The field of a store's storage classes, with one of them."""
    return Field(
        default=None,
        pattern=r"^[A-Za-z_]{1,40}$",
        description="The storage class or access tier of the objects.",
        examples=[example],
    )


Metadata = dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")], Text]
METADATA: Any = Field(
    default={}, max_length=20, description="User metadata of every object.", examples=[{"team": "audit"}]
)
Tags = dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9 +=._:/@-]{1,128}$")], Text]
TAGS: Any = Field(
    default={}, max_length=10, description="Tags of every object (not at Google).", examples=[{"retention": "7y"}]
)


class StoreOptions(ObjectOptions, ConnectionOptions):
    """Options of all object stores."""

    prefix: Prefix = Field(default="")
    storage_class: StorageClass = storage_class("STANDARD")
    metadata: Metadata = METADATA
    tags: Tags = TAGS
