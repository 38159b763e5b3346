"""`make mutants`: each mistake of `mutants/` in turn is made in a copy of the package; the worlds must find it.

A mutant that no world finds is a hole in the net: then the worlds, not the mutant, must be made better.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from tests.simulation.crew import processors
from tests.simulation.universe import server
from tests.simulation.workers import ONE_WAY

PROJECT = Path(__file__).parents[2]
PATCHES = Path(__file__).parent / "mutants"


@contextmanager
def mutant(patch: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A copy of the package with a mistake in it: its folder, and the environment that makes it the one that is used.

    Raises `RuntimeError` for a patch that does not fit the code any more.
    """
    with tempfile.TemporaryDirectory(prefix="logstream-mutant-") as folder:
        copy = Path(folder)
        shutil.copytree(PROJECT / "plugins", copy / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("tests", "docs"):
            (copy / name).symlink_to(PROJECT / name)
        applied = subprocess.run(["git", "apply", str(patch)], cwd=copy, capture_output=True, text=True, check=False)
        if applied.returncode:
            raise RuntimeError(f"{patch.name} does not fit the code any more: {applied.stderr.strip()}")
        yield copy, {"PYTHONPATH": str(copy / "plugins"), "PYTHONDONTWRITEBYTECODE": "1"}


_WORLD = re.compile(r"world: (\d+)\n")


def world_of(patch: Path) -> int | None:
    """The world that a patch names in its first line: few others find what it takes several rare things for."""
    named = _WORLD.match(patch.read_text(encoding="utf-8"))
    return int(named[1]) if named else None


def found_by(patch: Path, dsn: str, worlds: int, seed: int) -> str | None:
    """The first bad world of a mutant and what is wrong in it, `None` if none of them is bad.

    `dsn` is that of a server for worlds (`universe.server`). Raises `RuntimeError` where the worlds did not run.
    """
    if (named := world_of(patch)) is not None:
        seed, worlds = named, 1
    arguments = ["--no-wire", "--shrink", "0", "--jobs", "1", "--first", "--dsn", dsn,
                 "--seed", str(seed), "--worlds", str(worlds)]  # fmt: skip
    with mutant(patch) as (copy, environment):
        way = "together" if "export/together.py" in patch.read_text(encoding="utf-8") else "alone"
        command = [sys.executable, "-m", "tests.simulation", *arguments]
        variables = {**os.environ, **environment, ONE_WAY: way}
        done = subprocess.run(command, cwd=copy, env=variables, capture_output=True, text=True, check=False)
    lines = [line.strip() for line in done.stdout.splitlines()]
    if done.returncode == 1 and lines and lines[0].startswith("world "):
        return f"{lines[-1].split(' in ')[0]}, {lines[0]} {lines[1][:150]}"
    if done.returncode:
        raise RuntimeError(f"{patch.name}: the worlds did not run: {done.stderr[-500:]}")
    return None


def main() -> int:
    """Exit 1 if a mutant lives."""
    parser = argparse.ArgumentParser(prog="make mutants")
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=processors(), help="How many mutants are tried at once.")
    parser.add_argument("--only", default="", help="Mutants whose names hold this, or one of these (a,b).")
    given = parser.parse_args()
    names = given.only.split(",")
    patches = [path for path in sorted(PATCHES.glob("*.patch")) if any(name in path.name for name in names)]
    alive: list[str] = []
    with server() as dsn, ThreadPoolExecutor(given.jobs) as threads:
        trials = {threads.submit(found_by, patch, dsn, given.worlds, given.seed): patch.stem for patch in patches}
        for trial in as_completed(trials):
            found, name = trial.result(), trials[trial]
            print(f"{name}: {found or 'NOT FOUND'}", flush=True)
            if found is None:
                alive.append(name)
    left = f", not {', '.join(sorted(alive))}" if alive else ""
    print(f"{len(patches) - len(alive)} of {len(patches)} mutants found{left}")
    return 1 if alive or not patches else 0


if __name__ == "__main__":
    sys.exit(main())
