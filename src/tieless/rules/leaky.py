"""Rules of two multipliers, one on each side of a threshold or window: one bit per element, little arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from tieless.forwards import Forward
from tieless.rules.base import Rule, register_rule
from tieless.rules.bump import positive
from tieless.slopes import TwoValuedSlope, Window


@register_rule
@dataclass(frozen=True, slots=True)
class LeakyReLU(Rule):
    """Derivative of a leaky relu, for any forward: ``height`` where ``z > 0``, else ``leak``; at 0, ``leak``.

    With ``leak=0`` the rule is relu's: ``grad_output * 1[z > 0]``, and blocked elements are exactly 0. NaN in ``z``
    counts as below. Memory: one bit per element.

    Args:
        leak: Multiplier where ``z <= 0``, any finite number.
        height: Multiplier where ``z > 0``, any finite number.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite.
    Source:
        freegrad's d(ReLU) and snnTorch's heaviside have leak 0, snnTorch's leaky spike operator (LSO) 0.1;
        SpikingJelly's LeakyKReLU gives 0 to the right side.
    Use:
        Step functions whose neuron is reset after it fires, or the derivative of relu with another forward.
    Example:
        >>> z = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
        >>> untie(z, "heaviside", LeakyReLU(0.1)).sum().backward(); z.grad
        tensor([0.1000, 0.1000, 1.0000])
    """

    name: ClassVar[str] = "leaky_relu"
    known_as: ClassVar[tuple[str, ...]] = (
        "freegrad d(ReLU)",
        "snnTorch heaviside",
        "snnTorch LSO",
        "SpikingJelly LeakyKReLU",
    )
    leak: float = 0
    height: float = 1

    def slope(self, forward: Forward) -> TwoValuedSlope:
        return TwoValuedSlope(Window(0.0, math.inf, open="low"), float(self.height), float(self.leak))


@register_rule
@dataclass(frozen=True, slots=True)
class PiecewiseLeakyReLU(Rule):
    """Window, and a small multiplier outside of it: ``height`` where ``|z| <= width``, else ``leak``.

    Both edges are inside; NaN in ``z`` is outside. Memory: one bit per element.

    Args:
        width: Half the window, in units of ``z``; positive.
        height: Multiplier inside, any finite number.
        leak: Multiplier outside, any finite number.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite, or the width is not positive.
    Source:
        SpikingJelly's PiecewiseLeakyReLU, ``1 / (2 w)`` where ``|z| < w``, else ``c``; see ``from_w``.
    Use:
        Networks in which a window alone lets neurons die: neurons outside of it still learn a little.
    Example:
        >>> z = torch.tensor([0.0, 1.0, 2.0], requires_grad=True)
        >>> untie(z, "heaviside", PiecewiseLeakyReLU()).sum().backward(); z.grad
        tensor([0.5000, 0.5000, 0.0100])
    """

    name: ClassVar[str] = "piecewise_leaky_relu"
    known_as: ClassVar[tuple[str, ...]] = ("SpikingJelly PiecewiseLeakyReLU",)
    width: float = 1
    height: float = 0.5
    leak: float = 0.01

    def check(self) -> None:
        self.require(self.width > 0, "width > 0")

    @classmethod
    def from_w(cls, w: float = 1, c: float = 0.01) -> PiecewiseLeakyReLU:
        """Rule in the form of SpikingJelly: ``1 / (2 w)`` inside, ``c`` outside.

        Example:
            >>> PiecewiseLeakyReLU.from_w(2, 0)
            PiecewiseLeakyReLU(width=2, height=0.25, leak=0)
        """
        (w,) = positive("PiecewiseLeakyReLU.from_w", w=w)
        return cls(w, 1 / (2 * w), c)

    def slope(self, forward: Forward) -> TwoValuedSlope:
        return TwoValuedSlope(Window(-float(self.width), float(self.width)), float(self.height), float(self.leak))
