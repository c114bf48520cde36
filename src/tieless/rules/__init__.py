"""What flows back: every backward rule by name."""

from __future__ import annotations

from tieless.rules.base import Chain, Random, Rule, RuleLike, register_rule, rule, rules
from tieless.rules.constant import Constant
from tieless.rules.directions import Flip, Rotate, Sign
from tieless.rules.few_bit import FewBit, ReGELU2, ReSiLU2
from tieless.rules.jams import FullJam, PositiveJam, RectangularJam
from tieless.rules.magnitudes import Centralize, Clip, ClipNorm, Normalize, Quantize, Scale
from tieless.rules.randomness import Drop, Noise
from tieless.rules.rectangular import Rectangular
from tieless.rules.surrogates import ATan, FastSigmoid, Sigmoid
from tieless.rules.tied import Frozen, Tied
from tieless.rules.transforms import Transform
from tieless.rules.triangular import Triangular

__all__ = [
    "ATan",
    "Centralize",
    "Chain",
    "Clip",
    "ClipNorm",
    "Constant",
    "Drop",
    "FastSigmoid",
    "FewBit",
    "Flip",
    "Frozen",
    "FullJam",
    "Noise",
    "Normalize",
    "PositiveJam",
    "Quantize",
    "Random",
    "ReGELU2",
    "ReSiLU2",
    "Rectangular",
    "RectangularJam",
    "Rotate",
    "Rule",
    "RuleLike",
    "Scale",
    "Sigmoid",
    "Sign",
    "Tied",
    "Transform",
    "Triangular",
    "register_rule",
    "rule",
    "rules",
]
