"""*Show* of a dead letter: what the log store holds of it, though it is no event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from logstream.console.deps import the_console
from logstream.control.audit import Actor
from logstream.store.rows import NO_ID
from logstream.window import Window

from .asked import Asked, ask

__all__ = ["ask"]  # a fixture

START = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(minutes=5))

ROWS = {
    1: ("job", "infinity", '{"id": 1, "note": "beyond"}'),
    2: ("job", START, "no json"),
    3: ("job", START, None),
    4: ("unheard_of", START, '{"id": 4}'),
    5: ("job", START, ""),
}
"""Rows that are no events: kind, occurred_at, payload."""


@pytest.fixture
def letters(ask: Asked, store: psycopg.Connection, tmp_path: Path) -> dict[int, str]:
    """Where the rejected rows are shown, by their ids; the one without an id is 0."""
    store.execute(
        "alter table events alter payload type text, alter payload drop not null, alter occurred_at drop not null"
    )
    store.execute("alter table events drop constraint events_pkey, drop constraint events_kind_check")
    store.execute("alter table events alter id drop identity if exists")
    store.execute("alter table events alter id drop not null")
    store.execute("insert into workspaces (id, role) values (1, 'customer')")
    for number, (kind, occurred, payload) in {**ROWS, None: ("job", START, '{"id": "none"}')}.items():
        store.execute(
            "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload) values (%s, 1, %s, %s, %s, %s)",
            (number, kind, occurred, START, payload),
        )
    console = the_console()
    setting = {"enabled": True, "events": ["job_details"], "destination": "lake"}
    lake = {"type": "file", "path": str(tmp_path)}
    console.settings.save({"admin": setting, "destinations": {"lake": lake}}, Actor("ann", ""), None)
    planned = console.exporter.plan(WINDOW)
    console.exporter.deliver([key for share in planned.shares for key in share.lanes])
    console.exporter.seal(planned.delivery_ids)
    return {max(row.event_id, 0): f"{row.delivery_id}/{row.event_id}" for row in console.deliveries.rejected()}


def test_a_row_that_is_no_event_is_shown_with_why(
    ask: Asked, letters: dict[int, str], store: psycopg.Connection
) -> None:
    assert sorted(letters) == [0, *ROWS]
    shown = {
        1: ("Its occurred_at is not in the years 1 to 9999.", "&#34;note&#34;: &#34;beyond&#34;"),
        2: ("not JSON", "no json"),
        4: ("There is no kind &#34;unheard_of&#34;.", "&#34;id&#34;: 4"),
    }
    for number, (why, held) in shown.items():
        text = ask("GET", f"parts/dead-letter/{letters[number]}").text
        assert "It is no event:" in text and why in text and held in text, text
        assert "no longer holds" not in text
    for number, why in ((3, "Its payload is NULL."), (5, "JSON")):
        text = ask("GET", f"parts/dead-letter/{letters[number]}").text
        assert why in text and "Its payload is empty" in text and "no longer holds" not in text, text
    # one without an id cannot be asked for: nothing is said of whether it is there
    text = ask("GET", f"parts/dead-letter/{letters[0]}").text
    assert "Its id is NULL." in text and "no id by which it could be found" in text and "no longer holds" not in text
    assert ask("GET", f"api/v1/rejected/{letters[1]}").json() == {
        "event": ROWS[1][2],
        "fault": "its occurred_at is not in the years 1 to 9999",
    }
    assert ask("GET", f"api/v1/rejected/{letters[3]}").json() == {"event": "", "fault": "its payload is NULL"}
    assert ask("GET", f"api/v1/rejected/{letters[0]}").json() == {"event": None, "fault": NO_ID}
    # mended it is an event; purged it is gone
    store.execute("update events set occurred_at = %s where id = 1", (START,))
    text = ask("GET", f"parts/dead-letter/{letters[1]}").text
    assert "beyond" in text and "It is no event" not in text
    store.execute("delete from events where id = 2")
    assert "The log store no longer holds this event." in ask("GET", f"parts/dead-letter/{letters[2]}").text
    assert ask("GET", f"api/v1/rejected/{letters[2]}").json() == {"event": None, "fault": None}


def test_the_destination_and_the_workspace_of_a_letter_are_a_click_away(ask: Asked, letters: dict[int, str]) -> None:
    text, place = ask("GET", "dead-letters").text, "/logstream/destinations/lake"
    assert len(letters) == text.count(f'{place}">lake</a></td>') == text.count('/customers/1">1</a>')
