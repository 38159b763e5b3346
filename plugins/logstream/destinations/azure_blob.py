"""`azure_blob`: Azure Blob Storage."""

from __future__ import annotations

from typing import Annotated, Any, cast

from obstore.store import AzureStore
from pydantic import Field

from logstream.destinations.object_store import (
    CLOCK,
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
from logstream.destinations.vendor_rules import AZURE_TIERS, Accepts, azure_container, azure_tags, storage_class_among


class AzureBlobOptions(StoreOptions):
    """Options of `azure_blob`."""

    container: Annotated[str, Accepts(azure_container)] = Field(
        min_length=3,
        max_length=63,
        pattern=r"^(\$root|\$web|[a-z0-9-]+)$",
        description="The container.",
        examples=["audit"],
    )
    storage_class: Annotated[StorageClass, Accepts(storage_class_among(AZURE_TIERS))] = STORAGE_CLASS
    tags: Annotated[Tags, Accepts(azure_tags)] = TAGS


class AzureBlobDestination(ObjectStoreDestination[AzureBlobOptions]):
    """Block blobs in a container."""

    type = "azure_blob"
    title = "Azure Blob Storage"
    connection_type = "wasb"
    options_model = AzureBlobOptions

    @property
    def place(self) -> str:
        """The container."""
        return f"container `{self.options.container}`"

    def server(self) -> str:
        """The account: within it, a name means one container."""
        return origin(self.connections.azure_blob(self.options.connection).account_url)

    def make_store(self) -> Any:
        """A client with the connection's key, SAS or tokens."""
        credentials = self.connections.azure_blob(self.options.connection)
        way = self.way(credentials.account_url, credentials.network, chosen=True)
        secret: dict[str, Any] = {}
        self.secrets.add(credentials.account_key)
        self.secrets.add_sas(credentials.sas)
        if credentials.account_key:
            secret["account_key"] = credentials.account_key
        elif credentials.sas:
            secret["sas_key"] = credentials.sas
        elif credentials.token_provider:
            secret["credential_provider"] = self.secrets.noting(credentials.token_provider)
        else:
            secret["skip_signature"] = True
        return AzureStore(
            container_name=self.options.container,
            account_name=credentials.account_name,
            endpoint=credentials.account_url,
            client_options=cast(Any, way.client_options()),
            retry_config=way.retry_config(),
            **secret,
        )

    def remedy(self, error: Exception) -> str | None:
        """Credentials and containers are somebody's to mend; all else may pass."""
        text = str(error)
        container = self.options.container
        if "ContainerNotFound" in text or status_of(error) == 404 or isinstance(error, FileNotFoundError):
            return (
                f"container `{container}` does not exist; create it, or correct `container` of destination {self.name}"
            )
        if "is too old" in text or "Request date header" in text:
            return f"{CLOCK}; Azure refuses requests that are more than 15 minutes away from its own time"
        if "Signature not valid in the specified time frame" in text or "Signature fields not well formed" in text:
            return (
                f"the SAS of connection `{self.options.connection}` is not valid, or not at this time; make a new one"
            )
        if is_denied(error):
            return (
                f"access to container `{container}` is denied; correct connection `{self.options.connection}`, or grant "
                "it Storage Blob Data Contributor on the container"
            )
        return None
