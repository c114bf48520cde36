"""Cases of the guarantees: every forward with every rule that goes with it, in every reading."""

import random
from collections.abc import Collection
from functools import cache

import pytest
import torch

from tieless.errors import RuleValueError, UntrainableError
from tieless.forwards import forward as forward_of
from tieless.functional import pair_of
from tieless.kernels.elementwise import TOLERANCES
from tieless.rules import rule as rule_of

__all__ = ["EVERY_PAIR", "FORWARDS", "OWN_EXP", "RULES", "Pair", "asked", "closed_clamp", "cross_section", "kinds_of"]

Pair = tuple[str, str]
"""Forward and rule, as specs."""

FORWARDS = [
    "abs",
    "bernoulli",
    "ceil",
    "clamp",
    "elu",
    "floor",
    "gelu",
    "hard_sigmoid",
    "hard_tanh",
    "heaviside",
    "leaky_relu",
    "linear",
    "logistic",
    "magnitude_aware_sign",
    "quantize(0.5)",
    "relu",
    "relu6",
    "round",
    "round_to_zero",
    "sawtooth",
    "sign",
    "signed_staircase(3)",
    "silu",
    "softplus",
    "spike_count",
    "square_wave",
    "staircase(4)",
    "tanh",
    "ternary",
    "ternary_weight",
]
RULES = [
    "atan",
    "centralize",
    "circ(0.4)",
    "clip(0.1)",
    "clip_norm(0.5)",
    "constant(0.5)",
    "drop(0.5)",
    "erf(0.5)",
    "fake_numerical_gradient(0.5, 2)",
    "fast_sigmoid(0.2)",
    "few_bit(3)",
    "flip(0.3)",
    "frozen",
    "full_jam",
    'full_jam(minimum=-1, maximum=2, replace="magnitude")',
    "gated",
    'gated(where="nonzero")',
    "leaky_relu(0.1)",
    "log_tailed_relu(0.5, leak=0.1)",
    "magnitude_aware",
    "noise(0.1)",
    "normalize",
    "piecewise_exp(0.5, center=0.3)",
    "piecewise_leaky_relu",
    "positive_jam",
    'positive_jam(gate="feedback")',
    'positive_jam(gate="feedback", replace="magnitude")',
    "q_pseudo_spike",
    "quantize(3)",
    "rectangular",
    "rectangular_jam(-1, 1)",
    'rectangular_jam(-1, 1, gate="feedback")',
    'rectangular_jam(-1, 1, gate="feedback", replace="magnitude")',
    'rectangular_jam(-1, 1, gate="feedback", replace="feedback")',
    "regelu2",
    "resilu2",
    "rotate(30)",
    "s2nn",
    "scale(-2)",
    "sigmoid(0.25)",
    "sign",
    "sign_log_abs",
    "sparse_fast_sigmoid(0.5)",
    "square_wave_series(terms=3)",
    "stochastic_spike(mean=1)",
    "swish_sign",
    "tied",
    "triangular",
    "rectangular(-1, 1) >> noise(0.1) >> full_jam",
    "tied >> positive_jam >> clip_norm(1.0)",
]

OWN_EXP = [rule for rule in RULES if rule.partition("(")[0] in TOLERANCES]
"""Rules whose kernels compute exp by themselves, to an ulp that PyTorch's own may not hit."""


def _fits(forward: str, rule: str) -> bool:
    try:
        pair_of(forward, rule)
    except (RuleValueError, UntrainableError):
        return False
    return True


EVERY_PAIR = [(forward, rule) for forward in FORWARDS for rule in RULES if _fits(forward, rule)]


@cache
def kinds_of(forward: str, rule: str) -> Pair:
    """Files in which a forward and a rule are: those of one file are made of the same parts."""
    return type(forward_of(forward)).__module__, type(rule_of(rule)).__module__


def closed_clamp(z: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Clamp whose gradient passes at both edges, in every version of PyTorch."""
    return torch.where((low <= z) & (z <= high), z, z.detach().clamp(low, high))


def cross_section(name: str) -> list[Pair]:
    """Pairs in which every forward, every rule, and every kind of forward beside every kind of rule is met.

    Args:
        name: Name of the test: other names have other pairs, so that many tests together ask most pairs.
    """
    pairs = list(EVERY_PAIR)
    random.Random(name).shuffle(pairs)
    met: set[Pair] = set()
    chosen: list[Pair] = []
    for least in (3, 2, 1):
        for forward, rule in pairs:
            new = {("forward", forward), ("rule", rule), kinds_of(forward, rule)} - met
            if len(new) >= least:
                chosen.append((forward, rule))
                met |= new
    return chosen


def asked(config: pytest.Config, name: str, most: int | None = None, first: Collection[str] = ()) -> list[Pair]:
    """Pairs that the test ``name`` asks about: with ``--all`` every one, else a cross-section of its own.

    Args:
        config: Run of the tests.
        name: Name of the test.
        most: Number of pairs that it takes of its cross-section, for one that takes long; ``None`` for all.
        first: Rules whose pairs are among these.
    """
    if config.getoption("all"):
        return EVERY_PAIR
    return sorted(cross_section(name), key=lambda pair: pair[1] not in first)[:most]
