"""`logstream doctor`: what a deployment stands on, looked at step by step."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from logstream.cli.arguments import add_command, add_dsn, dsns
from logstream.cli.output import print_steps
from logstream.steps import Step


def add(groups: Any) -> None:
    """Add the command."""
    command = add_command(
        groups, "doctor", doctor, "look at all that Logstream stands on, and say what is wrong in words",
        "Databases, versions, writers that keep windows open, connections, clocks, plug-ins, permissions, and Airflow's "
        "configuration where there is one. Reads only; nothing is sent. Ends with 1 if something is wrong.",
    )  # fmt: skip
    add_dsn(command, control=True)


def doctor(options: argparse.Namespace, out: TextIO) -> int:
    """`logstream doctor`."""
    from logstream.airflow.connections import AirflowConnections, use_metadata_database
    from logstream.doctor import examine

    use_metadata_database()
    store, control = dsns(options)
    connections = AirflowConnections()
    fine = print_steps(_airflow(), out)
    return print_steps(examine(store, control, connections, connections.signer), out) or fine


def _airflow() -> Iterator[Step]:
    """What only Airflow can tell: its version, and whether it finds the DAGs and the plugin."""
    from importlib.metadata import version

    from packaging.version import Version

    found = version("apache-airflow-core")
    yield Step("Airflow 3.3 or newer", Version(found) >= Version("3.3"), found, "Install apache-airflow 3.3.")
    home = os.environ.get("AIRFLOW_HOME", "")
    if not (Path(home) / "airflow.cfg").exists() and "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" not in os.environ:
        detail = "no Airflow is configured for this user: connections come from AIRFLOW_CONN_<ID>"
        yield Step("Airflow's configuration", True, detail)
        return
    from airflow.configuration import conf

    folder = Path(conf.get("core", "dags_folder"))
    dags = sorted(file.name for file in folder.glob("**/*logstream*.py"))
    remedy = f"Copy or link Logstream's dags/ into {folder}, or set AIRFLOW__CORE__DAGS_FOLDER."
    yield Step("the DAGs are in Airflow's folder", bool(dags), ", ".join(dags) or str(folder), remedy)
