"""Two baselines: the forward's own derivative, and no gradient at all."""

from __future__ import annotations

from dataclasses import dataclass

from tieless.forwards import Forward
from tieless.forwards.base import untrainable
from tieless.rules.base import Rule, register_rule
from tieless.slopes import FixedSlope, SlopeForm


@register_rule
@dataclass(frozen=True, slots=True)
class Tied(Rule):
    """True derivative of the forward: ``grad_input = grad_output * phi'(z)``, as PyTorch defines it at kinks.

    Memory is that of the derivative: nothing (linear), one bit per element (piecewise linear forwards), ``y`` (tanh,
    logistic, elu, softplus) or ``z`` (gelu, silu, any callable).

    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        UntrainableError: combined with a forward that is flat almost everywhere.
    Use:
        Baseline with which every other rule is compared.
    Source:
        The chain rule.
    Example:
        >>> z = torch.tensor([-1.0, 2.0], requires_grad=True)
        >>> untie(z, "relu", "tied").sum().backward(); z.grad
        tensor([0., 1.])
    """

    def slope(self, forward: Forward) -> SlopeForm:
        derivative = forward.derivative()
        if derivative is None:
            raise untrainable(forward, "almost everywhere, so the rule 'tied' would send nothing back")
        return derivative


@register_rule
@dataclass(frozen=True, slots=True)
class Frozen(Rule):
    """Zero gradient: ``grad_input = 0``. Only the layers above the activation learn. Memory: nothing is stored.

    Shape:
        ``grad_output``: ``(...)``, floating. Result: exact zeros, laid out like ``z``.
    Use:
        To see what the layers above learn alone.
    Source:
        Ours.
    Example:
        >>> z = torch.tensor([-1.0, 2.0], requires_grad=True)
        >>> untie(z, "relu", "frozen").sum().backward(); z.grad
        tensor([0., 0.])
    """

    def slope(self, forward: Forward) -> FixedSlope:
        return FixedSlope(0.0)
