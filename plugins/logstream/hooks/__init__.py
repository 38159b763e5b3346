"""Airflow connections to credentials: the only place that reads connections."""

from logstream.hooks.connections import AirflowConnections

__all__ = ["AirflowConnections"]
