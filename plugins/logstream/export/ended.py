"""How what a person has started ended: kept as an act of that person, like its beginning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from logstream.control.audit import Act, Actor, AuditEvent, AuditTrail
from logstream.export.deployment import Deployment
from logstream.export.redeliver import Redelivery
from logstream.ledger.records import Delivery


@contextmanager
def redelivery_ended(
    deployment: Deployment, by: Actor, destination: str | None, **detail: Any
) -> Iterator[dict[str, Any]]:
    """Keep the outcome of the redelivery that the block makes: what the block puts in, and that it broke off where it did.

    A receiver's own words are no part of it.
    """
    outcome: dict[str, Any] = {}
    try:
        yield outcome
    except BaseException as error:
        outcome["broke_off"] = type(error).__name__
        raise
    finally:
        event = AuditEvent(Act.REDELIVERY_ENDED, by, destination or "", {**detail, **outcome})
        stream = deployment.settings.current().settings.audit.stream
        AuditTrail(deployment.engine).record(event, stream=stream)


def owed_outcome(reports: Iterable[Delivery]) -> dict[str, int]:
    """Windows that were owed, those that still are, and events that arrived."""
    found = list(reports)
    failed = sum(1 for report in found if report.error)
    return {"delivered": len(found) - failed, "failed": failed, "events": sum(report.events for report in found)}


def rejected_outcome(results: Iterable[Redelivery]) -> dict[str, int]:
    """Dead letters that arrived, that were rejected again, that the log store no longer holds; destinations that failed."""
    found = list(results)
    return {
        "events": sum(result.delivered for result in found),
        "rejected_again": sum(result.rejected_again for result in found),
        "gone": sum(result.gone for result in found),
        "failed": sum(1 for result in found if result.error),
    }
