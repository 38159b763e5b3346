"""The console as one FastAPI application, which Airflow's api-server mounts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.routing import Match
from starlette.types import Scope

from logstream import __version__
from logstream.console import api, pages
from logstream.console.access import SAFE_METHODS, login_url, reader
from logstream.console.api.contract import AT_THE_DOOR, PREFIX
from logstream.console.door import Door
from logstream.console.layout import show
from logstream.console.problems import problem_of
from logstream.errors import LogstreamError
from logstream.settings.explaining import dotted, explain_items
from logstream.settings.models import DestinationSettings, Settings, Streaming

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'self'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
"""No script or style but our own files, inside no other site's frame."""

DESCRIPTION = """Set up where the audit logs of customer workspaces go, try destinations out, and watch what was delivered.

Authenticate as for Airflow's own API: `Authorization: Bearer` with a token from `POST /auth/token`. With a browser's cookie
instead, changes need the `X-CSRF-Token` of a page. Settings carry an `ETag`; send it back as `If-Match` to change them."""


def create_app() -> FastAPI:
    """The application. It opens no database until a request needs one."""
    app = FastAPI(
        title="Logstream", version=__version__, description=DESCRIPTION, docs_url=None, redoc_url=None, openapi_url=None
    )

    @app.get("/api/v1/openapi.json", include_in_schema=False, dependencies=[Depends(reader)])
    def openapi(request: Request) -> dict[str, Any]:
        """The API's description."""
        return {**openapi_document(app), "servers": [{"url": request.scope.get("root_path", "")}]}

    app.include_router(api.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    # the last one: it is asked for what no other has
    app.router.add_api_route(
        "/{path:path}", _nowhere, dependencies=[Depends(reader)], include_in_schema=False, route_class_override=_NoPage
    )
    app.add_middleware(Door, refuse=_http_error)
    app.middleware("http")(_with_headers)
    app.add_exception_handler(LogstreamError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unforeseen)
    return app


def openapi_document(app: FastAPI, *, pages: bool = False) -> dict[str, Any]:
    """The API as OpenAPI 3.1, with the settings' own schemas; with the pages too, for those who test them."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    if pages:
        form = {"schema": {"type": "object", "additionalProperties": {"type": "string"}}}
        body = {"content": {"application/x-www-form-urlencoded": form}}
        for path, methods in document["paths"].items():
            if "post" in methods and not path.startswith(PREFIX):
                methods["post"]["requestBody"] = body
    else:
        document["paths"] = {path: found for path, found in document["paths"].items() if path.startswith(PREFIX)}
        for methods in document["paths"].values():
            for method in methods.keys() - {safe.lower() for safe in SAFE_METHODS}:
                methods[method]["responses"] |= AT_THE_DOOR
    ours = [(Settings, "validation"), (Streaming, "validation"), (DestinationSettings, "validation")]
    _, found = models_json_schema(ours, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(found["$defs"])
    schemas["YAML"] = {"type": "string", "description": "The text of a settings.yaml."}
    return document


async def _with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    # the addresses of static files carry the release
    static = "/static/" in request.url.path
    response.headers.setdefault("Cache-Control", "private, max-age=86400" if static else "no-store")
    return response


def _is_api(request: HTTPConnection) -> bool:
    return request.url.path.removeprefix(request.scope.get("root_path", "")).startswith("/api/")


class _NoPage(APIRoute):
    """What a browser is shown at an address without a page, a mistyped one or that of a form: the API says it in JSON."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        others = scope.get("method") != "GET" or _is_api(HTTPConnection(scope))
        return (Match.NONE, {}) if others else super().matches(scope)


def _nowhere(request: Request, path: str) -> Response:
    if path.endswith("/"):  # what the router would do
        return RedirectResponse(request.url.replace(path=request.url.path.rstrip("/")))
    raise HTTPException(404, "There is no such page.")


def _answer(request: Request, status: int, detail: str, problems: list[str]) -> Response:
    user = getattr(request.state, "logstream_user", None)
    if user is None or _is_api(request):
        return JSONResponse({"detail": detail, **({"problems": problems} if problems else {})}, status)
    template = "parts/error.html" if request.headers.get("HX-Request") else "error.html"
    return show(request, template, user, status, tab="", detail=detail, problems=problems)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, LogstreamError)  # noqa: S101
    problem = problem_of(error)
    if _is_api(request):
        return JSONResponse(problem.as_json(), problem.status)
    return _answer(request, problem.status, problem.detail, problem.problems)


async def _invalid(request: Request, error: Exception) -> Response:
    problems = []
    if isinstance(error, RequestValidationError):
        problems = [f"{dotted(path)}: {what}" for path, what in explain_items(error.errors(), BaseModel)]
    return _answer(request, 422, "The request cannot be used.", problems)


async def _unforeseen(request: Request, error: Exception) -> Response:
    # the server logs the error itself, once this is answered
    answer = _answer(
        request, 500, f"Logstream broke off ({type(error).__name__}). The api-server's log has the details.", []
    )
    answer.headers.update(HEADERS)
    return answer


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    if error.status_code != 401 or _is_api(request):
        answer = _answer(request, error.status_code, str(error.detail), [])
        answer.headers.update(error.headers or {})
        return answer
    url = login_url(str(request.url if request.method == "GET" else request.base_url))
    if request.headers.get("HX-Request"):
        return Response(status_code=401, headers={"HX-Redirect": url})
    return RedirectResponse(url, 307 if request.method == "GET" else 303)
