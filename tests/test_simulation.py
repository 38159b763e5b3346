"""A minute of simulated worlds (docs/testing.md), and their machinery. `make soak` lets 1,000 of them happen."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from tests.simulation.author import script_of
from tests.simulation.crew import Order, happen
from tests.simulation.mutants import PATCHES, mutant
from tests.simulation.named import superseded_in
from tests.simulation.script import Insert, Run, Script
from tests.simulation.shrink import Shrinker, kind_of, story
from tests.simulation.universe import Universe

SOAK = bool(os.environ.get("LOGSTREAM_SOAK"))
WORLDS = 1_000 if SOAK else 12
SEED = int(os.environ.get("LOGSTREAM_SEED", "1"))
PROJECT = Path(__file__).parents[1]


def simulate(*arguments: str, folder: Path = PROJECT, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: what killed attempts leave behind must not reach other tests."""
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    everything = {**os.environ, **environment}
    return subprocess.run(command, cwd=folder, env=everything, capture_output=True, text=True, check=False)


@pytest.mark.servers
@pytest.mark.timeout(14_400 if SOAK else 900)
def test_worlds_lose_nothing_double_nothing_and_hide_nothing() -> None:
    done = simulate("--seed", str(SEED), "--worlds", str(WORLDS))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{WORLDS} worlds" in done.stdout.splitlines()[-1]


@pytest.mark.servers
@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_worlds_without_the_wire_are_judged_alike() -> None:
    done = simulate("--seed", str(SEED), "--worlds", "6", "--no-wire")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_world_that_breaks_is_a_bad_one() -> None:
    class Nowhere:
        def database(self) -> None:
            raise OSError("there is no room")

    assert happen(cast(Universe, Nowhere()), 1, Order()).wrong == ("the world broke by OSError('there is no room')",)


def test_what_is_superseded_is_what_the_newest_manifest_of_a_window_says() -> None:
    def listing(*names: str) -> bytes:
        return gzip.compress(b"".join(json.dumps({"name": name}).encode() + b"\n" for name in names))

    window = json.dumps({"window": {"start": "2026-03-01T00:00:00Z", "end": "2026-03-01T00:05:00Z"}}).encode()
    objects = {
        "_manifests/lake/00000001.json": window,
        "_manifests/lake/00000001-00000.ndjson.gz": listing("a"),
        "_manifests/lake/00000002.json": window,
        "_manifests/lake/00000002-00000.ndjson.gz": listing("b", "c"),
        "_manifests/lake/00000002-superseded-00000.ndjson.gz": listing("a", "c"),
    }
    assert superseded_in(objects) == {"a"}


@pytest.mark.servers
@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_a_mistake_is_told_as_a_story_of_what_is_needed_for_it() -> None:
    with mutant(PATCHES / "08-job-status-keeps-lines.patch") as (folder, environment):
        done = simulate("--worlds", "30", "--no-wire", "--first", "--shrink", "20", folder=folder, **environment)
    assert done.returncode == 1, done.stdout + done.stderr
    told = done.stdout.partition("cut down, this is what happens:")[2].partition("and in the end:")[0].strip()
    lines = told.splitlines()
    assert 0 < len(lines) <= 15, done.stdout
    assert any("(job of" in line for line in lines), "an event of the kind that the mistake is about is in the story"
    assert "came to" in done.stdout and "as something else" in done.stdout


@pytest.mark.parametrize("patch", sorted(PATCHES.glob("*.patch")), ids=lambda patch: patch.stem)
def test_a_mutant_fits_the_code(patch: Path) -> None:
    done = subprocess.run(
        ["git", "apply", "--check", str(patch)], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"make the mistake anew in today's code: {done.stderr}"


def test_there_are_mutants_enough() -> None:
    assert len(list(PATCHES.glob("*.patch"))) >= 20


# shrinking, of worlds that are judged by a rule


def bad_with(row: int, run: Run) -> Shrinker:
    """Worlds are bad that have a row before a run."""

    def live(script: Script) -> list[str]:
        seen = False
        for happening in script.happenings:
            seen = seen or (isinstance(happening, Insert) and any(item.id == row for item in happening.rows))
            if isinstance(happening, Run) and happening.window == run.window and not happening.again and seen:
                return [f"event {row} is doubled at lake-7"]
        return []

    return Shrinker(live, ["event 99 is doubled at lake"], most=10_000)


def test_what_is_not_needed_is_left_out() -> None:
    script = next(found for found in map(script_of, range(50)) if sum(1 for _ in found.rows()) > 40)
    run = [item for item in script.happenings if isinstance(item, Run) and not item.again][-1]
    row = next(script.rows())
    shrinker = bad_with(row.id, run)
    small = shrinker.shrink(script)
    assert [type(item).__name__ for item in small.happenings] == ["Apply", "Insert", "Run"]
    assert list(small.rows()) == [row]
    assert small.workspaces == (row.workspace,)
    assert not any(item.blows or item.doubled for item in small.happenings if isinstance(item, Run))
    assert len(list(story(small))) == 3
    assert shrinker.wrong == [f"event {row.id} is doubled at lake-7"]


def test_a_world_that_goes_wrong_otherwise_is_another_one() -> None:
    assert kind_of(["event 1 is doubled at lake"]) == kind_of(["event 22 is doubled at hook-3"])
    assert not kind_of(["event 1 is doubled at lake"]) & kind_of(["minutes 0 to 5 are a gap"])


def test_one_seed_writes_one_script() -> None:
    assert script_of(7) == script_of(7) != script_of(8)
