"""A run seals what another run has planned again meanwhile: it leaves that to the other, tells so, and is not red for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import yaml
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from logstream.airflow.operators.redeliver import Redeliver
from logstream.airflow.operators.seal import SealWindow
from logstream.cli import main
from logstream.export.exporter import Exporter
from logstream.export.plan import Planned, Planner
from logstream.export.sealer import Sealer
from logstream.ledger.ledger import Ledger
from logstream.ledger.records import State
from logstream.testing.servers import LogSink
from logstream.verify.verifier import verify
from tests.test_engine import QUICK, WINDOW, Make, engine, filled
from tests.test_healing import two_destinations
from tests.test_losses import quick
from tests.test_only_copies import apply, document

__all__ = ["engine", "filled"]  # fixtures

OURS = "logstream_export/ours"


@contextmanager
def other_run(exporter: Exporter, store: psycopg.Connection) -> Iterator[Exporter]:
    other = Exporter(store.info.dsn, store.info.dsn, exporter.connections, policy=QUICK)
    yield other
    other.close()


def delivered(exporter: Exporter, carrier: str | None = OURS) -> Planned:
    planned = exporter.plan(WINDOW, carrier=carrier)
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    return planned


def finish(other: Exporter, planned: Planned) -> None:
    """The other run delivers and seals what it has planned."""
    other.deliver([key for share in planned.shares for key in share.lanes])
    assert {report.state for report in other.seal(planned.delivery_ids, carrier="other")} == {State.DELIVERED}
    assert verify(other, WINDOW).findings == []


def test_planned_again_just_before_it_is_sealed(engine: Make, filled: psycopg.Connection, tmp_path: Path) -> None:
    """Before the sealing has looked at its lanes: what the other is to deliver was marked as failed, and a third run took it."""
    out = tmp_path / "out"
    exporter = quick(engine(document(out)))
    planned = delivered(exporter)
    with other_run(exporter, filled) as other:
        apply(other, document(out, 2))
        again = other.plan(WINDOW, carrier="other")
        (report,) = exporter.seal(planned.delivery_ids, carrier=OURS)
        assert report.taken_over and report.state is State.PLANNED and "another run" in (report.error or "")
        (delivery,) = exporter.ledger.deliveries(planned.delivery_ids)
        assert (delivery.state, exporter.ledger.owed(), exporter.ledger.health()) == (State.PLANNED, [], {})
        assert Planner(other).plan_owed(None, None, carrier="a third")[0] == []
        finish(other, again)


@pytest.mark.parametrize("where", [(Sealer, "_listings"), (Ledger, "chain"), (Ledger, "seal")])
@pytest.mark.parametrize("carrier", [OURS, None])
def test_planned_again_while_it_is_sealed(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: tuple[type, str],
    carrier: str | None,
) -> None:  # fmt: skip
    """All had arrived: it has no error, whatever its manifest says meanwhile, and the other's plan stays."""
    out = tmp_path / "out"
    exporter = quick(engine(document(out, manifests=True)))
    planned = delivered(exporter, carrier)
    again: list[Planned] = []
    call = getattr(*where)
    with other_run(exporter, filled) as other:

        def meanwhile(*arguments: Any, **named: Any) -> Any:
            if not again:
                apply(other, document(out, 2, manifests=True))
                again.append(other.plan(WINDOW, carrier="other"))
            return call(*arguments, **named)

        with monkeypatch.context() as patch:
            patch.setattr(*where, meanwhile)
            (report,) = exporter.seal(planned.delivery_ids, carrier=carrier)
        assert (report.state, report.error, report.taken_over) == (State.PLANNED, None, True)
        (delivery,) = exporter.ledger.deliveries(planned.delivery_ids)
        assert (delivery.state, exporter.ledger.owed()) == (State.PLANNED, [])
        finish(other, again[0])


def test_a_run_that_comes_back_to_its_own_plan_is_no_other(
    engine: Make, sink: LogSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not delivered is failed, in the run's own name, in an older version's spelling of it, and where no run has one."""
    exporter = quick(engine(two_destinations(tmp_path / "out")))
    sink.fail = lambda _: 503
    for carrier in (OURS, "ours", None):
        planned = delivered(exporter, carrier)
        reports = {
            report.destination: report for report in exporter.seal(planned.delivery_ids, carrier=carrier and OURS)
        }
        assert (reports["hook"].state, reports["hook"].taken_over) == (State.FAILED, False)
        assert reports["out"].state is State.DELIVERED


class Task:
    """Stands for a task instance of our run."""

    def __init__(self, delivery_ids: list[int]) -> None:
        self.delivery_ids = delivery_ids

    def xcom_pull(self, task_ids: str, key: str) -> list[int]:
        return self.delivery_ids

    def xcom_push(self, key: str, value: Any) -> None:
        return


def context_of(delivery_ids: list[int], **params: Any) -> Any:
    run = SimpleNamespace(dag_id="logstream_export", run_id="ours", run_type="manual", triggering_user_name="ann")
    return {
        "data_interval_start": WINDOW.start, "data_interval_end": WINDOW.end, "ti": Task(delivery_ids), "dag_run": run,
        "params": params,
    }  # fmt: skip


def test_the_dag_skips_a_window_that_is_all_another_runs(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    exporter = quick(engine(document(out)))
    planned = delivered(exporter)
    monkeypatch.setattr("logstream.airflow.operators.seal.exporter", lambda: nullcontext(exporter))
    with other_run(exporter, filled) as other:
        apply(other, document(out, 2))
        again = other.plan(WINDOW, carrier="other")
        with pytest.raises(AirflowSkipException, match=r"another run has planned the window .* again meanwhile"):
            SealWindow(task_id="seal").execute(context_of(planned.delivery_ids))
        finish(other, again)


@pytest.mark.parametrize(("taken", "status"), [("out", None), ("out", 503), ("hook", 503)])
def test_the_dag_vouches_for_the_rest_of_its_window(
    engine: Make, filled: psycopg.Connection, sink: LogSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: str,
    status: int | None,
) -> None:  # fmt: skip
    """One destination's part was planned again. The run is as green, or as red, as what is left to it."""
    settings = two_destinations(tmp_path / "out")
    exporter = quick(engine(settings))
    monkeypatch.setattr("logstream.airflow.operators.seal.exporter", lambda: nullcontext(exporter))
    sink.fail = lambda _: status
    planned = delivered(exporter)
    with other_run(exporter, filled) as other:
        settings["destinations"][taken]["lanes"] = 3  # what has arrived is to be sent otherwise
        apply(other, settings)
        again = other.plan(WINDOW, only=[taken], carrier="other")
        assert [lane for share in again.shares for lane in share.lanes]
        task, context = SealWindow(task_id="seal"), context_of(planned.delivery_ids)
        if (taken, status) == ("out", 503):
            with pytest.raises(AirflowFailException, match=r"not complete: 1 of 2 .*: hook: .*503"):
                task.execute(context)
        else:
            task.execute(context)
    states = {delivery.destination: delivery.state for delivery in exporter.ledger.deliveries(planned.delivery_ids)}
    assert states[taken] is State.PLANNED


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.setenv("LOGSTREAM_FILE_ROOTS", str(tmp_path))
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(document(tmp_path / "out")))
    dsn = ["--dsn", filled.info.dsn]

    def run(*words: str) -> tuple[int, str, str]:
        code = main([*words, *dsn])
        said = capsys.readouterr()
        return code, said.out, said.err

    assert run("settings", "apply", str(tmp_path / "settings.yaml"))[0] == 0
    return run


@pytest.mark.parametrize("arrived", [True, False])
@pytest.mark.parametrize("name", ["export", "redeliver"])
def test_commands(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command,
    name: str, arrived: bool,
) -> None:  # fmt: skip
    """One that delivered all it had planned is done; one that was overtaken before ends with 1: it cannot say it is delivered."""
    out = tmp_path / "out"
    exporter = quick(engine(document(out)))
    again: list[Planned] = []
    span = ["--from", WINDOW.start.isoformat(), "--to", WINDOW.end.isoformat()]
    if name == "redeliver":
        exporter.ledger.seal(dict.fromkeys(exporter.plan(WINDOW).delivery_ids, State.FAILED))
        span = []
    read = Ledger.deliveries if not arrived else Ledger.chain
    with other_run(exporter, filled) as other:

        def meanwhile(*arguments: Any, **named: Any) -> Any:
            if not again:
                apply(other, document(out, 2))
                again.append(other.plan(WINDOW, carrier="other"))
            return read(*arguments, **named)

        with monkeypatch.context() as patch:
            patch.setattr(Ledger, read.__name__, meanwhile)
            code, said, told = command(name, *span)
        assert code == (0 if arrived else 1), (said, told)
        assert "another run has planned it again meanwhile, and is to deliver it" in told
        assert ("note: " in told, "error: " in told) == (arrived, not arrived)
        finish(other, again[0])
    if name == "export":
        code, said, told = command(name, *span, "--json")
        assert code == 0 and json.loads(said)["deliveries"][0]["state"] == "delivered" and "another run" not in told


def test_the_dag_that_redelivers(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = quick(engine(document(tmp_path / "out")))
    exporter.ledger.seal(dict.fromkeys(exporter.plan(WINDOW).delivery_ids, State.FAILED))
    monkeypatch.setattr("logstream.airflow.operators.redeliver.exporter", lambda: nullcontext(exporter))
    read = Ledger.deliveries
    again: list[Planned] = []
    with other_run(exporter, filled) as other, monkeypatch.context() as patch:

        def meanwhile(*arguments: Any) -> Any:
            if not again:
                apply(other, document(tmp_path / "out", 2))
                again.append(other.plan(WINDOW, carrier="other"))
            return read(*arguments)

        patch.setattr(Ledger, "deliveries", meanwhile)
        Redeliver(task_id="redeliver").execute(context_of([], rejected=False))
        patch.undo()
        finish(other, again[0])
