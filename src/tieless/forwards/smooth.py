"""Forwards with a derivative that varies: ``y`` is stored if the slope follows from it, else ``z``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from tieless.forwards.base import Forward, register_forward
from tieless.slopes import NativeSlope, OwnSlope, SlopeForm


@register_forward
@dataclass(frozen=True, slots=True)
class Elu(Forward):
    """Exponential linear unit: ``y = z`` where ``z > 0``, else ``alpha (exp(z) - 1)``. Memory: ``y`` is stored.

    The derivative at 0 is ``alpha``.

    Args:
        alpha: Negative of the limit on the left; positive.
    Example:
        >>> forward("elu").value(torch.tensor([-1.0, 2.0]))
        tensor([-0.6321,  2.0000])
    """

    rises_from: ClassVar[float | None] = -math.inf
    alpha: float = 1.0

    def check(self) -> None:
        self.require(self.alpha > 0, "alpha > 0")

    def value(self, z: Tensor) -> Tensor:
        return F.elu(z, self.alpha)

    def derivative(self) -> SlopeForm:
        return OwnSlope(self, "output")

    def slope_at(self, value: Tensor) -> Tensor:
        """Derivative: ``1`` where ``y > 0``, else ``y + alpha``."""
        return torch.where(value > 0, 1.0, value + self.alpha).to(value.dtype)


@register_forward
@dataclass(frozen=True, slots=True)
class Gelu(Forward):
    """Gaussian error linear unit: ``y = z Phi(z)`` with the normal distribution Phi, exact. Memory: ``z`` is stored.

    Example:
        >>> forward("gelu").value(torch.tensor([-1.0, 2.0]))
        tensor([-0.1587,  1.9545])
    """

    rises_from: ClassVar[float | None] = -0.7517915246935645

    def body(self, dtype: torch.dtype) -> tuple[str, tuple[float, ...]]:
        return "gelu", ()

    def value(self, z: Tensor) -> Tensor:
        return F.gelu(z)

    def derivative(self) -> SlopeForm:
        return NativeSlope("gelu_backward", "input")


@register_forward
@dataclass(frozen=True, slots=True)
class Silu(Forward):
    """Sigmoid linear unit (swish): ``y = z sigma(z)``. Memory: ``z`` is stored.

    The derivative is ``s (1 + z (1 - s))`` with ``s = sigma(z)``.

    Example:
        >>> forward("silu").value(torch.tensor([-1.0, 2.0]))
        tensor([-0.2689,  1.7616])
    """

    rises_from: ClassVar[float | None] = -1.2784645427610738
    known_as: ClassVar[tuple[str, ...]] = ("swish",)

    def body(self, dtype: torch.dtype) -> tuple[str, tuple[float, ...]]:
        return "silu", ()

    def value(self, z: Tensor) -> Tensor:
        return F.silu(z)

    def derivative(self) -> SlopeForm:
        return NativeSlope("silu_backward", "input")


@register_forward
@dataclass(frozen=True, slots=True)
class Softplus(Forward):
    """Softplus: ``y = log(1 + exp(z))``. Derivative ``sigma(z) = 1 - exp(-y)``. Memory: ``y`` is stored.

    Example:
        >>> forward("softplus").value(torch.tensor([-1.0, 2.0]))
        tensor([0.3133, 2.1269])
    """

    rises_from: ClassVar[float | None] = -math.inf

    def value(self, z: Tensor) -> Tensor:
        return F.softplus(z)

    def derivative(self) -> SlopeForm:
        return OwnSlope(self, "output")

    def slope_at(self, value: Tensor) -> Tensor:
        """Derivative ``1 - exp(-y)``."""
        return -torch.expm1(-value)


@register_forward
@dataclass(frozen=True, slots=True)
class Tanh(Forward):
    """Hyperbolic tangent: ``y = tanh(z)``. Derivative ``1 - y^2``. Memory: ``y`` is stored.

    Example:
        >>> forward("tanh").value(torch.tensor([-1.0, 2.0]))
        tensor([-0.7616,  0.9640])
    """

    rises_from: ClassVar[float | None] = -math.inf

    def value(self, z: Tensor) -> Tensor:
        return torch.tanh(z)

    def derivative(self) -> SlopeForm:
        return NativeSlope("tanh_backward", "output")


@register_forward
@dataclass(frozen=True, slots=True)
class Logistic(Forward):
    """Logistic function: ``y = sigma(z) = 1 / (1 + exp(-z))``. Derivative ``y (1 - y)``. Memory: ``y`` is stored.

    Example:
        >>> forward("logistic").value(torch.tensor([-1.0, 2.0]))
        tensor([0.2689, 0.8808])
    """

    rises_from: ClassVar[float | None] = -math.inf
    known_as: ClassVar[tuple[str, ...]] = ("sigmoid",)

    def value(self, z: Tensor) -> Tensor:
        return torch.sigmoid(z)

    def derivative(self) -> SlopeForm:
        return NativeSlope("sigmoid_backward", "output")
