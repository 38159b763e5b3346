"""`gcs`: Google Cloud Storage."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, cast
from urllib.parse import quote

from obstore.store import GCSStore
from pydantic import Field

from logstream.datasets import DataSet, of_objects
from logstream.destinations.access.google import GCS
from logstream.destinations.credentials import GcsCredentials
from logstream.destinations.object_options import (
    METADATA,
    TAGS,
    Metadata,
    StorageClass,
    StoreOptions,
    Tags,
    storage_class,
)
from logstream.destinations.object_store import BUCKET, ObjectStoreDestination
from logstream.destinations.objects import ReadError, TooLarge
from logstream.destinations.origins import gcs_server
from logstream.destinations.outcome import Delivered, GiveUp, Outcome
from logstream.destinations.store_rules import (
    GCS_CLASSES,
    gcs_bucket,
    gcs_metadata,
    no_tags,
    storage_class_among,
)
from logstream.destinations.transport.environment import refuse_variables
from logstream.destinations.transport.refusals import CLOCK, Refusal
from logstream.destinations.transport.session import reach
from logstream.destinations.vendor_rules import Accepts

GOOGLE = "https://storage.googleapis.com"

_SLOW = "Google takes no more requests at this time: it asks to slow down"
_QUOTA = "a quota of the project of {place} is used up; raise it in the console under IAM, Quotas"
_KEY = "the Cloud KMS key of {place} cannot be used; enable it, and let Cloud Storage's service agent use it"
_RETAINED = (
    "{place} keeps objects from being replaced (a retention policy or a hold); give destination {name} a prefix that is new, or "
    "another bucket"
)


class GcsOptions(StoreOptions):
    """Options of `gcs`."""

    bucket: Annotated[str, Accepts(gcs_bucket)] = Field(
        min_length=3, max_length=222, pattern=r"^[a-z0-9][a-z0-9._-]+$", description="The bucket.", examples=["audit"]
    )
    storage_class: Annotated[StorageClass, Accepts(storage_class_among(GCS_CLASSES))] = storage_class("NEARLINE")
    metadata: Annotated[Metadata, Accepts(gcs_metadata)] = METADATA
    tags: Annotated[Tags, Accepts(no_tags, missing=True)] = TAGS


class GcsDestination(ObjectStoreDestination[GcsOptions]):
    """Objects in a bucket of Google Cloud Storage."""

    type = "gcs"
    title = "Google Cloud Storage"
    connection_type = "google_cloud_platform"
    options_model = GcsOptions
    access = GCS

    @property
    def place(self) -> str:
        """The bucket."""
        return f"bucket `{self.options.bucket}`"

    def data_set(self) -> DataSet:
        """The bucket and the prefix."""
        return of_objects(f"gs://{self.options.bucket}", self.prefix)

    def server(self) -> str:
        """Google's, where a name means one bucket for all, or another endpoint."""
        return gcs_server(_endpoint(self.connections.gcs(self.options.connection)))

    @property
    def container(self) -> tuple[str, str]:
        """The bucket: it can be reached by S3's protocol, too."""
        return BUCKET, self.place

    def make_store(self) -> Any:
        """A client with the connection's service account, or the environment's own credentials."""
        credentials = self.connections.gcs(self.options.connection)
        key: dict[str, Any] = json.loads(credentials.key) if credentials.key else {}
        self.secrets.add(key.get("private_key"), key.get("private_key_id"))
        endpoint = _endpoint(credentials)
        secret: dict[str, Any] = {}
        way = self.way(endpoint or GOOGLE, credentials.network, chosen=endpoint is not None)
        if endpoint or credentials.anonymous:
            # obstore takes another server's address from the key alone, and only with a key does it ask for no token
            key = {**_NO_KEY, **key, "gcs_base_url": endpoint or GOOGLE}
            key.setdefault("disable_oauth", credentials.anonymous)
        if key:
            refuse_variables(
                ["GOOGLE_BEARER_TOKEN", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"],
                "the connection has credentials of its own",
            )
            secret["service_account_key"] = json.dumps(key)
        return GCSStore(
            self.options.bucket,
            base_url=endpoint or GOOGLE,
            skip_signature=credentials.anonymous,
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

    async def read(self, key: str, most: int | None = None) -> bytes:
        """Read one object. Emulators answer without headers that obstore insists on: those are read by the JSON API."""
        try:
            return await super().read(key, most)
        except TooLarge:
            raise
        except Exception as error:
            endpoint = _endpoint(self.connections.gcs(self.options.connection))
            if endpoint is None or "Last-Modified Header missing" not in str(error):
                raise
        url = f"{endpoint}/storage/v1/b/{self.options.bucket}/o/{quote(key, safe='')}?alt=media"
        way = await asyncio.to_thread(reach, url, self.connections.gcs(self.options.connection).network)
        async with way.session({"User-Agent": "logstream"}) as session, session.get(url) as answer:
            if answer.status != 200:
                raise ReadError(f"{self.place} cannot be read: status {answer.status}")
            if most is None:
                return await answer.read()
            body = b""
            while not answer.content.at_eof() and len(body) <= most:
                body += await answer.content.read(most + 1 - len(body))
            if len(body) > most:
                answer.close()
                raise TooLarge(key, most)
            return body

    def read_error(self, error: Exception) -> Outcome:
        """Google answers a put with an ETag; emulators store it and give none, so what they answer is read back."""
        if "ETag Header missing" not in str(error):
            return super().read_error(error)
        if self._elsewhere:
            return Delivered()
        return GiveUp(f"what answers for {self.place} is not Google (no ETag): look at the proxy on the way to it")

    causes: ClassVar[Mapping[str, str]] = {
        "NoSuchBucket": "{place} does not exist; create it, or correct `bucket` of destination {name}",
        "InvalidBucketName": "{place} is no name that a bucket can have; correct `bucket` of destination {name}",
        "RequestTimeTooSkewed": f"{CLOCK}; Google refuses requests whose time is not its own",
        "ExpiredToken": f"the token of {{where}} has expired; {CLOCK}",
        "AuthenticationRequired": "{where} gives no credentials, and {place} takes none without; correct it",
        "InvalidSecurity": "{where} has credentials that Google does not know; make a new key of the service account",
        "UserProjectMissing": "{place} bills who writes to it (requester pays), which is not supported; switch that off",
        "UserProjectAccountProblem": "the project that pays for {place} has a problem with its billing account; mend that",
        "AccountProblem": "the project of {place} has a problem with its billing account; mend that",
        "RetentionPolicyNotMet": _RETAINED,
        "ObjectUnderActiveHold": _RETAINED,
        "SecurityPolicyViolated": "a VPC Service Controls perimeter keeps {where} from {place}; let it in",
        "OrgPolicyConstraintFailed": "a policy of the organisation forbids this in {place}; ask its administrator",
        "CloudKmsDisabledKey": _KEY,
        "CloudKmsBadKey": _KEY,
        "CloudKmsEncryptionKeyNotFound": _KEY,
        "CloudKmsKeyLocationNotAllowed": _KEY,
        "QuotaExceeded": _QUOTA,
        "quotaExceeded": _QUOTA,
        "dailyLimitExceeded": _QUOTA,
        "InvalidStorageClass": "{place} does not know this `storage_class`; correct it in destination {name}",
        "MetadataTooLarge": "the `metadata` of destination {name} is too much; shorten it",
    }
    """https://cloud.google.com/storage/docs/xml-api/reference-status and json_api/v1/status-codes there"""

    passing: ClassVar[Mapping[str, str]] = {
        "SlowDown": _SLOW,
        "rateLimitExceeded": _SLOW,
        "userRateLimitExceeded": _SLOW,
        "ServiceUnavailable": _SLOW,
        "InternalError": "Google has a fault of its own",
        "backendError": "Google has a fault of its own",
        "RequestTimeout": "the request came to Google too slowly",
        "BadDigest": "the request came to Google altered",
        "CrcMismatch": "the request came to Google altered",
    }

    def remedy(self, refusal: Refusal) -> str | None:
        """Rights, billing and the service account: where more than the code matters."""
        place, where = self.place, f"connection `{self.options.connection}`"
        if refusal.missing:
            return f"{place} does not exist; create it, or correct `bucket` of destination {self.name}"
        if refusal.says("invalid uploadType"):
            return (
                f"the server that `endpoint_url` of {where} names does not know Google's XML API, by which objects are put "
                "(fake-gcs-server does not); name another"
            )
        said = f" ({refusal.words})" if refusal.words else ""
        if refusal.says("short-lived token", "reasonable timeframe"):
            return f"{CLOCK}; Google refuses tokens whose time is not its own{said}"
        if refusal.says("Invalid JWT Signature", "account not found", "account has been deleted"):
            return f"the service account of {where}, or its key, is gone; make a new key{said}"
        if refusal.says("billing account"):
            return f"the project of {place} has a problem with its billing account; mend that{said}"
        if refusal.says("storage.objects.delete"):
            return (
                f"{where} may not replace objects in {place}, which an export that is repeated does; grant it Storage Object "
                f"User on the bucket{said}"
            )
        if refusal.denied:
            return f"access to {place} is denied; correct {where}, or grant it Storage Object User on the bucket{said}"
        return None


def _endpoint(credentials: GcsCredentials) -> str | None:
    """The address of a server that is not Google's."""
    key = json.loads(credentials.key) if credentials.key else {}
    return credentials.endpoint or key.get("gcs_base_url")


_NO_KEY = {"client_email": "", "private_key": "", "private_key_id": ""}
