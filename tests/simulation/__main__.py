"""`make simulate [SEED=n] [WORLDS=n] [WIRE=0]`: let worlds happen, and say whether all was well in them.

A world that goes wrong is cut down and told as a story.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import closing

from tests.simulation.crew import Found, Order, processors, worlds


def main() -> int:
    """Exit 1 if any world found something."""
    given = _arguments()
    order = Order(given.windows, given.workspaces, not given.no_wire, given.shrink)
    began, bad, done = time.monotonic(), list[int](), 0
    seeds = range(given.seed, given.seed + given.worlds)
    with closing(worlds(seeds, order, min(given.jobs, given.worlds), given.dsn)) as found:
        for world in found:
            done += 1
            if done % 50 == 0:
                print(f"{done} worlds so far, {len(bad)} of them bad", file=sys.stderr, flush=True)
            if world.wrong:
                bad.append(world.seed)
                _tell(world)
                if given.first:
                    break
    seconds = time.monotonic() - began
    which = f" (make simulate SEED={bad[0]} WORLDS=1)" if bad else ""
    print(f"{done} worlds in {seconds:.0f} s, {len(bad)} of them bad{which}")
    return 1 if bad else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make simulate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worlds", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=processors(), help="How many worlds happen at once.")
    parser.add_argument("--dsn", help="A PostgreSQL server for worlds that is there already (`universe.server`).")
    parser.add_argument("--windows", type=int, help="How many windows each world has.")
    parser.add_argument("--workspaces", type=int, help="How many workspaces each world has.")
    parser.add_argument("--first", action="store_true", help="Stop at the first world that finds something.")
    parser.add_argument("--no-wire", action="store_true", help="Receivers in memory: quicker, and less of the product.")
    parser.add_argument(
        "--shrink", type=int, default=100, help="Cut a bad world down by letting so many others happen; 0: do not."
    )
    return parser.parse_args()


def _tell(world: Found) -> None:
    print(f"world {world.seed}:")
    _lines(world.wrong)
    if world.told:
        print("  cut down, this is what happens:")
        for line in world.told:
            print(f"    {line}")
        print("  and in the end:")
        _lines(world.wrong_in_the_end)


def _lines(wrong: Sequence[str]) -> None:
    for line in wrong[:10]:
        print(f"  {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
