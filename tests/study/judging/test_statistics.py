"""Intervals, levels and plans, judged by published examples, by SciPy and by simulation."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from tieless.errors import StudyError
from tieless.study.judging.statistics import (
    LEAST_PAIRS,
    LEVEL,
    Differences,
    Excess,
    Mean,
    detectable,
    power,
    resolution,
    seeds_needed,
    share,
)

SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
"""Hours of sleep that ten patients gained more under one drug than under another (Student 1908)."""

values_of = st.lists(st.integers(-900, 900).map(lambda n: n / 1000), min_size=5, max_size=40)


def test_students_own_example_of_1908():
    """R prints of its mean: 95 % interval 0.7001142 to 2.4598858; BSDA's ``SIGN.test`` of its median: 97.85 %, 0.8 to 2.4."""
    mean = Mean.of(SLEEP)
    assert (mean.mean - mean.half, mean.mean + mean.half) == pytest.approx((0.7001142, 2.4598858), abs=5e-8)
    assert Differences.of(SLEEP) == Differences(n=10, median=1.3, low=0.8, high=2.4)


@settings(deadline=None, max_examples=60)
@given(values=values_of, level=st.floats(0.0005, 0.05))
def test_the_interval_of_a_median_is_that_of_scipys_quantile_test(values, level):
    found = Differences.of(values, level, level)
    assert found.median == pytest.approx(np.median(values))
    if 0.5 ** len(values) > level:
        return
    low, high = (
        stats.quantile_test(values, p=0.5, alternative=side).confidence_interval(1 - level)
        for side in ("greater", "less")
    )
    assert found.interval == (low.low, high.high)


@pytest.mark.parametrize("n", [5, 6, 8])
@pytest.mark.parametrize("level", [0.001, 0.0001])
def test_a_range_is_extended_as_far_as_a_uniform_distribution_asks(n, level):
    """Of distributions that fall on both sides of the median, the uniform one is missed most, as often as the level says."""
    rng = np.random.default_rng(n)
    # Given that all lie above the median, which has the probability 2^-n.
    above = np.sort(rng.uniform(0, 1, (40_000, n)))
    extension = (above[:2000, 0] - [Differences.of(list(row), level, level).low for row in above[:2000]]) / np.ptp(
        above[:2000], 1
    )
    assert extension == pytest.approx(extension[0])
    missed = (above[:, 0] > extension[0] * np.ptp(above, 1)).mean() * 0.5**n
    assert missed == pytest.approx(level, rel=4 / math.sqrt(40_000 * level * 2**n))


@settings(deadline=None, max_examples=40)
@given(values=values_of, shift=st.floats(-1, 1), level=st.floats(1e-5, 0.05))
def test_an_interval_moves_with_its_values_and_turns_with_them(values, shift, level):
    found = Differences.of(values, level, level)
    moved = Differences.of([value + shift for value in values], level, level)
    turned = Differences.of([-value for value in values], level, level)
    assert moved.interval == pytest.approx((found.low + shift, found.high + shift), abs=1e-9)
    assert turned.interval == (-found.high, -found.low)
    assert found.low <= found.median <= found.high


def test_few_values_or_equal_ones_that_are_few_have_no_interval():
    assert Differences.of([1.0, 1.1, 1.2, 1.3]).interval == (-math.inf, math.inf)
    assert Differences.of([1.0] * 5).interval == (-math.inf, math.inf)
    assert Differences.of([1.0] * 6).interval == (1.0, 1.0)
    assert Differences.of([0.9, 1.0, 1.0, 1.0, 1.0]).low > -math.inf
    assert LEAST_PAIRS == 5


@settings(deadline=None, max_examples=60)
@given(counts=st.tuples(st.integers(0, 20), st.integers(0, 20)), more=st.integers(1, 20), level=st.floats(0.001, 0.05))
def test_the_excess_of_collapses_has_the_limits_of_scipys_exact_binomial(counts, more, level):
    n = sum(counts) + more
    found = Excess.of(n, *counts, level, level)

    def limits(count, low, high):
        least = stats.binomtest(count, n, alternative="greater").proportion_ci(1 - low).low
        return least, stats.binomtest(count, n, alternative="less").proportion_ci(1 - high).high

    ours, theirs = (limits(count, 0.1 * level, 0.9 * level) for count in counts)
    assert (found.low, found.high) == pytest.approx((ours[0] - theirs[1], ours[1] - theirs[0]), abs=1e-9)


def test_runs_that_never_collapse_leave_what_the_rule_of_three_says():
    """Hanley and Lippman-Hand 1983: 0 of n leave about 3 / n at 95 %; the exact limit is ``1 - 0.05 ** (1 / n)``."""
    assert Excess.of(100, 0, 0, above=0.05 / 0.9).high == pytest.approx(1 - 0.05**0.01)
    assert Excess.of(100, 0, 0, above=0.05 / 0.9).high == pytest.approx(0.03, abs=0.001)


def test_all_shares_of_the_level_are_not_more_than_it():
    shares = [share(place) for place in range(60)]
    assert sum(shares) == pytest.approx(1)
    assert all(later < earlier for earlier, later in pairwise(shares))


@pytest.mark.parametrize("samples", [360, 400, 10_000])
def test_the_step_of_accuracies_is_that_of_their_test_set(samples):
    rng = np.random.default_rng(samples)
    counts = rng.integers(0, samples, 12)
    assert resolution(count / samples for count in counts) == pytest.approx(1 / samples)
    assert resolution([0.1, 0.1]) == pytest.approx(0.1)
    assert resolution([math.pi / 4, math.e / 3]) == 0


def test_many_equal_values_have_the_spread_of_rounding():
    equal = Mean.of([0.01] * 40, step=1 / 360)
    assert equal.sd == pytest.approx((1 / 360) / math.sqrt(6))
    assert Mean.of([0.5, 0.1], step=0.01).sd == pytest.approx(np.std([0.5, 0.1], ddof=1))
    with pytest.raises(StudyError, match="at least two runs, got 1"):
        Mean.of([0.1])


@pytest.mark.parametrize("samples", [100, 360, 10_000])
@pytest.mark.parametrize("n", [2, 3, 5, 10, 15, 20, 40])
def test_runs_without_an_error_have_the_interval_of_scipys_binomial(n, samples):
    """Nobody erred on ``n * samples`` test samples: the error rate may be what the exact binomial leaves possible."""
    limit = stats.binomtest(0, n * samples).proportion_ci(0.95, method="exact").high
    rounding = stats.t.ppf(0.975, n - 1) / samples / math.sqrt(6 * n)
    assert Mean.of([0.0] * n, step=1 / samples).half == pytest.approx(max(limit, rounding))
    assert (limit > rounding) == (n in {3, 5, 10, 15})


@settings(deadline=None, max_examples=40)
@given(n=st.integers(7, 60), distance=st.floats(0.01, 3))
def test_power_is_that_of_the_sign_test(n, distance):
    """So many of ``n`` must lie beyond the threshold, each with the probability of a normal value."""
    beyond = max(k for k in range(n) if stats.binom.cdf(k, n, 0.5) <= LEVEL)
    expected = stats.binom.sf(n - beyond - 1, n, stats.norm.cdf(distance))
    assert power(n, distance, 1) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("n", "distance", "level"), [(5, 1.5, 0.016), (5, 4.0, 0.001), (8, 2.0, 0.0005)])
def test_power_of_an_extended_range_is_what_simulation_finds(n, distance, level):
    drawn = np.random.default_rng(n).normal(distance, 1, (4000, n))
    found = np.mean([Differences.of(list(row), level, level).low > 0 for row in drawn])
    assert power(n, distance, 1, level) == pytest.approx(found, abs=3 * 0.5 / math.sqrt(4000))


@settings(deadline=None, max_examples=20)
@given(n=st.integers(5, 40), sd=st.floats(0.001, 2), level=st.floats(0.0005, 0.025))
def test_what_a_plan_finds_is_found_with_its_power(n, sd, level):
    found = detectable(n, sd, level)
    assert power(n, found, sd, level) == pytest.approx(0.8, abs=1e-3)


def test_a_plan_of_too_few_seeds_finds_nothing():
    assert detectable(4, 1.0) is None
    assert power(4, 100.0, 1.0) == 0


@settings(deadline=None, max_examples=20)
@given(
    distances=st.lists(st.floats(0.4, 3), min_size=1, max_size=2),
    level=st.floats(0.002, 0.05),
    chance=st.none() | st.floats(0.5, 0.95),
)
def test_one_seed_less_would_not_do(distances, level, chance):
    n = seeds_needed(distances, 1, level, **({} if chance is None else {"chance": chance}))
    missed = [sum(1 - power(m, d, 1, level) for d in distances) for m in (n, n - 1)]
    allowed = 0.2 if chance is None else 1 - chance
    assert missed[0] <= allowed + 1e-12
    assert n == LEAST_PAIRS or missed[1] > allowed


def test_no_number_of_seeds_decides_what_lies_on_the_margin():
    assert seeds_needed([0.0], 1) is None
    assert seeds_needed([1.0, -0.1], 1) is None
    assert seeds_needed([1e-3], 1) is None
    assert seeds_needed([1.0], 0) == LEAST_PAIRS
