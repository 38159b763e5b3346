"""Connections of types `wasb` (Azure Blob Storage) and `azure` (tokens for Azure Monitor)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from logstream.airflow.connections.lookup import (
    by_what_was_found,
    find,
    proxies,
    seconds,
    unusable,
    verification,
    wrong,
)
from logstream.airflow.connections.tables import AZURE, WASB
from logstream.airflow.importing import imported
from logstream.destinations.credentials import AzureBlobCredentials
from logstream.destinations.transport.addresses import VARIABLE, private_addresses_allowed
from logstream.destinations.transport.network import Network
from logstream.errors import ConnectionNotFound

_CLOUDS = {
    "AzurePublicCloud": "login.microsoftonline.com",
    "AzureUSGovernment": "login.microsoftonline.us",
    "AzureChinaCloud": "login.chinacloudapi.cn",
}
"""Who gives the tokens of each cloud: `azure.identity.AzureAuthorityHosts`."""

_AUTHORITIES = frozenset({*_CLOUDS.values(), "login.partner.microsoftonline.cn"})
"""Hosts that give tokens, all of them Microsoft's."""


def azure_blob_credentials(connection: str) -> AzureBlobCredentials:
    """What a `wasb` connection gives: a key, a SAS or tokens. Raises `InputError` naming what cannot be used."""
    found = find(connection, "wasb")
    extra = WASB.check(found)
    auth = extra.get("client_secret_auth_config") or {}
    _check_authority(connection, "client_secret_auth_config.authority", auth.get("authority"))
    network = _network(connection, extra)
    hooks = imported("airflow.providers.microsoft.azure.hooks.wasb")
    try:
        client: Any = by_what_was_found(hooks.WasbHook(connection), found).get_conn()
    except Exception as error:
        raise unusable(connection, error) from None
    parts = urlsplit(client.url)
    url = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
    credential = client.credential
    key = getattr(credential, "account_key", None)
    sas = getattr(credential, "signature", None) or parts.query or None
    return AzureBlobCredentials(
        account_url=url,
        account_name=client.account_name or (parts.hostname or "").split(".")[0],
        account_key=key,
        sas=None if key else sas,
        token_provider=_tokens(credential) if hasattr(credential, "get_token") else None,
        network=network,
    )


def azure_token(connection: str) -> Callable[[str], str]:
    """What an `azure` connection gives: a function from a scope to a bearer token, renewed as needed.

    Without a login, the managed identity (or whatever `DefaultAzureCredential` finds) is used.
    """
    found = find(connection, "azure")
    extra = AZURE.check(found)
    cloud = extra.get("cloud_environment") or "AzurePublicCloud"
    if cloud not in _CLOUDS:
        raise wrong(connection, "cloud_environment", f"must be one of {', '.join(_CLOUDS)}")
    authority = extra.get("authority") or _CLOUDS[cloud]
    _check_authority(connection, "authority", authority)
    from azure.identity import ClientSecretCredential, DefaultAzureCredential

    credential: Any
    if found.login and found.password:
        tenant = extra.get("tenantId") or extra.get("tenant_id")
        if not tenant:
            raise ConnectionNotFound(f"connection `{connection}` has no `tenantId` in its extra")
        try:
            credential = ClientSecretCredential(tenant, found.login, found.password, authority=authority)
        except ValueError as error:
            raise unusable(connection, error) from None
    elif found.login or found.password:
        raise ConnectionNotFound(
            f"connection `{connection}` has a login (client id) or a password (client secret) without the other; give both, "
            "or neither for a managed identity"
        )
    else:
        credential = DefaultAzureCredential(
            authority=authority,
            managed_identity_client_id=extra.get("managed_identity_client_id") or None,
            workload_identity_tenant_id=extra.get("workload_identity_tenant_id") or None,
        )

    def token(scope: str) -> str:
        try:
            return str(credential.get_token(scope).token)
        except Exception as error:
            raise unusable(connection, error) from None

    return token


def _check_authority(connection: str, name: str, authority: object) -> None:
    """Another host than Microsoft's names further addresses by itself, and azure-identity connects to all of them: it cannot be
    pinned to an address that was judged. Raises `ConnectionNotFound`."""
    if authority in (None, "") or private_addresses_allowed():
        return
    if not isinstance(authority, str) or authority.lower().removeprefix("https://").strip("/") not in _AUTHORITIES:
        known = ", ".join(sorted(_AUTHORITIES))
        raise wrong(connection, name, f"must be one of {known}; an operator can allow others with {VARIABLE}=1")


def _network(connection: str, extra: dict[str, Any]) -> Network:
    judged, authority = verification(connection, "connection_verify", extra.get("connection_verify"))
    return Network(
        proxies=proxies(connection, "proxies", extra.get("proxies")),
        authority=authority,
        verify=judged,
        timeout=seconds(connection, "read_timeout", extra.get("read_timeout")),
        connect_timeout=seconds(connection, "connection_timeout", extra.get("connection_timeout")),
    )


def _tokens(credential: Any) -> Any:
    from obstore.auth.azure import AzureCredentialProvider

    return AzureCredentialProvider(credential)
