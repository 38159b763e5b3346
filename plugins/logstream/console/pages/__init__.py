"""The pages, rendered on the server."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse

from logstream.console.access import reader
from logstream.console.pages import (
    audit,
    backfills,
    credentials,
    customers,
    deliveries,
    destination_form,
    destinations,
    history,
    messages,
    notices,
    overview,
    settings,
    timeline,
)

router = APIRouter(dependencies=[Depends(reader)], default_response_class=HTMLResponse)
for subject in (
    overview,
    settings,
    customers,
    destinations,
    destination_form,
    credentials,
    deliveries,
    backfills,
    timeline,
    history,
    audit,
    messages,
    notices,
):
    router.include_router(subject.router)
