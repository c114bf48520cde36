"""Catalogue of backward rules (surrogate gradients) by name."""

from __future__ import annotations

from tieless._imports import renamed
from tieless.draws import Random
from tieless.registry import make_callable
from tieless.rules.alternate import Alternate, alternate
from tieless.rules.anneal import Anneal, anneal
from tieless.rules.base import Chain, Rule, RuleLike, register_rule, rule, rules
from tieless.rules.bump import Bump
from tieless.rules.constant import Constant
from tieless.rules.directions import Flip, Rotate, Sign
from tieless.rules.few_bit import FewBit, ReGELU2, ReSiLU2
from tieless.rules.gated import Gated
from tieless.rules.jams import FullJam, PositiveJam, RectangularJam
from tieless.rules.leaky import LeakyReLU, PiecewiseLeakyReLU
from tieless.rules.magnitude_aware import MagnitudeAware
from tieless.rules.magnitudes import Centralize, Clip, ClipNorm, Normalize, Quantize, Scale
from tieless.rules.one_sided import S2NN, LogTailedReLU, SparseFastSigmoid
from tieless.rules.randomness import Drop, Noise
from tieless.rules.rectangular import Rectangular
from tieless.rules.schedule import RuleSchedule, register_schedule, rule_schedule
from tieless.rules.stochastic import StochasticSpike
from tieless.rules.surrogates import ATan, Erf, FastSigmoid, Sigmoid
from tieless.rules.tails import Circ, FakeNumericalGradient, PiecewiseExp, QPseudoSpike, SignLogAbs
from tieless.rules.tied import Frozen, Tied
from tieless.rules.transforms import Transform
from tieless.rules.triangular import Triangular
from tieless.rules.waves import SquareWaveSeries, SwishSign

__all__ = [
    "S2NN",
    "ATan",
    "Alternate",
    "Anneal",
    "Bump",
    "Centralize",
    "Chain",
    "Circ",
    "Clip",
    "ClipNorm",
    "Constant",
    "Drop",
    "Erf",
    "FakeNumericalGradient",
    "FastSigmoid",
    "FewBit",
    "Flip",
    "Frozen",
    "FullJam",
    "Gated",
    "LeakyReLU",
    "LogTailedReLU",
    "MagnitudeAware",
    "Noise",
    "Normalize",
    "PiecewiseExp",
    "PiecewiseLeakyReLU",
    "PositiveJam",
    "QPseudoSpike",
    "Quantize",
    "Random",
    "ReGELU2",
    "ReSiLU2",
    "Rectangular",
    "RectangularJam",
    "Rotate",
    "Rule",
    "RuleLike",
    "RuleSchedule",
    "Scale",
    "Sigmoid",
    "Sign",
    "SignLogAbs",
    "SparseFastSigmoid",
    "SquareWaveSeries",
    "StochasticSpike",
    "SwishSign",
    "Tied",
    "Transform",
    "Triangular",
    "alternate",
    "anneal",
    "register_rule",
    "register_schedule",
    "rule",
    "rule_schedule",
    "rules",
]

make_callable(__name__, rules)

__getattr__ = renamed(__name__, alternation="rule_schedule")
