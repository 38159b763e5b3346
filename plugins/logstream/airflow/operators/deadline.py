"""Airflow's deadline alert on the export: a window that is not sealed in time is told of, whatever keeps its run."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference

log = logging.getLogger("logstream")

DEADLINE_MINUTES = 60
DEADLINE_VARIABLE = "LOGSTREAM_DEADLINE_MINUTES"


def export_deadline() -> DeadlineAlert | None:
    """The alert: `LOGSTREAM_DEADLINE_MINUTES` after a run was queued, else an hour; 0 for none.

    It runs in the triggerer, which the export needs in any case: a run that is late may be so because no worker is free.
    """
    text = os.environ.get(DEADLINE_VARIABLE, "").strip() or str(DEADLINE_MINUTES)
    if not text.isdecimal():
        # a mistake here must not take the DAG away
        log.error("%s=%r is no whole number of minutes; %s are taken", DEADLINE_VARIABLE, text, DEADLINE_MINUTES)
        text = str(DEADLINE_MINUTES)
    if int(text) == 0:
        return None
    minutes = timedelta(minutes=int(text))
    return DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, minutes, AsyncCallback(tell_late), name="sealed in time")


async def tell_late(context: Mapping[str, Any]) -> None:
    """Put down the news for `tell_news`. Runs that a person asked for wait for one another, and are not late."""
    run = context["dag_run"]
    if run.get("run_type") == "scheduled":
        await asyncio.to_thread(_note, run)


def _note(run: Mapping[str, Any]) -> None:
    from logstream.airflow.operators.base import exporter
    from logstream.airflow.operators.notify import addressees
    from logstream.ledger.news import Notice, clean
    from logstream.ledger.notices import Notices
    from logstream.settings.notices import Topic

    window = f"{run.get('data_interval_start')} to {run.get('data_interval_end')}"
    headline = f"the window {clean(window)} is not sealed in time"
    detail = f"run {clean(str(run.get('dag_run_id')))} is still {clean(str(run.get('state')))}"
    with exporter() as engine:
        audiences = [one.audience for one in addressees(engine.settings.current().settings)]
        Notices(engine.engine).add([Notice(Topic.LATE, headline, detail)], audiences)
