"""The pages, rendered on the server."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse

from logstream.console.access import reader
from logstream.console.pages import (
    activity,
    credentials,
    customers,
    deliveries,
    destinations,
    history,
    messages,
    notices,
    overview,
    settings,
)

router = APIRouter(dependencies=[Depends(reader)], default_response_class=HTMLResponse)
for subject in (
    overview,
    settings,
    customers,
    destinations,
    credentials,
    deliveries,
    history,
    activity,
    messages,
    notices,
):
    router.include_router(subject.router)
