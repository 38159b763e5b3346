"""How all stands, as gauges of Airflow's metrics (StatsD, OpenTelemetry): what `deploy/observability/` alerts on and draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk.observability import stats

from logstream.ledger.condition import Condition

if TYPE_CHECKING:
    from logstream.ledger.status import Status

IN_SUM = {
    "logstream.well": "1 if nothing needs a person, else 0",
    "logstream.problems": "how many things need a person",
    "logstream.owed_windows": "windows that destinations have not got",
    "logstream.gap_windows": "windows that no run has exported",
    "logstream.lost_events": "events that are lost, and that no person has taken note of",
    "logstream.most_lag_seconds": "how old the oldest thing is that a destination has not got",
    **{f"logstream.destinations.{one.slug}": f"destinations in the condition {one}" for one in Condition},
}
"""Gauges without tags, and what they are."""

BY_DESTINATION = {
    "logstream.destination.well": "1 if nothing needs a person there, else 0",
    "logstream.destination.owed_windows": "windows that it has not got",
    "logstream.destination.lag_seconds": "how old the oldest thing is that it has not got",
    "logstream.destination.rejected_share": "the share of the events of its newest windows that it refused, 0 to 1",
    "logstream.destination.lost_events": "events that are lost to it, and that no person has taken note of",
}
"""Gauges with the tag `destination`. A StatsD server without tags mixes them up: it has those in sum."""


def send(found: Status) -> None:
    """Send every gauge."""
    counts = found.counts
    lags = [one.lag.total_seconds() for one in found.destinations if one.lag is not None]
    _gauges(
        IN_SUM,
        [
            float(found.is_well),
            len(found.problems),
            sum(one.owed for one in found.destinations),
            found.gaps.windows,
            sum(one.lost for one in found.destinations),
            max(lags, default=0.0),
            *(counts[one] for one in Condition),
        ],
    )
    for one in found.destinations:
        lag = one.lag.total_seconds() if one.lag is not None else 0.0
        _gauges(
            BY_DESTINATION, [float(one.is_well), one.owed, lag, one.rejected_share, one.lost], {"destination": one.name}
        )


def _gauges(names: dict[str, str], values: list[float], tags: dict[str, str] | None = None) -> None:
    for name, value in zip(names, values, strict=True):
        stats.gauge(name, value, tags=tags)
