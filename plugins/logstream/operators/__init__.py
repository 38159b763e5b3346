"""Airflow's edge: the tasks of a run. They hold no logic that a test would need Airflow for."""

from logstream.operators.deliver import Deliver, ReceiversDelay
from logstream.operators.notify import suspension_notifiers
from logstream.operators.plan import PlanDeliveries, ResolveRoutes
from logstream.operators.redeliver import Redeliver
from logstream.operators.schedule import export_schedule
from logstream.operators.seal import SealWindow
from logstream.operators.wait import WaitForClosedWindow
from logstream.operators.watch import NameGaps

__all__ = [
    "Deliver",
    "NameGaps",
    "PlanDeliveries",
    "ReceiversDelay",
    "Redeliver",
    "ResolveRoutes",
    "SealWindow",
    "WaitForClosedWindow",
    "export_schedule",
    "suspension_notifiers",
]
