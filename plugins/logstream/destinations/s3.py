"""`s3`: Amazon S3 and servers that speak its protocol."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

from obstore.store import S3Store
from pydantic import Field, model_validator

from logstream.destinations.credentials import AwsCredentials
from logstream.destinations.object_store import (
    CLOCK,
    METADATA,
    TAGS,
    Metadata,
    ObjectStoreDestination,
    StoreOptions,
    Tags,
    is_denied,
    origin,
    status_of,
    summary,
)
from logstream.destinations.vendor_rules import Accepts, s3_bucket, s3_metadata, s3_tags

DEFAULT_REGION = "us-east-1"

PARTITIONS = ("cn-", "us-gov-", "us-iso", "eu-isoe-", "eusc-")
"""How the regions of AWS begin that are apart from all others.

https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
"""


class Encryption(StrEnum):
    """Encryption at the server, as S3 names it."""

    S3 = "AES256"
    KMS = "aws:kms"


class S3Options(StoreOptions):
    """Options of `s3`."""

    bucket: Annotated[str, Accepts(s3_bucket)] = Field(
        min_length=3, max_length=255, pattern=r"^[A-Za-z0-9._-]+$", description="The bucket.", examples=["audit"]
    )

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

    @property
    def place(self) -> str:
        """The bucket."""
        return f"bucket `{self.options.bucket}`"

    def server(self) -> str:
        """The endpoint, or the partition of AWS: within one, a name means one bucket."""
        credentials = self.connections.aws(self.options.connection)
        if credentials.endpoint:
            return origin(credentials.endpoint)
        region = credentials.region or DEFAULT_REGION
        return next((name for name in PARTITIONS if region.startswith(name)), "aws")

    @property
    def client_key(self) -> tuple[object, ...]:
        """Encryption is the client's."""
        return *super().client_key, self.options.encryption, self.options.kms_key_id

    def make_store(self) -> Any:
        """A client with the connection's credentials, asked for again as they expire."""
        credentials = self.connections.aws(self.options.connection)
        region = credentials.region or DEFAULT_REGION
        endpoint = self._endpoint(credentials)
        way = self.way(
            endpoint or f"https://s3.{region}.amazonaws.com", credentials.network, chosen=endpoint is not None
        )
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
            endpoint=endpoint,
            virtual_hosted_style_request=credentials.virtual_hosts,
            skip_signature=credentials.anonymous,
            credential_provider=provider,
            client_options=cast(Any, way.client_options()),
            retry_config=way.retry_config(),
            **encryption,
        )

    def _endpoint(self, credentials: AwsCredentials) -> str | None:
        """Another server's address; with the bucket in its host where the connection asks for that (obstore does not add it)."""
        if not credentials.endpoint or not credentials.virtual_hosts:
            return credentials.endpoint
        parts = urlsplit(credentials.endpoint)
        return parts._replace(netloc=f"{self.options.bucket}.{parts.netloc}").geturl()

    def remedy(self, error: Exception) -> str | None:
        """Credentials and buckets are somebody's to mend; all else may pass."""
        text = str(error)
        bucket = self.options.bucket
        if "NoSuchBucket" in text or status_of(error) == 404 or isinstance(error, FileNotFoundError):
            return f"bucket `{bucket}` does not exist; create it, or correct `bucket` of destination {self.name}"
        if "RequestTimeTooSkewed" in text:
            return f"{CLOCK}; S3 refuses signatures whose time is not its own"
        if "ExpiredToken" in text or "TokenRefreshRequired" in text:
            return (
                f"the session token of connection `{self.options.connection}` has expired; renew it in Airflow, or use a role "
                "that renews it"
            )
        if any(code in text for code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken")):
            return f"the credentials of connection `{self.options.connection}` are refused; correct them in Airflow"
        if is_denied(error):
            return f"access to bucket `{bucket}` is denied; grant s3:PutObject on arn:aws:s3:::{bucket}/{self.prefix}*"
        if "PermanentRedirect" in text or "AuthorizationHeaderMalformed" in text or status_of(error) == 301:
            return f"bucket `{bucket}` is in another region; set region_name of connection `{self.options.connection}`"
        if "get credential" in text.lower() or "credential" in summary(error).lower():
            return f"connection `{self.options.connection}` gives no credentials: {summary(error)}"
        if status_of(error) == 400 and "RequestTimeout" not in text:
            return f"bucket `{bucket}` refuses the request, and would again: {summary(error)}"
        return None
