"""Train PyTorch networks whose backward pass is not tied to their forward pass."""

from __future__ import annotations

from tieless.forwards import Forward, forwards, register_forward
from tieless.functional import untie
from tieless.nn import Activation
from tieless.rules import (
    Centralize,
    Chain,
    Clip,
    ClipNorm,
    Constant,
    Drop,
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
    Sign,
    Tied,
    Triangular,
    register_rule,
    rule,
    rules,
)

__version__ = "0.1.0"

__all__ = [
    "Activation",
    "Centralize",
    "Chain",
    "Clip",
    "ClipNorm",
    "Constant",
    "Drop",
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
