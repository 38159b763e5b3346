"""`azure_blob`: Azure Blob Storage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, cast

from obstore.store import AzureStore
from pydantic import Field

from logstream.datasets import DataSet, of_objects
from logstream.destinations.access.microsoft import AZURE_BLOB
from logstream.destinations.credentials import AzureBlobCredentials
from logstream.destinations.object_options import (
    METADATA,
    TAGS,
    Metadata,
    StorageClass,
    StoreOptions,
    Tags,
    storage_class,
)
from logstream.destinations.object_store import ObjectStoreDestination
from logstream.destinations.origins import azure_server
from logstream.destinations.store_rules import (
    AZURE_TIERS,
    azure_container,
    azure_metadata,
    azure_tags,
    storage_class_among,
)
from logstream.destinations.transport.environment import refuse_variables
from logstream.destinations.transport.refusals import CLOCK, Refusal
from logstream.destinations.vendor_rules import Accepts

_SAS = "the SAS of {where} does not fit {place}"
_TIER = "the account of {place} does not know this `storage_class`; correct it in destination {name}"


class AzureBlobOptions(StoreOptions):
    """Options of `azure_blob`."""

    container: Annotated[str, Accepts(azure_container)] = Field(
        min_length=3,
        max_length=63,
        pattern=r"^(\$root|\$web|[a-z0-9-]+)$",
        description="The container.",
        examples=["audit"],
    )
    storage_class: Annotated[StorageClass, Accepts(storage_class_among(AZURE_TIERS))] = storage_class("Cool")
    metadata: Annotated[Metadata, Accepts(azure_metadata)] = METADATA
    tags: Annotated[Tags, Accepts(azure_tags)] = TAGS


def _provider(credentials: AzureBlobCredentials) -> Callable[[], Any] | None:
    """The key, the SAS or tokens, as obstore takes them; `None` where there is none of them."""
    if credentials.account_key:
        return lambda: {"access_key": credentials.account_key, "expires_at": None}
    if credentials.sas:
        return lambda: {"sas_token": credentials.sas, "expires_at": None}
    return credentials.token_provider


class AzureBlobDestination(ObjectStoreDestination[AzureBlobOptions]):
    """Block blobs in a container."""

    type = "azure_blob"
    title = "Azure Blob Storage"
    connection_type = "wasb"
    options_model = AzureBlobOptions
    access = AZURE_BLOB

    @property
    def place(self) -> str:
        """The container."""
        return f"container `{self.options.container}`"

    def data_set(self) -> DataSet:
        """The container of the account, and the prefix. OpenLineage's rule has the Data Lake's host, whatever the cloud."""
        account = self.connections.azure_blob(self.options.connection).account_name
        return of_objects(f"wasbs://{self.options.container}@{account}.dfs.core.windows.net", self.prefix)

    def server(self) -> str:
        """The account: within it, a name means one container."""
        return azure_server(self.connections.azure_blob(self.options.connection).account_url)

    def make_store(self) -> Any:
        """A client with the connection's key, SAS or tokens."""
        credentials = self.connections.azure_blob(self.options.connection)
        way = self.way(credentials.account_url, credentials.network, chosen=True)
        refuse_variables(["AZURE_STORAGE_ENCRYPTION_KEY"], "keys of one's own for encryption are not supported")
        self.secrets.add(credentials.account_key)
        self.secrets.add_sas(credentials.sas)
        # as a provider: before it, obstore would take a token, a key or a client of the environment
        provider = _provider(credentials)
        return AzureStore(
            container_name=self.options.container,
            account_name=credentials.account_name,
            endpoint=credentials.account_url,
            client_options=cast(Any, way.client_options()),
            retry_config=way.retry_config(),
            credential_provider=self.secrets.noting(provider) if provider is not None else None,
            skip_signature=provider is None,
            use_emulator=False,
            use_fabric_endpoint=False,
            disable_tagging=False,
        )

    causes: ClassVar[Mapping[str, str]] = {
        "ContainerNotFound": "{place} does not exist; create it, or correct `container` of destination {name}",
        "ContainerDisabled": "{place} is disabled; ask the account's administrator",
        "AuthorizationPermissionMismatch": (
            "{where} lacks the right to write to {place}; grant it Storage Blob Data Contributor on the container, or, of a SAS, "
            "create and write"
        ),
        "AuthorizationResourceTypeMismatch": f"{_SAS}: its resource types (srt) must hold c and o",
        "AuthorizationServiceMismatch": f"{_SAS}: its services (ss) must hold b",
        "AuthorizationProtocolMismatch": f"{_SAS}: it is for https only, and the account's address is http",
        "AuthorizationSourceIPMismatch": f"{_SAS}: it is for other addresses (sip) than this machine's",
        "UnauthorizedBlobOverwrite": f"{_SAS}: it may create blobs and not replace them; it needs write, too",
        "AuthorizationFailure": (
            "the account of {place} does not let this machine in; allow its network under Networking, or correct the SAS "
            "of {where}"
        ),
        "KeyBasedAuthenticationNotPermitted": (
            "the account of {place} takes no keys and SAS; give {where} a service principal or a managed identity"
        ),
        "InsufficientAccountPermissions": "the account of {place} does not allow to write; ask its administrator",
        "AccountIsDisabled": "the account of {place} is disabled; look at the subscription's billing",
        "NoAuthenticationInformation": "{where} gives no credentials, and {place} takes none without; correct it",
        "PublicAccessNotPermitted": "{where} gives no credentials, and {place} takes none without; correct it",
        "BlobImmutableDueToPolicy": (
            "{place} is immutable: what is there cannot be replaced; give destination {name} a prefix that is new, or another "
            "container"
        ),
        "LeaseIdMissing": "a blob in {place} is leased to another program; end the lease",
        "InvalidBlobTier": _TIER,
        "BlobAccessTierNotSupportedForAccountType": _TIER,
        "InvalidResourceName": "{place} is no name that a container can have; correct `container` of destination {name}",
        "InvalidUri": "{place} cannot be addressed; correct the host of {where}",
    }
    """https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes and blob-service-error-codes there"""

    passing: ClassVar[Mapping[str, str]] = {
        "ServerBusy": "Azure takes no more requests of this account at this time",
        "OperationTimedOut": "Azure did not answer in time",
        "InternalError": "Azure has a fault of its own",
        "ContainerBeingDeleted": "the container is being deleted; it can be created again when that is done",
        "AccountBeingCreated": "the account is being created",
        "Md5Mismatch": "the request came to Azure altered",
    }

    def remedy(self, refusal: Refusal) -> str | None:
        """What `AuthenticationFailed` and its like stand for: their words tell."""
        place, where = self.place, f"connection `{self.options.connection}`"
        if refusal.missing:
            return f"{place} does not exist; create it, or correct `container` of destination {self.name}"
        if refusal.says("is too old", "Request date header"):
            return f"{CLOCK}; Azure refuses requests that are more than 15 minutes away from its own time"
        if refusal.says("Signature not valid in the specified time frame"):
            return f"the SAS of {where} has expired, or is not valid yet; make a new one ({refusal.words})"
        if refusal.says("Signature fields not well formed", "Signature did not match", "sr is mandatory"):
            return f"the SAS of {where} is not valid; make a new one ({refusal.words})"
        if refusal.says("MAC signature found"):
            return f"the key of {where} is not the account's, or no more; correct its password ({refusal.words})"
        if refusal.says("token is expired", "Lifetime validation failed"):
            return f"the token of {where} has expired; look at the clock of this machine, then at {where} ({refusal.words})"
        if refusal.says("Issuer validation failed", "Issuer did not match"):
            return f"{where} is of another tenant than the account; correct its tenant ({refusal.words})"
        if refusal.says("Audience validation failed"):
            return f"the token of {where} is not for storage; correct it ({refusal.words})"
        if refusal.denied:
            return (
                f"access to {place} is denied; correct {where}, or grant it Storage Blob Data Contributor on the container"
                + (f" ({refusal.words})" if refusal.words else "")
            )
        return None
