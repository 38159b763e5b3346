"""Looking at the news and telling it: each receiver in a thread of its own, so that none holds up another."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import wait
from typing import Any

from logstream.airflow.operators.notify import Addressee, addressees
from logstream.errors import LogstreamError
from logstream.export.deployment import Deployment
from logstream.export.telling import note_news
from logstream.ledger.audiences import notice_of
from logstream.ledger.news import clean
from logstream.ledger.notices import Notices, Pending
from logstream.threads import LeftBehindThreads
from logstream.units import counted

log = logging.getLogger("logstream")

TELL_SECONDS = 120.0
"""How long all receivers together are waited for. What a slow one has not taken by then is tried again at a later look."""

AT_ONCE = 16


def tell_news(deployment: Deployment, context: Mapping[str, Any]) -> list[str]:
    """Look and tell; return which receivers could not be told, and why. What is new is in the log in any case."""
    known = {one.audience.key: one for one in addressees(deployment.settings.current().settings)}
    notices = Notices(deployment.engine)
    noted = note_news(deployment, [one.audience for one in known.values()])
    if noted:
        log.info("%s to be told.", counted(noted, "notice is", "notices are"))
    threads = LeftBehindThreads(AT_ONCE, "logstream notices")
    try:
        taken = notices.take(known)
        telling = {threads.submit(_tell, notices, known[key], items, context): key for key, items in taken.items()}
        done, late = wait(telling, TELL_SECONDS)
    finally:
        threads.shutdown()
    problems = [f"{known[telling[one]].name}: {problem}" for one in done if (problem := one.result())]
    problems += [f"{known[telling[one]].name}: no answer within {TELL_SECONDS:.0f} s" for one in late]
    return sorted(problems)


def _tell(notices: Notices, addressee: Addressee, items: Sequence[Pending], context: Mapping[str, Any]) -> str | None:
    """Tell one receiver in order; stop at the first that it does not take, and say why."""
    for place, item in enumerate(items):
        try:
            notice = notice_of(item.document)
            addressee.make(item)({**context, "logstream": notice})
        except Exception as error:
            # the words of others' errors may hold what they were given
            problem = clean(str(error)) if isinstance(error, LogstreamError) else type(error).__name__
            notices.tell_later([one.id for one in items[place:]], problem)
            return problem
        notices.tell_done(item.id)
        log.info("Told %s: %s", addressee.name, notice)
    return None
