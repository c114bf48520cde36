"""The error of the whole procedure, looks, family and all, over 2,000 simulated studies at the edge of the claim.

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
SIMULATIONS = 2_000


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("verdict_errors", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up.
    sys.modules["verdict_errors"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["verdict_errors"]


def options(seed):
    return argparse.Namespace(simulations=SIMULATIONS, checked=5, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("place", range(14))
def test_false_verdicts_are_as_rare_as_said_whatever_the_runs_are(bench, place):
    """At any of the looks at 10, 20 and 40 seeds."""
    shares = bench.errors(bench.ROWS[place], [10, 20, 40], options(place))
    assert max(shares) <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / SIMULATIONS), bench.ROWS[place].name


@pytest.mark.parametrize("batches", [(4,), (1, 3)], ids=["a family", "claims added later"])
def test_false_verdicts_of_many_claims_are_as_rare_as_said(bench, batches):
    shares = bench.errors(bench.ROWS[0], [40], options(len(batches)), batches)
    assert max(shares) <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / SIMULATIONS)
    # Nor are they so rare that nothing would ever be decided.
    assert max(shares) > 0.002


def test_a_plan_with_a_power_of_80_per_cent_decides_as_often(bench):
    seeds, share = bench.decided(1.0, 1.0, options(0))
    assert seeds == 18
    assert share == pytest.approx(0.863, abs=3 * math.sqrt(0.8 * 0.2 / SIMULATIONS))
