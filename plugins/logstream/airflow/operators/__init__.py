"""Airflow's edge: the tasks of a run. They hold no logic that a test would need Airflow for."""

from logstream.airflow.operators.audit import StreamAuditEvents
from logstream.airflow.operators.check import CheckDestinations
from logstream.airflow.operators.deadline import export_deadline
from logstream.airflow.operators.deliver import Deliver
from logstream.airflow.operators.emit import EmitAssetEvents
from logstream.airflow.operators.plan import PlanDeliveries, ResolveRoutes
from logstream.airflow.operators.pools import deliver_tasks
from logstream.airflow.operators.redeliver import Redeliver
from logstream.airflow.operators.retries import AFTER_A_LOST_WORKER, GrowingDelay
from logstream.airflow.operators.schedule import check_schedule, export_schedule
from logstream.airflow.operators.seal import SealWindow
from logstream.airflow.operators.tell import TellNews
from logstream.airflow.operators.wait import WaitForClosedWindow
from logstream.airflow.operators.watch import NameGaps

__all__ = [
    "AFTER_A_LOST_WORKER",
    "CheckDestinations",
    "Deliver",
    "EmitAssetEvents",
    "GrowingDelay",
    "NameGaps",
    "PlanDeliveries",
    "Redeliver",
    "ResolveRoutes",
    "SealWindow",
    "StreamAuditEvents",
    "TellNews",
    "WaitForClosedWindow",
    "check_schedule",
    "deliver_tasks",
    "export_deadline",
    "export_schedule",
]
