"""`make simulate [SEED=n] [WORLDS=n]`: let worlds happen, and say whether all was well in them."""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.simulation.script import script_of
from tests.simulation.world import live, universe


def main() -> int:
    """Exit 1 if any world found something."""
    parser = argparse.ArgumentParser(prog="make simulate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worlds", type=int, default=100)
    parser.add_argument("--first", action="store_true", help="Stop at the first world that finds something.")
    given = parser.parse_args()
    began, bad = time.monotonic(), list[int]()
    with universe() as place:
        for seed in range(given.seed, given.seed + given.worlds):
            wrong = live(place, script_of(seed))
            if wrong:
                bad.append(seed)
                print(f"world {seed}:")
                for line in wrong[:10]:
                    print(f"  {line}")
                if given.first:
                    break
    seconds = time.monotonic() - began
    which = f" (make simulate SEED={bad[0]} WORLDS=1)" if bad else ""
    print(f"{given.worlds} worlds in {seconds:.0f} s, {len(bad)} of them bad{which}")
    return 1 if bad else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # what killed attempts left behind must not run now
