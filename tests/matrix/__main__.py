"""Ask the whole matrix, or the checks named, and publish the answers: ``python -m tests.matrix ["vmap" ...]``.

The answers to a check are written when they are all there, so that an interrupted run loses one check at most.
"""

from __future__ import annotations

import sys
import time
import warnings

from tests.matrix.asking import CLOSE, EQUAL, REFUSED
from tests.matrix.page import CHECKS, read, write
from tests.pairs import EVERY_PAIR


def main(titles: list[str]) -> int:
    """Ask, print, publish. The exit code is 1 if any answer is wrong."""
    known = [check.title for check in CHECKS]
    strangers = [title for title in titles if title not in known]
    if strangers:
        sys.exit(f"No check is called {strangers[0]!r}. There are: {'; '.join(known)}.")
    warnings.simplefilter("ignore")  # torch's own, about what it is about to drop
    wrong = 0
    for check in CHECKS:
        if titles and check.title not in titles:
            continue
        if lack := check.missing():
            print(f"{check.title}: not asked, {lack}", flush=True)
            continue
        print(f"{check.title} ...", end=" ", flush=True)
        start = time.monotonic()
        answers = check.run(EVERY_PAIR)
        failures = {pair: answer for pair, answer in answers.items() if answer not in {EQUAL, CLOSE, REFUSED}}
        wrong += len(failures)
        print(f"{len(answers)} pairs, {len(failures)} wrong, {time.monotonic() - start:.0f} s", flush=True)
        for (forward, rule), answer in failures.items():
            print(f"  {forward} with {rule}: {answer}")
        write(read() | {check.title: answers})
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
