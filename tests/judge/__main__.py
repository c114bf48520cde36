"""Fuzzing by the judge: ``python -m tests.judge --programs 50000 --seed 7 --workers 2``, or ``make fuzz``."""

from __future__ import annotations

import argparse
import os
import random
import sys

from tests.judge.fuzz import campaign, line_of, simplest


def main() -> int:
    """Run and print. The exit code is 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    tally = campaign(options.programs, options.seed, options.workers)
    print(tally)
    if tally.wrong:
        print(f"The first of them without what it is wrong without:\n    {line_of(simplest(tally.wrong[0][0]))}")
    print(f"seed {options.seed}: {tally.programs} programs, {tally.elements} elements, {len(tally.wrong)} wrong")
    return int(bool(tally.wrong))


if __name__ == "__main__":
    sys.exit(main())
