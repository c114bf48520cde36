"""Few-bit slopes: a step function in place of a smooth derivative, which saves memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tieless.errors import RuleValueError
from tieless.forwards import Forward, forward as forward_of
from tieless.forwards.advice import FEW_BITS, TIED
from tieless.forwards.base import untrainable
from tieless.levels import REGELU2, RESILU2, Levels, optimal_levels
from tieless.levels.optimal import resembles
from tieless.rules.base import Rule, register_rule
from tieless.slopes import Codes, FixedSlope, LevelSlope


def _beside(rule: Rule, name: str, forward: Forward) -> None:
    """Refuse every forward but the one whose derivative the rule's numbers follow."""
    if forward.derivative() is None:
        raise untrainable(forward, f"almost everywhere, and the rule {rule.name!r} follows the derivative of {name}")
    if not resembles(forward, forward_of(name)):
        raise RuleValueError(
            f"The rule {rule.name!r} follows the derivative of {name}, and {forward} is another function. "
            f"Give it {FEW_BITS.spec!r} ({FEW_BITS.what}) or {TIED.spec!r} ({TIED.what})."
        )


def _slope(levels: Levels) -> LevelSlope | FixedSlope:
    if not levels.boundaries:
        return FixedSlope(levels.values[0])
    return LevelSlope(Codes(levels.boundaries, levels.even), levels.values)


@register_rule
@dataclass(frozen=True, slots=True)
class FewBit(Rule):
    """Step function of ``2**bits`` values that is nearest to the forward's derivative.

    ``grad_input = grad_output * values[number of boundaries c with z > c]``, or with ``|z| > c`` where the derivative
    is even. The values, the boundaries and the remaining error are those of ``tieless.levels.optimal_levels(forward,
    bits)``.

    Memory: ``bits`` bits per element, fewer where more are no nearer (``relu`` needs one).

    Args:
        bits: Number of bits, 1 to 4.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: ``bits`` is outside 1..4, or too few for the forward.
        UntrainableError: joined with a forward that is flat almost everywhere.
    Source:
        Novikov et al. 2023, arXiv:2202.00441.
    Use:
        To train a smooth activation in a fraction of its memory: with 3 bits the relative error is 0.03 to 0.07.
    Example:
        >>> z = torch.tensor([-20.0, 0.1, 20.0], requires_grad=True)
        >>> untie(z, "gelu", FewBit(1)).sum().backward(); z.grad
        tensor([0., 1., 1.])
    """

    bits: int

    def check(self) -> None:
        self.require(1 <= self.bits <= 4, "bits from 1 to 4")

    def slope(self, forward: Forward) -> LevelSlope | FixedSlope:
        return _slope(optimal_levels(forward, self.bits))


@register_rule
@dataclass(frozen=True, slots=True)
class ReGELU2(Rule):
    """Four multipliers in place of gelu's derivative: ``tieless.levels.REGELU2``. Memory: 2 bits per element.

    The values follow gelu's derivative on average over wide stretches, not at each point; ``few_bit(2)`` is nearer to
    it.

    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: joined with a forward that is not gelu or a variant of it, such as its tanh form.
        UntrainableError: joined with a forward that is flat almost everywhere.
    Source:
        Yang et al. 2024, arXiv:2406.16282.
    Use:
        Gelu in 2 bits, with the numbers of the paper; else ``few_bit(2)``.
    Example:
        >>> z = torch.tensor([-4.0, -1.0, 1.0, 4.0], requires_grad=True)
        >>> untie(z, "gelu", ReGELU2()).sum().backward(); z.grad
        tensor([ 0.0000, -0.0492,  1.0487,  1.0000])
    """

    known_as: ClassVar[tuple[str, ...]] = ("LowMemoryBP ReGELU2",)
    name: ClassVar[str] = "regelu2"

    def slope(self, forward: Forward) -> LevelSlope | FixedSlope:
        _beside(self, "gelu", forward)
        return _slope(REGELU2)


@register_rule
@dataclass(frozen=True, slots=True)
class ReSiLU2(Rule):
    """Four multipliers in place of silu's derivative: ``tieless.levels.RESILU2``. Memory: 2 bits per element.

    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: joined with a forward that is not silu or a variant of it.
        UntrainableError: joined with a forward that is flat almost everywhere.
    Source:
        Yang et al. 2024, arXiv:2406.16282.
    Use:
        Silu in 2 bits, with the numbers of the paper; else ``few_bit(2)``.
    Example:
        >>> z = torch.tensor([-7.0, -1.0, 1.0, 7.0], requires_grad=True)
        >>> untie(z, "silu", ReSiLU2()).sum().backward(); z.grad
        tensor([ 0.0000, -0.0406,  1.0403,  1.0000])
    """

    known_as: ClassVar[tuple[str, ...]] = ("LowMemoryBP ReSiLU2",)
    name: ClassVar[str] = "resilu2"

    def slope(self, forward: Forward) -> LevelSlope | FixedSlope:
        _beside(self, "silu", forward)
        return _slope(RESILU2)
