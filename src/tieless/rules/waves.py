"""Slopes that turn negative: waves and overshoots. Both store ``z``, and are made of PyTorch's operations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from tieless.forwards import Forward
from tieless.registry import hidden_at_default
from tieless.rules.base import register_rule
from tieless.rules.bump import Bump, Scaled, positive
from tieless.slopes import OwnSlope


@register_rule
@dataclass(frozen=True, slots=True)
class SquareWaveSeries(Scaled):
    """Derivative of a square wave's first Fourier terms: ``height`` times the mean of ``terms`` cosines.

    ``grad_output * height / terms * sum of cos((2 i - 1) pi z / (2 width))`` over ``i = 1 .. terms``. The slope
    repeats, and is negative half of the time. Where ``z`` is so large that its neighbours are a period away, or
    infinite, the slope is 0.

    Args:
        width: Quarter of the period, at which the first cosine is 0; positive.
        height: Slope at 0; positive.
        terms: Number of cosines, 1 to 1000.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite or out of range.
    Source:
        SpikingJelly's SquarewaveFourierSeries(n, T), which has ``n - 1`` terms; see ``from_period``.
    Use:
        The forward ``square_wave``, or studies of periodic surrogates.
    Example:
        >>> z = torch.tensor([0.0, 2.0, 4.0], requires_grad=True)
        >>> untie(z, "square_wave(8)", SquareWaveSeries(2, 1)).sum().backward(); z.grad.round(decimals=4)
        tensor([ 1., -0., -1.])
    """

    known_as: ClassVar[tuple[str, ...]] = ("SpikingJelly SquarewaveFourierSeries",)
    width: float = 2
    height: float = 0.5
    terms: int = hidden_at_default(1)

    def check(self) -> None:
        Scaled.check(self)
        self.require(1 <= self.terms <= 1000, "terms from 1 to 1000")

    @classmethod
    def from_period(cls, n: int = 2, period: float = 8) -> SquareWaveSeries:
        """Rule in the form of SpikingJelly: ``4 / period`` times the sum of ``n - 1`` cosines.

        Example:
            >>> SquareWaveSeries.from_period(2, 8)
            SquareWaveSeries(width=2.0, height=0.5, terms=1)
        """
        count, period = positive("SquareWaveSeries.from_period", n=n, period=period)
        positive("SquareWaveSeries.from_period", n_minus_1=count - 1)
        return cls(period / 4, 4 * (count - 1) / period, cast("int", count - 1))

    def slope(self, forward: Forward) -> OwnSlope:
        return OwnSlope(self, "input")

    def slope_at(self, value: Tensor) -> Tensor:
        """Slope by the cosines of the remainder of ``z`` after whole periods."""
        # Not torch.fmod: the greatest float64 by 0.001 gave NaN (torch 2.13, AVX-512).
        turns = value * (0.25 / self.width)
        angle = (turns - torch.round(turns)) * (2 * math.pi)
        waves = torch.cos(angle)
        for term in range(2, self.terms + 1):
            waves = waves + torch.cos((2 * term - 1) * angle)
        unknown = turns.abs() * torch.finfo(value.dtype).eps > 1
        return torch.where(unknown, 0.0, waves * (self.height / self.terms))


@register_rule
@dataclass(frozen=True, slots=True)
class SwishSign(Bump):
    """Derivative of a swish made odd, which overshoots: ``grad_output * height (2 - t tanh(t / 2)) / (1 + cosh t)``.

    Here ``t = z / width``. The slope is negative where ``|t| > 2.4``.

    Args:
        width: Unit of ``z``; positive.
        height: Slope at 0; positive.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite or not positive.
    Source:
        Darabi et al. 2018, arXiv:1812.11800 (BNN+); there and in Larq with ``beta``, see ``from_beta``.
    Use:
        Binary weights: where ``|t| > 2.4`` the rule reverses the gradient.
    Example:
        >>> z = torch.tensor([0.0, 1.0, 3.0], requires_grad=True)
        >>> untie(z, "sign", SwishSign(1, 1)).sum().backward(); z.grad
        tensor([ 1.0000,  0.6047, -0.0646])
    """

    name: ClassVar[str] = "swish_sign"
    known_as: ClassVar[tuple[str, ...]] = ("Larq SwishSign",)
    half: ClassVar[float] = 1.170685945929424
    width: float = 0.2
    height: float = 5

    @classmethod
    def from_beta(cls, beta: float = 5) -> SwishSign:
        """Rule in the form of Larq: ``beta (2 - beta z tanh(beta z / 2)) / (1 + cosh(beta z))``.

        Example:
            >>> SwishSign.from_beta(5)
            SwishSign(width=0.2, height=5)
        """
        (beta,) = positive("SwishSign.from_beta", beta=beta)
        return cls(1 / beta, beta)

    def slope(self, forward: Forward) -> OwnSlope:
        return OwnSlope(self, "input")

    def slope_at(self, value: Tensor) -> Tensor:
        """Slope written with ``e = exp(-|t|)``, by which both functions can be written so that nothing overflows."""
        # From 1000 on e is 0 in float64 too, and 0 times any finite number is the wanted result.
        t = (value.abs() * (1 / self.width)).clamp(max=1000)
        fallen = torch.exp(-t)
        return self.height * (2 - t * (1 - fallen) / (1 + fallen)) * 2 * fallen / (1 + fallen).square()
