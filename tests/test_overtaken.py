"""A run seals, and another run plans the window again meanwhile, delivers all of it, and may have sealed it: that one's word counts.

What a sealing writes holds for the plan that it has looked at: the outcome, the manifest, and what it removes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowSkipException

from logstream.airflow.operators.seal import SealWindow
from logstream.destinations.file import FileDestination
from logstream.destinations.outcome import GiveUp, Outcome
from logstream.export import sealer
from logstream.export.beside import ManifestFolder
from logstream.export.plan import Planned, Planner
from logstream.export.refusals import LaneFailed
from logstream.export.sealer import Sealer
from logstream.ledger.ledger import Ledger
from logstream.ledger.records import State
from logstream.verify.verifier import verify
from tests.test_engine import WINDOW, Make, engine, filled
from tests.test_losses import quick
from tests.test_only_copies import apply, document
from tests.test_taken_over import OURS, context_of, delivered, finish, other_run

__all__ = ["engine", "filled"]  # fixtures

MOMENTS: list[tuple[Any, str]] = [(Ledger, "lanes_of"), (Sealer, "_listings"), (Ledger, "chain"), (Ledger, "seal")]
ENDS = ["before it seals", "without its manifest", "sealed"]
CASES = [(where, ends) for where in MOMENTS for ends in ENDS]
# a manifest that is chained and not put yet is in the way of one that is sealed just then: that one is owed, and sealed again
CASES += [((Ledger, "not_put"), ends) for ends in ENDS[:2]]


def after_first(monkeypatch: pytest.MonkeyPatch, where: tuple[Any, str], act: Callable[[], None]) -> None:
    """Once, at a moment of the sealing: after what it reads there, or before what it writes."""
    call, done = getattr(*where), list[int]()

    def meanwhile(*arguments: Any, **named: Any) -> Any:
        reads = where[1] in ("lanes_of", "not_put")
        found = list(call(*arguments, **named)) if reads else None
        if not done:
            done.append(1)
            act()
        return found if reads else call(*arguments, **named)

    monkeypatch.setattr(*where, meanwhile)


async def refuse(*_: object) -> None:
    raise LaneFailed("the folder is read-only", permanent=False)


@pytest.mark.parametrize(("where", "ends"), CASES, ids=lambda value: value if isinstance(value, str) else value[1])
def test_overtaken_by_one_that_delivers_all(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: tuple[Any, str],
    ends: str,
) -> None:  # fmt: skip
    """Its outcome was written over the other's: red, and owed; or delivered, owed to no one, and without its manifest."""
    out = tmp_path / "out"
    exporter = quick(engine(document(out, manifests=True)))
    planned = delivered(exporter)
    again: list[Planned] = []

    with other_run(exporter, filled) as other:

        def overtake() -> None:
            apply(other, document(out, 2, manifests=True))
            again.append(other.plan(WINDOW, carrier="other"))
            other.deliver([key for share in again[0].shares for key in share.lanes])
            if ends == "sealed":
                finish(other, again[0])

        with monkeypatch.context() as patch:
            after_first(patch, where, overtake)
            (report,) = exporter.seal(planned.delivery_ids, carrier=OURS)
        state = State.DELIVERED if ends == "sealed" else State.PLANNED
        assert (report.state, report.error, report.taken_over) == (state, None, True)
        (delivery,) = exporter.ledger.deliveries(planned.delivery_ids)
        assert (delivery.state, exporter.ledger.owed(), exporter.ledger.health()) == (state, [], {})
        assert Planner(other).plan_owed(None, None, carrier="a third")[0] == []
        if ends == "without its manifest":
            with monkeypatch.context() as patch:
                patch.setattr(ManifestFolder, "put", refuse)
                (report,) = other.seal(again[0].delivery_ids, carrier="other")
            assert report.state is State.FAILED and [item.destination for item in other.ledger.owed()] == ["d"]
        if ends != "sealed":
            finish(other, again[0])
        assert verify(other, WINDOW).findings == []


@pytest.mark.parametrize("sealed", [False, True])
def test_the_dag_skips_a_window_that_another_run_has_delivered(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sealed: bool
) -> None:
    """The other plans before the listings are read, and has delivered when the outcome is written: what was read is of no plan."""
    out = tmp_path / "out"
    exporter = quick(engine(document(out)))
    planned = delivered(exporter)
    again: list[Planned] = []
    monkeypatch.setattr("logstream.airflow.operators.seal.exporter", lambda: nullcontext(exporter))
    with other_run(exporter, filled) as other, monkeypatch.context() as patch:

        def plan() -> None:
            apply(other, document(out, 2))
            again.append(other.plan(WINDOW, carrier="other"))

        def deliver() -> None:
            other.deliver([key for share in again[0].shares for key in share.lanes])
            if sealed:
                finish(other, again[0])

        after_first(patch, (Sealer, "_listings"), plan)
        after_first(patch, (Ledger, "seal"), deliver)
        with pytest.raises(AirflowSkipException, match="another run has planned the window"):
            SealWindow(task_id="seal").execute(context_of(planned.delivery_ids))
        (delivery,) = exporter.ledger.deliveries(planned.delivery_ids)
        assert delivery.state is (State.DELIVERED if sealed else State.PLANNED)
        assert exporter.ledger.owed() == []


def test_what_another_plan_supersedes_is_not_removed(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run has delivered nothing yet: what had arrived is all that the destination has."""
    out = tmp_path / "out"
    exporter = quick(engine(document(out)))
    exporter.seal(delivered(exporter).delivery_ids, carrier=OURS)
    apply(exporter, document(out, 2))
    planned = delivered(exporter)
    remove, again, kept = sealer.remove_superseded, list[Planned](), list[set[Path]]()
    with other_run(exporter, filled) as other, monkeypatch.context() as patch:

        async def meanwhile(*arguments: Any) -> None:
            kept.append({path for path in out.rglob("*") if path.is_file()})
            apply(other, document(out, 3))
            again.append(other.plan(WINDOW, carrier="other"))
            await remove(*arguments)
            kept.append({path for path in out.rglob("*") if path.is_file()})

        patch.setattr(sealer, "remove_superseded", meanwhile)
        (report,) = exporter.seal(planned.delivery_ids, carrier=OURS)
        assert kept[0] == kept[1]
        assert report.taken_over and report.error is None
        patch.undo()
        finish(other, again[0])


def test_written_off_after_a_manifest_of_an_earlier_plan(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier plan's manifest was made and could not be put. It was taken for that of what was written off."""
    out = tmp_path / "out"
    exporter = quick(engine(document(out, manifests=True)))
    with monkeypatch.context() as patch:
        patch.setattr(ManifestFolder, "put", refuse)
        (report,) = exporter.seal(delivered(exporter).delivery_ids, carrier=OURS)
        assert report.state is State.FAILED
    apply(exporter, document(out, 2, manifests=True))
    put = FileDestination.put_now

    def broken(self: FileDestination, key: str, *arguments: Any) -> Outcome:
        return GiveUp("the disk is full") if "lane-01" in key else put(self, key, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(FileDestination, "put_now", broken)
        (report,) = exporter.seal(delivered(exporter).delivery_ids, carrier=OURS)
        assert report.state is State.FAILED and report.events
    with monkeypatch.context() as patch:  # it cannot even be opened
        patch.setattr(Sealer, "_prepare", refuse)
        exporter.write_off("d", "ann", "its disk is full")
    (delivery,) = exporter.ledger.deliveries([report.id])
    says = exporter.ledger.chain_ends(["d"])[("d", True)].fields
    assert delivery.state is State.DELIVERED
    assert (says["events"], says["written_off"] > 0) == (delivery.events, True)
