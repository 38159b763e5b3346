"""Carriers: the names of runs, by which the ledger knows what each has made and what it carries.

A run of Airflow is `DAG_ID/RUN_ID`: two DAGs may have runs of one id. Older versions wrote `RUN_ID` alone. Behind that stands the
name of the backfill that the run is of, if that has one: several of its runs may cut one window, which is to be exported once.
"""

from __future__ import annotations

_OF = " of backfill "


def carrier(dag_id: str, run_id: str, backfill: str | None = None) -> str:
    """The name of a run of Airflow."""
    return f"{dag_id}/{run_id}" + (f"{_OF}{backfill}" if backfill else "")


def spellings(carrier: str | None) -> list[str]:
    """The ways in which rows may name a run: neither DAG ids nor run ids have a slash in them."""
    if carrier is None:
        return []
    run, of, _ = carrier.partition(_OF)
    _, slash, run_id = run.partition("/")
    return [carrier, *([run] if of else []), *([run_id] if slash else [])]


def is_carrier(written: str | None, carrier: str | None) -> bool:
    """Whether a row's carrier is a run. No run carries what names none."""
    return written is not None and (written in spellings(carrier) or carrier in spellings(written))


def is_sibling(written: str | None, carrier: str | None) -> bool:
    """Whether a row's carrier is another run of the same backfill."""
    if written is None or carrier is None or is_carrier(written, carrier):
        return False
    (_, of, theirs), (_, _, ours) = written.partition(_OF), carrier.partition(_OF)
    return bool(of) and theirs == ours
