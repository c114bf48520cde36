"""The matrix as it is published: a file of every answer, and a page that sums them up."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.matrix import compiling, exporting, training, transforming
from tests.matrix.asking import CLOSE, EQUAL, REFUSED, Check
from tests.pairs import EVERY_PAIR, RULES, Pair

__all__ = ["ANSWERS", "CHECKS", "PAGE", "Answers", "read", "render", "write"]

DOCS = Path(__file__).parents[2] / "docs"
ANSWERS, PAGE = DOCS / "matrix.csv", DOCS / "matrix.md"

SECTIONS = {
    "Compile and export": (*compiling.CHECKS, *exporting.CHECKS),
    "Transforms": transforming.CHECKS,
    "Training": training.CHECKS,
}
CHECKS = tuple(check for checks in SECTIONS.values() for check in checks)

Answers = dict[str, dict[Pair, str]]
"""By the title of the check: the answer of each pair."""

_NOT_ASKED = ""

HEAD = """\
# What works with PyTorch

{forwards} forwards with {rules} rules, {pairs} pairs that go together, against everything below. Of {answers} answers
{equal} are what runs eagerly, bit for bit; {close} are within 1e-5 of it; {refused} are refused in one clear line; {wrong}
are wrong.

```text
python -m tests.matrix
```

asks it of every forward with every rule that there is, and writes this page and [every single answer](matrix.csv). `make test-all` asks the same.
`make test` asks a cross-section for each column: every forward, every rule, and every kind of forward beside every kind of
rule, which are about 120 pairs, others for each column; of what takes longest, compilers, ONNX and processes, 20 or 40 of
these, with every jam. Published are the pairs that were asked so far: at least {fewest} for each question. Below each
table stands what a cell was asked: of how many pairs, how often, with which inputs. Where sizes differ from pair to pair,
each size from 1 to 33 is asked of dozens of pairs.

`=` is equal, bit for bit. `≈` is within 1e-5, where PyTorch's own arithmetic differs between the two ways: it computes
`exp`, `erf` and their like by other polynomials in a compiled graph, in ONNX and at the end of a row than elsewhere.
No gradient of a jam is among them. `x` is refused. Where the forwards of a row differ, a number says how many. `-` was
not asked, for want of a GPU."""


def read() -> Answers:
    """Page as it is published."""
    if not ANSWERS.exists():
        return {}
    with ANSWERS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    titles = [title for title in rows[0] if title not in {"forward", "rule"}]
    return {
        title: {(row["forward"], row["rule"]): row[title] for row in rows if row[title] != _NOT_ASKED}
        for title in titles
    }


def write(answers: Answers) -> None:
    """Publish: the file, and the page made from it."""
    with ANSWERS.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["forward", "rule", *[check.title for check in CHECKS]])
        for pair in EVERY_PAIR:
            lines.writerow([*pair, *[answers.get(check.title, {}).get(pair, _NOT_ASKED) for check in CHECKS]])
    PAGE.write_text(render(answers))


def render(answers: Answers) -> str:
    """The page."""
    pairs = {pair for column in answers.values() for pair in column}
    given = Counter(answer for column in answers.values() for answer in column.values())
    parts = [
        HEAD.format(
            pairs=len(pairs),
            fewest=min(map(len, answers.values())),
            forwards=len({forward for forward, _ in pairs}),
            rules=len({rule for _, rule in pairs}),
            answers=sum(given.values()),
            equal=given[EQUAL],
            close=given[CLOSE],
            refused=given[REFUSED],
            wrong=sum(given.values()) - given[EQUAL] - given[CLOSE] - given[REFUSED],
        )
    ]
    for section, checks in SECTIONS.items():
        parts += ["", f"## {section}", "", *_table(checks, answers), "", *_legend(checks, answers)]
    return "\n".join(parts) + "\n"


def _table(checks: Sequence[Check], answers: Answers) -> list[str]:
    lines = [
        "| rule | " + " | ".join(check.title for check in checks) + " |",
        "|---|" + ":-:|" * len(checks),
    ]
    asked = {rule for column in answers.values() for _, rule in column}
    for rule in (rule for rule in RULES if rule in asked):
        cells = [_cell([a for pair, a in answers.get(check.title, {}).items() if pair[1] == rule]) for check in checks]
        lines.append(
            f'| <code style="overflow-wrap: normal; word-break: keep-all">{rule}</code> | ' + " | ".join(cells) + " |"
        )
    return lines


def _legend(checks: Sequence[Check], answers: Answers) -> list[str]:
    return [f"- **{check.title}**: {check.asks}. {_how_often(check, answers)}" for check in checks]


def _how_often(check: Check, answers: Answers) -> str:
    pairs = len(answers.get(check.title, {}))
    times = {1: "once", 2: "twice"}.get(check.times, f"{check.times} times")
    return f"Asked of {pairs} pairs, {times} each, of inputs with {check.inputs}."


def _cell(answers: Sequence[str]) -> str:
    signs = Counter({EQUAL: "=", CLOSE: "≈", REFUSED: "x"}.get(answer, "WRONG") for answer in answers)
    if not signs:
        return "-"
    if len(signs) == 1:
        return next(iter(signs))
    return " ".join(f"{sign} {count}" for sign, count in sorted(signs.items(), key=lambda item: "=≈x".find(item[0])))
