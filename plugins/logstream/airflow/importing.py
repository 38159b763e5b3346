"""Importing what Airflow and its providers are, from threads that open destinations side by side."""

from __future__ import annotations

from importlib import import_module
from threading import RLock
from typing import Any

_lock = RLock()

LOOKING_UP = (
    "airflow.sdk.bases.hook", "airflow.sdk.definitions.connection", "airflow.sdk.log", "airflow.sdk.execution_time.cache",
    "airflow.sdk.execution_time.context", "airflow.sdk.execution_time.supervisor",
)  # fmt: skip
"""What `BaseHook.get_connection` imports when it is called."""


def imported(*names: str) -> Any:
    """The last of some modules, imported by one thread at a time.

    Airflow's modules import one another in circles. Of two threads that come into a circle from two sides Python gives one a
    module that is half made, and its `from ... import ...` fails with an `ImportError`: now and then, on a machine that is busy.
    """
    with _lock:
        return [import_module(name) for name in names][-1]
