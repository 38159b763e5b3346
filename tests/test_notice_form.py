"""The form of notices: rows as receivers and back, mistakes at their fields, and nothing else of the settings touched."""

from __future__ import annotations

from typing import Any

import pytest

from logstream.console.mistakes import FormMistakes, label_of
from logstream.console.notice_form import notices_of, rows_of, sent_rows
from logstream.settings.edits import with_notices
from logstream.settings.notices import MAX_RECEIVERS, Notices
from logstream.validation import validate_settings

PAGER = {"kind": "webhook", "connection": "pager", "path": "/v1/events"}
MAIL = {"kind": "smtp", "connection": "mail", "to": ["ops@example.com", "b@example.com"], "about": ["lost", "gaps"]}


def form(*rows: dict[str, Any], **fields: str) -> dict[str, list[str]]:
    sent = {name: [value] for name, value in fields.items()}
    for number, row in enumerate(rows):
        for name in ("kind", "connection", "where"):
            sent[f"receiver.{number}.{name}"] = [str(row.get(name, ""))]
        sent[f"receiver.{number}.about"] = list(row.get("about", ()))
    return sent


def test_the_form_gives_back_what_it_shows() -> None:
    notices = Notices.model_validate({"lag_minutes": 5, "to": [PAGER, MAIL]})
    rows = rows_of(notices.to)
    assert rows[-1].kind == "" and len(rows) == 3, "there is room for one more"
    shown = [{"kind": row.kind, "connection": row.connection, "where": row.where, "about": row.about} for row in rows]
    assert notices_of(form(*shown, lag_minutes="5"), of_all=True) == {"lag_minutes": 5, "to": [PAGER, MAIL]}
    assert len(rows_of(notices.to[:1] * MAX_RECEIVERS)) == MAX_RECEIVERS


def test_a_row_whose_kind_was_taken_away_is_gone() -> None:
    kept = {"kind": "webhook", "connection": "pager"}
    found = notices_of(form({"connection": "old", "where": "/x"}, kept, lag_minutes="60"), of_all=True)
    assert found == {"to": [kept]}, "what is as usual is left out"


def test_mistakes_stand_at_their_fields() -> None:
    rows = (
        {"kind": "smtp", "connection": "", "where": "ops@example.com, nobody"},
        {"kind": "webhook", "connection": "{{ conn }}", "where": "a b", "about": ["nothing"]},
        {"kind": "pigeon", "connection": "x"}, {"kind": "smtp", "connection": "mail"},
    )  # fmt: skip
    with pytest.raises(FormMistakes) as caught:
        notices_of(form(*rows, lag_minutes="soon"), of_all=True)
    assert set(caught.value.fields) == {
        "receiver.0.connection", "receiver.0.where", "receiver.1.connection", "receiver.1.where", "receiver.1.about",
        "receiver.2.kind", "receiver.3.where", "lag_minutes",
    }  # fmt: skip
    assert label_of("receiver.0.where") == "Receiver 1, where"
    assert [row.kind for row in sent_rows(form(*rows))] == ["smtp", "webhook", "pigeon", "smtp"]


def test_a_kind_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logstream.settings.notices.ReceiverKind.missing", property(lambda _: "some-package"))
    with pytest.raises(FormMistakes) as caught:
        notices_of(form({"kind": "webhook", "connection": "x"}), of_all=False)
    assert "some-package" in caught.value.fields["receiver.0.kind"]


def test_nothing_else_of_the_settings_is_touched() -> None:
    streaming = {"enabled": False, "events": ["job_status"]}
    document: dict[str, Any] = {
        "version": 1, "admin": {"enabled": False}, "notices": {"to": [PAGER]},
        "workspaces": [{"id": 5, "streaming": streaming, "notices": {"to": [MAIL]}}, {"id": 6}],
    }  # fmt: skip
    assert with_notices(document, None, {"to": []}) == {
        key: document[key] for key in ("version", "admin", "workspaces")
    }
    assert with_notices(document, None, {"to": [MAIL]})["notices"] == {"to": [MAIL]}
    own = with_notices(document, 5, {"to": [PAGER]})["workspaces"]
    assert own == [{"id": 5, "streaming": streaming, "notices": {"to": [PAGER]}}, {"id": 6}]
    assert with_notices(document, 5, {"to": []})["workspaces"] == [{"id": 5, "streaming": streaming}, {"id": 6}]
    new = with_notices(document, 7, {"to": [PAGER]})
    assert new["workspaces"][-1] == {"id": 7, "notices": {"to": [PAGER]}}
    assert with_notices(new, 7, {"to": []})["workspaces"] == document["workspaces"]
    assert document["notices"] == {"to": [PAGER]} and "notices" in document["workspaces"][0], "they copy"
    validate_settings(new)
