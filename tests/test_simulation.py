"""A minute of simulated worlds (docs/testing.md). `make soak` lets 1,000 of them happen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = bool(os.environ.get("LOGSTREAM_SOAK"))
WORLDS = 1_000 if SOAK else 30
SEED = int(os.environ.get("LOGSTREAM_SEED", "1"))


@pytest.mark.timeout(7200 if SOAK else 600)
def test_worlds_lose_nothing_double_nothing_and_hide_nothing() -> None:
    # in a process of its own: what killed attempts leave behind must not reach other tests
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(SEED), "--worlds", str(WORLDS)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{WORLDS} worlds" in done.stdout.splitlines()[-1]
