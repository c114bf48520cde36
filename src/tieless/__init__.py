"""Train PyTorch networks whose backward pass is not tied to their forward pass."""

from __future__ import annotations

from tieless.forwards import Forward, forwards, register_forward
from tieless.functional import untie
from tieless.nn import Activation
from tieless.rules import (
    ATan,
    Centralize,
    Chain,
    Clip,
    ClipNorm,
    Constant,
    Drop,
    FastSigmoid,
    Flip,
    Frozen,
    FullJam,
    Noise,
    Normalize,
    PositiveJam,
    Quantize,
    Rectangular,
    RectangularJam,
    Rotate,
    Rule,
    Scale,
    Sigmoid,
    Sign,
    Tied,
    Triangular,
    register_rule,
    rule,
    rules,
)

__version__ = "0.1.0"

__all__ = [
    "ATan",
    "Activation",
    "Centralize",
    "Chain",
    "Clip",
    "ClipNorm",
    "Constant",
    "Drop",
    "FastSigmoid",
    "Flip",
    "Forward",
    "Frozen",
    "FullJam",
    "Noise",
    "Normalize",
    "PositiveJam",
    "Quantize",
    "Rectangular",
    "RectangularJam",
    "Rotate",
    "Rule",
    "Scale",
    "Sigmoid",
    "Sign",
    "Tied",
    "Triangular",
    "forwards",
    "register_forward",
    "register_rule",
    "rule",
    "rules",
    "untie",
]
