"""The news of a deployment: how all stands against what people were told last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from logstream.errors import InputError
from logstream.export.deployment import Deployment
from logstream.ledger.audiences import Audience
from logstream.ledger.news import ALL, Known, News, Notice, Told, news, settings_news
from logstream.ledger.notices import Notices
from logstream.ledger.status import look
from logstream.settings.repository import Snapshot


def note_news(deployment: Deployment, audiences: Sequence[Audience]) -> int:
    """Look at all, and put down what is to be told to whom. Returns how many notices that are."""
    notices = Notices(deployment.engine)

    def compare(before: Known) -> News:
        current = deployment.settings.current()
        status = look(deployment.engine, current.settings.destinations)
        limit = timedelta(minutes=current.settings.notices.lag_minutes)
        found = news(before, status, notices.failed_checks(), limit)
        known = before.get(ALL, Told()).settings
        found.notices.extend(_of_settings(deployment, known, current))
        found.told[ALL] = replace(found.told[ALL], settings=current.id)
        return found

    return notices.note(compare, audiences)


def _of_settings(deployment: Deployment, known: int | None, current: Snapshot) -> list[Notice]:
    if known is None or known == current.id:
        return []
    before = deployment.settings.get_all([known])[known]
    # one that this version cannot read has nothing to compare
    return [] if isinstance(before, InputError) else settings_news(before.settings, current.settings, current.author)
