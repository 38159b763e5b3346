"""`s3`: Amazon S3 and servers that speak its protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from threading import Lock
from typing import Annotated, Any, ClassVar, cast
from urllib.parse import urlsplit

from obstore.store import S3Store
from pydantic import Field, model_validator

from logstream.datasets import DataSet, of_objects
from logstream.destinations.access.amazon import S3
from logstream.destinations.credentials import AwsCredentials
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
from logstream.destinations.origins import s3_server
from logstream.destinations.store_rules import s3_bucket, s3_metadata, s3_storage_class, s3_tags
from logstream.destinations.transport.environment import refuse_variables
from logstream.destinations.transport.refusals import CLOCK, WRONG_REGION, Refusal
from logstream.destinations.vendor_rules import Accepts

DEFAULT_REGION = "us-east-1"

_VARIABLES = (
    "AWS_SERVER_SIDE_ENCRYPTION",
    "AWS_SSE_KMS_KEY_ID",
    "AWS_SSE_BUCKET_KEY_ENABLED",
    "AWS_SSE_CUSTOMER_KEY_BASE64",
    "AWS_CHECKSUM_ALGORITHM",
)

_SLOW = "S3 takes no more requests at this time: it asks to slow down"
_EXPIRED = "the session token of {where} has expired; renew it in Airflow, or use a role that renews it"
_KEY = "the KMS key of {place} cannot be used; enable it, or correct `kms_key_id` of destination {name}"
_VIRTUAL = (
    "the server of {place} wants the bucket in the host's name; set config_kwargs to "
    '{{"s3": {{"addressing_style": "virtual"}}}} in the extra of {where}'
)
_PATH = "the server of {place} wants the bucket in the path; take `addressing_style` out of the extra of {where}"


class Encryption(StrEnum):
    """Encryption at the server, as S3 names it."""

    S3 = "AES256"
    KMS = "aws:kms"


class S3Options(StoreOptions):
    """Options of `s3`."""

    bucket: Annotated[str, Accepts(s3_bucket)] = Field(
        min_length=3, max_length=255, pattern=r"^[A-Za-z0-9._-]+$", description="The bucket.", examples=["audit"]
    )

    storage_class: Annotated[StorageClass, Accepts(s3_storage_class)] = storage_class("STANDARD_IA")
    metadata: Annotated[Metadata, Accepts(s3_metadata)] = METADATA
    tags: Annotated[Tags, Accepts(s3_tags)] = TAGS
    encryption: Encryption | None = Field(
        default=None,
        description="Encryption at the server: AES256 (SSE-S3) or aws:kms (SSE-KMS); left out, the bucket's own.",
    )
    kms_key_id: str | None = Field(
        default=None,
        max_length=2048,
        pattern=r"^[A-Za-z0-9:/_-]+$",
        description="The KMS key for aws:kms; left out, AWS's own.",
        examples=["arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"],
    )

    @model_validator(mode="after")
    def _key_goes_with_kms(self) -> S3Options:
        if self.kms_key_id and self.encryption is not Encryption.KMS:
            raise ValueError("kms_key_id: it goes with encryption: aws:kms only")
        return self


class S3Destination(ObjectStoreDestination[S3Options]):
    """Objects in an S3 bucket."""

    type = "s3"
    title = "Amazon S3"
    connection_type = "aws"
    options_model = S3Options
    access = S3

    _named_region: str | None = None
    """The bucket's region as S3 named it; empty where it named none; `None` before it is asked."""

    async def open(self) -> None:
        """Make the client."""
        await super().open()
        self._asking = Lock()

    @property
    def place(self) -> str:
        """The bucket."""
        return f"bucket `{self.options.bucket}`"

    def data_set(self) -> DataSet:
        """The bucket and the prefix."""
        return of_objects(f"s3://{self.options.bucket}", self.prefix)

    def server(self) -> str:
        """The endpoint, or the partition of AWS: within one, a name means one bucket."""
        credentials = self.connections.aws(self.options.connection)
        return s3_server(credentials.endpoint, credentials.region or DEFAULT_REGION, self.options.bucket)

    @property
    def container(self) -> tuple[str, str]:
        """The bucket: Google's, too, can be reached by S3's protocol."""
        return BUCKET, self.place

    @property
    def client_key(self) -> tuple[object, ...]:
        """Encryption is the client's."""
        return *super().client_key, self.options.encryption, self.options.kms_key_id

    def make_store(self) -> Any:
        """A client with the connection's credentials, asked for again as they expire."""
        credentials = self.connections.aws(self.options.connection)
        region = credentials.region or DEFAULT_REGION
        endpoint = self._endpoint(credentials)
        way = self.way(endpoint, credentials.network, chosen=bool(credentials.endpoint))
        refuse_variables(_VARIABLES, "`encryption` and `kms_key_id` are options of the destination")
        encryption: dict[str, Any] = {}
        if self.options.encryption:
            encryption["server_side_encryption"] = self.options.encryption.value
        if self.options.kms_key_id:
            encryption["sse_kms_key_id"] = self.options.kms_key_id
        provider: Any = None
        if not credentials.anonymous:
            provider = self.secrets.noting(credentials.provider)
            if credentials.endpoint:
                self.secrets.add_url(credentials.endpoint)
        return S3Store(
            self.options.bucket,
            region=region,
            virtual_hosted_style_request=credentials.virtual_hosts,
            skip_signature=credentials.anonymous,
            credential_provider=provider,
            client_options=cast(Any, way.client_options()),
            retry_config=way.retry_config(),
            endpoint=endpoint,
            # obstore takes from the environment what it is not given, and this before `endpoint`
            aws_endpoint_url_s3=endpoint,
            conditional_put="etag",
            s3_express=False,
            request_payer=False,
            disable_tagging=False,
            unsigned_payload=False,
            **encryption,
        )

    def _endpoint(self, credentials: AwsCredentials) -> str:
        """The server's address; with the bucket in its host where the connection asks for that (obstore does not add it)."""
        region = credentials.region or DEFAULT_REGION
        domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        endpoint = credentials.endpoint or f"https://s3.{region}.{domain}"
        if not credentials.virtual_hosts:
            return endpoint
        parts = urlsplit(endpoint)
        return parts._replace(netloc=f"{self.options.bucket}.{parts.netloc}").geturl()

    causes: ClassVar[Mapping[str, str]] = {
        "RequestTimeTooSkewed": f"{CLOCK}; S3 refuses signatures whose time is not its own",
        "ExpiredToken": _EXPIRED,
        "TokenRefreshRequired": _EXPIRED,
        "InvalidAccessKeyId": "the credentials of {where} are refused: there is no such access key; correct its login",
        "SignatureDoesNotMatch": "the credentials of {where} are refused: the secret key is not right; correct its password",
        "InvalidToken": "the credentials of {where} are refused: its session token is not valid; renew it, or use a role",
        "AllAccessDisabled": "{place} is closed for everybody; ask its owner",
        "AccountProblem": "the AWS account of {where} has a problem; look at its billing, or ask AWS",
        "NotSignedUp": "the AWS account of {where} has no S3; sign it up",
        "InvalidBucketName": "{place} is no name that a bucket can have; correct `bucket` of destination {name}",
        "QuotaExceeded": "{place}, or its owner, has reached its quota; raise it, or make room",
        "XMinioStorageFull": "the server of {place} is full; make room",
        "InvalidStorageClass": "{place} does not know this `storage_class`; correct it in destination {name}",
        "InvalidTag": "{place} does not take these `tags`; correct them in destination {name}",
        "MetadataTooLarge": "the `metadata` of destination {name} is too much; shorten it",
        "MethodNotAllowed": "{place} does not take objects by this address; correct `endpoint_url` of {where}",
        "KMS.DisabledException": _KEY,
        "KMS.NotFoundException": _KEY,
        "KMS.KMSInvalidStateException": _KEY,
        "InvalidEncryptionAlgorithmError": "{place} does not know this `encryption`; correct it in destination {name}",
        "SecondLevelDomainForbidden": _VIRTUAL,
        "PathStyleDomainForbidden": _VIRTUAL,
        "VirtualHostDomainForbidden": _PATH,
    }
    """https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html, and those of servers that speak S3."""

    passing: ClassVar[Mapping[str, str]] = {
        "SlowDown": _SLOW,
        "ServiceUnavailable": _SLOW,
        "ThrottlingException": _SLOW,
        "RequestLimitExceeded": _SLOW,
        "TooManyRequests": _SLOW,
        "KMS.ThrottlingException": "the KMS key's requests are throttled",
        "InternalError": "S3 has a fault of its own",
        "RequestTimeout": "the request came to S3 too slowly",
        "IncompleteBody": "the request came to S3 cut off",
        "BadDigest": "the request came to S3 altered",
        "OperationAborted": "S3 was changing the same thing",
        "TemporaryRedirect": "the bucket is new, and its address not known everywhere yet",
    }

    def remedy(self, refusal: Refusal) -> str | None:
        """Regions, styles and rights: where more than the code matters."""
        bucket, where = self.options.bucket, f"connection `{self.options.connection}`"
        if refusal.code in (WRONG_REGION, "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"):
            region = refusal.element("Region") or self._region_asked()
            return (
                f"bucket `{bucket}` is in another region{f', {region}' if region else ''}; set region_name of {where}, or, where "
                "it has one, correct its endpoint_url"
            )
        if refusal.code == "NoSuchBucket" and refusal.element("BucketName") not in ("", bucket):
            # a server that reads bucket names from the path only took the first part of the key for one
            return f"{_PATH.format(place=self.place, where=where)} ({refusal.words})"
        if refusal.missing:
            return f"bucket `{bucket}` does not exist; create it, or correct `bucket` of destination {self.name}"
        if refusal.denied and refusal.says("kms:"):
            key = self.options.kms_key_id or "the bucket's KMS key"
            return f"{where} may not use {key}; grant kms:GenerateDataKey and kms:Decrypt on it ({refusal.words})"
        if refusal.denied and refusal.says("explicit deny"):
            return f"a policy denies {where} to write to bucket `{bucket}`; look in IAM and at the bucket ({refusal.words})"
        if refusal.denied:
            right = "s3:PutObjectTagging" if refusal.says("PutObjectTagging") else "s3:PutObject"
            return (
                f"access to bucket `{bucket}` is denied; grant {right} on arn:aws:s3:::{bucket}/{self.prefix}* to {where}"
                + (f" ({refusal.words})" if refusal.words else "")
            )
        if "credential" in refusal.text.lower():
            return f"{where} gives no credentials: {refusal.text}"
        return None

    def _region_asked(self) -> str:
        """The bucket's region, for which S3 is asked once, however many puts meet its refusal. Blocks."""
        # it takes aiohttp, whose import takes as long as many a small export; few ever ask
        from logstream.destinations.transport.bucket_region import bucket_region

        with self._asking:
            if self._named_region is None:
                credentials = self.connections.aws(self.options.connection)
                base = self._endpoint(credentials).rstrip("/")
                url = f"{base}/" if credentials.virtual_hosts else f"{base}/{self.options.bucket}"
                self._named_region = asyncio.run(bucket_region(url, credentials.network))
            return self._named_region
