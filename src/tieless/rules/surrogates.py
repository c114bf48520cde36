"""Smooth bumps in place of a step function's derivative (surrogate gradients of spiking networks). All store ``z``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from tieless.rules.base import register_rule
from tieless.rules.bump import Bump, positive


@register_rule
@dataclass(frozen=True, slots=True)
class ATan(Bump):
    """Derivative of an arctangent: ``grad_output * height / (1 + (z / width)^2)``.

    The tails fall as ``1 / z^2``: neurons far from the threshold still learn a little.

    Args:
        width: Value of ``|z|`` at which the slope is half its height; positive.
        height: Slope at 0; positive.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite or not positive.
    Source:
        Fang et al. 2021, arXiv:2007.05785; there ``alpha / 2 / (1 + (pi alpha z / 2)^2)``, see ``from_alpha``.
    Use:
        Spiking networks, as the usual first choice.
    Example:
        >>> z = torch.tensor([0.0, 1.0], requires_grad=True)
        >>> untie(z, "heaviside", ATan(1, 1)).sum().backward(); z.grad
        tensor([1.0000, 0.5000])
    """

    name: ClassVar[str] = "atan"
    known_as: ClassVar[tuple[str, ...]] = (
        "arctan",
        "surrogate_gradient",
        "surrogate",
        "snnTorch atan",
        "SpikingJelly ATan",
    )
    half: ClassVar[float] = 1.0
    width: float = 1
    height: float = 1

    @classmethod
    def from_alpha(cls, alpha: float) -> ATan:
        """Rule in the form of snnTorch and SpikingJelly: ``alpha / 2 / (1 + (pi alpha z / 2)^2)``.

        Example:
            >>> ATan.from_alpha(2)
            ATan(width=0.3183098861837907, height=1.0)
        """
        (alpha,) = positive("ATan.from_alpha", alpha=alpha)
        return cls(2 / (math.pi * alpha), alpha / 2)


@register_rule
@dataclass(frozen=True, slots=True)
class Sigmoid(Bump):
    """Derivative of a logistic function: ``grad_output * 4 height s (1 - s)``, ``s = sigma(z / width)``.

    The tails fall as ``exp(-|z| / width)``.

    Args:
        width: Distance over which the logistic function goes from 1/2 to 0.731; positive.
        height: Slope at 0; positive.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite or not positive.
    Source:
        Zenke and Vogels 2021, doi:10.1162/neco_a_01367; there ``alpha s (1 - s)``, ``s = sigma(alpha z)``, see
        ``from_alpha``. Norse's ``1 - tanh(k z)^2`` is the same function, see ``from_tanh``.
    Use:
        Gradients that should stay near the threshold without an edge.
    Example:
        >>> z = torch.tensor([0.0, 1.0], requires_grad=True)
        >>> untie(z, "heaviside", Sigmoid(1, 0.25)).sum().backward(); z.grad
        tensor([0.2500, 0.1966])
    """

    known_as: ClassVar[tuple[str, ...]] = ("snnTorch sigmoid", "SpikingJelly Sigmoid", "Norse tanh", "Norse logistic")
    half: ClassVar[float] = 2 * math.acosh(math.sqrt(2))
    width: float = 1
    height: float = 1

    @classmethod
    def from_alpha(cls, alpha: float) -> Sigmoid:
        """Rule in the form of SpikingJelly: ``alpha s (1 - s)`` with ``s = sigma(alpha z)``.

        Example:
            >>> Sigmoid.from_alpha(4)
            Sigmoid(width=0.25, height=1.0)
        """
        (alpha,) = positive("Sigmoid.from_alpha", alpha=alpha)
        return cls(1 / alpha, alpha / 4)

    @classmethod
    def from_tanh(cls, k: float) -> Sigmoid:
        """Rule in the form of Norse: ``1 - tanh(k z)^2``.

        Example:
            >>> Sigmoid.from_tanh(2)
            Sigmoid(width=0.25, height=1)
        """
        (k,) = positive("Sigmoid.from_tanh", k=k)
        return cls(0.5 / k)


@register_rule
@dataclass(frozen=True, slots=True)
class FastSigmoid(Bump):
    """Derivative of ``x / (1 + |x|)``: ``grad_output * height / (1 + |z| / width)^2``.

    The slope has a cusp at 0; its tails fall as ``1 / z^2``.

    Args:
        width: Value of ``|z|`` at which the slope is a quarter of its height; positive.
        height: Slope at 0; positive.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite or not positive.
    Source:
        Zenke and Ganguli 2018, doi:10.1162/neco_a_01086 (SuperSpike); there ``1 / (1 + slope |z|)^2``, see
        ``from_slope``. SpikingJelly's SoftSign and SuperSpike are the same function, see their constructors.
    Use:
        Cheapest smooth surrogate with tails; robust to the choice of its width.
    Example:
        >>> z = torch.tensor([0.0, 1.0], requires_grad=True)
        >>> untie(z, "heaviside", FastSigmoid(1, 1)).sum().backward(); z.grad
        tensor([1.0000, 0.2500])
    """

    known_as: ClassVar[tuple[str, ...]] = (
        "snnTorch fast_sigmoid",
        "SpikingJelly SoftSign",
        "SpikingJelly SuperSpike",
        "Norse super",
    )
    half: ClassVar[float] = math.sqrt(2) - 1
    width: float = 1
    height: float = 1

    @classmethod
    def from_slope(cls, slope: float) -> FastSigmoid:
        """Rule in the form of snnTorch: ``1 / (1 + slope |z|)^2``.

        Example:
            >>> FastSigmoid.from_slope(25)
            FastSigmoid(width=0.04, height=1)
        """
        (slope,) = positive("FastSigmoid.from_slope", slope=slope)
        return cls(1 / slope)

    @classmethod
    def from_soft_sign(cls, alpha: float) -> FastSigmoid:
        """Rule in the form of SpikingJelly's SoftSign: ``1 / (2 alpha (1 / alpha + |z|)^2)``.

        Example:
            >>> FastSigmoid.from_soft_sign(2)
            FastSigmoid(width=0.5, height=1.0)
        """
        (alpha,) = positive("FastSigmoid.from_soft_sign", alpha=alpha)
        return cls(1 / alpha, alpha / 2)

    @classmethod
    def from_super_spike(cls, alpha: float) -> FastSigmoid:
        """Rule in the form of SpikingJelly's SuperSpike: ``alpha / (1 + |z|)^2``. In Norse's form alpha always is 1.

        Example:
            >>> FastSigmoid.from_super_spike(3)
            FastSigmoid(width=1, height=3)
        """
        (alpha,) = positive("FastSigmoid.from_super_spike", alpha=alpha)
        return cls(1, alpha)


@register_rule
@dataclass(frozen=True, slots=True)
class Erf(Bump):
    """Derivative of an error function, a normal curve: ``grad_output * height exp(-(z / width)^2)``.

    The slope is smooth everywhere, with negligible tails: at 3 widths it is a ten-thousandth of its height.

    Args:
        width: Value of ``|z|`` at which the slope is 0.368 of its height, 1.414 standard deviations; positive.
        height: Slope at 0; positive.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite or not positive.
    Source:
        Yin et al. 2020, arXiv:2005.11633; SpikingJelly's Erf, ``alpha / sqrt(pi) exp(-(alpha z)^2)``, see
        ``from_alpha``, and Norse's heavi_erfc, twice as high, see ``from_erfc``.
    Use:
        Gradients that should come from the neighbourhood of the threshold alone, and smoothly.
    Example:
        >>> z = torch.tensor([0.0, 1.0], requires_grad=True)
        >>> untie(z, "heaviside", Erf(1, 1)).sum().backward(); z.grad
        tensor([1.0000, 0.3679])
    """

    known_as: ClassVar[tuple[str, ...]] = ("SpikingJelly Erf", "Norse heavi_erfc")
    half: ClassVar[float] = math.sqrt(math.log(2))
    width: float = 1
    height: float = 1

    @classmethod
    def from_alpha(cls, alpha: float) -> Erf:
        """Rule in the form of SpikingJelly: ``alpha / sqrt(pi) exp(-(alpha z)^2)``.

        Example:
            >>> Erf.from_alpha(2)
            Erf(width=0.5, height=1.1283791670955126)
        """
        (alpha,) = positive("Erf.from_alpha", alpha=alpha)
        return cls(1 / alpha, alpha / math.sqrt(math.pi))

    @classmethod
    def from_erfc(cls, k: float) -> Erf:
        """Rule in the form of Norse: ``2 / sqrt(pi) exp(-(k z)^2)``.

        Example:
            >>> Erf.from_erfc(2)
            Erf(width=0.5, height=1.1283791670955126)
        """
        (k,) = positive("Erf.from_erfc", k=k)
        return cls(1 / k, 2 / math.sqrt(math.pi))
