"""Tables of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["WAITING", "once", "table"]

WAITING = "*Not run yet.*"
"""What stands in the place of a table whose data are not there."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def once(rows: Sequence[list[str]], columns: int) -> None:
    """Leave the first columns empty where they say what the row above says."""
    for row, above in reversed(list(zip(rows[1:], rows, strict=False))):
        if row[:columns] == above[:columns]:
            row[:columns] = [""] * columns
