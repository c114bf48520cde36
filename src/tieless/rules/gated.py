"""Gate of the derivative: the gradient passes, with the derivative's sign, where that is large, or where it is not 0."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from tieless.errors import RuleValueError
from tieless.forwards import Forward
from tieless.levels import Levels, optimal_levels
from tieless.registry import hidden_at_default
from tieless.rules.base import Rule, register_rule
from tieless.rules.tied import Tied
from tieless.slopes import Codes, FixedSlope, LevelSlope, OwnSlope, SlopeForm, TwoValuedSlope, Window

_WITHOUT_A_BIT = 2
"""Bits for the derivative of relu6 and similar forwards, which one bit cannot follow; still one bit is stored."""


@register_rule
@dataclass(frozen=True, slots=True)
class Gated(Rule):
    """Gate: pass the gradient where the forward's derivative is large; block it where the forward is nearly flat.

    Unless ``where="nonzero"``, ``grad_input = grad_output * sign(q(z)) * 1[|q(z)| > max|q| / 2]``, where ``q`` is the step function of two values
    that is nearest to the forward's derivative, as in ``few_bit(1)``, or of four where two cannot follow it. So the
    gate is ``z > 0`` for relu, leaky relu, gelu, silu and softplus, ``|z| <= 2.18`` for logistic, ``|z| <= 1.09`` for
    tanh, ``0 < z <= 6`` for relu6, everywhere for linear; for abs the sign of the derivative is kept. NaN in ``z`` is
    on no side of an edge, and blocks, but for abs it counts as negative.

    With ``where="nonzero"``, ``grad_input = grad_output * sign(phi'(z))``: the derivative keeps its sign and loses its
    magnitude. That is ``constant`` beside a forward that rises everywhere, ``tied`` beside relu, hard tanh and abs, and
    -1 where gelu (``z < -0.7518``) and silu (``z < -1.2785``) fall. At kinks the derivative is that of ``tied``. NaN in
    ``z`` counts as negative for leaky relu, gelu and silu, too.

    Memory: at most one bit per element for each forward of the catalogue; with ``where="nonzero"``, that of ``tied``
    for any other.

    Args:
        where: Place at which the gradient passes: ``"large"``, where the derivative is large, or ``"nonzero"``.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        UntrainableError: joined with a forward that is flat almost everywhere.
    Source:
        Ours; the step function of Novikov et al. 2023, arXiv:2202.00441.
    Use:
        Behind a constant or a random multiplier, as in ``full_jam >> gated``: units that are off or saturated learn
        nothing, all others learn by multipliers of any magnitude. With ``"nonzero"``, to keep of the derivative no more
        than its sign: ``full_jam >> gated(where="nonzero")`` sends ``grad_output * sign(phi'(z)) * U``.
    Example:
        >>> z = torch.tensor([-3.0, 0.5, 2.0, 3.0], requires_grad=True)
        >>> untie(z, "logistic", Gated()).sum().backward(); z.grad
        tensor([0., 1., 1., 0.])
        >>> z.grad = None
        >>> untie(z, "silu", Gated("nonzero")).sum().backward(); z.grad
        tensor([-1.,  1.,  1.,  1.])
    """

    where: Literal["large", "nonzero"] = hidden_at_default("large")

    def slope(self, forward: Forward) -> SlopeForm:
        return _gate(_followed(forward)) if self.where == "large" else _sign(Tied().slope(forward), forward.rises_from)


@dataclass(frozen=True, slots=True)
class _SignOf:
    """Owner of a slope that is the sign of another one, which is computed from ``z`` or ``y``."""

    slope: SlopeForm

    def slope_at(self, value: Tensor) -> Tensor:
        return torch.sign(self.slope.send(torch.ones_like(value), value))

    def is_ours(self) -> bool:
        return not isinstance(self.slope, OwnSlope) or self.slope.owner.is_ours()


def _sign(slope: SlopeForm, rises_from: float | None) -> SlopeForm:
    """Sign of a derivative in the fewest bits, given the place from which its forward rises, if it has one."""
    if rises_from == -math.inf:
        return FixedSlope(1.0)
    if rises_from is not None:
        return TwoValuedSlope(Window(rises_from, math.inf), 1.0, -1.0)
    if isinstance(slope, FixedSlope):
        return FixedSlope(_sign_of(slope.value))
    if isinstance(slope, TwoValuedSlope):
        return TwoValuedSlope(slope.needs, _sign_of(slope.inside), _sign_of(slope.outside))
    if isinstance(slope, LevelSlope):
        return LevelSlope(slope.needs, tuple(map(_sign_of, slope.values)))
    return OwnSlope(_SignOf(slope), cast("Literal['input', 'output']", slope.needs))


def _sign_of(value: float) -> float:
    return math.copysign(1.0, value) if value else 0.0


def _followed(forward: Forward) -> Levels:
    try:
        return optimal_levels(forward, 1)
    except RuleValueError:
        return optimal_levels(forward, _WITHOUT_A_BIT)


def _gate(levels: Levels) -> FixedSlope | TwoValuedSlope | LevelSlope:
    """Step function with values of 1, -1 and 0 only, in the fewest bits."""
    half = max(map(abs, levels.values)) / 2
    sizes = [math.copysign(1.0, value) if abs(value) > half else 0.0 for value in levels.values]
    changes = [i for i, (left, right) in enumerate(itertools.pairwise(sizes)) if left != right]
    boundaries = tuple(levels.boundaries[i] for i in changes)
    values = (sizes[0], *[sizes[i + 1] for i in changes])
    if not boundaries:
        return FixedSlope(values[0])
    if levels.even and len(boundaries) == 1:
        return TwoValuedSlope(Window(-boundaries[0], boundaries[0]), values[0], values[1])
    if len(boundaries) == 1 and values[1] == 0:  # NaN is in no window, so the window is the open side
        return TwoValuedSlope(Window(-math.inf, boundaries[0]), values[0], values[1])
    if len(boundaries) == 1:
        return TwoValuedSlope(Window(boundaries[0], math.inf, open="low"), values[1], values[0])
    if not levels.even and len(boundaries) == 2 and values[0] == values[2]:
        return TwoValuedSlope(Window(boundaries[0], boundaries[1], open="low"), values[1], values[0])
    return LevelSlope(Codes(boundaries, levels.even), values)
