from __future__ import annotations

import math

import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from tieless.report.estimate import estimate, paired

hits = st.integers(0, 10_000).map(lambda n: n / 10_000)
accuracies = st.lists(hits, min_size=2, max_size=8).filter(lambda values: len(set(values)) > 1)


def test_students_own_example_of_1908():
    """Sleep gained under two drugs; the interval as R prints it: ``t.test(extra ~ group, sleep, paired = TRUE)``."""
    first = dict(enumerate([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]))
    second = dict(enumerate([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]))
    gained = paired(second, first)
    assert gained is not None
    assert gained.n == 10
    assert gained.mean == pytest.approx(1.58)
    assert (gained.low, gained.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-7)
    assert gained.clear


@settings(deadline=None)
@given(values=accuracies)
def test_the_interval_is_that_of_scipy(values):
    found = estimate(values)
    assert found is not None
    low, high = stats.t.interval(0.95, len(values) - 1, loc=found.mean, scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-12)
    assert found.mean == pytest.approx(math.fsum(values) / len(values))


def test_one_value_has_no_interval_and_none_no_mean():
    one = estimate([0.7])
    assert one is not None
    assert (one.n, one.mean, one.half, one.low, one.high) == (1, 0.7, None, None, None)
    assert not one.clear
    assert estimate([]) is None


def test_equal_values_have_an_interval_of_no_width():
    equal = estimate([0.1, 0.1, 0.1])
    assert equal is not None
    assert (equal.mean, equal.half) == (0.1, 0.0)


def test_a_pair_needs_both_seeds():
    assert paired({0: 0.5}, {1: 0.5}) is None
    shared = paired({0: 0.5, 1: 0.75, 3: 0.1}, {1: 0.5, 2: 0.9})
    assert shared is not None
    assert (shared.n, shared.mean) == (1, 0.25)


def test_a_difference_is_clear_where_its_interval_leaves_out_zero():
    apart, around = estimate([0.1, 0.11, 0.12]), estimate([-0.1, 0.11, 0.12])
    assert apart is not None
    assert around is not None
    assert apart.clear
    assert not around.clear
    nothing = estimate([0.0, 0.0])
    assert nothing is not None
    assert not nothing.clear
