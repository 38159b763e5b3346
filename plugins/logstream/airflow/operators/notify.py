"""How notices get to their receivers: Airflow's notifiers, made anew for each notice.

A notifier renders its templates in place, so one that is called twice says the first thing twice. What a notice says reaches
templates as the value of `logstream`, never as a template: receivers' answers are in it.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from airflow.sdk import BaseNotifier

from logstream import clock
from logstream.airflow.backends import variable
from logstream.airflow.connections import AirflowConnections
from logstream.airflow.connections.lookup import find
from logstream.destinations.credentials import Connections
from logstream.destinations.http import HttpDestination, HttpOptions
from logstream.destinations.outcome import Delivered
from logstream.destinations.parcel import EventRef
from logstream.errors import DeliveryError, InputError
from logstream.events import EPOCH, Event
from logstream.ledger.audiences import Audience, audiences, key_of
from logstream.ledger.notices import Pending
from logstream.settings.models import Settings
from logstream.settings.notices import Receiver, ReceiverKind

VARIABLE = "logstream_notifiers"
ENVIRONMENT = "LOGSTREAM_NOTIFIERS"

Make = Callable[[Pending], BaseNotifier]


@dataclass(frozen=True, slots=True)
class Addressee:
    """An audience, its name for people, and what makes a notifier for one notice. Making it raises what is wrong with it."""

    audience: Audience
    name: str
    make: Make


def addressees(settings: Settings) -> list[Addressee]:
    """All who are told: the receivers of the settings, and the operator's own notifiers."""
    found = [
        Addressee(audience, _name(audience), _maker(audience.receiver))
        for audience in audiences(settings)
        if audience.receiver is not None
    ]
    return [*found, *operators_own()]


def _name(audience: Audience) -> str:
    scope = f"workspace {audience.workspace}: " if audience.workspace is not None else ""
    return f"{scope}{audience.receiver}"


def operators_own() -> list[Addressee]:
    """The notifiers of the Airflow Variable `logstream_notifiers`, else of the environment's `LOGSTREAM_NOTIFIERS`.

    A JSON list of `{"class": "airflow.providers.slack.notifications.slack.SlackNotifier", ...}`, all else being arguments of
    the class. One that cannot be made is an addressee like others: what is to be told to it waits, and the task says why.

    Raises `AirflowAway` if Airflow cannot say whether there is such a Variable: what is noted then would never be told to
    them.
    """
    text = variable(VARIABLE) or os.environ.get(ENVIRONMENT) or "[]"
    try:
        items = [dict(item) for item in json.loads(text)]
    except (ValueError, TypeError):
        return [_refused(f"{VARIABLE} / {ENVIRONMENT} is no JSON list of notifiers")]
    return [
        Addressee(
            Audience(key_of("operator", item)),
            f"{VARIABLE} / {ENVIRONMENT}: {item.get('class')}",
            lambda _, item=item: _notifier(item),  # type: ignore[misc]
        )
        for item in items
    ]


def _refused(reason: str) -> Addressee:
    def make(_: Pending) -> BaseNotifier:
        raise InputError(reason)

    return Addressee(Audience(key_of("operator", reason)), f"{VARIABLE} / {ENVIRONMENT}", make)


def _notifier(item: Mapping[str, Any]) -> BaseNotifier:
    path = str(item.get("class", ""))
    module, _, name = path.rpartition(".")
    if not module:
        raise InputError('each notifier needs its "class", like package.module.Class')
    try:
        found = getattr(import_module(module), name)
        is_notifier = isinstance(found, type) and issubclass(found, BaseNotifier)
        if is_notifier:
            return found(**{key: value for key, value in item.items() if key != "class"})
    except Exception as error:  # importing and making it runs other people's code; its arguments may be secrets
        raise InputError(f"{path} cannot be made ({type(error).__name__})") from None
    raise InputError(f"{path} is no Airflow notifier")


def _maker(receiver: Receiver) -> Make:
    return lambda pending: _MAKERS[receiver.kind](receiver, pending)


def _slack(receiver: Receiver, _: Pending) -> BaseNotifier:
    from airflow.providers.slack.notifications.slack import SlackNotifier

    find(receiver.connection, "slack")
    return SlackNotifier(
        slack_conn_id=receiver.connection, channel=receiver.channel, text="{{ logstream }}", username="Logstream"
    )


def _smtp(receiver: Receiver, _: Pending) -> BaseNotifier:
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    found = find(receiver.connection, "smtp")
    if not found.extra_dejson.get("from_email"):
        raise InputError(f"connection `{receiver.connection}`: its extra needs `from_email`, who sends")
    return SmtpNotifier(
        smtp_conn_id=receiver.connection,
        to=list(receiver.to),
        subject="Logstream: {{ logstream.headline }}",
        html_content="<p>{{ logstream | string | e }}</p>",
    )


def _webhook(receiver: Receiver, pending: Pending) -> BaseNotifier:
    return WebhookNotifier(receiver, pending)


_MAKERS = {ReceiverKind.SLACK: _slack, ReceiverKind.SMTP: _smtp, ReceiverKind.WEBHOOK: _webhook}


class WebhookNotifier(BaseNotifier):
    """Posts a notice as JSON in the way of destinations of type `http`.

    So their rules hold: addresses are judged, redirects are not followed, credentials are masked in what is said, and
    `Idempotency-Key` is the same whenever a notice is sent again. (Airflow's HttpNotifier has none of these.)
    """

    def __init__(self, receiver: Receiver, pending: Pending, connections: Connections | None = None) -> None:
        super().__init__()
        self._receiver, self._pending, self._connections = receiver, pending, connections or AirflowConnections()

    def notify(self, context: Any) -> None:
        """Post it once. Raises `DeliveryError` with the reason, or `InputError` for a connection that cannot be used."""
        asyncio.run(self._post())

    async def _post(self) -> None:
        options = HttpOptions(connection=self._receiver.connection, path=self._receiver.path or "")
        destination = HttpDestination("of notices", options, self._connections)
        now = int((clock.now() - EPOCH).total_seconds() * 1_000_000)
        message = json.dumps({"id": self._pending.id, **self._pending.document}).encode()
        event = Event(self._pending.id, 0, "notice", now, now, message)
        await destination.start()
        try:
            parcel = destination.parcel("logstream-notice", [EventRef(event.id, 0, "notice")], [message], event)
            outcome = await destination.deliver(parcel)
        finally:
            await destination.close()
        if not isinstance(outcome, Delivered):
            raise DeliveryError(getattr(outcome, "reason", "it was not taken"))
