"""Airflow's command with what Logstream's tasks import: the processes that a local scheduler forks for them have it by then.

It is for machines on which an Airflow runs a while and ends. A task's imports take longer there than most tasks do.
"""

from __future__ import annotations

import sys

import airflow.providers.amazon.aws.hooks.base_aws
import airflow.providers.http.hooks.http
import airflow.sdk.execution_time.task_runner
from airflow.__main__ import main

import logstream.airflow.operators
import logstream.destinations.registry
import logstream.export.exporter

__all__ = ["airflow", "logstream"]

if __name__ == "__main__":
    sys.argv[0] = "airflow"
    main()
