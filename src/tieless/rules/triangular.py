"""A triangle of height 1 in the place of the derivative."""

from __future__ import annotations

from dataclasses import dataclass

from tieless.forwards import Forward
from tieless.rules.base import Rule, register_rule
from tieless.slopes import NamedSlope

__all__ = ["Triangular"]


@register_rule
@dataclass(frozen=True, slots=True)
class Triangular(Rule):
    """A slope that falls from 1 at ``z = 0`` to 0 at ``|z| = width``: ``grad_output * max(0, 1 - |z| / width)``.

    Keeps ``z``, whose value it needs.

    Args:
        width: Half the base, in units of ``z``; positive.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: the width is not finite or not positive.
    Source:
        Troiano et al. 2025, doi:10.1016/j.neucom.2025.131178.
    Example:
        >>> z = torch.tensor([-0.5, 0.0, 2.0], requires_grad=True)
        >>> untie(z, "heaviside", Triangular(1)).sum().backward(); z.grad
        tensor([0.5000, 1.0000, 0.0000])
    """

    width: float = 1

    def check(self) -> None:
        self.require(self.width > 0, "width > 0")

    def slope(self, forward: Forward) -> NamedSlope:
        return NamedSlope("triangular", (1 / self.width,))
