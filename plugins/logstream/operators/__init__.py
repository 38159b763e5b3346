"""Airflow's edge: the tasks of a run. They hold no logic that a test would need Airflow for."""

from logstream.operators.check import CheckDestinations
from logstream.operators.deadline import export_deadline
from logstream.operators.deliver import Deliver, ReceiversDelay, deliver_pool
from logstream.operators.plan import PlanDeliveries, ResolveRoutes
from logstream.operators.redeliver import Redeliver
from logstream.operators.schedule import check_schedule, export_schedule
from logstream.operators.seal import SealWindow
from logstream.operators.tell import TellNews
from logstream.operators.wait import WaitForClosedWindow
from logstream.operators.watch import NameGaps

__all__ = [
    "CheckDestinations",
    "Deliver",
    "NameGaps",
    "PlanDeliveries",
    "ReceiversDelay",
    "Redeliver",
    "ResolveRoutes",
    "SealWindow",
    "TellNews",
    "WaitForClosedWindow",
    "check_schedule",
    "deliver_pool",
    "export_deadline",
    "export_schedule",
]
