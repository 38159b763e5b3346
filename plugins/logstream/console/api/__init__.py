"""The REST API: everything that the pages do, with the same validation, for tools.

Reading settings gives an `ETag`; changing them takes it back as `If-Match`, so that no user overwrites what they have not
seen: 428 without it, 409 with what has changed meanwhile.
"""

from __future__ import annotations

from fastapi import APIRouter, Depends

from logstream.console.access import reader
from logstream.console.api import audit, customers, deliveries, destinations, messages, settings
from logstream.console.api.contract import PREFIX, REFUSED

router = APIRouter(prefix=PREFIX, dependencies=[Depends(reader)], responses=REFUSED)
for subject in (settings, customers, destinations, messages, deliveries, audit):
    router.include_router(subject.router)
