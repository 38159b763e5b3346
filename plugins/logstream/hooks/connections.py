"""Airflow connections as credentials. Roles, profiles, managed identities and the like are the providers' hooks' work."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from psycopg.pq import Conninfo

from logstream.destinations.credentials import AwsCredentials, AzureBlobCredentials, GcsCredentials, HttpCredentials
from logstream.destinations.transport.urls import joined
from logstream.errors import ConnectionNotFound
from logstream.proof.signing import Signer

_OURS = {"headers", "ca", "webhook_secret", "client_certificate"}
_HTTP_REFUSED = {
    "verify": "put the certificates of a private authority into `ca`; certificates are always verified",
    "cert": "put certificate and key, PEM, into `client_certificate`",
    "proxies": "proxies are not supported",
    "proxy": "proxies are not supported",
    "trust_env": "proxies of the environment are not supported",
    "timeout": "a request may take 60 s",
    "stream": "answers are always read",
    "allow_redirects": "redirects are never followed",
    "max_redirects": "redirects are never followed",
    "check_response": "answers are always checked",
}
"""Extras of an `http` connection that Airflow's HttpHook takes as options, and what to do here. All others are headers there."""

_HTTP_DEFAULTS = {
    "verify": True,
    "trust_env": False,
    "allow_redirects": False,
    "max_redirects": 0,
    "check_response": True,
}
"""Values that ask for nothing but what is done."""

_AWS_CONFIG = {"s3", "signature_version", "region_name"}
_GCP_REFUSED = ("impersonation_chain", "key_secret_name", "credential_config_file")


class AirflowConnections:
    """Gives credentials by connection id, through Airflow's secrets backends (`AIRFLOW_CONN_<ID>` among them)."""

    def aws(self, connection: str) -> AwsCredentials:
        """From a connection of type `aws`: keys, role to assume, profile, web identity, whatever its hook knows."""
        _get(connection, "aws")
        from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
        from obstore.auth.boto3 import Boto3CredentialProvider

        try:
            hook: Any = AwsGenericHook(connection, client_type="s3")
            session = hook.get_session()
            extra: Mapping[str, Any] = hook.conn_config.extra_config
            style = _addressing_style(connection, extra)
            if isinstance(hook.verify, str) and hook.verify.lower() not in ("true", "false"):
                raise ConnectionNotFound(
                    f"connection `{connection}`: `verify` in its extra is a path, which is not supported; "
                    "it may be true or false"
                )
            if session.get_credentials() is None:
                raise ConnectionNotFound(
                    f"connection `{connection}` gives no AWS credentials; set its login and password, or a role"
                )
            return AwsCredentials(
                provider=Boto3CredentialProvider(session),
                region=session.region_name or extra.get("region_name"),
                endpoint=hook.conn_config.get_service_endpoint_url("s3"),
                verify=hook.verify not in (False, "false", "False"),
                virtual_hosts=style == "virtual",
            )
        except ConnectionNotFound:
            raise
        except Exception as error:
            raise _unusable(connection, error) from None

    def azure_blob(self, connection: str) -> AzureBlobCredentials:
        """From a connection of type `wasb`: connection string, key, SAS, service principal or managed identity."""
        _get(connection, "wasb")
        from airflow.providers.microsoft.azure.hooks.wasb import WasbHook

        try:
            client: Any = WasbHook(connection).get_conn()
        except Exception as error:
            raise _unusable(connection, error) from None
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
            token_provider=_azure_tokens(credential) if hasattr(credential, "get_token") else None,
        )

    def gcs(self, connection: str) -> GcsCredentials:
        """From a connection of type `google_cloud_platform`: `keyfile_dict`, `key_path`, else the environment's own.

        `endpoint_url` in its extra, or `STORAGE_EMULATOR_HOST`, is where another server than Google's is.
        """
        extra = _get(connection, "google_cloud_platform").extra_dejson or {}
        fields = {name.removeprefix("extra__google_cloud_platform__"): value for name, value in extra.items()}
        for name in _GCP_REFUSED:
            if fields.get(name):
                raise ConnectionNotFound(
                    f"connection `{connection}`: `{name}` in its extra is not supported; use `keyfile_dict`, `key_path` or the "
                    "environment's own credentials"
                )
        endpoint = fields.get("endpoint_url") or os.environ.get("STORAGE_EMULATOR_HOST") or None
        if endpoint and "://" not in endpoint:
            endpoint = f"http://{endpoint}"
        key = fields.get("keyfile_dict") or None
        if isinstance(key, dict):
            key = json.dumps(key)
        if key is None and fields.get("key_path"):
            try:
                key = Path(fields["key_path"]).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConnectionNotFound(f"connection `{connection}`: key_path: {type(error).__name__}") from None
        if key is not None:
            try:
                json.loads(key)
            except ValueError:
                raise ConnectionNotFound(f"connection `{connection}`: its key is not JSON") from None
        return GcsCredentials(key, endpoint, anonymous=bool(fields.get("is_anonymous") or (endpoint and not key)))

    def azure_token(self, connection: str) -> Callable[[str], str]:
        """From a connection of type `azure`: login and password are client id and secret, `tenantId` in extra.

        Without a login, the managed identity (or whatever `DefaultAzureCredential` finds) is used.
        """
        found = _get(connection, "azure")
        extra = found.extra_dejson or {}
        from azure.identity import ClientSecretCredential, DefaultAzureCredential

        credential: Any
        if found.login and found.password:
            tenant = extra.get("tenantId") or extra.get("tenant_id")
            if not tenant:
                raise ConnectionNotFound(f"connection `{connection}` has no `tenantId` in its extra")
            credential = ClientSecretCredential(tenant, found.login, found.password, authority=extra.get("authority"))
        else:
            client = extra.get("managed_identity_client_id")
            credential = DefaultAzureCredential(managed_identity_client_id=client)

        def token(scope: str) -> str:
            try:
                return str(credential.get_token(scope).token)
            except Exception as error:
                raise _unusable(connection, error) from None

        return token

    def signer(self) -> Signer | None:
        """The key that signs manifests: the password of connection `logstream_signing`, if there is one.

        Raises `InputError` if it is no Ed25519 private key.
        """
        try:
            found = _get(SIGNING_CONNECTION)
        except ConnectionNotFound:
            return None
        return Signer.of(found.password or "")

    def http(self, connection: str, default_url: str | None = None) -> HttpCredentials:
        """From a connection of type `http`: base URL, login and password, headers (`headers` in extra).

        `webhook_secret`, `client_certificate` and `ca` in its extra are for signed webhooks and for TLS (PEM texts).
        """
        found = _get(connection, "http", "https")
        extra = found.extra_dejson or {}
        headers = extra.get("headers")
        if headers is None:
            headers = {key: value for key, value in extra.items() if key not in _OURS and key not in _HTTP_REFUSED}
        elif unknown := sorted(extra.keys() - _OURS - _HTTP_REFUSED.keys()):
            raise ConnectionNotFound(
                f"connection `{connection}`: `{unknown[0]}` in its extra is unknown; headers belong into `headers`"
            )
        for name, remedy in _HTTP_REFUSED.items():
            if name in extra and extra[name] not in (None, "", _HTTP_DEFAULTS.get(name)):
                raise ConnectionNotFound(f"connection `{connection}`: `{name}` in its extra is not supported: {remedy}")
        if not isinstance(headers, dict):
            raise ConnectionNotFound(f"connection `{connection}`: `headers` in its extra must be an object")
        for name, value in headers.items():
            if any(sign in f"{name}{value}" for sign in "\r\n\0"):
                raise ConnectionNotFound(f"connection `{connection}`: a header holds a line break")
        return HttpCredentials(
            base_url=default_url if default_url and not found.host else _base_url(found, connection),
            login=found.login or None,
            password=found.password or None,
            headers={str(name): str(value) for name, value in headers.items()},
            signing_secret=extra.get("webhook_secret") or None,
            client_certificate=extra.get("client_certificate") or None,
            authority=extra.get("ca") or None,
        )


_LIBPQ = frozenset(option.keyword.decode() for option in Conninfo.get_defaults())
"""The parameters of libpq."""

SIGNING_CONNECTION = "logstream_signing"


def dsn_of(connection: str) -> str | None:
    """The DSN of a PostgreSQL connection, `None` if there is no such connection."""
    from psycopg.conninfo import make_conninfo

    try:
        found = _get(connection, "postgres")
    except ConnectionNotFound:
        return None
    return dsn_from(found, make_conninfo)


def dsn_from(found: Any, make_conninfo: Any) -> str:
    """A DSN from the fields of an Airflow connection; its extra holds further libpq parameters."""
    extra = found.extra_dejson or {}
    for name in extra:
        if name not in _LIBPQ:
            raise ConnectionNotFound(
                f"connection `{found.conn_id}`: `{name}` in its extra is no parameter of libpq, and not supported"
            )
    parameters = {
        "host": found.host,
        "port": found.port,
        "user": found.login,
        "password": found.password,
        "dbname": found.schema,
        **{name: value for name, value in extra.items() if isinstance(value, str | int)},
    }
    return str(make_conninfo(**{name: value for name, value in parameters.items() if value not in (None, "")}))


def _get(connection: str, *types: str) -> Any:
    from airflow.sdk import BaseHook

    try:
        found = BaseHook.get_connection(connection)
    except Exception as error:
        raise ConnectionNotFound(
            f"there is no Airflow connection `{connection}`; add it under Admin > Connections, or set "
            f"AIRFLOW_CONN_{connection.upper()} ({type(error).__name__})"
        ) from None
    if found.conn_type and types and found.conn_type not in types:
        raise ConnectionNotFound(
            f"connection `{connection}` is of type {found.conn_type}; this destination takes one of type {types[0]}"
        )
    if found.extra and found.extra.strip():
        # Airflow takes what is no JSON for nothing at all, and would send without the credentials in it
        try:
            is_object = isinstance(json.loads(found.extra), dict)
        except ValueError:
            is_object = False
        if not is_object:
            raise ConnectionNotFound(f"connection `{connection}`: its extra is no JSON object; correct it in Airflow")
    return found


def _addressing_style(connection: str, extra: Mapping[str, Any]) -> str:
    """`s3.addressing_style` of `config_kwargs`. Raises for what else of it could not be done."""
    config = extra.get("config_kwargs") or {}
    style = (config.get("s3") or {}).get("addressing_style", "path") if isinstance(config, dict) else None
    unknown = sorted(config.keys() - _AWS_CONFIG) if isinstance(config, dict) else ["it"]
    unknown += sorted(f"s3.{name}" for name in (config.get("s3") or {}) if name != "addressing_style") if style else []
    if unknown:
        raise ConnectionNotFound(
            f"connection `{connection}`: `{unknown[0]}` in `config_kwargs` of its extra is not supported; "
            "`s3.addressing_style` is"
        )
    return str(style)


def _unusable(connection: str, error: Exception) -> ConnectionNotFound:
    # the text of a provider's error may hold what it was given
    return ConnectionNotFound(f"connection `{connection}` cannot be used: {type(error).__name__}; check its fields")


def _base_url(found: Any, connection: str) -> str:
    host, schema = found.host or "", found.schema or ""
    if not host:
        raise ConnectionNotFound(f"connection `{connection}` has no host; put the base URL there")
    if "://" in host:
        base = host
    else:
        if ":" in host and not host.startswith("["):
            host = _bracketed(host)
        scheme = schema if schema in ("http", "https") else found.conn_type if found.conn_type == "https" else "http"
        base = f"{scheme}://{host}"
    if found.port and urlsplit(base).port is None:
        parts = urlsplit(base)
        base = urlunsplit((parts.scheme, f"{parts.netloc}:{found.port}", parts.path, parts.query, ""))
    if schema and schema not in ("http", "https"):
        base = joined(base, schema)
    return base


def _bracketed(host: str) -> str:
    """An IPv6 address as it stands in URLs; Airflow takes the brackets off. A host with its port stays as it is."""
    try:
        return f"[{IPv6Address(host)}]"
    except ValueError:
        return host


def _azure_tokens(credential: Any) -> Any:
    from obstore.auth.azure import AzureCredentialProvider

    return AzureCredentialProvider(credential)


def use_metadata_database() -> None:
    """Let connections be read from Airflow's own database, where this process is configured for one.

    For the command line beside a running Airflow; tasks get theirs through the execution API.
    """
    if os.environ.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN") or os.environ.get(
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD"
    ):
        os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
