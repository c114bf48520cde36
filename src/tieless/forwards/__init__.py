"""Catalogue of forwards: every function ``z -> y`` by name, with its derivative if it has a useful one."""

from __future__ import annotations

from tieless.forwards.base import Elementwise, FixedFunction, Forward, ForwardLike, forward, forwards, register_forward
from tieless.forwards.flat import Heaviside, Round, Sign, SquareWave, Staircase, Ternary
from tieless.forwards.piecewise import Abs, Clamp, HardSigmoid, HardTanh, LeakyRelu, Linear, Relu, Relu6, Sawtooth
from tieless.forwards.quantisers import Ceil, Floor, Quantize, RoundToZero, SpikeCount
from tieless.forwards.signed import SignedStaircase
from tieless.forwards.smooth import Elu, Gelu, Logistic, Silu, Softplus, Tanh
from tieless.forwards.stochastic import Bernoulli
from tieless.forwards.weights import MagnitudeAwareSign, TernaryWeight
from tieless.registry import make_callable

__all__ = [
    "Abs",
    "Bernoulli",
    "Ceil",
    "Clamp",
    "Elementwise",
    "Elu",
    "FixedFunction",
    "Floor",
    "Forward",
    "ForwardLike",
    "Gelu",
    "HardSigmoid",
    "HardTanh",
    "Heaviside",
    "LeakyRelu",
    "Linear",
    "Logistic",
    "MagnitudeAwareSign",
    "Quantize",
    "Relu",
    "Relu6",
    "Round",
    "RoundToZero",
    "Sawtooth",
    "Sign",
    "SignedStaircase",
    "Silu",
    "Softplus",
    "SpikeCount",
    "SquareWave",
    "Staircase",
    "Tanh",
    "Ternary",
    "TernaryWeight",
    "forward",
    "forwards",
    "register_forward",
]

make_callable(__name__, forwards)
