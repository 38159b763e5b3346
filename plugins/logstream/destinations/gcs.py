"""`gcs`: Google Cloud Storage."""

from __future__ import annotations

import asyncio
import json
from functools import cached_property
from typing import Annotated, Any, cast
from urllib.parse import quote

from obstore.store import GCSStore
from pydantic import Field

from logstream.destinations.credentials import GcsCredentials
from logstream.destinations.object_store import (
    STORAGE_CLASS,
    TAGS,
    ObjectStoreDestination,
    StorageClass,
    StoreOptions,
    Tags,
    is_denied,
    origin,
    status_of,
)
from logstream.destinations.objects import ReadError
from logstream.destinations.outcome import Delivered, Outcome
from logstream.destinations.transport.session import reach
from logstream.destinations.vendor_rules import GCS_CLASSES, Accepts, gcs_bucket, no_tags, storage_class_among

GOOGLE = "https://storage.googleapis.com"


class GcsOptions(StoreOptions):
    """Options of `gcs`."""

    bucket: Annotated[str, Accepts(gcs_bucket)] = Field(
        min_length=3, max_length=222, pattern=r"^[a-z0-9][a-z0-9._-]+$", description="The bucket.", examples=["audit"]
    )
    storage_class: Annotated[StorageClass, Accepts(storage_class_among(GCS_CLASSES))] = STORAGE_CLASS
    tags: Annotated[Tags, Accepts(no_tags)] = TAGS


class GcsDestination(ObjectStoreDestination[GcsOptions]):
    """Objects in a bucket of Google Cloud Storage."""

    type = "gcs"
    title = "Google Cloud Storage"
    connection_type = "google_cloud_platform"
    options_model = GcsOptions

    @property
    def place(self) -> str:
        """The bucket."""
        return f"bucket `{self.options.bucket}`"

    def server(self) -> str:
        """Google's, where a name means one bucket for all, or another endpoint."""
        endpoint = _endpoint(self.connections.gcs(self.options.connection))
        return origin(endpoint) if endpoint else "google"

    def make_store(self) -> Any:
        """A client with the connection's service account, or the environment's own credentials."""
        credentials = self.connections.gcs(self.options.connection)
        key: dict[str, Any] = json.loads(credentials.key) if credentials.key else {}
        self.secrets.add(key.get("private_key"), key.get("private_key_id"))
        endpoint = _endpoint(credentials)
        secret: dict[str, Any] = {}
        way = self.way(endpoint or GOOGLE, credentials.network, chosen=endpoint is not None)
        if endpoint:
            # obstore takes another server's address from the key alone
            key = {**_NO_KEY, **key, "gcs_base_url": endpoint}
            key.setdefault("disable_oauth", credentials.anonymous)
        if key:
            secret["service_account_key"] = json.dumps(key)
        if credentials.anonymous:
            secret["skip_signature"] = True
        return GCSStore(
            self.options.bucket,
            client_options=cast(Any, way.client_options()),
            retry_config=way.retry_config(),
            **secret,
        )

    @cached_property
    def _elsewhere(self) -> bool:
        return _endpoint(self.connections.gcs(self.options.connection)) is not None

    def put_now(self, key: str, body: bytes, media_type: str | None = None) -> Outcome:
        """Put one object."""
        return super().put_now(key, body, self._media_type(media_type))

    def create_now(self, key: str, body: bytes, media_type: str | None = None) -> Outcome:
        """Put one object where none is."""
        return super().create_now(key, body, self._media_type(media_type))

    def _media_type(self, media_type: str | None) -> str:
        """The emulator on PyPI parses a body of type application/json, and breaks."""
        media_type = media_type or self.content_type
        return "text/json" if media_type == "application/json" and self._elsewhere else media_type

    async def get(self, key: str) -> bytes:
        """Read one object. Emulators answer without headers that obstore insists on: those are read by the JSON API."""
        try:
            return await super().get(key)
        except ReadError as error:
            endpoint = _endpoint(self.connections.gcs(self.options.connection))
            if endpoint is None or "Last-Modified Header missing" not in str(error):
                raise
        url = f"{endpoint}/storage/v1/b/{self.options.bucket}/o/{quote(key, safe='')}?alt=media"
        way = await asyncio.to_thread(reach, url, self.connections.gcs(self.options.connection).network)
        async with way.session({"User-Agent": "logstream"}) as session, session.get(url) as answer:
            if answer.status != 200:
                raise ReadError(f"{self.place} cannot be read: status {answer.status}")
            return await answer.read()

    def read_error(self, error: Exception) -> Outcome:
        """An answer without ETag (emulators give none) is looked for only after the object was stored."""
        return Delivered() if "ETag Header missing" in str(error) else super().read_error(error)

    def remedy(self, error: Exception) -> str | None:
        """Credentials and buckets are somebody's to mend; all else may pass."""
        bucket = self.options.bucket
        if status_of(error) == 404 or "NoSuchBucket" in str(error) or isinstance(error, FileNotFoundError):
            return f"bucket `{bucket}` does not exist; create it, or correct `bucket` of destination {self.name}"
        if is_denied(error):
            return (
                f"access to bucket `{bucket}` is denied; correct connection `{self.options.connection}`, or grant it "
                "Storage Object User on the bucket"
            )
        return None


def _endpoint(credentials: GcsCredentials) -> str | None:
    """The address of a server that is not Google's."""
    key = json.loads(credentials.key) if credentials.key else {}
    return credentials.endpoint or key.get("gcs_base_url")


_NO_KEY = {"client_email": "", "private_key": "", "private_key_id": ""}
