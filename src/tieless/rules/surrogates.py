"""Smooth bumps in the place of a step's derivative, as spiking networks use them.

Each has a ``width`` in units of ``z`` and a ``height``, its slope at ``z = 0``. All keep ``z``, whose value they need.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from tieless.forwards import Forward
from tieless.rules.base import Rule, register_rule
from tieless.slopes import NamedSlope

__all__ = ["ATan", "FastSigmoid", "Sigmoid"]


class _Bump(Rule):
    __slots__ = ()
    width: float
    height: float

    def check(self) -> None:
        self.require(self.width > 0, "width > 0")
        self.require(self.height > 0, "height > 0")

    def slope(self, forward: Forward) -> NamedSlope:
        return NamedSlope(self.name, (1 / self.width, float(self.height)))


@register_rule
@dataclass(frozen=True, slots=True)
class ATan(_Bump):
    """The derivative of an arcus tangent: ``grad_output * height / (1 + (z / width)^2)``.

    Args:
        width: Where the slope has fallen to half its height; positive.
        height: The slope at 0; positive.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite or not positive.
    Source:
        Fang et al. 2021, arXiv:2007.05785; there ``alpha / 2 / (1 + (pi alpha z / 2)^2)``, see ``from_alpha``.
    Example:
        >>> z = torch.tensor([0.0, 1.0], requires_grad=True)
        >>> untie(z, "heaviside", ATan(1, 1)).sum().backward(); z.grad
        tensor([1.0000, 0.5000])
    """

    name: ClassVar[str] = "atan"
    width: float = 1
    height: float = 1

    @classmethod
    def from_alpha(cls, alpha: float) -> ATan:
        """As snnTorch and SpikingJelly write it: ``alpha / 2 / (1 + (pi alpha z / 2)^2)``.

        Example:
            >>> ATan.from_alpha(2)
            ATan(width=0.3183098861837907, height=1.0)
        """
        return cls(2 / (math.pi * alpha), alpha / 2)


@register_rule
@dataclass(frozen=True, slots=True)
class Sigmoid(_Bump):
    """The derivative of a logistic function: ``grad_output * 4 height s (1 - s)``, ``s = sigma(z / width)``.

    Args:
        width: Distance in which the logistic function goes from 1/2 to 0.731; positive.
        height: The slope at 0; positive.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite or not positive.
    Source:
        Zenke and Vogels 2021, doi:10.1162/neco_a_01367; there ``alpha s (1 - s)``, ``s = sigma(alpha z)``, see
        ``from_alpha``.
    Example:
        >>> z = torch.tensor([0.0, 1.0], requires_grad=True)
        >>> untie(z, "heaviside", Sigmoid(1, 0.25)).sum().backward(); z.grad
        tensor([0.2500, 0.1966])
    """

    width: float = 1
    height: float = 1

    @classmethod
    def from_alpha(cls, alpha: float) -> Sigmoid:
        """As SpikingJelly writes it: ``alpha s (1 - s)`` with ``s = sigma(alpha z)``.

        Example:
            >>> Sigmoid.from_alpha(4)
            Sigmoid(width=0.25, height=1.0)
        """
        return cls(1 / alpha, alpha / 4)


@register_rule
@dataclass(frozen=True, slots=True)
class FastSigmoid(_Bump):
    """The derivative of ``x / (1 + |x|)``: ``grad_output * height / (1 + |z| / width)^2``.

    Args:
        width: Where the slope has fallen to a quarter of its height; positive.
        height: The slope at 0; positive.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite or not positive.
    Source:
        Zenke and Ganguli 2018, doi:10.1162/neco_a_01086 (SuperSpike); there ``1 / (1 + slope |z|)^2``, see
        ``from_slope``.
    Example:
        >>> z = torch.tensor([0.0, 1.0], requires_grad=True)
        >>> untie(z, "heaviside", FastSigmoid(1, 1)).sum().backward(); z.grad
        tensor([1.0000, 0.2500])
    """

    width: float = 1
    height: float = 1

    @classmethod
    def from_slope(cls, slope: float) -> FastSigmoid:
        """As snnTorch writes it: ``1 / (1 + slope |z|)^2``.

        Example:
            >>> FastSigmoid.from_slope(25)
            FastSigmoid(width=0.04, height=1)
        """
        return cls(1 / slope)
