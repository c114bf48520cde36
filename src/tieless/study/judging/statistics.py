"""Statistics of differences paired by seed: intervals, one-sided tests, Holm's correction, number of seeds needed.

SciPy does the mathematics: its distributions of t, central and noncentral.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import fmean, stdev
from typing import Any

from tieless._imports import try_import
from tieless.diagnose.gradients.estimates import half_width
from tieless.errors import StudyError

CONFIDENCE = 0.95
"""Confidence of every interval."""
LEVEL = (1 - CONFIDENCE) / 2
"""Level of every one-sided test: 2.5 %, so that a test rejects where the interval leaves its threshold out."""
POWER = 0.8
"""Power with which a plan is to decide."""
_MOST_SEEDS = 10_000
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
class Differences:
    """Summary of ``n`` values, one per seed, by their mean and standard deviation, for Student's t.

    Most often differences of paired runs; of one rule's accuracies the mean has its interval by the same formula.

    Args:
        n: Number of values, at least 2.
        mean: Mean of the values.
        sd: Standard deviation, with ``n - 1`` in the denominator.
    Source:
        Student 1908, The probable error of a mean, doi:10.1093/biomet/6.1.1.
    """

    n: int
    mean: float
    sd: float

    @classmethod
    def of(cls, values: Sequence[float], step: float = 0.0) -> Differences:
        """Summary of single values, whose spread is never taken to be smaller than ``least_spread``.

        Seeds that agree to the last digit have a standard deviation of 0, which would make any difference certain. But
        each accuracy is a count of test samples, and that number of samples limits the precision.

        Args:
            values: Differences or accuracies, one per seed.
            step: Smallest change of an accuracy, 1 over the number of test samples.
        Raises:
            StudyError: there are fewer than two values.
        Example:
            >>> low, high = Differences.of([0.0, 0.0, 0.0], step=1 / 10_000).interval
            >>> round(high, 6)  # 1 - 0.025 ** (1 / 30_000)
            0.000123
        """
        if len(values) < 2:
            raise StudyError(f"A test needs at least two pairs of runs, got {len(values)}.")
        # The rounded sum of equal values may make a mean and a spread that are off by 1e-17.
        equal = len(set(values)) == 1
        mean, spread = (values[0], 0.0) if equal else (fmean(values), stdev(values))
        return cls(len(values), mean, max(spread, least_spread(len(values), step)))

    @property
    def error(self) -> float:
        """Standard error of the mean: ``sd / sqrt(n)``."""
        return self.sd / math.sqrt(self.n)

    @property
    def half(self) -> float:
        """Half the width of the 95 % interval: ``t(0.975, n - 1) sd / sqrt(n)``."""
        return half_width(self.sd, self.n, CONFIDENCE)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean, ``mean ± half``."""
        return self.mean - self.half, self.mean + self.half

    @property
    def effect(self) -> float | None:
        """Effect size, ``J mean / sd`` with Hedges' ``J`` against its bias; ``None`` if ``sd`` is 0.

        Source:
            Hedges 1981, doi:10.3102/10769986006002107: ``J = gamma(m / 2) / (sqrt(m / 2) gamma((m - 1) / 2))`` with
            ``m = n - 1``. With two pairs ``J`` is 0 and there is no effect to speak of.
        """
        freedom = self.n - 1
        if self.sd == 0 or freedom < 2:
            return None
        log_j = math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2) - math.log(freedom / 2) / 2
        return math.exp(log_j) * self.mean / self.sd

    def above(self, threshold: float) -> float:
        """p-value of "the true mean is above ``threshold``" against "it is not", by the t test.

        Example:
            >>> round(Differences(n=10, mean=1.58, sd=1.229995).above(0), 6)
            0.001416
        """
        if self.sd == 0:
            return 0.0 if self.mean > threshold else 1.0
        return float(special_functions().stdtr(self.n - 1, (threshold - self.mean) / self.error))

    def below(self, threshold: float) -> float:
        """p-value of "the true mean is below ``threshold``" against "it is not"."""
        return Differences(self.n, -self.mean, self.sd).above(-threshold)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted so that the chance of any false rejection in the family is at most the level.

    In ascending order, ``max over j <= i of (m - j + 1) p(j)``, at most 1.

    Source:
        Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 65-70.
    Example:
        >>> [round(p, 4) for p in holm([0.01, 0.04, 0.03, 0.005])]
        [0.03, 0.06, 0.06, 0.02]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def power(n: int, distance: float, sd: float, level: float = LEVEL) -> float:
    """Power: the probability that a one-sided t test of ``n`` differences rejects.

    ``1 - F(t(1 - level, n - 1))`` with ``F`` the noncentral t of ``n - 1`` degrees and noncentrality
    ``distance sqrt(n) / sd``.

    Args:
        n: Number of differences, at least 2.
        distance: Distance from the threshold of the test to the true mean, positive on the side where the test rejects.
        sd: True standard deviation of the differences, above 0.
        level: Level of the test.
    Source:
        Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, chapter 2; SciPy's ``nctdtr``.
    Example:
        >>> round(power(50, 0.421637, 1), 4)
        0.8321
    """
    special = special_functions()
    critical, noncentrality = float(special.stdtrit(n - 1, 1 - level)), distance * math.sqrt(n) / sd
    missed = float(special.nctdtr(n - 1, noncentrality, critical))
    if not math.isnan(missed):
        return 1 - missed
    # Its series fails here and there from a noncentrality of 38 on.
    from scipy.stats import nct  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    return float(nct.sf(critical, n - 1, noncentrality))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def seeds_needed(
    distances: Sequence[float], sd: float, level: float = LEVEL, *, least: int = 3, chance: float = POWER
) -> int | None:
    """Smallest number of seeds with which one-sided tests all reject, with a probability of ``chance`` or more.

    Of several tests, each may fail: their power together is at least ``1 - sum(1 - power)``.

    Args:
        distances: Distances from the threshold of each test to the true mean; all must be above 0.
        sd: Standard deviation of the differences, as estimated by a pilot.
        level: Level of each test.
        least: Smallest number to consider.
        chance: Requested power.
    Returns:
        Number of seeds, or ``None`` if more than ten thousand are needed or the true mean lies on the wrong side.
    Example:
        >>> seeds_needed([5.0], sd=5.0)
        10
    """
    if not distances or min(distances) <= 0:
        return None
    if sd == 0:
        return least

    def enough(n: int) -> bool:
        return sum(1 - power(n, distance, sd, level) for distance in distances) <= 1 - chance

    return _smallest(enough, least)


def _smallest(enough: Callable[[int], bool], least: int) -> int | None:
    """Smallest integer from ``least`` to ten thousand that is enough, where every larger one is too."""
    low, high = least - 1, least
    while not enough(high):
        if high >= _MOST_SEEDS:
            return None
        low, high = high, min(2 * high, _MOST_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
