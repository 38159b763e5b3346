"""Where a person goes after a form was saved."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import Response

from logstream.console.layout import back, version_of


def after_save(request: Request, path: str, form: dict[str, list[str]], saved: int) -> Response:
    """Go back to the page, with what became of the form."""
    return back(request, path, unchanged="true") if saved == version_of(form) else back(request, path, saved=saved)
