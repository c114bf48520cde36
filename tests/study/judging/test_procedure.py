"""The error of the whole procedure, looks, family and all, over 10,000 simulated studies at the edge of the claim.

The benchmark that prints the tables of docs/statistics.md does the simulation; it stops where a verdict of its own
differs from that of ``judge`` on the same results.
"""

import argparse
import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "verdict_errors.py"
SIMULATIONS = 10_000


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("verdict_errors", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up.
    sys.modules["verdict_errors"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["verdict_errors"]


@pytest.mark.parametrize(
    ("planned", "most", "claims"), [(5, None, 1), (5, 40, 1), (3, 12, 4)], ids=["one look", "four looks", "a family"]
)
def test_false_verdicts_are_as_rare_as_said(bench, planned, most, claims):
    options = argparse.Namespace(simulations=SIMULATIONS, checked=10, rng=np.random.default_rng(planned))
    holds, fails = bench.errors(bench.DISTRIBUTIONS[0], planned, most, options, claims)
    slack = 3 * math.sqrt(0.025 * 0.975 / SIMULATIONS)
    assert holds <= 0.025 + slack
    assert fails <= 0.025 + slack
    # Nor are they so rare that nothing would ever be decided.
    assert min(holds, fails) > 0.015


def test_a_plan_with_a_power_of_80_per_cent_decides_as_often(bench):
    options = argparse.Namespace(simulations=SIMULATIONS, checked=2, rng=np.random.default_rng(0))
    seeds, share = bench.decided(1.0, 1.0, options)
    assert seeds == 10
    assert share == pytest.approx(0.803, abs=3 * math.sqrt(0.8 * 0.2 / SIMULATIONS))
