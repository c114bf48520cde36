"""Piecewise linear forwards: their derivative is one number, or one number on each side of a window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tieless import ops
from tieless.forwards.base import Forward, register_forward
from tieless.slopes import FixedSlope, SlopeForm, TwoValuedSlope, Window


@register_forward
@dataclass(frozen=True, slots=True)
class Linear(Forward):
    """Identity: ``y = z``, a tensor of its own. Derivative 1. Memory: nothing is stored.

    Example:
        >>> forward("linear").value(torch.tensor([-1.0, 2.0]))
        tensor([-1.,  2.])
    """

    known_as: ClassVar[tuple[str, ...]] = ("identity",)

    def body(self, dtype: torch.dtype) -> tuple[str, tuple[float, ...]]:
        return "linear", ()

    def derivative(self) -> SlopeForm:
        return FixedSlope(1.0)


@register_forward
@dataclass(frozen=True, slots=True)
class Relu(Forward):
    """Rectifier: ``y = max(z, 0)``. Derivative ``1[z > 0]``, 0 at 0. Memory: one bit per element.

    Example:
        >>> forward("relu").value(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """

    def body(self, dtype: torch.dtype) -> tuple[str, tuple[float, ...]]:
        return "relu", ()

    def derivative(self) -> SlopeForm:
        return TwoValuedSlope(Window(0.0, math.inf, open="low"))


@register_forward
@dataclass(frozen=True, slots=True)
class LeakyRelu(Forward):
    """Leaky rectifier: ``y = z`` where ``z > 0``, else ``negative_slope * z``. Memory: one bit per element.

    The derivative at 0 is ``negative_slope``.

    Args:
        negative_slope: Slope on the left, any finite number.
    Example:
        >>> forward("leaky_relu(0.5)").value(torch.tensor([-1.0, 2.0]))
        tensor([-0.5000,  2.0000])
    """

    negative_slope: float = 0.01

    def body(self, dtype: torch.dtype) -> tuple[str, tuple[float, ...]]:
        return "leaky_relu", (float(self.negative_slope),)

    def derivative(self) -> SlopeForm:
        return TwoValuedSlope(Window(0.0, math.inf, open="low"), 1.0, float(self.negative_slope))


@register_forward
@dataclass(frozen=True, slots=True)
class Relu6(Forward):
    """Limited rectifier: ``y = min(max(z, 0), 6)``. Derivative ``1[0 < z < 6]``. Memory: one bit per element.

    Example:
        >>> forward("relu6").value(torch.tensor([-1.0, 2.0, 7.0]))
        tensor([0., 2., 6.])
    """

    def body(self, dtype: torch.dtype) -> tuple[str, tuple[float, ...]]:
        return "clamp", (0.0, 6.0)

    def derivative(self) -> SlopeForm:
        return TwoValuedSlope(Window(0.0, 6.0, open="low high"))


@register_forward
@dataclass(frozen=True, slots=True)
class HardSigmoid(Forward):
    """Hard logistic: ``y = min(max(z + 3, 0), 6) / 6``. Derivative ``1[-3 < z < 3] / 6``. Memory: one bit per element.

    Example:
        >>> forward("hard_sigmoid").value(torch.tensor([-4.0, 0.0, 4.0]))
        tensor([0.0000, 0.5000, 1.0000])
    """

    def body(self, dtype: torch.dtype) -> tuple[str, tuple[float, ...]]:
        return "hard_sigmoid", ()

    def derivative(self) -> SlopeForm:
        return TwoValuedSlope(Window(-3.0, 3.0, open="low high"), 1 / 6)


@register_forward
@dataclass(frozen=True, slots=True)
class HardTanh(Forward):
    """Hard tanh: ``y = min(max(z, -1), 1)``. Derivative ``1[-1 < z < 1]``. Memory: one bit per element.

    Example:
        >>> forward("hard_tanh").value(torch.tensor([-2.0, 0.5]))
        tensor([-1.0000,  0.5000])
    """

    def body(self, dtype: torch.dtype) -> tuple[str, tuple[float, ...]]:
        return "clamp", (-1.0, 1.0)

    def derivative(self) -> SlopeForm:
        return TwoValuedSlope(Window(-1.0, 1.0, open="low high"))


@register_forward
@dataclass(frozen=True, slots=True)
class Clamp(Forward):
    """Clamp: ``y = min(max(z, low), high)``. Derivative ``1[low <= z <= high]``, edges included. Memory: one bit.

    PyTorch 2.13 has the same derivative; the one of torch.clamp in 2.15 is 0 at the edges.

    Args:
        low, high: Limits, in units of ``z``.
    Example:
        >>> forward("clamp(0, 1)").value(torch.tensor([-2.0, 0.5, 3.0]))
        tensor([0.0000, 0.5000, 1.0000])
    """

    known_as: ClassVar[tuple[str, ...]] = ("Brevitas scalar_clamp_ste", "Brevitas tensor_clamp_ste")
    low: float = -1
    high: float = 1

    def check(self) -> None:
        self.require(self.low < self.high, "low < high")

    def body(self, dtype: torch.dtype) -> tuple[str, tuple[float, ...]]:
        return "clamp", (ops.rounded(float(self.low), dtype), ops.rounded(float(self.high), dtype))

    def derivative(self) -> SlopeForm:
        return TwoValuedSlope(Window(float(self.low), float(self.high)))


@register_forward
@dataclass(frozen=True, slots=True)
class Abs(Forward):
    """Absolute value: ``y = |z|``. Derivative -1 where ``z < 0``, else 1. Memory: one bit per element.

    The derivative at 0 is 1; torch.abs has 0 there.

    Example:
        >>> forward("abs").value(torch.tensor([-1.0, 2.0]))
        tensor([1., 2.])
    """

    known_as: ClassVar[tuple[str, ...]] = ("Brevitas abs_binary_sign_grad",)

    def value(self, z: Tensor) -> Tensor:
        return z.abs()

    def derivative(self) -> SlopeForm:
        return TwoValuedSlope(Window(-math.inf, 0.0, open="high"), -1.0, 1.0)


@register_forward
@dataclass(frozen=True, slots=True)
class Sawtooth(Forward):
    """Sawtooth: a line from -1 to 1 through the origin, repeated.

    ``y = 2 (t - floor(t + 1/2))`` with ``t = z / period``. The derivative ``2 / period`` is used at the jumps too.
    Memory: nothing is stored.

    Args:
        period: Distance between two jumps, in units of ``z``; positive.
    Example:
        >>> forward("sawtooth").value(torch.tensor([0.0, 0.5, 1.5]))
        tensor([ 0.0000,  0.5000, -0.5000])
    """

    period: float = 2.0

    def check(self) -> None:
        self.require(self.period > 0, "period > 0")

    def _sizes(self) -> dict[str, float]:
        return {"period": float(self.period), "2 / period": 2 / self.period}

    def body(self, dtype: torch.dtype) -> tuple[str, tuple[float, ...]]:
        return "sawtooth", (float(self.period),)

    def derivative(self) -> SlopeForm:
        return FixedSlope(2 / self.period)
