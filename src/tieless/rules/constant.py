"""Constant in place of the derivative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tieless.forwards import Forward
from tieless.rules.base import Rule, register_rule
from tieless.slopes import FixedSlope


@register_rule
@dataclass(frozen=True, slots=True)
class Constant(Rule):
    """Constant multiplier (straight-through estimator if 1): ``grad_input = grad_output * value``, whatever ``z`` is.

    Memory: nothing is stored.

    Args:
        value: Multiplier, any finite number. 0 gives exact zeros, like ``frozen``.
    Shape:
        ``grad_output``: ``(...)``, floating. Result: laid out like ``z``.
    Raises:
        RuleValueError: the value is not finite.
    Source:
        Bengio et al. 2013, arXiv:1308.3432 (straight-through); Troiano et al. 2025, doi:10.1016/j.neucom.2025.131178.
    Use:
        For rounding, and wherever nothing may be stored. The gradient does not weaken far from the threshold.
    Example:
        >>> z = torch.tensor([-1.0, 2.0], requires_grad=True)
        >>> untie(z, "heaviside", Constant(0.5)).sum().backward(); z.grad
        tensor([0.5000, 0.5000])
    """

    known_as: ClassVar[tuple[str, ...]] = (
        "straight_through",
        "ste",
        "identity",
        "freegrad d(Linear)",
        "snnTorch straight_through_estimator",
        "SpikingJelly DeterministicPass",
        "Brevitas round_ste",
        "Brevitas binary_sign_ste",
    )
    value: float = 1

    def slope(self, forward: Forward) -> FixedSlope:
        return FixedSlope(float(self.value))
