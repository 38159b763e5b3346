"""What the API's routes share: the types of what is sent, versions as entity tags, what is refused."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from fastapi import Depends, Header, HTTPException, Path, Query, Request, Response

from logstream.console.access import may_write
from logstream.console.bounds import BIG
from logstream.console.deps import the_console
from logstream.console.service import Console
from logstream.settings.models import DESTINATION_NAME
from logstream.settings.repository import Snapshot

Id = Annotated[int, Path(ge=0, le=BIG)]
Name = Annotated[str, Path(pattern=DESTINATION_NAME)]
SomeName = Annotated[str | None, Query(pattern=DESTINATION_NAME)]
Its = Annotated[Console, Depends(the_console)]


async def body_of(request: Request) -> bytes:
    """A request's body as it came."""
    return await request.body()


def document_of(body: Annotated[bytes, Depends(body_of)]) -> dict[str, Any]:
    """A body as a JSON object. Raises 422 for any other. All settings may be megabytes, so this is a thread's work."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(422, "The body is no JSON, or nested too deeply.") from None
    if not isinstance(found, dict):
        raise HTTPException(422, "The body is no JSON object.")
    return found


Document = Annotated[dict[str, Any], Depends(document_of)]

REFUSED: dict[int | str, dict[str, Any]] = {
    401: {"description": "No user is logged in."},
    403: {"description": "You may not, or the request was made by another site."},
    422: {"description": "What was sent cannot be used; `problems` name the paths."},
    503: {"description": "A database cannot be reached."},
}
CHANGING: dict[int | str, dict[str, Any]] = {
    404: {"description": "There is no such thing."},
    409: {"description": "Another user has changed the settings meanwhile, or the admin setting locks this one."},
    428: {"description": "`If-Match` is missing."},
}
AT_THE_DOOR: dict[str, dict[str, Any]] = {
    "400": {"description": "The body, or what is said of its length, cannot be read."},
    "408": {"description": "The body did not arrive in time."},
    "413": {"description": "The body is larger than it may be."},
    "429": {"description": "Too much of yours is being worked on at once."},
}
"""How what changes or tries something out is refused before it is looked at (`console/door.py`)."""

PREFIX = "/api/v1"


def schema_of(name: str, content_type: str = "application/json") -> dict[str, Any]:
    """A request body by the name of its schema in the document."""
    body = {"schema": {"$ref": f"#/components/schemas/{name}"}}
    return {"requestBody": {"required": True, "content": {content_type: body}}}


def etag(snapshot: Snapshot) -> str:
    """A version of the settings as an entity tag."""
    return f'"{snapshot.id}"'


def expected_version(if_match: Annotated[str | None, Header()] = None) -> int | None:
    """The version that `If-Match` names; `*` for whichever is in force. Raises 428 without it."""
    if if_match is None:
        raise HTTPException(428, "Send If-Match with the ETag of the settings that you have read (or *).")
    if if_match.strip() == "*":
        return None
    found = re.fullmatch(r'\s*(?:W/)?"?([0-9]{1,18})"?\s*', if_match)
    if found is None:
        raise HTTPException(422, "If-Match is no ETag of these settings.")
    return int(found[1])


Expected = Annotated[int | None, Depends(expected_version)]


def saved(snapshot: Snapshot, response: Response) -> dict[str, Any]:
    response.headers["ETag"] = etag(snapshot)
    return {"version": snapshot.id, "created_at": snapshot.created_at, "author": snapshot.author}


def shown_reason(text: str | None, user: Any) -> str | None:
    """What a receiver answered, word for word, is for those who may change the settings: it may hold anything."""
    return text if text is None or may_write(user) else "not shown: that takes the right to change the settings"
