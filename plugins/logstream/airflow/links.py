"""Links from a task in Airflow's UI to the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

PREFIX = "/logstream"
"""Where the console is, below Airflow's own address."""


def owner_links() -> dict[str, str]:
    """The link behind the owner `logstream` in Airflow's list of DAGs: the console, where Airflow knows its own address."""
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    return {"logstream": f"{base}{PREFIX}/"} if base.startswith(("http://", "https://")) else {}


class DeliveriesLink(BaseOperatorLink):
    """The button *Deliveries* of a task: what became of its window and of those around it."""

    name = "Deliveries"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The console's page."""
        base = conf.get("api", "base_url", fallback="").rstrip("/")
        return f"{base}{PREFIX}/deliveries"
