"""All settings, the admin's own, and their versions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Response

from logstream.console.access import By, Writer
from logstream.console.api.contract import (
    CHANGING,
    Document,
    Expected,
    Id,
    Its,
    body_of,
    etag,
    saved,
    schema_of,
)
from logstream.console.bounds import BIG
from logstream.console.problems import change_as_json
from logstream.settings.document import parse_yaml

router = APIRouter()


@router.get("/settings")
def get_settings(console: Its, response: Response) -> dict[str, Any]:
    """All settings, as `settings.yaml` has them."""
    snapshot = console.settings.current()
    response.headers["ETag"] = etag(snapshot)
    return snapshot.settings.as_document()


@router.put("/settings", responses=CHANGING, openapi_extra=schema_of("Settings"))
def put_settings(
    console: Its, user: Writer, by: By, document: Document, expected: Expected, response: Response
) -> dict[str, Any]:
    """Replace all settings."""
    return saved(console.settings.save(document, by, expected), response)


@router.get("/settings.yaml", response_class=Response)
def get_yaml(console: Its) -> Response:
    """All settings as a file that `logstream settings apply` takes."""
    snapshot = console.settings.current()
    return Response(
        console.settings.as_yaml(),
        media_type="application/yaml",
        headers={"ETag": etag(snapshot), "Content-Disposition": 'attachment; filename="settings.yaml"'},
    )


def _text_of(body: Annotated[bytes, Depends(body_of)]) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HTTPException(422, f"not UTF-8 text (byte {error.start})") from None


@router.put("/settings.yaml", responses=CHANGING, openapi_extra=schema_of("YAML", "application/yaml"))
def put_yaml(
    console: Its,
    user: Writer,
    by: By,
    text: Annotated[str, Depends(_text_of)],
    expected: Expected,
    response: Response,
) -> dict[str, Any]:
    """Replace all settings by a file (one without `message_file`: there are no files beside it here).

    One without a line is refused: it is mostly a file that was not found. `{}` removes all settings.
    """
    if not text.strip():
        raise HTTPException(422, "the body is empty; to remove all settings, and to stream nothing any more, send {}")
    return saved(console.settings.save(parse_yaml(text), by, expected), response)


@router.get("/settings/admin")
def get_admin(console: Its, response: Response) -> dict[str, Any] | None:
    """The admin's setting, null if there is none."""
    response.headers["ETag"] = etag(console.settings.current())
    found: dict[str, Any] | None = console.settings.document().get("admin")
    return found


@router.put("/settings/admin", responses=CHANGING, openapi_extra=schema_of("Streaming"))
def put_admin(
    console: Its, user: Writer, by: By, streaming: Document, expected: Expected, response: Response
) -> dict[str, Any]:
    """Replace the admin's setting. While it is enabled it applies to every workspace."""
    return saved(console.settings.save_admin(streaming, by, expected), response)


@router.delete("/settings/admin", responses=CHANGING)
def delete_admin(console: Its, user: Writer, by: By, expected: Expected, response: Response) -> dict[str, Any]:
    """Take the admin's setting away: each workspace's own applies."""
    return saved(console.settings.save_admin(None, by, expected), response)


@router.get("/versions")
def get_versions(
    console: Its,
    before: Annotated[int | None, Query(ge=0, le=BIG)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> list[dict[str, Any]]:
    """Who changed the settings and when, newest first."""
    found = console.settings.versions(before, limit)
    return [{"version": item.id, "created_at": item.created_at, "author": item.author} for item in found]


@router.get("/versions/{version}", responses=CHANGING)
def get_version(console: Its, version: Id) -> dict[str, Any]:
    """The settings as they were."""
    return console.settings.snapshot(version).settings.as_document()


@router.get("/versions/{version}/changes", responses=CHANGING)
def get_changes(console: Its, version: Id) -> list[dict[str, Any]]:
    """What a version changed."""
    return [change_as_json(change) for change in console.settings.changes_of(version)]


@router.post("/versions/{version}/restore", responses=CHANGING)
def restore(console: Its, user: Writer, by: By, version: Id, expected: Expected, response: Response) -> dict[str, Any]:
    """Put an earlier version in force again."""
    return saved(console.settings.restore(version, by, expected), response)
