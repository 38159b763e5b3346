"""`make simulate [SEED=n] [WORLDS=n] [WIRE=0]`: let worlds happen, and say whether all was well in them.

A world that goes wrong is cut down and told as a story.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.simulation.author import script_of
from tests.simulation.script import Script
from tests.simulation.shrink import Shrinker, story
from tests.simulation.universe import Universe, universe
from tests.simulation.world import live


def main() -> int:
    """Exit 1 if any world found something."""
    given = _arguments()
    began, bad = time.monotonic(), list[int]()
    worlds = 0
    with universe(wire=not given.no_wire) as place:
        for seed in range(given.seed, given.seed + given.worlds):
            script = script_of(seed, windows=given.windows, workspaces=given.workspaces)
            wrong = live(place, script)
            worlds += 1
            if worlds % 50 == 0:
                print(f"{worlds} worlds so far, {len(bad)} of them bad", file=sys.stderr, flush=True)
            if wrong:
                bad.append(seed)
                print(f"world {seed}:")
                _tell(wrong)
                if given.shrink:
                    _tell_story(place, script, wrong, given.shrink)
                if given.first:
                    break
    seconds = time.monotonic() - began
    which = f" (make simulate SEED={bad[0]} WORLDS=1)" if bad else ""
    print(f"{worlds} worlds in {seconds:.0f} s, {len(bad)} of them bad{which}")
    return 1 if bad else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make simulate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worlds", type=int, default=100)
    parser.add_argument("--windows", type=int, help="How many windows each world has.")
    parser.add_argument("--workspaces", type=int, help="How many workspaces each world has.")
    parser.add_argument("--first", action="store_true", help="Stop at the first world that finds something.")
    parser.add_argument("--no-wire", action="store_true", help="Receivers in memory: quicker, and less of the product.")
    parser.add_argument(
        "--shrink", type=int, default=100, help="Cut a bad world down by letting so many others happen; 0: do not."
    )
    return parser.parse_args()


def _tell(wrong: list[str]) -> None:
    for line in wrong[:10]:
        print(f"  {line}", flush=True)


def _tell_story(place: Universe, script: Script, wrong: list[str], most: int) -> None:
    shrinker = Shrinker(lambda smaller: live(place, smaller), wrong, most)
    smallest = shrinker.shrink(script)
    print("  cut down, this is what happens:")
    for line in story(smallest):
        print(f"    {line}")
    print("  and in the end:")
    _tell(shrinker.wrong)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # what killed attempts left behind must not run now
