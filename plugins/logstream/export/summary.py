"""What became of an interval, destination by destination, whatever windows it was exported in."""

from __future__ import annotations

from collections.abc import Iterable

from logstream.export.plan import Planned
from logstream.ledger.records import Delivery, State


def summarize(planned: Planned, sealed: Iterable[Delivery]) -> list[Delivery]:
    """One delivery for each destination, by name, that adds up those of the windows of a run's interval.

    It is complete if all of them are. A destination that routes lead to and that has no events there is complete, too.
    """
    windows = {item.window for item in planned.own}
    routed = {plan.route.destination for item in planned.own for plan in item.plan.workspaces if plan.route.destination}
    found = {
        name: Delivery(0, name, planned.interval, planned.snapshot.id, State.DELIVERED)
        for name in routed
        if planned.only is None or name in planned.only
    }
    for delivery in sealed:
        if delivery.window not in windows:
            continue
        whole = found.setdefault(
            delivery.destination,
            Delivery(0, delivery.destination, planned.interval, planned.snapshot.id, State.DELIVERED),
        )
        whole.lanes += delivery.lanes
        if delivery.state is not State.DELIVERED and whole.state is not State.FAILED:
            whole.state = delivery.state
        whole.error = whole.error or delivery.error
    return [found[name] for name in sorted(found)]
