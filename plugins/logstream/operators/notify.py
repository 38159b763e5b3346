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


def suspension_notifiers() -> list[BaseNotifier]:
    """The notifiers of the Airflow Variable `logstream_notifiers`, else of the environment's `LOGSTREAM_NOTIFIERS`.

    A JSON list of `{"class": "airflow.providers.slack.notifications.slack.SlackNotifier", ...}`, all else being arguments of
    the class. The task's log tells in any case. Raises `InputError` for what is no such list.
    """
    text = Variable.get(VARIABLE, default=None) or os.environ.get(ENVIRONMENT) or "[]"
    try:
        return [_notifier(dict(item)) for item in json.loads(text)]
    except InputError:
        raise
    except (ValueError, TypeError, ImportError, AttributeError) as error:
        raise InputError(f"{VARIABLE} / {ENVIRONMENT} is no JSON list of notifiers: {error}") from None


def _notifier(item: dict[str, Any]) -> BaseNotifier:
    path = str(item.pop("class", ""))
    module, _, name = path.rpartition(".")
    if not module:
        raise InputError(f'{VARIABLE} / {ENVIRONMENT}: each notifier needs its "class", like package.module.Class')
    found = getattr(import_module(module), name)
    if not (isinstance(found, type) and issubclass(found, BaseNotifier)):
        raise InputError(f"{VARIABLE} / {ENVIRONMENT}: {path} is no Airflow notifier")
    return found(**item)
