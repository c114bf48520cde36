"""Tests and plans, judged by published examples, by SciPy and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from scipy import stats

from tieless.errors import StudyError
from tieless.study.judging.statistics import Differences, holm, power, resolution, seeds_needed

SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
"""Hours of sleep that ten patients gained more under one drug than under another (Student 1908)."""

differences = st.lists(st.integers(-900, 900).map(lambda n: n / 1000), min_size=3, max_size=12).filter(
    lambda values: len(set(values)) > 1
)


def test_students_own_example_of_1908():
    """R prints of it: ``t = 4.0621, df = 9, p-value = 0.002833``, 95 % interval 0.7001142 to 2.4598858."""
    sleep = Differences.of(SLEEP)
    assert sleep.mean == pytest.approx(1.58)
    assert sleep.mean / sleep.error == pytest.approx(4.0621, abs=5e-5)
    assert 2 * sleep.above(0) == pytest.approx(0.002833, abs=5e-7)
    assert sleep.interval == pytest.approx((0.7001142, 2.4598858), abs=5e-8)


def test_the_two_one_sided_tests_of_a_published_example():
    """65 pairs, means 5.83 and 5.75, standard deviations 1.17 and 1.29, correlation 0.75, bounds of 0.4 sd.

    The example of ``TOSTpaired`` in R's TOSTER after Mara and Cribbie 2012, doi:10.1080/03610918.2011.626545; its
    statistic is ``(m1 - m2 ± bound) / (sd / sqrt(n))`` with 64 degrees of freedom, computed by hand here.
    """
    sd = math.sqrt(1.17**2 + 1.29**2 - 2 * 0.75 * 1.17 * 1.29)
    pairs, bound = Differences(65, 5.83 - 5.75, sd), 0.4 * sd
    lower, upper = (0.08 + bound) / (sd / math.sqrt(65)), (0.08 - bound) / (sd / math.sqrt(65))
    assert (lower, upper) == pytest.approx((3.960, -2.489), abs=5e-4)
    assert pairs.above(-bound) == pytest.approx(stats.t.sf(lower, 64))
    assert pairs.below(bound) == pytest.approx(stats.t.cdf(upper, 64))
    assert max(pairs.above(-bound), pairs.below(bound)) < 0.05


@settings(deadline=None, max_examples=50)
@given(values=differences, threshold=st.floats(-0.5, 0.5))
def test_p_values_are_those_of_scipy(values, threshold):
    ours = Differences.of(values)
    above, below = (stats.ttest_1samp(values, threshold, alternative=side).pvalue for side in ("greater", "less"))
    assert ours.above(threshold) == pytest.approx(above, rel=1e-9, abs=1e-15)
    assert ours.below(threshold) == pytest.approx(below, rel=1e-9, abs=1e-15)
    assert (ours.interval[0] > threshold) == (above < 0.025 - 1e-12) or above == pytest.approx(0.025)


def test_the_effect_is_hedges_with_his_correction():
    """Hedges 1981, table of ``J``: 0.7979 for 4, 0.9139 for 9 degrees of freedom, close to ``1 - 3 / (4 m - 1)``."""
    assert Differences(5, 1.0, 1.0).effect == pytest.approx(0.7979, abs=5e-5)
    assert Differences(10, 1.0, 1.0).effect == pytest.approx(1 - 3 / (4 * 9 - 1), abs=5e-4)
    assert Differences(2, 1.0, 1.0).effect is None
    assert Differences(5, 1.0, 0.0).effect is None


def test_many_equal_differences_have_the_spread_of_rounding():
    equal = Differences.of([0.01] * 40, step=1 / 360)
    assert equal.sd == pytest.approx((1 / 360) / math.sqrt(6))
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 1, (2, 100_000))
    rounded = np.round(true * 360) / 360
    assert np.std((rounded[0] - rounded[1]) - (true[0] - true[1])) == pytest.approx(equal.sd, rel=0.01)
    assert Differences.of([0.5, 0.1], step=0.01).sd == pytest.approx(np.std([0.5, 0.1], ddof=1))


@pytest.mark.parametrize("samples", [100, 360, 10_000])
@pytest.mark.parametrize("n", [2, 3, 5, 10, 15, 20, 40])
def test_runs_without_an_error_have_the_interval_of_scipys_binomial(n, samples):
    """Nobody erred on ``n * samples`` test samples: the error rate may be what the exact binomial leaves possible."""
    low, high = Differences.of([0.0] * n, step=1 / samples).interval
    limit = stats.binomtest(0, n * samples).proportion_ci(0.95, method="exact").high
    rounding = stats.t.ppf(0.975, n - 1) / samples / math.sqrt(6 * n)
    assert (low, high) == pytest.approx((-max(limit, rounding), max(limit, rounding)))
    assert (limit > rounding) == (n in {3, 5, 10, 15})


@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_a_claim_of_runs_that_all_agree_is_seldom_wrong(n):
    """Simulated at the edge: the candidate errs on a true part of ``margin``, the baseline never, 100 test samples.

    Of 20,000 studies at most 2.5 % may see no error at all and say "holds" all the same, whatever the margin.
    """
    rng = np.random.default_rng(n)
    p_value = Differences.of([0.0] * n, step=0.01).above
    for margin in np.geomspace(0.0005, 0.05, 60):
        agreed = (rng.binomial(100, margin, (20_000, n)) == 0).all(1).mean()
        wrong = agreed if p_value(-margin) < 0.025 else 0.0
        assert wrong <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / 20_000), margin


def test_without_any_spread_the_mean_decides():
    equal = Differences.of([0.01, 0.01])
    assert (equal.above(0), equal.above(0.01), equal.below(0.01), equal.below(0.02)) == (0, 1, 1, 0)


def test_one_pair_is_no_test():
    with pytest.raises(StudyError, match="at least two pairs of runs, got 1"):
        Differences.of([0.1])


@pytest.mark.parametrize("samples", [360, 400, 10_000])
def test_the_step_of_accuracies_is_that_of_their_test_set(samples):
    rng = np.random.default_rng(samples)
    counts = rng.integers(0, samples, 12)
    assert resolution(count / samples for count in counts) == pytest.approx(1 / samples)
    assert resolution([0.1, 0.1]) == pytest.approx(0.1)
    assert resolution([math.pi / 4, math.e / 3]) == 0


def test_holm_rejects_three_of_the_fifteen_of_neuhaus():
    """Benjamini and Hochberg 1995, section 4: of these p-values Bonferroni's and Hochberg's ways reject three."""
    neuhaus = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    neuhaus += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.000]
    assert [p <= 0.05 for p in holm(neuhaus)] == [True] * 3 + [False] * 12
    assert holm(neuhaus)[:4] == pytest.approx([0.0015, 0.0056, 0.0247, 0.1140])


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0.001, 0.2))
def test_holm_steps_down(p_values, level):
    rejected = set()
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[i] * (len(p_values) - rank) > level:
            break
        rejected.add(i)
    assert {i for i, p in enumerate(holm(p_values)) if p <= level} == rejected


def test_power_is_that_of_published_examples():
    """G*Power 3.1 manual, after Cohen 1969, p. 48; Cohen 1988, exercise 2.5, as ``pwr.t.test`` in R has it."""
    assert power(50, 0.421637, 1) == pytest.approx(0.832114, abs=5e-7)
    assert power(60, 0.2, 1, 0.05) + power(60, -0.2, 1, 0.05) == pytest.approx(0.4555818, abs=5e-8)


@pytest.mark.parametrize(
    ("distance", "sd", "chance", "pairs"),
    [(5, 5, 0.8, 10), (0.25, 1, 0.75, 113), (0.5, 1, 0.75, 30)],
    ids=["UCLA, G*Power: weight loss", "R: pwr.t.test(d = .25)", "R: pwr.t.test(d = .5)"],
)
def test_the_seeds_needed_are_those_of_published_examples(distance, sd, chance, pairs):
    assert seeds_needed([distance], sd, chance=chance) == pairs


@settings(deadline=None, max_examples=40)
@given(n=st.integers(2, 60), distance=st.floats(0.01, 3), level=st.floats(0.001, 0.1))
def test_power_is_that_of_scipys_noncentral_t(n, distance, level):
    expected = stats.nct.sf(stats.t.ppf(1 - level, n - 1), n - 1, distance * math.sqrt(n))
    assert power(n, distance, 1, level) == pytest.approx(expected, abs=1e-8)


@settings(deadline=None, max_examples=30)
@example(distances=[2.0, 0.25], level=1 / 256)  # where SciPy's nctdtr has no answer for the larger distance
@given(distances=st.lists(st.floats(0.2, 3), min_size=1, max_size=2), level=st.floats(0.002, 0.05))
def test_one_seed_less_would_not_do(distances, level):
    n = seeds_needed(distances, 1, level)
    missed = [sum(1 - power(m, d, 1, level) for d in distances) for m in (n, n - 1)]
    assert missed[0] <= 0.2 + 1e-12
    assert n == 3 or missed[1] > 0.2


def test_no_number_of_seeds_decides_what_lies_on_the_margin():
    assert seeds_needed([0.0], 1) is None
    assert seeds_needed([1.0, -0.1], 1) is None
    assert seeds_needed([1e-4], 1) is None
    assert seeds_needed([1.0], 0) == 3


def test_the_noninferiority_test_has_its_nominal_error():
    """10,000 simulated pilots at the edge of the null hypothesis, vectorised: 2.5 % false "holds", as Student has it."""
    rng = np.random.default_rng(2026)
    margin = 0.01
    for n in (3, 5, 10):
        values = rng.normal(-margin, 0.02, (10_000, n))
        mean, sd = values.mean(1), values.std(1, ddof=1)
        critical = stats.t.ppf(0.975, n - 1)
        rejected = np.mean((mean + margin) / (sd / np.sqrt(n)) > critical)
        assert rejected == pytest.approx(0.025, abs=3 * math.sqrt(0.025 * 0.975 / 10_000))
        some = [Differences.of(list(row)).above(-margin) for row in values[:500]]
        assert [p < 0.025 for p in some] == list((mean + margin)[:500] / (sd[:500] / np.sqrt(n)) > critical)
