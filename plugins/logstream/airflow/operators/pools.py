"""Which Airflow pools the tasks that deliver take their slots from: one for all, and others for groups of destinations."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from logstream.airflow.operators.base import LogstreamOperator
from logstream.airflow.operators.deliver import Deliver

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger("logstream")

POOL = "LOGSTREAM_DELIVER_POOL"
GROUPS = "LOGSTREAM_DELIVER_POOLS"

_GROUP = re.compile(r"([A-Za-z0-9_.-]{1,100})=([A-Za-z0-9_.*-]+(?:,[A-Za-z0-9_.*-]+)*)")


def deliver_pool() -> str:
    """The pool of the tasks `deliver`: `LOGSTREAM_DELIVER_POOL`, else `default_pool`."""
    return os.environ.get(POOL, "").strip() or "default_pool"


@dataclass(frozen=True, slots=True)
class PoolGroup:
    """The destinations that are delivered in a pool: by their names, in which `*` stands for anything."""

    pool: str
    patterns: tuple[str, ...]

    def has(self, destination: str) -> bool:
        """Whether a destination is one of them."""
        return any(fnmatchcase(destination, pattern) for pattern in self.patterns)


def pool_groups() -> tuple[PoolGroup, ...]:
    """The groups of `LOGSTREAM_DELIVER_POOLS`, as `archive=lake,cold_* siem=*_splunk`. A destination is in the first that has it.

    What cannot be read is left out, and said in the log: a mistake here must not take the DAG away.
    """
    groups: dict[str, PoolGroup] = {}
    for text in os.environ.get(GROUPS, "").split():
        found = _GROUP.fullmatch(text)
        if found is None or found[1] in groups:
            log.error("%s: %r is no POOL=NAME,NAME... of a pool of its own; it is left out", GROUPS, text)
            continue
        groups[found[1]] = PoolGroup(found[1], tuple(found[2].split(",")))
    return tuple(groups.values())


def groups_with_tasks(context: Context) -> tuple[PoolGroup, ...]:
    """Those of `pool_groups` for which the run has tasks; the destinations of the others are with all that have no group.

    A run has the tasks that the dag-processor read the DAG with, and its environment may be another than a worker's.
    """
    instance: Any = context["ti"]
    found = []
    for group in pool_groups():
        task = shares_key(group.pool)
        if instance.get_ti_count(instance.dag_id, task_ids=[task], run_ids=[instance.run_id]):
            found.append(group)
        else:
            log.warning(
                "%s: this run has no task %s, so the tasks `deliver` carry the destinations of group %r; give the dag-processor "
                "and the workers the same %s",
                GROUPS, task, group.pool, GROUPS,
            )  # fmt: skip
    return tuple(found)


def group_of(destination: str, groups: Sequence[PoolGroup]) -> str:
    """The pool of the group that a destination is in; empty for that of all others."""
    return next((group.pool for group in groups if group.has(destination)), "")


def shares_key(pool: str) -> str:
    """The XCom by which `plan_deliveries` hands on the shares of a group."""
    return f"shares_{pool}"


class PickShares(LogstreamOperator):
    """Hands on the shares of one group of destinations, whose tasks take their slots from a pool of their own."""

    def __init__(self, *, group: str, plan: str = "plan_deliveries", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.group, self.plan = group, plan

    def execute(self, context: Context) -> list[dict[str, object]]:
        """What `plan_deliveries` has left for the group; Airflow maps tasks only over what a task returns."""
        return list(context["ti"].xcom_pull(task_ids=self.plan, key=shares_key(self.group)) or ())


def deliver_tasks(plan: LogstreamOperator) -> list[Any]:
    """The mapped task `deliver`, and for each group of `LOGSTREAM_DELIVER_POOLS` a task `deliver_POOL` beside it."""
    tasks = [_deliver("deliver", deliver_pool(), plan)]
    for group in pool_groups():
        picked = PickShares(task_id=shares_key(group.pool), group=group.pool)
        plan >> picked
        tasks.append(_deliver(f"deliver_{group.pool}", group.pool, picked))
    return tasks


def _deliver(task_id: str, pool: str, shares: Any) -> Any:
    return Deliver.partial(
        task_id=task_id, doc_md=Deliver.__doc__, pool=pool, map_index_template="{{ task.share['label'] }}"
    ).expand(share=shares.output)
