"""Means over seeds and their intervals, as a report's tables have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from tieless.report.records import Estimate
from tieless.study.statistics import LEVEL, quantile

__all__ = ["estimate", "paired"]


def estimate(values: Sequence[float]) -> Estimate | None:
    """The mean and the half width of Student's t interval, ``t(n - 1) * s / sqrt(n)``; ``None`` of no values.

    Args:
        values: One number a seed. One number alone gives a mean without an interval.
    Source:
        Student 1908, The probable error of a mean, doi:10.1093/biomet/6.1.1; the quantile of t by SciPy.
    Example:
        >>> e = estimate([0.70, 0.74, 0.72])
        >>> round(e.mean, 4), round(e.half, 4)
        (0.72, 0.0497)
    """
    if not values:
        return None
    n = len(values)
    # Equal values have no spread at all; stdev of their rounded sum may say 1e-17, and any difference be "clear".
    if len(set(values)) == 1:
        return Estimate(n, values[0], None if n == 1 else 0.0)
    return Estimate(n, fmean(values), quantile(1 - LEVEL, n - 1) * stdev(values) / n**0.5)


def paired(values: Mapping[int, float], baseline: Mapping[int, float]) -> Estimate | None:
    """``values`` less ``baseline`` over the seeds that both have; ``None`` where they share none.

    A seed fixes initial weights, subset and order of the samples, so two cells' runs of one seed are a pair.

    Example:
        >>> paired({0: 0.5, 1: 0.75}, {1: 0.5, 2: 0.9})
        Estimate(n=1, mean=0.25, half=None)
    """
    return estimate([values[seed] - baseline[seed] for seed in sorted(values.keys() & baseline.keys())])
