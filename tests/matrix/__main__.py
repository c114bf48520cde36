"""Ask the whole matrix, or the checks named, and publish the answers: ``python -m tests.matrix [--missing] ["vmap" ...]``.

With ``--missing`` only pairs that have no answer yet are asked. Answers are written a hundred pairs at a time, so an
interrupted run loses little.
"""

from __future__ import annotations

import sys
import time
import warnings

from tests.matrix.asking import CLOSE, EQUAL, REFUSED, Outcomes
from tests.matrix.page import CHECKS, read, write
from tests.pairs import EVERY_PAIR

_AT_ONCE = 100
"""Pairs between two writings."""


def main(arguments: list[str]) -> int:
    """Ask, print, publish. The exit code is 1 if any answer is wrong."""
    titles = [argument for argument in arguments if argument != "--missing"]
    missing = "--missing" in arguments
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
        known_answers = read().get(check.title, {}) if missing else {}
        asked = [pair for pair in EVERY_PAIR if pair not in known_answers]
        answers: Outcomes = {}
        for first in range(0, len(asked), _AT_ONCE):
            answers |= check.run(asked[first : first + _AT_ONCE])
            published = read()
            write(published | {check.title: published.get(check.title, {}) | answers})
        failures = {pair: answer for pair, answer in answers.items() if answer not in {EQUAL, CLOSE, REFUSED}}
        wrong += len(failures)
        print(f"{len(answers)} pairs, {len(failures)} wrong, {time.monotonic() - start:.0f} s", flush=True)
        for (forward, rule), answer in failures.items():
            print(f"  {forward} with {rule}: {answer}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
