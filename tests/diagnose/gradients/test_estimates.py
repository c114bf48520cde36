"""Means and intervals without SciPy, against SciPy."""

import math

import pytest
from hypothesis import given, strategies as st

from tieless.diagnose.gradients.estimates import mean_and_interval, t_quantile
from tieless.errors import RuleValueError

special = pytest.importorskip("scipy.special")


@given(st.floats(0.5001, 0.99999), st.integers(1, 300))
def test_the_quantile_is_scipys(probability, freedom):
    assert t_quantile(probability, freedom) == pytest.approx(special.stdtrit(freedom, probability), rel=1e-9)


def test_the_interval_is_students():
    values = [0.3, -0.2, 0.7, 0.1]
    mean, (low, high) = mean_and_interval(values, 0.9)
    half = special.stdtrit(3, 0.95) * (sum((v - mean) ** 2 for v in values) / 3) ** 0.5 / 2
    assert (mean, low, high) == pytest.approx((0.225, 0.225 - half, 0.225 + half))


def test_one_value_equal_values_and_infinite_ones():
    assert mean_and_interval([0.1], 0.95) == (0.1, None)
    assert mean_and_interval([0.1] * 3, 0.95) == (0.1, (0.1, 0.1))
    assert mean_and_interval([1.0, math.inf], 0.95)[0] == math.inf


@pytest.mark.parametrize(("probability", "freedom"), [(0.5, 3), (1.0, 3), (0.9, 0)])
def test_what_has_no_quantile_is_refused(probability, freedom):
    with pytest.raises(RuleValueError, match="t_quantile needs"):
        t_quantile(probability, freedom)
