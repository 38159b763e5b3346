"""`tell_news`: what is new since people were told last, told once to each who is to hear it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowFailException

from logstream.airflow.operators.base import LogstreamOperator, exporter
from logstream.units import counted

if TYPE_CHECKING:
    from airflow.sdk import Context


class TellNews(LogstreamOperator):
    """Looks at how all stands, and tells who is to hear what has changed. Red if a receiver could not be told."""

    def execute(self, context: Context) -> None:
        """Look, then tell. A receiver that cannot be told holds up no other, and is tried again by the next run."""
        from logstream.airflow.operators.news import tell_news

        with exporter() as engine:
            problems = tell_news(engine, context)  # type: ignore[arg-type]
        if problems:
            raise AirflowFailException(
                f"{counted(len(problems), 'receiver')} could not be told: " + "; ".join(problems[:5])
            )
