"""Blocks of the pages: what a directive prints from the tables, as Markdown."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from findings.blocks import cells, claims, measured
from findings.blocks.claims import Judged
from findings.tables import NotRun
from tieless.errors import StudyError

__all__ = ["BLOCKS", "Judged", "block"]

BLOCKS: dict[str, Callable[[Sequence[str], Sequence[str], Judged], str]] = {
    "across": claims.across,
    "again": claims.again,
    "asked": claims.asked,
    "beside": cells.beside,
    "cells": cells.cells,
    "choices": cells.choices,
    "cosines": claims.cosines,
    "counted": claims.counted,
    "data": cells.source,
    "doses": claims.doses,
    "elsewhere": measured.elsewhere,
    "gradients": measured.gradients,
    "holds": claims.holds,
    "lost": measured.lost,
    "matrix": claims.matrix,
    "means": cells.means,
    "predictions": measured.predictions,
    "quoted": claims.quoted,
    "sent": measured.sent,
    "tally": claims.tally,
    "units": measured.units,
    "verdicts": claims.verdicts,
}
"""Blocks by name: a function of the words behind the name, the lines below it, and the comparisons shown so far."""


def block(directive: str, shown: Judged) -> str:
    """Markdown of a directive.

    Args:
        directive: Text whose first line is a name of ``BLOCKS`` and its words; further lines are the block's own.
        shown: Comparisons of the blocks so far; the comparisons of this block are added.
    Raises:
        StudyError: the directive is unknown, or the data lack what it names.
    """
    head, *lines = [line.strip() for line in directive.strip().splitlines()]
    name, *given = shlex.split(head)
    if name not in BLOCKS:
        raise StudyError(f"Unknown block {name!r}. There are: {', '.join(BLOCKS)}.")
    try:
        return BLOCKS[name](given, [line for line in lines if line], shown)
    except NotRun as missing:
        return f'!!! warning "Not run yet"\n\n    {missing} `make findings` fills this in.'
    except (LookupError, ValueError) as error:
        if isinstance(error, StudyError):
            raise
        raise StudyError(f"The block {head!r} cannot be printed: {error}.") from None
