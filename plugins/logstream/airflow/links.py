"""Links from a task in Airflow's UI to the console."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

PREFIX = "/logstream"
"""Where the console is, below Airflow's own address."""


ROUTE = "audit-log-streaming"
"""The console's name among the pages of Airflow's UI: Admin > Audit log streaming."""

FRAME = f"/plugin/{ROUTE}{PREFIX}"
"""Where Airflow's UI shows the console in its frame; what follows is the console's own path."""


def owner_links() -> dict[str, str]:
    """The link behind the owner `logstream` in Airflow's list of DAGs: the console, where Airflow knows its own address."""
    base = _base()
    return {"logstream": f"{base}{FRAME}/"} if base.startswith(("http://", "https://")) else {}


class DeliveriesLink(BaseOperatorLink):
    """The button *Deliveries* of a task: the console, in Airflow's frame, with what became of the run's window."""

    name = "Deliveries"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The console's page. Airflow asks for it when the task has ended, with the task instance itself."""
        return f"{_base()}{FRAME}/deliveries{_window_of(ti_key)}"


def _base() -> str:
    return str(conf.get("api", "base_url", fallback="").rstrip("/"))


def _window_of(ti: Any) -> str:
    """The run's data interval as the page's filter: in UTC, as its fields have it. Empty for a run without one."""
    context = ti.get_template_context() if hasattr(ti, "get_template_context") else {}
    ends = {name: context.get(f"data_interval_{name}") for name in ("start", "end")}
    if not all(ends.values()) or ends["start"] == ends["end"]:
        return ""
    return "?" + urlencode({name: f"{end.astimezone(UTC):%Y-%m-%dT%H:%M:%S}" for name, end in ends.items()})
