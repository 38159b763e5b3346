"""The form of notices: who is told of what, of all or of one workspace's destination."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from logstream.console.forms import Form
from logstream.console.layout import one
from logstream.console.mistakes import FormMistakes, Mistakes
from logstream.settings.edits import Data
from logstream.settings.explaining import explain_parts
from logstream.settings.notices import MAX_RECEIVERS, Notices, Receiver, ReceiverKind, Topic, WorkspaceNotices

WHERE = {ReceiverKind.SLACK: "channel", ReceiverKind.SMTP: "to", ReceiverKind.WEBHOOK: "path"}
"""The one field of each kind that says where to: in the form all are *Where*."""

CONNECTION_TYPES = {ReceiverKind.SLACK: "slack", ReceiverKind.SMTP: "smtp", ReceiverKind.WEBHOOK: "http"}


@dataclass(frozen=True, slots=True)
class Row:
    """A receiver as the form shows it; an empty kind is a row that is not filled in."""

    kind: str = ""
    connection: str = ""
    where: str = ""
    about: tuple[str, ...] = ()


def rows_of(receivers: Sequence[Receiver]) -> list[Row]:
    """The receivers as rows, and an empty one for the next."""
    rows = [
        Row(found.kind, found.connection, found.channel or found.path or ", ".join(found.to), found.about)
        for found in receivers
    ]
    return [*rows, *([Row()] if len(rows) < MAX_RECEIVERS else [])]


def sent_rows(form: Form) -> list[Row]:
    """What a browser sends, with rows that were emptied."""
    return [
        Row(
            one(form, f"receiver.{number}.kind"), one(form, f"receiver.{number}.connection"),
            one(form, f"receiver.{number}.where"), tuple(form.get(f"receiver.{number}.about", ())),
        )
        for number in range(MAX_RECEIVERS)
        if f"receiver.{number}.kind" in form
    ]  # fmt: skip


def notices_of(form: Form, *, of_all: bool) -> Data:
    """The notices of a form as `settings.yaml` has them. Raises `FormMistakes` naming the rows and fields."""
    wrong: Mistakes = {}
    receivers = []
    for number, row in enumerate(sent_rows(form)):
        if not row.kind:
            continue
        data = _data(row)
        receivers.append(data)
        try:
            found = Receiver.model_validate(data)
        except ValidationError as error:
            for path, what in explain_parts(error, Receiver):
                name = str(path[0]) if path else "kind"
                wrong.setdefault(f"receiver.{number}.{'where' if name in WHERE.values() else name}", what)
            continue
        if found.kind.missing:
            wrong[f"receiver.{number}.kind"] = f"needs the package {found.kind.missing}, which is not installed here"
    notices: Data = {"to": receivers}
    minutes = one(form, "lag_minutes")
    if of_all and minutes and minutes != str(Notices().lag_minutes):
        if minutes.isascii() and minutes.isdigit() and 1 <= int(minutes[:9]) <= 525_600:
            notices["lag_minutes"] = int(minutes)
        else:
            wrong["lag_minutes"] = "a whole number of minutes, up to a year"
    if wrong:
        raise FormMistakes(wrong)
    return notices


def _data(row: Row) -> Data:
    data: Data = {"kind": row.kind, "connection": row.connection}
    if row.where:
        name = WHERE.get(row.kind, "path")  # type: ignore[call-overload]
        data[name] = [word for word in re.split(r"[\s,;]+", row.where) if word] if name == "to" else row.where
    if row.about:
        data["about"] = list(row.about)
    return data


def notices_form(
    notices: WorkspaceNotices, connections: dict[str, list[str]], rows: list[Row] | None = None
) -> dict[str, Any]:
    """What the form shows; `rows` as they were sent, where they could not be saved."""
    return {
        "rows": rows if rows is not None else rows_of(notices.to),
        "kinds": [(kind, kind.missing) for kind in ReceiverKind],
        "topics": [(topic, topic.meaning) for topic in Topic],
        "lag_minutes": getattr(notices, "lag_minutes", None),
        "connections": connections,
    }
