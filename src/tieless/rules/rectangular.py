"""A window of height 1 in the place of the derivative."""

from __future__ import annotations

from dataclasses import dataclass

from tieless.forwards import Forward
from tieless.rules.base import Rule, register_rule
from tieless.slopes import TwoValuedSlope, Window

__all__ = ["Rectangular"]


@register_rule
@dataclass(frozen=True, slots=True)
class Rectangular(Rule):
    """Let feedback through where ``low <= z <= high``; block it elsewhere.

    ``grad_input = grad_output * 1[low <= z <= high]``. Both edges pass, rounded to the dtype of ``z``; NaN in ``z``
    blocks; what is blocked is exactly 0. Keeps one bit an element.

    Args:
        low, high: Edges of the window, in units of ``z``.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: an edge is not finite, or ``low >= high``.
    Source:
        Troiano et al. 2025, doi:10.1016/j.neucom.2025.131178; window height 1.
    Example:
        >>> z = torch.tensor([-0.6, 0.5, 0.7], requires_grad=True)
        >>> untie(z, "heaviside", Rectangular(-0.5, 0.5)).sum().backward(); z.grad
        tensor([0., 1., 0.])
    """

    low: float = -0.5
    high: float = 0.5

    def check(self) -> None:
        self.require(self.low < self.high, "low < high")

    def slope(self, forward: Forward) -> TwoValuedSlope:
        return TwoValuedSlope(Window(float(self.low), float(self.high)))
