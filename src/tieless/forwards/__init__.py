"""What flows forward: every function ``z -> y`` by name, with its derivative where it has a useful one."""

from __future__ import annotations

from tieless.forwards.base import Elementwise, Forward, ForwardLike, forward, forwards, register_forward
from tieless.forwards.flat import Heaviside, Round, Sign, SquareWave, Staircase, Ternary
from tieless.forwards.piecewise import HardSigmoid, HardTanh, LeakyRelu, Linear, Relu, Relu6, Sawtooth
from tieless.forwards.smooth import Elu, Gelu, Logistic, Silu, Softplus, Tanh

__all__ = [
    "Elementwise",
    "Elu",
    "Forward",
    "ForwardLike",
    "Gelu",
    "HardSigmoid",
    "HardTanh",
    "Heaviside",
    "LeakyRelu",
    "Linear",
    "Logistic",
    "Relu",
    "Relu6",
    "Round",
    "Sawtooth",
    "Sign",
    "Silu",
    "Softplus",
    "SquareWave",
    "Staircase",
    "Tanh",
    "Ternary",
    "forward",
    "forwards",
    "register_forward",
]
