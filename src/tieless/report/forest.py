"""Geometry of a comparison: its interval, zero and the margin, on a line of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tieless.study import Claim, ClaimCell
from tieless.study.settings.metrics import scale_of

WIDTH, HEIGHT = 180, 20
_EDGE = 8


@dataclass(frozen=True, slots=True)
class Forest:
    """Positions, in units of a drawing of ``WIDTH`` by ``HEIGHT``.

    Args:
        low, median, high: Ends of the interval, and the median.
        zero: Position of no difference.
        margins: Positions with which the interval is compared.
    """

    low: float
    median: float
    high: float
    zero: float
    margins: tuple[float, ...]


def margins(claim: Claim, metric: str) -> tuple[float, ...]:
    """Differences of the metric with which a claim's interval is compared."""
    scale = scale_of(metric)
    margin = scale.of_units(claim.margin)
    better = margin if scale.higher else -margin
    return {
        "non-inferior to": (-better,),
        "superior to": (better,),
        "inferior to": (-better,),
        "equivalent to": (-margin, margin),
    }[claim.relation]


def forest(cell: ClaimCell, claim: Claim) -> Forest | None:
    """Drawing of a comparison, zero in the middle; ``None`` if there is no interval."""
    if cell.differences is None or not math.isfinite(cell.differences.high - cell.differences.low):
        return None
    low, high = cell.differences.interval
    thresholds = margins(claim, cell.metric)
    # Twice the margin at least, so that a narrow interval is not blown up.
    reach = max(abs(low), abs(high), 2 * abs(thresholds[0])) or 1.0

    def x(value: float) -> float:
        return round(WIDTH / 2 + value / reach * (WIDTH / 2 - _EDGE), 1)

    return Forest(x(low), x(cell.differences.median), x(high), x(0), tuple(map(x, thresholds)))
