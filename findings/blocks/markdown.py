"""Tables of Markdown, and the names that readers know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

NAMES = {
    "relu": "ReLU",
    "linear": "Linear",
    "logistic": "Logistic",
    "heaviside": "Heaviside",
    "sgd": "SGD",
    "adam": "Adam",
    "adam(weight_decay=0.01)": "AdamW",
    "direction_first": "DirectionFirst",
    "sign_sgd": "SignSGD",
    "lion": "Lion",
    "lars(trust=1)": "LARS",
}
"""Readers' names of forwards and optimisers, by the names in studies."""


_NUMBER = re.compile(r"|\N{EN DASH}|[+\N{MINUS SIGN}]?\d[\d,.]*( [✓✕?=])?( \(\d+/\d+\))?")
"""Cell of a column of numbers: nothing, a dash, or a number with its verdict and the runs that collapsed."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Table of Markdown; columns of numbers are flush right."""
    rows = list(rows)
    columns = zip(*rows, strict=True) if rows else ((),) * len(head)
    rules = ["---:" if any(column) and all(map(_NUMBER.fullmatch, column)) else "---" for column in columns]
    lines = [head, rules, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def once(rows: Sequence[list[str]], columns: int) -> None:
    """Clear the first columns of each row where they repeat those of the row above."""
    for row, above in reversed(list(zip(rows[1:], rows, strict=False))):
        if row[:columns] == above[:columns]:
            row[:columns] = [""] * columns
