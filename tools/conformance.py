"""Distances of our rules from the peers' own, one row a rule: the largest relative difference found, in float64.

    tools/get-peers
    python tools/conformance.py [--draws 40] [--write]

Each row is over random parameters, 192 values of z and feedback for each. ``--write`` puts the table into
docs/conformance.md. Nothing of the comparison is here: it is that of tests/conformance.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.conformance import cases  # noqa: E402 - the tests are found from the root
from tests.conformance.loading import version  # noqa: E402

PAGE = ROOT / "docs" / "conformance.md"
TABLE = re.compile(r"(?<=<!-- table -->\n\n).*?(?=\n<!-- end -->)", re.DOTALL)
TITLES = ("Peer", "Its rule", "Ours", "Gradient", "Value", "Note")


def drawn(ends: cases.Range, source: random.Random) -> float:
    """A number between two, whole if they are."""
    low, high = ends
    return source.randint(low, high) if isinstance(low, int) and isinstance(high, int) else source.uniform(low, high)


def row(case: cases.Case, draws: int) -> tuple[str, ...]:
    """A case in words: the largest differences over random parameters."""
    source = random.Random(case.id)  # noqa: S311 - not for secrets
    found = [
        cases.difference(case, {name: drawn(ends, source) for name, ends in case.ranges.items()}, seed)
        for seed in range(draws)
    ]
    gradient = f"{max(difference.gradient for difference in found):.1e}"
    value = f"{max(difference.value for difference in found):.1e}" if case.forward else "-"
    return case.peer, f"`{case.name}`", f"`{case.spec}`", gradient, value, case.note


def markdown(rows: list[tuple[str, ...]]) -> str:
    """A table."""
    lines = [TITLES, tuple("---" for _ in TITLES), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=40, help="random parameters a rule [40]")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    absent = sorted({case.peer for case in cases.CASES if not cases.available(case.peer)})
    if absent:
        sys.exit(f"Not fetched: {', '.join(absent)}. Run tools/get-peers.")
    names = dict.fromkeys(case.peer for case in cases.CASES)
    named = {peer: peer if peer in cases.REDERIVED else f"{peer} {version(peer)}" for peer in names}
    rows = [(named[case.peer], *row(case, options.draws)[1:]) for case in cases.CASES]
    table = markdown(rows)
    print(table, end="")
    worst = max(float(cell) for line in rows for cell in line[3:5] if cell != "-")
    print(f"\n{len(rows)} rules; the largest difference is {worst:.1e}.")
    if options.write:
        PAGE.write_text(TABLE.sub(lambda _: table, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
