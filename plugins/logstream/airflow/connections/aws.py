"""Connections of type `aws`, through Airflow's own hook: keys, roles, profiles, web identities."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from logstream.airflow.connections.lookup import (
    by_what_was_found,
    find,
    proxies,
    seconds,
    unusable,
    verification,
    wrong,
)
from logstream.airflow.connections.tables import AWS
from logstream.airflow.importing import imported
from logstream.destinations.credentials import AwsCredentials
from logstream.destinations.transport.addresses import private_addresses_allowed
from logstream.destinations.transport.network import Network
from logstream.destinations.transport.way import Way
from logstream.errors import ConnectionNotFound, InputError

_STYLES = {"path": False, "auto": False, "virtual": True}


def aws_credentials(connection: str) -> AwsCredentials:
    """What an `aws` connection gives. Raises `InputError` naming what in it cannot be used."""
    found = find(connection, "aws")
    extra = AWS.check(found)
    config: Mapping[str, Any] = extra.get("config_kwargs") or {}
    _style(connection, config.get("s3") or {})
    retries = _retries(connection, config)
    way = _way_to_sts(connection, extra, config)
    anonymous = config.get("signature_version") == "unsigned"
    hooks = imported("airflow.providers.amazon.aws.hooks.base_aws")
    from botocore.config import Config
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        hook: Any = by_what_was_found(hooks.AwsGenericHook(connection, client_type="s3"), found)
        if way is not None and way.proxy_url:
            # what is asked for the role's keys goes this way; boto3 does nothing else here
            proxies_of_sts = Config(proxies=dict.fromkeys(("http", "https"), way.proxy_url))
            merged = hook.config.merge(proxies_of_sts)
            hook = by_what_was_found(hooks.AwsGenericHook(connection, client_type="s3", config=merged), found)
        session = hook.get_session()
        missing = not anonymous and session.get_credentials() is None
        verify = hook.verify if hook.verify is not None else session._session.get_config_variable("ca_bundle")
        endpoint = hook.conn_config.get_service_endpoint_url("s3") or _configured_endpoint(session._session, config)
        styles = {**(session._session.get_config_variable("s3") or {}), **(config.get("s3") or {})}
        region = config.get("region_name") or session.region_name
    except InputError:
        raise
    except Exception as error:
        trouble = way.trouble(error) if way is not None else None
        if trouble is not None:
            raise ConnectionNotFound(f"connection `{connection}` cannot be used: {trouble}") from None
        raise unusable(connection, error) from None
    virtual = _style(connection, styles)
    if missing:
        raise ConnectionNotFound(
            f"connection `{connection}` gives no AWS credentials; set its login and password, or a role"
        )
    if region and not re.fullmatch(r"[A-Za-z0-9-]{1,64}", region):
        # the client writes it into the server's name
        raise wrong(connection, "region_name", "must be letters, digits and hyphens")
    # without credentials there is nothing to provide
    provider = Boto3CredentialProvider(session) if not anonymous else dict
    return AwsCredentials(
        # the way is closed when it is forgotten, and a role's keys are asked for again and again
        provider=partial(_by, way, provider),
        region=region,
        endpoint=endpoint,
        virtual_hosts=virtual,
        anonymous=anonymous,
        network=_network(connection, config, verify, retries),
    )


def _by(_: Way | None, provider: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    return provider()


def _way_to_sts(connection: str, extra: Mapping[str, Any], config: Mapping[str, Any]) -> Way | None:
    """The way to where roles are assumed, if the connection has a say in it: judged, and pinned to what was judged.

    `None` where the operator allows any address, or the connection leaves all of it to Amazon and the environment.
    """
    endpoint = ((extra.get("service_config") or {}).get("sts") or {}).get("endpoint_url")
    own = proxies(connection, "config_kwargs.proxies", config.get("proxies"))
    if private_addresses_allowed() or not (endpoint or own):
        return None
    return Way(endpoint or "https://sts.amazonaws.com", Network(proxies=own), chosen=bool(endpoint))


def _configured_endpoint(session: Any, config: Mapping[str, Any]) -> str | None:
    """The endpoint that a connection leaves to the environment and to the profile, as boto3 finds it for Airflow's S3Hook.

    `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, then `endpoint_url` of the profile's service and of the profile.
    """
    from botocore.configprovider import ConfiguredEndpointProvider

    ignored = config.get("ignore_configured_endpoint_urls")
    if ignored or (ignored is None and session.get_config_variable("ignore_configured_endpoint_urls")):
        return None
    found = ConfiguredEndpointProvider(
        full_config=session.full_config, scoped_config=session.get_scoped_config(), client_name="s3"
    ).provide()
    return str(found) if found else None


def _style(connection: str, styles: Mapping[str, Any]) -> bool:
    style = styles.get("addressing_style") or "path"
    if style not in _STYLES:
        raise wrong(connection, "config_kwargs.s3.addressing_style", "must be path, auto or virtual")
    return _STYLES[style]


def _retries(connection: str, config: Mapping[str, Any]) -> int | None:
    retries = config.get("retries") or {}
    attempts, total = retries.get("max_attempts"), retries.get("total_max_attempts")
    most = attempts if total is None else total - 1 if isinstance(total, int) else total
    if most is not None and not (isinstance(most, int) and 0 <= most <= 100):
        raise wrong(connection, "config_kwargs.retries", "must hold a number of attempts, up to 100")
    return most


def _network(connection: str, config: Mapping[str, Any], verify: object, retries: int | None) -> Network:
    judged, authority = verification(connection, "verify", verify)
    return Network(
        proxies=proxies(connection, "config_kwargs.proxies", config.get("proxies")),
        authority=authority,
        verify=judged,
        timeout=seconds(connection, "config_kwargs.read_timeout", config.get("read_timeout")),
        connect_timeout=seconds(connection, "config_kwargs.connect_timeout", config.get("connect_timeout")),
        retries=retries,
    )
