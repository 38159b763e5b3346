"""`s3`: Amazon S3 and servers that speak its protocol."""

from __future__ import annotations

from typing import Any, cast

from obstore.store import S3Store
from pydantic import Field

from logstream.destinations.addresses import resolve_and_check
from logstream.destinations.object_store import (
    CLIENT_OPTIONS,
    RETRY_CONFIG,
    ObjectStoreDestination,
    StoreOptions,
    is_denied,
    status_of,
    summary,
)

DEFAULT_REGION = "us-east-1"


class S3Options(StoreOptions):
    """Options of `s3`."""

    bucket: str = Field(
        min_length=3, max_length=255, pattern=r"^[A-Za-z0-9._-]+$", description="The bucket.", examples=["audit"]
    )


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

    def make_store(self) -> Any:
        """A client with the connection's credentials, asked for again as they expire."""
        credentials = self.connections.aws(self.options.connection)
        client: dict[str, Any] = dict(CLIENT_OPTIONS)
        if credentials.endpoint:
            resolve_and_check(credentials.endpoint)
            client["allow_http"] = credentials.endpoint.startswith("http://")
        if not credentials.verify:
            client["allow_invalid_certificates"] = True
        return S3Store(
            self.options.bucket,
            region=credentials.region or DEFAULT_REGION,
            endpoint=credentials.endpoint,
            virtual_hosted_style_request=False,
            skip_signature=credentials.anonymous,
            credential_provider=None if credentials.anonymous else cast(Any, credentials.provider),
            client_options=cast(Any, client),
            retry_config=RETRY_CONFIG,
        )

    def remedy(self, error: Exception) -> str | None:
        """Credentials and buckets are somebody's to mend; all else may pass."""
        text = str(error)
        bucket = self.options.bucket
        if "NoSuchBucket" in text or status_of(error) == 404 or isinstance(error, FileNotFoundError):
            return f"bucket `{bucket}` does not exist; create it, or correct `bucket` of destination {self.name}"
        if any(
            code in text for code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")
        ):
            return f"the credentials of connection `{self.options.connection}` are refused; correct them in Airflow"
        if is_denied(error):
            return f"access to bucket `{bucket}` is denied; grant s3:PutObject on arn:aws:s3:::{bucket}/{self.prefix}*"
        if "PermanentRedirect" in text or "AuthorizationHeaderMalformed" in text or status_of(error) == 301:
            return f"bucket `{bucket}` is in another region; set region_name of connection `{self.options.connection}`"
        if "get credential" in text.lower() or "credential" in summary(error).lower():
            return f"connection `{self.options.connection}` gives no credentials: {summary(error)}"
        return None
