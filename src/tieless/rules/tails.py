"""Bumps with heavy tails, a cusp or a plateau (surrogate gradients). All store ``z``, whose value they need."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tieless.forwards import Forward
from tieless.registry import hidden_at_default
from tieless.rules.base import register_rule
from tieless.rules.bump import Bump, positive
from tieless.slopes import NamedSlope, OwnSlope


@register_rule
@dataclass(frozen=True, slots=True)
class PiecewiseExp(Bump):
    """Exponential slope on both sides: ``grad_output * height exp(-|z - center| / width)``.

    Args:
        width: Distance from the centre at which the slope is 0.368 of its height; positive.
        height: Slope at the centre; positive.
        center: Position of the peak, in units of ``z``.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite, or width or height is not positive.
    Source:
        Shrestha and Orchard 2018, arXiv:1810.08646 (SLAYER); SpikingJelly's PiecewiseExp, see ``from_alpha``, and
        snnTorch's spike_rate_escape, whose centre is at 1, see ``from_escape_rate``.
    Use:
        Networks in which a neuron's probability to fire, not its distance from the threshold, should set its share.
    Example:
        >>> z = torch.tensor([0.0, 1.0], requires_grad=True)
        >>> untie(z, "heaviside", PiecewiseExp(1, 1)).sum().backward(); z.grad
        tensor([1.0000, 0.3679])
    """

    known_as: ClassVar[tuple[str, ...]] = ("SpikingJelly PiecewiseExp", "snnTorch spike_rate_escape")
    half: ClassVar[float] = math.log(2)
    width: float = 1
    height: float = 1
    center: float = hidden_at_default(0)

    @classmethod
    def from_alpha(cls, alpha: float) -> PiecewiseExp:
        """Rule in the form of SpikingJelly: ``alpha / 2 exp(-alpha |z|)``.

        Example:
            >>> PiecewiseExp.from_alpha(2)
            PiecewiseExp(width=0.5, height=1.0, center=0)
        """
        (alpha,) = positive("PiecewiseExp.from_alpha", alpha=alpha)
        return cls(1 / alpha, alpha / 2)

    @classmethod
    def from_escape_rate(cls, beta: float = 1, slope: float = 25) -> PiecewiseExp:
        """Rule in the form of snnTorch: ``slope exp(-beta |z - 1|)``.

        Example:
            >>> PiecewiseExp.from_escape_rate()
            PiecewiseExp(width=1.0, height=25, center=1)
        """
        beta, slope = positive("PiecewiseExp.from_escape_rate", beta=beta, slope=slope)
        return cls(1 / beta, slope, 1)

    def slope(self, forward: Forward) -> NamedSlope:
        return NamedSlope(self.name, (*self.scales(), float(self.center)))


@register_rule
@dataclass(frozen=True, slots=True)
class SignLogAbs(Bump):
    """Derivative of ``sign(x) log(1 + |x|)``: ``grad_output * height / (1 + |z| / width)``.

    The tails are the heaviest of all surrogates: they fall as ``1 / |z|``, and their area has no bound.

    Args:
        width: Value of ``|z|`` at which the slope is half its height; positive.
        height: Slope at 0; positive.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite or not positive.
    Source:
        SpikingJelly's NonzeroSignLogAbs, ``1 / (1 / alpha + |z|)``, see ``from_alpha``.
    Use:
        Networks in which neurons far from the threshold must be brought back.
    Example:
        >>> z = torch.tensor([0.0, 1.0], requires_grad=True)
        >>> untie(z, "heaviside", SignLogAbs(1, 1)).sum().backward(); z.grad
        tensor([1.0000, 0.5000])
    """

    known_as: ClassVar[tuple[str, ...]] = ("SpikingJelly NonzeroSignLogAbs",)
    half: ClassVar[float] = 1.0
    width: float = 1
    height: float = 1

    @classmethod
    def from_alpha(cls, alpha: float) -> SignLogAbs:
        """Rule in the form of SpikingJelly: ``1 / (1 / alpha + |z|)``.

        Example:
            >>> SignLogAbs.from_alpha(2)
            SignLogAbs(width=0.5, height=2)
        """
        (alpha,) = positive("SignLogAbs.from_alpha", alpha=alpha)
        return cls(1 / alpha, alpha)


@register_rule
@dataclass(frozen=True, slots=True)
class QPseudoSpike(Bump):
    """Tails of a chosen power: ``grad_output * height / (1 + |z| / width)^power``.

    Power 1 gives ``sign_log_abs``, power 2 ``fast_sigmoid``, which have kernels of one pass; this rule is made of
    PyTorch's operations. An infinite ``z`` counts as the largest finite number.

    Args:
        width: Value of ``|z|`` at which the slope is ``2^-power`` of its height; positive.
        height: Slope at 0; positive.
        power: Exponent of the tails; from 1e-3 to 1e3.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite or out of range.
    Source:
        Herranz-Celotti and Rouat 2022, arXiv:2202.00282; there ``(1 + 2 |z| / (alpha - 1))^-alpha``, see
        ``from_alpha``.
    Use:
        To measure how much the tails matter, with one number.
    Example:
        >>> z = torch.tensor([0.0, 1.0], requires_grad=True)
        >>> untie(z, "heaviside", QPseudoSpike(1, 1, 3)).sum().backward(); z.grad
        tensor([1.0000, 0.1250])
    """

    name: ClassVar[str] = "q_pseudo_spike"
    known_as: ClassVar[tuple[str, ...]] = ("SpikingJelly QPseudoSpike",)
    width: float = 0.5
    height: float = 1
    power: float = 2

    def check(self) -> None:
        Bump.check(self)
        self.require(1e-3 <= self.power <= 1e3, "power from 1e-3 to 1e3")

    @property
    def half_width(self) -> float:
        return self.width * math.expm1(math.log(2) / self.power)

    @classmethod
    def from_alpha(cls, alpha: float) -> QPseudoSpike:
        """Rule in the form of SpikingJelly: ``(1 + 2 |z| / (alpha - 1))^-alpha``, for alpha above 1.

        Example:
            >>> QPseudoSpike.from_alpha(3)
            QPseudoSpike(width=1.0, height=1, power=3)
        """
        (alpha,) = positive("QPseudoSpike.from_alpha", alpha=alpha)
        positive("QPseudoSpike.from_alpha", alpha_minus_1=alpha - 1)
        return cls((alpha - 1) / 2, 1, alpha)

    def slope(self, forward: Forward) -> OwnSlope:
        return OwnSlope(self, "input")

    def slope_at(self, value: Tensor) -> Tensor:
        """Slope ``height exp(-power log(1 + |z| / width))``: no power of a large number, which might overflow."""
        scaled = (value.abs() * (1 / self.width)).clamp(max=torch.finfo(value.dtype).max)
        return self.height * torch.exp(-self.power * torch.log1p(scaled))


@register_rule
@dataclass(frozen=True, slots=True)
class FakeNumericalGradient(Bump):
    """Plateau and hyperbolic tails: ``grad_output * height min(1, width / |z|)``.

    The slope is that of the line from the origin to the step function's value at ``z``, no steeper than ``height``.

    Args:
        width: Half the plateau: up to it, edges included, the slope is its height; positive.
        height: Slope on the plateau; positive.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite or not positive.
    Source:
        SpikingJelly's FakeNumericalGradient, ``min(sign(z) / z, alpha)``, see ``from_alpha``; there -0.0 gives -inf.
    Use:
        Ports of code that uses it; otherwise rarely.
    Example:
        >>> z = torch.tensor([-0.0, 1.0, 4.0], requires_grad=True)
        >>> untie(z, "heaviside", FakeNumericalGradient(1, 1)).sum().backward(); z.grad
        tensor([1.0000, 1.0000, 0.2500])
    """

    known_as: ClassVar[tuple[str, ...]] = ("SpikingJelly FakeNumericalGradient",)
    half: ClassVar[float] = 2.0
    width: float = 1
    height: float = 1

    @classmethod
    def from_alpha(cls, alpha: float) -> FakeNumericalGradient:
        """Rule in the form of SpikingJelly: ``min(sign(z) / z, alpha)``.

        Example:
            >>> FakeNumericalGradient.from_alpha(0.5)
            FakeNumericalGradient(width=2.0, height=0.5)
        """
        (alpha,) = positive("FakeNumericalGradient.from_alpha", alpha=alpha)
        return cls(1 / alpha, alpha)


@register_rule
@dataclass(frozen=True, slots=True)
class Circ(Bump):
    """Derivative of ``x / sqrt(1 + x^2)``: ``grad_output * height / (1 + (z / width)^2)^(3/2)``.

    The tails fall as ``1 / |z|^3``.

    Args:
        width: Value of ``|z|`` at which the slope is 0.354 of its height; positive.
        height: Slope at 0; positive.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite or not positive.
    Source:
        Norse's circ, ``alpha^3 / (alpha^2 + z^2)^(3/2)``, see ``from_alpha``.
    Use:
        Cases between ``atan`` and ``erf``: smooth, with lighter tails than the one and heavier than the other.
    Example:
        >>> z = torch.tensor([0.0, 1.0], requires_grad=True)
        >>> untie(z, "heaviside", Circ(1, 1)).sum().backward(); z.grad
        tensor([1.0000, 0.3536])
    """

    known_as: ClassVar[tuple[str, ...]] = ("Norse circ", "Norse heavi_circ", "Norse circ_dist")
    half: ClassVar[float] = math.sqrt(2 ** (2 / 3) - 1)
    width: float = 1
    height: float = 1

    @classmethod
    def from_alpha(cls, alpha: float) -> Circ:
        """Rule in the form of Norse: ``alpha^3 / (alpha^2 + z^2)^(3/2)``.

        Example:
            >>> Circ.from_alpha(0.5)
            Circ(width=0.5, height=1)
        """
        (alpha,) = positive("Circ.from_alpha", alpha=alpha)
        return cls(alpha)

    def slope(self, forward: Forward) -> OwnSlope:
        return OwnSlope(self, "input")

    def slope_at(self, value: Tensor) -> Tensor:
        """Slope ``height r^3`` with ``r = 1 / sqrt(1 + (z / width)^2)``, which is 0 where the square overflows."""
        root = torch.rsqrt(1 + (value * (1 / self.width)).square())
        return self.height * (root * root * root)
