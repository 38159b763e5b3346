"""Who may do what: Airflow's own users and roles, and the defence against requests that other sites make in their name.

Users who may see the export DAG's runs read; those who may edit Airflow's connections write: settings decide where all
customers' data goes, and with which connection. Every route depends on one of the two.
"""

from __future__ import annotations

import logging
import os
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager, get_auth_manager_cls
from airflow.api_fastapi.auth.managers.models.resource_details import ConnectionDetails, DagAccessEntity, DagDetails
from airflow.api_fastapi.auth.tokens import get_signing_key
from airflow.api_fastapi.core_api.security import get_user
from airflow.models.connection import Connection
from airflow.utils.session import create_session
from fastapi import Depends, HTTPException, Request
from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer
from starlette.datastructures import FormData

from logstream.console.runs import EXPORT_DAG
from logstream.console.tested import TestNotes
from logstream.control.audit import Actor

log = logging.getLogger("logstream")

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
TOKEN_SECONDS = 24 * 3600
TOKEN_HEADER, TOKEN_FIELD = "X-CSRF-Token", "csrf_token"

MAX_FORM_BYTES = 20_000_000
"""A settings.yaml of ten thousand workspaces is a few million."""

User = Annotated[Any, Depends(get_user)]


PERMISSION = "LOGSTREAM_PERMISSION"
"""Names a resource of the auth manager: `can_read` on it lets users look, `can_edit` change, in place of the rules below."""


def own_permission(user: Any, method: Literal["GET", "PUT"]) -> bool | None:
    """Whether a user has the console's own permission; `None` where it has none, or the auth manager cannot carry one.

    Flask AppBuilder's manager can. One that grants what no role was ever given (the simple one lets every user see every custom
    view) cannot tell, and is not asked.
    """
    resource = os.environ.get(PERMISSION)
    if not resource:
        return None
    manager = get_auth_manager()
    if manager.is_authorized_custom_view(method=method, resource_name=f"{resource} (given to no role)", user=user):
        return None
    return bool(manager.is_authorized_custom_view(method=method, resource_name=resource, user=user))


def make_permission() -> None:
    """Make the console's own permission, if it is named, in Flask AppBuilder: `airflow roles add-perms` gives only what is there.

    An api-server does so as it starts, which nothing here may stop.
    """
    resource = os.environ.get(PERMISSION)
    if not resource:
        return
    try:
        from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager
        from airflow.providers.fab.www.security_appless import ApplessAirflowSecurityManager

        if issubclass(get_auth_manager_cls(), FabAuthManager):
            with create_session() as session:
                for action in ("can_read", "can_edit"):
                    ApplessAirflowSecurityManager(session=session).create_permission(action, resource)
    except Exception as error:
        remedy = "start the api-server again when its database is there and migrated"
        log.warning("%s=%r: the permission cannot be made (%s); %s", PERMISSION, resource, type(error).__name__, remedy)


def may_read(user: Any) -> bool:
    """Whether a user may look: has the console's own permission, or else may see runs of the export DAG."""
    own = own_permission(user, "GET")
    if own is not None:
        return own
    return bool(
        get_auth_manager().is_authorized_dag(
            method="GET", access_entity=DagAccessEntity.RUN, details=DagDetails(id=EXPORT_DAG), user=user
        )
    )


def may_write(user: Any) -> bool:
    """Whether a user may change: has the console's own permission, or else may edit Airflow's connections."""
    own = own_permission(user, "PUT")
    if own is not None:
        return own
    return bool(get_auth_manager().is_authorized_connection(method="PUT", details=ConnectionDetails(), user=user))


def reader(request: Request, user: User) -> Any:
    """The user of a request, who may read. Raises 401 where no user is logged in, 403 for one who may not."""
    request.state.logstream_user = user  # for the page that says what is wrong
    if not may_read(user):
        raise HTTPException(403, "You may not see the runs of this DAG, and so not this page either.")
    return user


def changer(user: Annotated[Any, Depends(reader)]) -> Any:
    """The user of a request, who may change the settings. Raises 403 for a reader."""
    # no coroutine: an auth manager may ask its database, and the event loop serves everyone
    if not may_write(user):
        raise HTTPException(403, "You may look at this and not change it: that takes the right to edit connections.")
    return user


async def writer(request: Request, user: Annotated[Any, Depends(changer)]) -> Any:
    """The user of a request, who may write. Raises 403 for a reader, and for a request that another site made."""
    await _refuse_forged(request, user)
    return user


Reader = Annotated[Any, Depends(reader)]
Writer = Annotated[Any, Depends(writer)]


def may_start_runs(user: Any) -> bool:
    """Whether a user may start runs of the export DAG."""
    return bool(
        get_auth_manager().is_authorized_dag(
            method="POST", access_entity=DagAccessEntity.RUN, details=DagDetails(id=EXPORT_DAG), user=user
        )
    )


def may_create_connections(user: Any) -> bool:
    """Whether a user may create connections that belong to no team."""
    return bool(get_auth_manager().is_authorized_connection(method="POST", details=ConnectionDetails(), user=user))


def may_use_connection(user: Any, method: Literal["GET", "POST", "PUT"], conn_id: str) -> bool:
    """Whether a user may read (GET), create (POST) or edit (PUT) a connection, as Airflow's own API asks its auth manager.

    A connection that a team owns is judged as that team's.
    """
    details = ConnectionDetails(conn_id=conn_id, team_name=Connection.get_team_name(conn_id))
    return bool(get_auth_manager().is_authorized_connection(method=method, details=details, user=user))


def name_of(user: Any) -> str:
    """How a user is called in the history."""
    return str(user.get_name())[:200]


def actor_of(request: Request, user: Annotated[Any, Depends(reader)]) -> Actor:
    """Who acts, and from where: the address that Airflow's api-server sees (behind a proxy, with `--proxy-headers`)."""
    return Actor(name_of(user), request.client.host if request.client else "unknown")


By = Annotated[Actor, Depends(actor_of)]


def csrf_token(user: Any) -> str:
    """A token that only this user's pages hold."""
    return _tokens().dumps(str(user.get_id()))


def test_notes() -> TestNotes:
    """Notes of tests of destinations that only this deployment can write."""
    return TestNotes(get_signing_key("api", "secret_key"))


def login_url(next_url: str) -> str:
    """Where users log in."""
    return str(get_auth_manager().get_url_login(next_url=next_url))


def _tokens() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(get_signing_key("api", "secret_key"), salt="logstream console")


async def form_of(request: Request) -> FormData:
    """A request's form. It is read once, so its limits are the same for all that ask for it."""
    return await request.form(max_fields=2000, max_part_size=MAX_FORM_BYTES)


async def _refuse_forged(request: Request, user: Any) -> None:
    """A browser sends its cookie with a request of any site; a bearer token is only sent on purpose.

    Other sites are refused either way: where everybody is an administrator, Airflow itself adds the bearer token.
    """
    if request.method in SAFE_METHODS:
        return
    origin = request.headers.get("Origin")
    if request.headers.get("Sec-Fetch-Site") == "cross-site" or (origin and not _same_origin(origin, request)):
        raise HTTPException(403, "This request came from another site.")
    if request.headers.get("Authorization", "").lower().startswith("bearer "):
        return
    token = request.headers.get(TOKEN_HEADER)
    if token is None and request.headers.get("Content-Type", "").startswith(
        ("application/x-www-form-urlencoded", "multipart/form-data")
    ):
        token = str((await form_of(request)).get(TOKEN_FIELD, ""))
    try:
        known = _tokens().loads(token or "", max_age=TOKEN_SECONDS)
    except SignatureExpired:
        raise HTTPException(403, "This page was open for more than a day; load it again and repeat.") from None
    except BadSignature:
        raise HTTPException(
            403, f"The {TOKEN_HEADER} is missing or not yours; load the page again and repeat."
        ) from None
    if known != str(user.get_id()):
        raise HTTPException(403, "You have logged in as another user meanwhile; load the page again and repeat.")


def _same_origin(origin: str, request: Request) -> bool:
    host = request.headers.get("X-Forwarded-Host") or request.headers.get("Host", "")
    return urlsplit(origin).netloc == host.split(",")[0].strip()
