"""Who is told when a destination is suspended, and when it is back."""

from __future__ import annotations

import json
import os
from importlib import import_module
from typing import Any

from airflow.sdk import BaseNotifier, Variable

from logstream.errors import InputError

VARIABLE = "logstream_notifiers"
ENVIRONMENT = "LOGSTREAM_NOTIFIERS"


class UnusableNotifier(BaseNotifier):
    """Stands where a notifier was configured that cannot be made: a mistake there must not take the DAG away."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason

    def notify(self, context: Any) -> None:
        """Raise `InputError`: the task logs it, and goes on."""
        raise InputError(self.reason)


def suspension_notifiers() -> list[BaseNotifier]:
    """The notifiers of the Airflow Variable `logstream_notifiers`, else of the environment's `LOGSTREAM_NOTIFIERS`.

    A JSON list of `{"class": "airflow.providers.slack.notifications.slack.SlackNotifier", ...}`, all else being arguments of
    the class. The task's log tells in any case. A notifier that cannot be made is an `UnusableNotifier`, beside the others:
    the scheduler reads this whenever it reads the DAG.
    """
    text = Variable.get(VARIABLE, default=None) or os.environ.get(ENVIRONMENT) or "[]"
    try:
        items = [dict(item) for item in json.loads(text)]
    except (ValueError, TypeError) as error:
        return [UnusableNotifier(f"{VARIABLE} / {ENVIRONMENT} is no JSON list of notifiers: {error}")]
    return [_notifier_or_reason(item) for item in items]


def _notifier_or_reason(item: dict[str, Any]) -> BaseNotifier:
    path = item.get("class")
    try:
        return _notifier(item)
    except InputError as error:
        return UnusableNotifier(str(error))
    except Exception as error:  # importing and making it runs other people's code; its arguments may be secrets
        return UnusableNotifier(f"{VARIABLE} / {ENVIRONMENT}: {path} cannot be made ({type(error).__name__})")


def _notifier(item: dict[str, Any]) -> BaseNotifier:
    path = str(item.pop("class", ""))
    module, _, name = path.rpartition(".")
    if not module:
        raise InputError(f'{VARIABLE} / {ENVIRONMENT}: each notifier needs its "class", like package.module.Class')
    found = getattr(import_module(module), name)
    if not (isinstance(found, type) and issubclass(found, BaseNotifier)):
        raise InputError(f"{VARIABLE} / {ENVIRONMENT}: {path} is no Airflow notifier")
    return found(**item)
