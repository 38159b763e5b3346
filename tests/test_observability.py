"""What is seen from outside: the gauges say what is so, and Prometheus' own tool finds each alert for its fault and for no other."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from logstream.airflow.operators import metrics
from logstream.cli import main
from logstream.export.exporter import Exporter
from logstream.ledger.coverage import Schedule
from logstream.ledger.status import look
from logstream.testing.servers import LogSink
from logstream.window import Window

from .stage import PROJECT
from .test_engine import Make, engine, filled
from .test_healing import run, store_is_away, two_destinations, window
from .test_losses import quick

__all__ = ["engine", "filled"]  # fixtures

FOLDER = PROJECT / "deploy" / "observability"
RULES = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
BOARD = json.loads((FOLDER / "dashboard.json").read_text())
RUNBOOK = (PROJECT / "docs" / "runbook.md").read_text()

Gauges = dict[str, float]


@pytest.fixture
def gauges(monkeypatch: pytest.MonkeyPatch) -> Gauges:
    """What was sent to Airflow's metrics last, as Prometheus has it."""
    sent: Gauges = {}

    def gauge(name: str, value: float, tags: dict[str, str] | None = None) -> None:
        labels = ",".join(f'{key}="{label}"' for key, label in (tags or {}).items())
        sent[f"airflow_{name.replace('.', '_')}" + (f"{{{labels}}}" if labels else "")] = float(value)

    monkeypatch.setattr(metrics.stats, "gauge", gauge)
    return sent


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus' own checker of rules, of Debian."""
    found = subprocess.run(["bash", "deploy/observability.sh"], cwd=PROJECT, capture_output=True, text=True, check=True)
    return Path(found.stdout.strip())


def watch(exporter: Exporter) -> None:
    metrics.send(look(exporter.engine, exporter.settings.current().settings.destinations))


Scene = Callable[[Exporter, psycopg.Connection, LogSink], None]


def all_well(exporter: Exporter, store: psycopg.Connection, sink: LogSink) -> None:
    run(exporter, 0)


def paused(exporter: Exporter, store: psycopg.Connection, sink: LogSink) -> None:
    run(exporter, 0)
    now = datetime.now(UTC)
    store.execute("update logstream.settings_snapshots set created_at = %s", (now - timedelta(minutes=50),))
    store.execute("update logstream.deliveries set sealed_at = sealed_at - interval '50 minutes'")
    start = now - timedelta(minutes=45)
    exporter.ledger.note_schedule(Schedule.of(Window(start, start + timedelta(minutes=5))))


def failing(exporter: Exporter, store: psycopg.Connection, sink: LogSink, times: int = 1) -> None:
    sink.fail = lambda _: 503
    for number in range(times):
        run(exporter, number)


def failing_for_long(exporter: Exporter, store: psycopg.Connection, sink: LogSink) -> None:
    failing(exporter, store, sink, 4)


def refusing(exporter: Exporter, store: psycopg.Connection, sink: LogSink) -> None:
    sink.fail = lambda number: 400 if number % 3 == 0 else None
    run(exporter, 0)


def forgotten(exporter: Exporter, store: psycopg.Connection, sink: LogSink) -> None:
    failing(exporter, store, sink)
    exporter.ledger.resume("hook")
    store.execute("update logstream.deliveries set sealed_at = sealed_at - interval '50 minutes'")


def purged(exporter: Exporter, store: psycopg.Connection, sink: LogSink) -> None:
    failing(exporter, store, sink)
    store.execute("delete from events where recorded_at < %s", (window(0).end,))
    sink.fail = lambda _: None
    run(exporter, 1)


def blocked(exporter: Exporter, store: psycopg.Connection, sink: LogSink) -> None:
    with store_is_away():
        run(exporter, 0)


# the windows of these tests are of months ago: what is owed of them is old
SCENES: dict[Scene, set[str]] = {
    all_well: set(),
    paused: {"LogstreamGaps"},
    failing: {"LogstreamFailing", "LogstreamLag"},
    failing_for_long: {"LogstreamSuspended", "LogstreamLag"},
    blocked: {"LogstreamBlocked", "LogstreamLag"},
    refusing: {"LogstreamRejecting"},
    forgotten: {"LogstreamOwed", "LogstreamLag"},
    purged: {"LogstreamLost"},
}


def alerts(promtool: Path, gauges: Gauges, folder: Path) -> set[str]:
    """What Prometheus would fire if the gauges stayed as they are for an hour."""
    names = [rule["alert"] for rule in RULES]
    document: dict[str, Any] = {
        "rule_files": [str(FOLDER / "alerts.yml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "5m",
                "input_series": [{"series": name, "values": f"{value!r}x12"} for name, value in gauges.items()],
                "alert_rule_test": [{"eval_time": "1h", "alertname": name, "exp_alerts": []} for name in names],
            }
        ],
    }
    file = folder / "rules.yml"
    file.write_text(yaml.safe_dump(document))
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False, timeout=60)
    fired = set(re.findall(r"alertname: (\w+), time", done.stdout + done.stderr))
    assert (done.returncode == 0) is (not fired), done.stdout + done.stderr
    return fired


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_each_fault_has_its_alert(
    scene: Scene,
    engine: Make,
    filled: psycopg.Connection,
    sink: LogSink,
    gauges: Gauges,
    promtool: Path,
    tmp_path: Path,
) -> None:
    document = two_destinations(tmp_path / "out")
    document["destinations"]["hook"]["format"] = "single"
    exporter = quick(engine(document))
    scene(exporter, filled, sink)
    watch(exporter)
    assert alerts(promtool, gauges, tmp_path) == SCENES[scene]
    assert gauges["airflow_logstream_well"] == float(not SCENES[scene])
    assert gauges['airflow_logstream_destination_well{destination="out"}'] == float(scene not in (paused, blocked))


def test_silence_has_an_alert_and_every_rule_a_scene(promtool: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [promtool, "check", "rules", FOLDER / "alerts.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert alerts(promtool, {}, tmp_path) == {"LogstreamNotWatched"}
    seen = set().union(*SCENES.values()) | {"LogstreamNotWatched"}
    assert {rule["alert"] for rule in RULES} == seen


def sent_names() -> set[str]:
    gauged = {f"airflow_{name.replace('.', '_')}" for name in {**metrics.IN_SUM, **metrics.BY_DESTINATION}}
    return gauged | {"airflow_logstream_events_total", "airflow_logstream_bytes_total"}


def test_rules_and_dashboard_name_what_is_sent() -> None:
    expressions = [rule["expr"] for rule in RULES]
    expressions += [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
    named = {name for text in expressions for name in re.findall(r"airflow_logstream_\w+", text)}
    assert named <= sent_names()
    counted = (PROJECT / "plugins/logstream/airflow/operators/seal.py").read_text()
    assert '"logstream.events"' in counted and '"logstream.bytes"' in counted
    described = (PROJECT / "docs" / "operating.md").read_text()
    for name, meaning in {**metrics.IN_SUM, **metrics.BY_DESTINATION}.items():
        assert f"| `{name}` | {meaning} |" in described


def test_grafana_reads_all_of_the_dashboard() -> None:
    register_default_plugins()
    back = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(BOARD)))

    def kept(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
        if isinstance(ours, dict):
            for name, value in ours.items():
                if not isinstance(theirs, dict) or name not in theirs:
                    yield f"{path}/{name}"
                else:
                    yield from kept(value, theirs[name], f"{path}/{name}")
        elif isinstance(ours, list):
            assert len(ours) == len(theirs), path
            for index, pair in enumerate(zip(ours, theirs, strict=True)):
                yield from kept(*pair, f"{path}[{index}]")
        elif ours != theirs:
            yield f"{path}: {ours} is {theirs}"

    assert list(kept(BOARD, back)) == []
    places = [panel["gridPos"] for panel in BOARD["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(cells) == len(set(cells)), "panels lie on each other"
    assert max(x for x, _ in cells) < 24


def test_the_runbook_has_a_section_for_each_alert_with_commands_that_are_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for rule in RULES:
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert file == "docs/runbook.md"
        assert f"## {rule['alert']}\n" in RUNBOOK and anchor == rule["alert"].lower()
    blocks = re.findall(r"```\n(.*?)```", RUNBOOK, re.DOTALL)
    commands = {line for block in blocks for line in block.splitlines() if line.startswith("logstream ")}
    commands |= set(re.findall(r"`(logstream [a-z][^`]*)`", RUNBOOK))
    assert len(commands) > 6
    for command in commands:
        words = shlex.split(command)[1:]
        with pytest.raises(SystemExit) as end:
            main([*words, "--help"])
        assert end.value.code == 0, command
        shown = capsys.readouterr().out
        assert all(word in shown for word in words if word.startswith("--")), command
