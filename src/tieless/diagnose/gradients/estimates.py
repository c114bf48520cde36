"""Means over batches and their intervals, without SciPy, which the core does not depend on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from statistics import fmean, stdev

from tieless.errors import RuleValueError

Interval = tuple[float, float]


def mean_and_interval(values: Sequence[float], confidence: float) -> tuple[float, Interval | None]:
    """Mean, and Student's interval around it: ``mean +- t(n - 1) * s / sqrt(n)``; ``None`` for a single value.

    Args:
        values: Numbers, one for each batch, at least one.
        confidence: Confidence level, between 0 and 1.
    Source:
        Student 1908, The probable error of a mean, doi:10.1093/biomet/6.1.1.
    Example:
        >>> from tieless.diagnose.gradients.estimates import mean_and_interval
        >>> mean, (low, high) = mean_and_interval([0.70, 0.74, 0.72], 0.95)
        >>> round(mean, 4), round(low, 4), round(high, 4)
        (0.72, 0.6703, 0.7697)
    """
    if not all(map(math.isfinite, values)):
        mean = sum(values) / len(values)
        return mean, None if len(values) == 1 else (mean, mean)
    # Equal values have no spread at all; their rounded sum may say 1e-17.
    if len(set(values)) == 1:
        return values[0], None if len(values) == 1 else (values[0], values[0])
    mean = fmean(values)
    half = half_width(stdev(values), len(values), confidence)
    return mean, (mean - half, mean + half)


def half_width(sd: float, n: int, confidence: float) -> float:
    """Half of Student's interval around the mean of ``n`` values: ``t(n - 1) * sd / sqrt(n)``. Studies use it too.

    Args:
        sd: Standard deviation of the values, with ``n - 1`` in the denominator.
        n: Number of values, 2 or more.
        confidence: Confidence level, between 0 and 1.
    Source:
        Student 1908, The probable error of a mean, doi:10.1093/biomet/6.1.1.
    Example:
        >>> from tieless.diagnose.gradients.estimates import half_width
        >>> round(half_width(0.02, 3, 0.95), 4)
        0.0497
    """
    return t_quantile((1 + confidence) / 2, n - 1) * sd / math.sqrt(n)


@cache
def t_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t distribution for whole degrees of freedom.

    For whole degrees of freedom the distribution is a finite sum of powers of ``cos(theta)``, with
    ``tan(theta) = t / sqrt(freedom)``. The angle is found by halving, to the last digit.

    Args:
        probability: Probability above 1/2 and below 1.
        freedom: Degrees of freedom, 1 or more.
    Source:
        Abramowitz and Stegun 1964, 26.7.3 and 26.7.4.
    Example:
        >>> from tieless.diagnose.gradients.estimates import t_quantile
        >>> round(t_quantile(0.975, 9), 6)
        2.262157
    """
    if not 0.5 < probability < 1 or freedom < 1:
        raise RuleValueError(
            f"t_quantile needs 0.5 < probability < 1 and freedom >= 1, got {probability!r} and {freedom!r}."
        )
    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        if _within(middle, freedom) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return math.tan(low) * math.sqrt(freedom)


def _within(theta: float, freedom: int) -> float:
    """Probability that ``|t|`` is below ``sqrt(freedom) tan(theta)``."""
    cosine = math.cos(theta)
    odd = freedom % 2 == 1
    term = cosine if odd else 1.0
    total = 0.0
    # Terms cos, 2/3 cos^3, 2*4/(3*5) cos^5, ... of an odd number; 1, 1/2 cos^2, 1*3/(2*4) cos^4, ... of an even one.
    for power in range(1 if odd else 0, freedom - 1, 2):
        total += term
        term *= cosine * cosine * (power + 1) / (power + 2)
    if odd:
        return 2 / math.pi * (theta + math.sin(theta) * total)
    return math.sin(theta) * total
