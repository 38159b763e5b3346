"""A process that pauses in the middle of a transaction, frozen or cut off from the network, holds up no other run."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import event

from logstream.ledger import book, checkpoints
from logstream.ledger.records import State

from .test_engine import WINDOW, Make, engine, export, filled, override
from .test_sealing import clean, folder, only

__all__ = ["engine", "filled"]  # fixtures

ANNOUNCES = "insert into logstream.superseded_parts"


@pytest.mark.timeout(120)
def test_a_worker_that_pauses_between_a_statement_and_its_commit_holds_up_no_other_run(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    exporter = engine(override(folder(out)))
    paused, woken = threading.Event(), threading.Event()

    def pause(_connection: object, _cursor: object, text: str, *_: object) -> None:
        if not paused.is_set() and ANNOUNCES in text:
            paused.set()
            woken.wait()

    planned = exporter.plan(WINDOW)
    monkeypatch.setattr(book, "PAUSE_SECONDS", 0.5)
    monkeypatch.setattr(checkpoints, "ANSWER_SECONDS", 1.0)
    event.listen(exporter.engine, "after_cursor_execute", pause)
    lanes = [key for share in planned.shares for key in share.lanes]
    worker = threading.Thread(target=exporter.deliver, args=(lanes,))
    worker.start()
    try:
        assert paused.wait(60), "it writes this"
        other = engine(override(folder(out)))
        assert only(export(other)[1]).state is State.DELIVERED
    finally:
        woken.set()
        worker.join()
    clean(exporter, out)
