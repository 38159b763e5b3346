"""What the operators share: a run's window, the engine, and errors as Airflow wants them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import getdoc
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from logstream.errors import InputError, LogstreamError, NotSetUp
from logstream.ledger.coverage import AskedBy
from logstream.window import Window

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logstream.export.exporter import Exporter

DELIVERIES = "deliveries"
"""The XCom by which `plan_deliveries` tells which deliveries are the run's."""

LEFT = "left"
"""The XCom by which `wait_for_closed_window` says why it leaves the window to a later run."""


class LogstreamOperator(BaseOperator):
    """A task whose page in Airflow's UI says what it does: the first words on its class."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"doc_md": getdoc(type(self)), **kwargs})


def window_of(context: Context) -> Window:
    """The run's data interval."""
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start is None or end is None or start >= end:
        raise AirflowFailException(
            "this run has no data interval, so there is no window to export; schedule the DAG by a cron expression, "
            "backfill it, trigger it with data_interval_start and data_interval_end, or run `logstream export --from T --to T`"
        )
    return Window(start, end)


def destinations_of(context: Context) -> list[str] | None:
    """The destinations that the run is for, where its configuration names some (a backfill of one customer's, say)."""
    names = (context.get("params") or {}).get("destinations")
    return [str(name) for name in names] if names else None


def asked_by(context: Context) -> AskedBy:
    """Whether the schedule wants the run's interval exported, or it was asked for: triggered, backfilled, for some only."""
    run = context.get("dag_run")
    scheduled = run is not None and str(getattr(run.run_type, "value", run.run_type)) == "scheduled"
    return AskedBy.SCHEDULE if scheduled and destinations_of(context) is None else AskedBy.REQUEST


def carrier_of(context: Context) -> str | None:
    """The run's name, by which the ledger knows what it has made: run ids alone are the same in several DAGs."""
    run = context.get("dag_run")
    return None if run is None else f"{run.dag_id}/{run.run_id}"


@contextmanager
def exporter() -> Iterator[Exporter]:
    """The engine over this deployment's databases, its errors turned into Airflow's without a traceback's noise."""
    # Airflow reads the DAGs every few seconds, in a new process each time: it need not load the engine for that
    from logstream.airflow.connections import AirflowConnections
    from logstream.airflow.databases import databases
    from logstream.export.exporter import Exporter

    connections = AirflowConnections()
    with plain_errors(), Exporter(*databases(), connections, signer=connections.signer) as engine:
        yield engine


@contextmanager
def plain_errors() -> Iterator[None]:
    """Let Logstream's errors fail a task with their one line; Airflow retries as the task says, unless that cannot help."""
    try:
        yield
    except NotSetUp as error:
        raise AirflowFailException(str(error)) from None
    except LogstreamError as error:
        raise AirflowException(str(error)) from (None if isinstance(error, InputError) else error)
