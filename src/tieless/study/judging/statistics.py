"""Statistics of runs paired by seed: intervals of a median and of a rate, how the level is spent, power.

SciPy does the mathematics: its binomial, beta, normal and t distributions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import fmean, median, stdev
from typing import Any

from tieless._imports import try_import
from tieless.diagnose.gradients.estimates import half_width
from tieless.errors import StudyError

CONFIDENCE = 0.95
"""Confidence of every interval."""
LEVEL = (1 - CONFIDENCE) / 2
"""Level of each direction, shared by all that is judged together: the chance of a wrong "holds", and of a wrong "does
not hold"."""
LEAST_PAIRS = 5
"""Smallest number of pairs for a verdict. All of them lie on one side of the median with a probability of ``0.5 ** n``,
whatever the distribution: 3.1 % of five, but 6.2 % of four, more than the 5 % of studies that may have a wrong verdict."""
POWER = 0.8
"""Power with which a plan is to decide."""
_MOST_SEEDS = 1_000
_MOST_SAMPLES = 10_000_000
"""Largest size of a test set: accuracies with a larger common denominator are not counts of one."""


def special_functions() -> Any:
    """Module of SciPy with its distributions; not ``scipy.stats``, which takes a second to import."""
    with try_import("study") as study_extra:
        from scipy import special  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]
    study_extra.check()
    return special  # pyright: ignore[reportPossiblyUnboundVariable]


def resolution(accuracies: Iterable[float]) -> float:
    """Smallest step between these accuracies, for an unknown number of test samples: 1 over that number, or a multiple.

    An accuracy is a count divided by the number of test samples, so that number is a multiple of every denominator.

    Args:
        accuracies: Fractions of one test set.
    Returns:
        Step: 1 over the denominators' least common multiple, or 0 if they have none below ten million.
    Example:
        >>> round(1 / resolution([3 / 360, 5 / 360, 0.25]))
        360
    """
    common = 1
    for accuracy in set(accuracies):
        common = math.lcm(common, Fraction(accuracy).limit_denominator(1_000_000).denominator)
        if common > _MOST_SAMPLES:
            return 0.0
    return 1 / common


def least_spread(n: int, step: float) -> float:
    """Smallest standard deviation that is credible for ``n`` values which are counts of test samples.

    The larger of two. From rounding alone a difference of two accuracies has the standard deviation
    ``step / sqrt(6)``. And ``n`` runs without an error on ``1 / step`` samples each leave an error rate of
    ``u = 1 - 0.025 ** (step / n)`` possible, the upper limit of Clopper and Pearson for 0 of ``n / step``: the interval
    of the mean, ``t(0.975, n - 1) sd / sqrt(n)``, is never narrower than that.

    Args:
        n: Number of values, at least 2.
        step: Smallest change of an accuracy, 1 over the number of test samples; 0 if that number is unknown.
    Source:
        Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404.
    Example:
        >>> round(least_spread(5, 1 / 400), 6)
        0.001484
    """
    unseen = -math.expm1(math.log(LEVEL) * step / n)
    return max(step / math.sqrt(6), unseen / half_width(1.0, n, CONFIDENCE))


@dataclass(frozen=True, slots=True)
class Mean:
    """Mean of one rule's values over ``n`` seeds, with Student's interval: a description, by which no claim is judged.

    Args:
        n: Number of values, at least 2.
        mean: Mean of the values.
        sd: Standard deviation, with ``n - 1`` in the denominator.
    Source:
        Student 1908, The probable error of a mean, doi:10.1093/biomet/6.1.1.
    Example:
        >>> from tieless.study import Mean
        >>> mean = Mean.of([0.80, 0.82, 0.84])
        >>> round(mean.mean, 2), round(mean.half, 2)
        (0.82, 0.05)
    """

    n: int
    mean: float
    sd: float

    @classmethod
    def of(cls, values: Sequence[float], step: float = 0.0) -> Mean:
        """Summary of single values, whose spread is never taken to be smaller than ``least_spread``.

        Args:
            values: Values, one per seed.
            step: Smallest change of an accuracy, 1 over the number of test samples.
        Raises:
            StudyError: there are fewer than two values.
        """
        if len(values) < 2:
            raise StudyError(f"An interval of a mean needs at least two runs, got {len(values)}.")
        # The rounded sum of equal values may make a mean and a spread that are off by 1e-17.
        equal = len(set(values)) == 1
        mean, spread = (values[0], 0.0) if equal else (fmean(values), stdev(values))
        return cls(len(values), mean, max(spread, least_spread(len(values), step)))

    @property
    def half(self) -> float:
        """Half the width of the 95 % interval: ``t(0.975, n - 1) sd / sqrt(n)``."""
        return half_width(self.sd, self.n, CONFIDENCE)


def share(place: int) -> float:
    """Share of the level that the ``place``-th of ever more looks gets, from 0: four fifths, then half of what is left.

    Example:
        >>> [round(share(place), 4) for place in range(4)]
        [0.8, 0.1, 0.05, 0.025]
    """
    return 0.2 * 0.5**place if place else 0.8


@dataclass(frozen=True, slots=True)
class Differences:
    """Median of ``n`` differences, one per pair of runs, with its interval.

    With ``k`` the largest number for which ``P(Bin(n, 1/2) <= k)`` is at most the level, the interval ends at the values
    of rank ``k + 1`` from below and from above: the sign test inverted, exact for any distribution. Where
    ``2 ** -n`` is above the level, it is the range, extended on each side by
    ``(2 ** -n / level) ** (1 / (n - 1)) - 1`` times its width. That holds where the density falls on both sides of the
    median; below ``LEAST_PAIRS`` values there is no interval.

    Args:
        n: Number of values.
        median: Median of the values.
        low, high: Ends of the interval, infinite if there is none.
    Source:
        Lanke 1974, Interval estimation of a median, Scandinavian Journal of Statistics 1, 28-32.
    Example:
        >>> from tieless.study import Differences
        >>> Differences.of([0.5, 0.7]).interval
        (-inf, inf)
    """

    n: int
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], below: float = LEVEL, above: float = LEVEL) -> Differences:
        """Summary of single values.

        Args:
            values: Differences, one per pair, at least one.
            below, above: Levels of the lower and of the upper end: the chance that the true median lies beyond it.
        Example:
            >>> Differences.of([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
            Differences(n=9, median=0.5, low=0.2, high=0.8)
        """
        ordered = sorted(values)
        low = _end(ordered, below)
        high = -_end([-value for value in reversed(ordered)], above)
        return cls(len(ordered), median(ordered), low, high)

    @property
    def interval(self) -> tuple[float, float]:
        """Interval of the median."""
        return self.low, self.high


def _end(ordered: Sequence[float], level: float) -> float:
    """Lower end of the interval of the median of values in ascending order."""
    n = len(ordered)
    if n < LEAST_PAIRS or level <= 0:
        return -math.inf
    if (beyond := _beyond(n, level)) >= 0:
        return ordered[beyond]
    width = ordered[-1] - ordered[0]
    # Values that are all equal have no density, and say no more than their number.
    return ordered[0] - _extension(n, level) * width if width else -math.inf


def _extension(n: int, level: float) -> float:
    """Part of its width by which a range is extended on one side, where the range alone misses too often."""
    return (0.5**n / level) ** (1 / (n - 1)) - 1


def _beyond(n: int, level: float) -> int:
    """Number of values that may lie beyond an end of the interval: the largest ``k`` with ``P(Bin(n, 1/2) <= k) <= level``.

    -1 if there is none.
    """
    tail = special_functions().bdtr
    low, high = -1, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if tail(middle, n, 0.5) <= level else (low, middle)
    return low


@dataclass(frozen=True, slots=True)
class Excess:
    """Difference of two rates of collapse, candidate less baseline, over ``n`` pairs of runs, with its interval.

    Args:
        n: Number of pairs.
        candidate, baseline: Numbers of pairs in which that side alone collapsed.
        low, high: Ends of the interval: of each rate there is the exact limit of Clopper and Pearson, nine tenths of the
            level for the one that counts most.
    Source:
        Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404.
    Example:
        >>> from tieless.study import Excess
        >>> excess = Excess.of(20, candidate=10, baseline=0)
        >>> round(excess.low, 2), round(excess.high, 2)
        (0.03, 0.73)
    """

    n: int
    candidate: int
    baseline: int
    low: float
    high: float

    @classmethod
    def of(cls, n: int, candidate: int, baseline: int, below: float = LEVEL, above: float = LEVEL) -> Excess:
        """Difference from counts.

        Args:
            n, candidate, baseline: Counts.
            below, above: Levels of the lower and of the upper end.
        Example:
            >>> round(Excess.of(20, 0, 0).high, 3)  # 1 - 0.0225 ** (1 / 20)
            0.173
        """
        return cls(
            n,
            candidate,
            baseline,
            -_most_excess(n, baseline, candidate, below),
            _most_excess(n, candidate, baseline, above),
        )


def _most_excess(n: int, ours: int, theirs: int, level: float) -> float:
    """Upper end of the interval of the difference of two rates."""
    if n == 0 or level <= 0:
        return 1.0
    inverse = special_functions().betaincinv
    most = float(inverse(ours + 1, n - ours, 1 - 0.9 * level)) if ours < n else 1.0
    least = float(inverse(theirs, n - theirs + 1, 0.1 * level)) if theirs else 0.0
    return most - least


def power(n: int, distance: float, sd: float, level: float = LEVEL) -> float:
    """Power: the probability that one end of the interval of ``n`` normal differences clears a threshold.

    Args:
        n: Number of differences.
        distance: Distance from the threshold to the true median, positive on the side where the verdict falls.
        sd: True standard deviation of the differences, above 0.
        level: Level of that end.
    Example:
        >>> round(power(10, 1.0, 1.0), 4)  # 9 of 10 above the threshold, each with a probability of 0.8413
        0.5129
    """
    if n < LEAST_PAIRS:
        return 0.0
    special = special_functions()
    size = distance / sd
    if (beyond := _beyond(n, level)) >= 0:
        return float(special.bdtr(beyond, n, special.ndtr(-size)))
    # The least of the values is x above the threshold, and the largest is less than x / extension above it.
    import numpy as np  # noqa: PLC0415

    x = np.linspace(0, max(0.0, size) + 9, 4001)[1:]
    density = n * np.exp(-((x - size) ** 2) / 2) / math.sqrt(2 * math.pi)
    others = special.ndtr(x + x / _extension(n, level) - size) - special.ndtr(x - size)
    return float(np.sum(density * others ** (n - 1)) * (x[1] - x[0]))


def detectable(n: int, sd: float, level: float = LEVEL, chance: float = POWER) -> float | None:
    """Smallest distance from the threshold that ``n`` normal differences find with a probability of ``chance``.

    Returns:
        Distance, in the unit of ``sd``; ``None`` if there are too few differences for any.
    Example:
        >>> round(detectable(20, 1.0), 2)
        0.84
    """
    if n < LEAST_PAIRS:
        return None
    low, high = 0.0, 1.0
    while power(n, high, 1.0, level) < chance:
        low, high = high, 2 * high
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if power(n, middle, 1.0, level) < chance else (low, middle)
    return high * sd


def seeds_needed(distances: Sequence[float], sd: float, level: float = LEVEL, *, chance: float = POWER) -> int | None:
    """Smallest number of seeds whose intervals clear all thresholds, with a probability of ``chance`` or more.

    Of several thresholds, each may be missed: the power is at least ``1 - sum(1 - power)``.

    Args:
        distances: Distances from each threshold to the true median; all must be above 0.
        sd: Standard deviation of the differences.
        level: Level of each end.
        chance: Requested power.
    Returns:
        Number of seeds, or ``None`` if more than a thousand are needed or the true median lies on the wrong side.
    Example:
        >>> seeds_needed([1.0], sd=1.0)
        17
    """
    if not distances or min(distances) <= 0:
        return None
    if sd == 0:
        return LEAST_PAIRS
    return next(
        (
            n
            for n in range(LEAST_PAIRS, _MOST_SEEDS + 1)
            if sum(1 - power(n, distance, sd, level) for distance in distances) <= 1 - chance
        ),
        None,
    )
