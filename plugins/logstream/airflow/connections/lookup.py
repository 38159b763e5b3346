"""Finding Airflow connections, and what is said of those that cannot be used."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from logstream.airflow.backends import Kept, cannot_say, has
from logstream.airflow.connections.fields import truth
from logstream.airflow.importing import LOOKING_UP, imported
from logstream.destinations.transport.network import refused_certificate
from logstream.errors import ConnectionNotFound

_PROXY_SCHEMES = ("http", "https", "all")


class NoSuchConnection(ConnectionNotFound):
    """Airflow knows no connection of this id."""


def find(connection: str, *types: str) -> Any:
    """The Airflow connection of an id, of one of these types.

    Raises `NoSuchConnection` if there is none, `AirflowAway` if Airflow cannot say whether there is, `ConnectionNotFound` if it
    is of another type, or if its extra is no JSON object.
    """
    found = _looked_up(connection)
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


def _looked_up(connection: str) -> Any:
    with cannot_say(Kept.CONNECTION, connection):
        hook = imported(*LOOKING_UP, "airflow.sdk.bases.hook").BaseHook
    try:
        return hook.get_connection(connection)
    except PermissionError:  # a secrets backend denies it: Airflow asks none of those after it, such as the environment
        with cannot_say(Kept.CONNECTION, connection):
            raise
    except Exception:
        variable = f"AIRFLOW_CONN_{connection.upper()}"
        if os.environ.get(variable):
            with cannot_say(Kept.CONNECTION, connection):  # where a backend cannot be made, the variable was not read
                imported("airflow.sdk.execution_time.supervisor").ensure_secrets_backend_loaded()
            raise ConnectionNotFound(
                f"connection `{connection}`: Airflow cannot read {variable}: it must be a JSON object, or a URI in which "
                "each value is percent-encoded (`endpoint_url=http%3A%2F%2F...`)"
            ) from None
    if not has(Kept.CONNECTION, connection):
        raise NoSuchConnection(
            f"there is no Airflow connection `{connection}`; add it under Admin > Connections, or set {variable}"
        )
    with cannot_say(Kept.CONNECTION, connection):
        return hook.get_connection(connection)


def by_what_was_found(hook: Any, found: Any) -> Any:
    """A provider's hook that goes by the connection that was found, and does not look it up once more.

    The AWS hook takes one that it does not find for an empty one, and would go on with the machine's own credentials.
    """
    hook.get_connection = lambda _: found
    return hook


def unknown_connections(names: Iterable[str]) -> list[str]:
    """Which of some ids no Airflow connection has, as far as this process can see, in order.

    Those of the environment are found without importing Airflow.
    """
    left = [name for name in sorted(set(names)) if f"AIRFLOW_CONN_{name.upper()}" not in os.environ]
    found = []
    for name in left:
        try:
            find(name)
        except NoSuchConnection:
            found.append(name)
        except ConnectionNotFound:  # it is there, and cannot be used: a test of its destination says why
            continue
    return found


def wrong(connection: str, name: str, what: str) -> ConnectionNotFound:
    """What is said of an extra whose value cannot be used."""
    return ConnectionNotFound(f"connection `{connection}`: `{name}` in its extra {what}")


def unusable(connection: str, error: Exception) -> ConnectionNotFound:
    """What is said of a connection of which a provider's hook makes nothing."""
    refused = refused_certificate(error)
    if refused:
        return ConnectionNotFound(
            f"connection `{connection}` cannot be used: the certificate of the server that gives its credentials is refused "
            + refused.told("name the authority's certificates in REQUESTS_CA_BUNDLE and AWS_CA_BUNDLE")
        )
    # the text of a provider's error may hold what it was given
    return ConnectionNotFound(f"connection `{connection}` cannot be used: {type(error).__name__}; check its fields")


def pem_file(connection: str, name: str, path: object) -> str:
    """The PEM text in a file that an extra names. Raises `ConnectionNotFound`."""
    if not isinstance(path, str) or not path:
        raise wrong(connection, name, "must be the path of a file")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise wrong(connection, name, f"names a file that cannot be read: {type(error).__name__}") from None
    if "-----BEGIN" not in text:
        raise wrong(connection, name, "names a file that holds no certificates (PEM)")
    return text


def proxies(connection: str, name: str, value: object) -> Mapping[str, str]:
    """Proxies by scheme, of an extra that holds one address or an object of them. Raises `ConnectionNotFound`."""
    if not value:
        return {}
    found = {"all": value} if isinstance(value, str) else value
    if not isinstance(found, dict) or not all(isinstance(item, str) for pair in found.items() for item in pair):
        raise wrong(connection, name, "must be a proxy's address, or an object with those for http and https")
    for key in found:
        if key == "no_proxy":
            raise wrong(
                connection,
                f"{name}.no_proxy",
                "is not supported: leave the proxy out, or name hosts in the environment's NO_PROXY",
            )
        # `requests` also takes a host beside the scheme, as `https://host`
        if key.partition("://")[0] not in _PROXY_SCHEMES:
            raise wrong(connection, f"{name}.{key}", "is unknown: proxies are those for http, https and all")
    return found


def verification(connection: str, name: str, value: object) -> tuple[bool, str | None]:
    """Whether a server's certificate is judged, and by which certificates (PEM) beside the machine's own: of an extra that
    holds true, false or the path of a file. Raises `ConnectionNotFound`."""
    if value in (None, ""):
        return True, None
    said = truth(value)
    return (True, pem_file(connection, name, value)) if said is None else (said, None)


def seconds(connection: str, name: str, value: object, most: float = 600.0) -> float | None:
    """A time of an extra. Raises `ConnectionNotFound`."""
    if value in (None, ""):
        return None
    try:
        found = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else 0.0
    except ValueError:
        found = 0.0
    if not 0 < found <= most:
        raise wrong(connection, name, f"must be a number of seconds, up to {most:g}")
    return found


def flag(connection: str, name: str, value: object) -> bool:
    """A true or false of an extra; one that is left out is false. Raises `ConnectionNotFound` for what is neither."""
    found = False if value in (None, "") else truth(value)
    if found is None:
        raise wrong(connection, name, "must be true or false")
    return found


def use_metadata_database() -> None:
    """Let connections be read from Airflow's own database, where this process is configured for one.

    For the command line beside a running Airflow; tasks get theirs through the execution API.
    """
    if os.environ.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN") or os.environ.get(
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD"
    ):
        os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
