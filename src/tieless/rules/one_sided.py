"""Slopes that differ on the two sides of the threshold, and a bump on part of the line. All store ``z``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from tieless.forwards import Forward
from tieless.registry import hidden_at_default
from tieless.rules.base import register_rule
from tieless.rules.bump import LARGEST, SMALLEST, Scaled, positive
from tieless.slopes import NamedSlope


@register_rule
@dataclass(frozen=True, slots=True)
class S2NN(Scaled):
    """Exponential slope on the left, hyperbolic on the right: the two sides of a short-circuited spike.

    ``grad_output * 4 left s (1 - s)`` with ``s = sigma(z / width)`` where ``z < 0``, else
    ``grad_output * height / (1 + z)``.

    Args:
        width: Distance over which the left side's logistic function goes from 1/2 to 0.269; positive.
        height: Slope at 0 and the peak of the right side; positive. The right side's unit is that of ``z``.
        left: Limit of the left side at 0; positive.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite or not positive.
    Source:
        Suetake et al. 2022, arXiv:2201.10879; there ``alpha s (1 - s)`` and ``beta / (1 + z)``, see ``from_alpha``.
    Use:
        For networks of a single time step.
    Example:
        >>> z = torch.tensor([-0.25, 0.0, 1.0], requires_grad=True)
        >>> untie(z, "heaviside", S2NN()).sum().backward(); z.grad
        tensor([0.7864, 1.0000, 0.5000])
    """

    name: ClassVar[str] = "s2nn"
    known_as: ClassVar[tuple[str, ...]] = ("SpikingJelly S2NN",)
    width: float = 0.25
    height: float = 1
    left: float = 1

    def check(self) -> None:
        Scaled.check(self)
        self.require(SMALLEST <= self.left <= LARGEST, "left > 0 (1e-30 to 1e30)")

    @classmethod
    def from_alpha(cls, alpha: float = 4, beta: float = 1) -> S2NN:
        """Rule in the form of SpikingJelly: ``alpha s (1 - s)`` with ``s = sigma(alpha z)``, and ``beta / (1 + z)``.

        Example:
            >>> S2NN.from_alpha(4, 1)
            S2NN(width=0.25, height=1, left=1.0)
        """
        alpha, beta = positive("S2NN.from_alpha", alpha=alpha, beta=beta)
        return cls(1 / alpha, beta, alpha / 4)

    def slope(self, forward: Forward) -> NamedSlope:
        return NamedSlope(self.name, (*self.scales(), float(self.left)))


@register_rule
@dataclass(frozen=True, slots=True)
class LogTailedReLU(Scaled):
    """Derivative of a relu that continues as a logarithm: ``leak`` up to 0, ``height`` up to ``width``, then a tail.

    ``grad_output * leak`` where ``z <= 0``, else ``grad_output * height min(1, width / z)``.

    Args:
        width: Start of the tail, in units of ``z``; positive.
        height: Slope from 0, which is outside, to the width; positive.
        leak: Slope where ``z <= 0``, any finite number.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite, or width or height is not positive.
    Source:
        Cai et al. 2017, arXiv:1702.00953; SpikingJelly's LogTailedReLU(alpha) is ``log_tailed_relu(leak=alpha)``.
    Use:
        Quantised activations without an upper bound, which a window would cut off.
    Example:
        >>> z = torch.tensor([-1.0, 0.5, 4.0], requires_grad=True)
        >>> untie(z, "heaviside", LogTailedReLU()).sum().backward(); z.grad
        tensor([0.0000, 1.0000, 0.2500])
    """

    name: ClassVar[str] = "log_tailed_relu"
    known_as: ClassVar[tuple[str, ...]] = ("SpikingJelly LogTailedReLU",)
    width: float = 1
    height: float = 1
    leak: float = 0

    def slope(self, forward: Forward) -> NamedSlope:
        return NamedSlope(self.name, (*self.scales(), float(self.leak)))


@register_rule
@dataclass(frozen=True, slots=True)
class SparseFastSigmoid(Scaled):
    """Fast sigmoid on part of the line, exactly 0 elsewhere: ``grad_output * height / (1 + |z| / width)^2``.

    Args:
        width: Value of ``|z|`` at which the slope would be a quarter of its height; positive.
        height: Slope at 0; positive.
        bound: End of the part, in units of ``z``; positive.
        part: ``"within"``: the part ``|z| < bound``, as in the paper. ``"above"``: the part ``z > bound``, as in
            snnTorch.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite or not positive.
    Source:
        Perez-Nieves and Goodman 2021, arXiv:2105.08810, in which only neurons near the threshold get a gradient; in
        snnTorch only neurons far above the threshold do, see ``from_slope``.
    Use:
        Networks in which most neurons should get no gradient at all.
    Example:
        >>> z = torch.tensor([-2.0, 0.5, 2.0], requires_grad=True)
        >>> untie(z, "heaviside", SparseFastSigmoid(0.5)).sum().backward(); z.grad
        tensor([0.0000, 0.2500, 0.0000])
    """

    known_as: ClassVar[tuple[str, ...]] = ("snnTorch SFS",)
    width: float = 1
    height: float = 1
    bound: float = 1
    part: Literal["within", "above"] = hidden_at_default("within")

    def check(self) -> None:
        Scaled.check(self)
        self.require(self.bound > 0 or self.part == "above", 'bound > 0 (any number with part="above")')

    @classmethod
    def from_slope(cls, slope: float = 25, bound: float = 1) -> SparseFastSigmoid:
        """Rule in the form of snnTorch: ``1 / (1 + slope |z|)^2`` where ``z > bound``.

        Example:
            >>> SparseFastSigmoid.from_slope(25, 1)
            SparseFastSigmoid(width=0.04, height=1, bound=1, part='above')
        """
        (slope,) = positive("SparseFastSigmoid.from_slope", slope=slope)
        return cls(1 / slope, 1, bound, "above")

    def slope(self, forward: Forward) -> NamedSlope:
        bound = float(self.bound)
        edges = (-bound, bound) if self.part == "within" else (bound, math.inf)
        return NamedSlope(self.name, (*self.scales(), *edges))
