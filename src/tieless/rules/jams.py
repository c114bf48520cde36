"""Gradient jamming (random multipliers in place of the derivative), in every reading of the paper.

The paper's text and its authors' code differ on two points, so each is a parameter. ``gate`` names the tensor that is
tested: ``"preactivation"`` tests ``z``, ``"feedback"`` tests ``grad_output``. ``replace`` names the random part:
``"slope"`` sends ``grad_output * U``, ``"magnitude"`` sends ``sign(grad_output) * U``, ``"feedback"`` sends ``U``. U is
uniform on [minimum, maximum), drawn for each element from the call's key; with the defaults its mean is 0.5, so a jam
also halves the gradient on average. One more reading keeps the sign of the derivative: ``full_jam >>
gated(where="nonzero")`` sends ``grad_output * sign(phi'(z)) * U``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tieless import ops
from tieless.draws import Random
from tieless.forwards import Forward
from tieless.kernels.layout import laid_out_like
from tieless.registry import hidden_at_default
from tieless.rules.base import Family, Rule, register_rule
from tieless.slopes import Window

Gate = Literal["preactivation", "feedback"]
Replace = Literal["slope", "magnitude", "feedback"]


class _Jam(Rule):
    __slots__ = ()
    family: ClassVar[Family] = "jam"
    draws: ClassVar[bool] = True
    minimum: float
    maximum: float
    replace: Replace

    @property
    def linear(self) -> bool:
        return self.replace == "slope"

    def check(self) -> None:
        self.require(self.minimum < self.maximum, "minimum < maximum")

    def is_elementwise(self) -> bool:
        return True

    def _sizes(self) -> dict[str, float]:
        return {**super()._sizes(), "maximum - minimum": float(self.maximum) - float(self.minimum)}

    def jam(self, grad_output: Tensor, bits: Tensor | None, random: Random | None) -> Tensor:
        assert random is not None
        low, high, magnitude = float(self.minimum), float(self.maximum), self.replace == "magnitude"
        if self.replace == "feedback":
            grad_output = laid_out_like(torch.ones_like(grad_output), grad_output)
        return ops.jam(grad_output, random.key, random.stream, low, high, magnitude, bits)


class _GatedJam(_Jam):
    __slots__ = ()
    gate: Gate

    @property
    def linear(self) -> bool:
        return self.replace == "slope" and self.gate == "preactivation"

    def window(self) -> Window:
        raise NotImplementedError

    def needs(self, forward: Forward) -> Window | None:
        return self.window() if self.gate == "preactivation" else None

    def feedback(self, grad_output: Tensor, kept: Tensor | None, random: Random | None) -> Tensor:
        bits = kept if self.gate == "preactivation" else self.window().pack(grad_output)
        return self.jam(grad_output, bits, random)


@register_rule
@dataclass(frozen=True, slots=True)
class FullJam(_Jam):
    """Random multipliers everywhere ("full jamming"): ``grad_input = grad_output * U``. Memory: the call's key alone.

    Args:
        minimum, maximum: Bounds of U, which is uniform on [minimum, maximum); its mean scales the gradient.
        replace: ``"slope"`` sends ``grad_output * U``, ``"magnitude"`` sends ``sign(grad_output) * U``, ``"feedback"``
            sends ``U``.
    Shape:
        ``grad_output``: ``(...)``, floating. Result: laid out like ``z``.
    Raises:
        RuleValueError: a bound is not finite, or ``minimum >= maximum``.
    Source:
        Troiano et al. 2025, doi:10.1016/j.neucom.2025.131178, Full-Jamming.
    Use:
        To test if learning needs the derivative at all: the multiplier is random, the sign of the gradient is not.
    Example:
        >>> z = torch.zeros(1000, requires_grad=True)
        >>> untie(z, "relu", FullJam()).sum().backward()
        >>> bool((z.grad >= 0).all() and (z.grad < 1).all() and abs(z.grad.mean() - 0.5) < 0.05)
        True
    """

    known_as: ClassVar[tuple[str, ...]] = ("jam", "random", "freegrad full_jam")
    minimum: float = hidden_at_default(0)
    maximum: float = hidden_at_default(1)
    replace: Replace = hidden_at_default("slope")

    def feedback(self, grad_output: Tensor, kept: Tensor | None, random: Random | None) -> Tensor:
        return self.jam(grad_output, None, random)


@register_rule
@dataclass(frozen=True, slots=True)
class PositiveJam(_GatedJam):
    """Random multipliers on the positive side: ``grad_output * U * 1[z >= 0]``, 0 included.

    Memory: the key and, if ``gate="preactivation"``, one bit per element.

    Args:
        gate: ``"preactivation"`` passes where ``z >= 0``, ``"feedback"`` where ``grad_output >= 0``.
        minimum, maximum: Bounds of U, which is uniform on [minimum, maximum).
        replace: ``"slope"``, ``"magnitude"`` or ``"feedback"``, as in ``FullJam``; the sign of a gradient of 0 is 0.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a bound is not finite, or ``minimum >= maximum``.
    Source:
        Troiano et al. 2025, doi:10.1016/j.neucom.2025.131178, Positive-Jamming.
    Use:
        The same as for ``full_jam``, with the gate of relu.
    Example:
        >>> z = torch.tensor([-1.0, 1.0], requires_grad=True)
        >>> untie(z, "relu", PositiveJam()).sum().backward()
        >>> z.grad > 0
        tensor([False,  True])
    """

    known_as: ClassVar[tuple[str, ...]] = ("freegrad positive_jam",)
    gate: Gate = hidden_at_default("preactivation")
    minimum: float = hidden_at_default(0)
    maximum: float = hidden_at_default(1)
    replace: Replace = hidden_at_default("slope")

    def window(self) -> Window:
        return Window(0.0, math.inf)


@register_rule
@dataclass(frozen=True, slots=True)
class RectangularJam(_GatedJam):
    """Random multipliers within a window: ``grad_output * U * 1[low <= z <= high]``; both edges pass.

    Memory: the key and, if ``gate="preactivation"``, one bit per element.

    Args:
        low, high: Edges of the window, in units of ``z``, or of ``grad_output`` if ``gate="feedback"``.
        gate: ``"preactivation"`` tests ``z``, ``"feedback"`` tests ``grad_output``.
        minimum, maximum: Bounds of U, which is uniform on [minimum, maximum).
        replace: ``"slope"``, ``"magnitude"`` or ``"feedback"``, as in ``FullJam``.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a number is not finite, ``low >= high`` or ``minimum >= maximum``.
    Source:
        Troiano et al. 2025, doi:10.1016/j.neucom.2025.131178, Rectangular-Jamming.
    Use:
        The same as for ``full_jam``, without gradient for units far from 0.
    Example:
        >>> z = torch.tensor([-6.0, 1.0], requires_grad=True)
        >>> untie(z, "logistic", RectangularJam()).sum().backward()
        >>> z.grad > 0
        tensor([False,  True])
    """

    known_as: ClassVar[tuple[str, ...]] = ("freegrad rectangular_jam",)
    low: float = -5
    high: float = 5
    gate: Gate = hidden_at_default("preactivation")
    minimum: float = hidden_at_default(0)
    maximum: float = hidden_at_default(1)
    replace: Replace = hidden_at_default("slope")

    def check(self) -> None:
        self.require(self.low < self.high, "low < high")
        self.require(self.minimum < self.maximum, "minimum < maximum")

    def window(self) -> Window:
        return Window(float(self.low), float(self.high))
