"""What Airflow loads: the Admin console, and its place in the navigation.

Every process of Airflow loads this, tasks included; only the api-server imports the console.
"""

from __future__ import annotations

import sys
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from logstream.airflow.links import PREFIX, ROUTE, DeliveriesLink


class ConsoleApp:
    """The console as an ASGI application that is made when it is first needed."""

    @cached_property
    def _app(self) -> Any:
        from logstream.console.app import create_app

        return create_app()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        await self._app(scope, receive, send)

    def prepare(self) -> None:
        """Make it now, so that the first request does not wait for it."""
        from logstream.console.access import make_permission

        make_permission()
        _ = self._app


console = ConsoleApp()


class LogstreamPlugin(AirflowPlugin):
    """Admin > Audit log streaming."""

    name = "logstream"
    fastapi_apps: ClassVar[list[Any]] = [{"app": console, "url_prefix": PREFIX, "name": "Logstream"}]
    external_views: ClassVar[list[Any]] = [
        {
            "name": "Audit log streaming",
            "href": f"{PREFIX}/",
            "destination": "nav",
            "category": "admin",
            "url_route": ROUTE,
            "icon": f"{PREFIX}/static/icon.svg",
            "icon_dark_mode": f"{PREFIX}/static/icon-dark.svg",
        }
    ]

    operator_extra_links: ClassVar[list[Any]] = [DeliveriesLink()]

    @classmethod
    def on_load(cls, *_: Any, **__: Any) -> None:
        """In the api-server, make the console."""
        if "airflow.api_fastapi.app" in sys.modules:
            console.prepare()


if __name__ != "logstream.plugin" and any(
    point.value.startswith("logstream.plugin:") for point in entry_points(group="airflow.plugins")
):
    # Airflow executes this file in its plugins folder, and the package is installed, too: its entry point brings the plug-in,
    # and bringing it twice is an error
    del LogstreamPlugin
