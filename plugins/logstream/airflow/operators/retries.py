"""When Airflow tries a task again: at once after a worker that is lost, later and later where a receiver or a database fails."""

from __future__ import annotations

from datetime import timedelta
from random import SystemRandom
from typing import TYPE_CHECKING

from airflow.sdk import RetryDecision, RetryPolicy
from airflow.sdk.exceptions import AirflowException

if TYPE_CHECKING:
    from airflow.sdk import Context

AFTER_A_LOST_WORKER = timedelta(seconds=3)
"""The task's own `retry_delay`. Airflow asks a policy only where a task ended with an exception: a task whose worker is gone
waits so long, after Airflow has noticed (`task_instance_heartbeat_timeout`). Nothing is wrong with the receiver then, and the
lanes' leases have run out."""

FIRST_SECONDS, MOST_SECONDS = 30.0, 900.0
LONGEST_WISH_SECONDS = 86_400.0

_random = SystemRandom()


class NotDelivered(AirflowException):
    """Some lanes were not delivered, and may be later. `after`: seconds that a receiver asked to wait."""

    def __init__(self, message: str, after: float) -> None:
        super().__init__(message)
        self.after = after


class GrowingDelay(RetryPolicy):
    """Waits as long as a receiver wishes, up to a day; else half a minute, twice as long each time, and 15 minutes at the most.

    Of the growing delay at least a half is waited, and of the rest a random part: many tasks that failed together do not come
    back together.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """See `RetryPolicy`. Airflow does not ask for an `AirflowFailException`, which is never tried again."""
        if isinstance(exception, NotDelivered) and exception.after > 0:
            wish = timedelta(seconds=min(exception.after, LONGEST_WISH_SECONDS))
            return RetryDecision.retry(wish, f"a receiver asks to wait {exception.after:.0f} s")
        # a task that was cleared many times has a high number
        most = min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** min(try_number - 1, 10))
        seconds = _random.uniform(most / 2, most)
        return RetryDecision.retry(timedelta(seconds=seconds), f"again in {seconds:.0f} s")
