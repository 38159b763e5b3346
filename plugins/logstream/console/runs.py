"""Airflow's runs as the console needs them: which run exported a window, starting backfills and redeliveries, connections."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from airflow.api.common.trigger_dag import trigger_dag
from airflow.exceptions import AirflowException, DagNotFound
from airflow.models.backfill import (
    AlreadyRunningBackfill,
    Backfill,
    ReprocessBehavior,
    _create_backfill,
)
from airflow.models.connection import Connection
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.timetables.interval import CronDataIntervalTimetable
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType
from croniter import croniter
from sqlalchemy import func, or_, select, tuple_

from logstream.errors import InputError
from logstream.window import Window

EXPORT_DAG, REDELIVER_DAG = "logstream_export", "logstream_redeliver"

BACKFILL_SHOWN = timedelta(hours=1)
"""How long after its end a backfill is shown."""

MAX_BACKFILL_WINDOWS = 9_000
"""A month of windows of five minutes. Airflow makes the runs of a backfill at once, before it answers."""


@dataclass(frozen=True, slots=True)
class Links:
    """Where a delivery is in Airflow's UI, as paths below its base."""

    run: str
    log: str


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """The intervals that the runs of a backfill are for, oldest first, and whether the range reaches beyond what has `ended`."""

    intervals: tuple[Window, ...]
    ended: bool = True

    @property
    def nothing(self) -> str:
        """Why there are none."""
        if self.ended:
            return "there is no interval of the schedule that begins and ends in this range"
        return "no interval of the schedule in this range has ended yet: the schedule exports them then"


def links(windows: Iterable[tuple[Window, str]]) -> dict[tuple[Window, str], Links]:
    """For (window, destination): the run that exported the window last, and the log of the task that had the destination."""
    wanted = list(windows)
    intervals = {(window.start, window.end) for window, _ in wanted}
    if not intervals:
        return {}
    with create_session() as session:
        runs = session.execute(
            select(DagRun.run_id, DagRun.data_interval_start, DagRun.data_interval_end)
            .where(DagRun.dag_id == EXPORT_DAG)
            .where(tuple_(DagRun.data_interval_start, DagRun.data_interval_end).in_(list(intervals)))
            .order_by(DagRun.id)
        ).all()
        run_of = {Window(row.data_interval_start, row.data_interval_end): row.run_id for row in runs}
        tasks = session.execute(
            select(TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index, TaskInstance.rendered_map_index)
            .where(TaskInstance.dag_id == EXPORT_DAG)
            .where(or_(TaskInstance.task_id == "deliver", TaskInstance.task_id.startswith("deliver_", autoescape=True)))
            .where(TaskInstance.run_id.in_(list(run_of.values())))
        ).all()
    carriers: dict[str, list[tuple[str, str]]] = {}
    for row in tasks:
        if row.map_index >= 0:
            where = f"tasks/{row.task_id}/mapped/{row.map_index}"
            carriers.setdefault(row.run_id, []).append((row.rendered_map_index or "", where))
    found = {}
    for window, destination in wanted:
        run_id = run_of.get(window)
        if run_id is None:
            continue
        run = f"dags/{EXPORT_DAG}/runs/{quote(run_id, safe='')}"
        carrier = next((where for label, where in carriers.get(run_id, ()) if _names(label, destination)), None)
        found[window, destination] = Links(run, f"{run}/{carrier or 'tasks/seal_window'}")
    return found


def _names(label: str, destination: str) -> bool:
    return destination in label.replace(",", " ").replace(":", " ").split()


def plan_backfill(start: datetime, end: datetime) -> BackfillPlan:
    """What a backfill of the export DAG from `start` to `end` would make. Raises `InputError` where it cannot be."""
    if end <= start:
        raise InputError("the end must be after the start")
    with create_session() as session:
        found = session.scalar(SerializedDagModel.latest_item_select_object(EXPORT_DAG))
    if found is None:
        raise InputError(f"Airflow does not know the DAG {EXPORT_DAG} yet; see that its dag-processor runs")
    if not found.dag.timetable.periodic:
        raise InputError(
            f"the DAG {EXPORT_DAG} has no schedule, so there are no windows to backfill; set logstream_schedule"
        )
    # Airflow makes no run of an interval that has not ended, and refuses a backfill of the future
    now = datetime.now(UTC)
    found_windows = windows_between(found.dag, start, min(end, now)) if start < now else iter(())
    windows = tuple(itertools.islice(found_windows, MAX_BACKFILL_WINDOWS + 1))
    if len(windows) > MAX_BACKFILL_WINDOWS:
        raise InputError(f"these are more than {MAX_BACKFILL_WINDOWS:,} windows; backfill a shorter range at a time")
    return BackfillPlan(windows, end <= now)


def windows_between(dag: Any, start: datetime, end: datetime) -> Iterator[Window]:
    """The windows of a DAG's schedule that begin and end in a range, oldest first, as Airflow would make them.

    Airflow parses a cron expression several times for each window: a month of them took five seconds. In UTC, which has no
    summer time, the expression alone says them.
    """
    timetable = dag.timetable
    found: Iterator[Window]
    if isinstance(timetable, CronDataIntervalTimetable) and timetable.serialize()["timezone"] == "UTC":
        first = start - timedelta(seconds=1)
        moments = croniter(timetable.serialize()["expression"], first).all_next(datetime)
        bounds = itertools.dropwhile(lambda moment: moment < start, moments)
        found = itertools.starmap(Window, itertools.pairwise(bounds))
    else:
        infos = dag.iter_dagrun_infos_between(start, end)
        found = (Window(info.data_interval.start, info.data_interval.end) for info in infos)
    return itertools.takewhile(lambda window: window.end <= end, found)


def start_backfill(start: datetime, end: datetime, destinations: Sequence[str], user: str) -> int:
    """Start a backfill of the export DAG; windows that were run already are run again. Returns its id.

    Raises `InputError` with Airflow's reason where it does not.
    """
    plan = plan_backfill(start, end)
    if not plan.intervals:
        raise InputError(plan.nothing)
    try:
        backfill = _create_backfill(
            dag_id=EXPORT_DAG,
            # Airflow takes the dates of runs, both ends included: the starts of windows
            from_date=plan.intervals[0].start,
            to_date=plan.intervals[-1].start,
            max_active_runs=4,
            reverse=False,
            dag_run_conf={"destinations": list(destinations)} if destinations else {},
            triggering_user_name=user,
            reprocess_behavior=ReprocessBehavior.COMPLETED,
        )
    except AlreadyRunningBackfill:
        raise InputError(
            "a backfill of this DAG is running already; wait for its end, or cancel it in Airflow"
        ) from None
    except AirflowException as error:
        raise InputError(f"Airflow starts no backfill: {error}") from None
    return int(backfill.id)


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    """How far the newest backfill of the export DAG has come: its runs by what became of them."""

    id: int
    start: datetime
    end: datetime
    total: int
    succeeded: int
    failed: int
    ended: bool

    @property
    def share(self) -> int:
        """How much of it is done, in per cent."""
        return 100 * (self.succeeded + self.failed) // max(self.total, 1)


def newest_backfill() -> BackfillProgress | None:
    """The newest backfill of the export DAG, while it runs and for `BACKFILL_SHOWN` after its end."""
    with create_session() as session:
        found = session.scalar(
            select(Backfill).where(Backfill.dag_id == EXPORT_DAG).order_by(Backfill.id.desc()).limit(1)
        )
        if found is None or (found.completed_at and found.completed_at < datetime.now(UTC) - BACKFILL_SHOWN):
            return None
        rows = session.execute(
            select(DagRun.state, func.count()).where(DagRun.backfill_id == found.id).group_by(DagRun.state)
        ).all()
    counts = {str(state): count for state, count in rows}
    return BackfillProgress(
        found.id, found.from_date, found.to_date, sum(counts.values()), counts.get("success", 0), counts.get("failed", 0),
        found.completed_at is not None,
    )  # fmt: skip


def start_redelivery(conf: dict[str, Any], user: str) -> str:
    """Start a run of the redelivery DAG; return where it is in Airflow's UI. Raises `InputError` where there is no such DAG."""
    try:
        run = trigger_dag(
            REDELIVER_DAG, triggered_by=DagRunTriggeredByType.UI, triggering_user_name=user, conf=conf,
        )  # fmt: skip
    except DagNotFound:
        raise InputError(
            f"Airflow does not know the DAG {REDELIVER_DAG} yet; see that its dag-processor runs"
        ) from None
    if run is None:
        raise InputError(f"Airflow started no run of {REDELIVER_DAG}")
    return f"dags/{REDELIVER_DAG}/runs/{quote(run.run_id, safe='')}"


def connection_ids(conn_type: str) -> list[str]:
    """The ids of Airflow's connections of a type: those in its database, and in the environment. Nothing else of them is read."""
    types = {conn_type, *({"https"} if conn_type == "http" else ())}
    with create_session() as session:
        stored = set(session.scalars(select(Connection.conn_id).where(Connection.conn_type.in_(types))))
    for variable, value in os.environ.items():
        if variable.startswith("AIRFLOW_CONN_"):
            name = variable.removeprefix("AIRFLOW_CONN_").lower()
            try:
                found = Connection.from_json(value) if value.lstrip().startswith("{") else Connection(uri=value)
            except Exception:  # noqa: S112 - a connection that cannot be read is none to choose
                continue
            if found.conn_type in types:
                stored.add(name)
    return sorted(str(name) for name in stored)
