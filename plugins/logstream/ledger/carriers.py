"""Carriers: the names of runs, by which the ledger knows what each has made and what it carries.

A run of Airflow is `DAG_ID/RUN_ID`: two DAGs may have runs of one id. Older versions wrote `RUN_ID` alone.
"""

from __future__ import annotations


def spellings(carrier: str | None) -> list[str]:
    """The ways in which rows may name a run: neither DAG ids nor run ids have a slash in them."""
    if carrier is None:
        return []
    _, slash, run_id = carrier.partition("/")
    return [carrier, run_id] if slash else [carrier]


def is_carrier(written: str | None, carrier: str | None) -> bool:
    """Whether a row's carrier is a run. No run carries what names none."""
    return written is not None and written in spellings(carrier)
