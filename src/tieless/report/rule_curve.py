"""Gradient that a rule sends, as numbers: the record from which a plot of the rule is drawn.

Everything is measured by sending feedback through the rule, so the plot of a user's rule is as true as that of ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from tieless.diagnose.slopes.gate import gate_of
from tieless.errors import RuleValueError, UntrainableError
from tieless.forwards import Forward, ForwardLike, forward as forward_of
from tieless.functional import pair_of, untie
from tieless.rules import Rule

DRAWS = 64
"""Number of calls, each with its own key, whose smallest and largest gradients are the band of a random rule."""

_STEPS = 96
_FEEDBACK = 2.0
_NEXT = 1e-6
"""Distance to both sides of an edge, so that a step function is drawn upright."""

_BESIDE = {
    "few_bit": "gelu",
    "leaky_relu": "relu",
    "log_tailed_relu": "relu",
    "magnitude_aware": "magnitude_aware_sign",
    "piecewise_leaky_relu": "relu",
    "regelu2": "gelu",
    "resilu2": "silu",
    "tied": "tanh",
}
"""Forward beside which a rule is drawn, if not ``heaviside``."""


@dataclass(frozen=True, slots=True)
class Line:
    """Points of a line, ascending in ``x``; points on a straight way between their neighbours are left out."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RuleCurve:
    """Gradient that a rule sends, as a curve.

    Args:
        rule: Spec of the rule.
        forward: Spec of the forward beside it.
        over: Quantity on the x axis. ``"z"``: the gradient for a feedback of 1, at each ``z``. ``"feedback"``: for a
            rule that does not read ``z``, the gradient for feedback spread evenly from -2 to 2 over one sample.
        output: Output of the forward at each ``z``; ``None`` over feedback.
        sent: Gradient that the rule sends; for a random rule, in one call.
        low, high: Smallest and largest values over 64 calls, for a random rule; else ``None``.
    Example:
        >>> from tieless.report import curve_of
        >>> curve = curve_of(tl.rule("triangular"))
        >>> curve.forward, curve.over, curve.sent
        ('heaviside', 'z', Line(x=(-3.0, -1.0, 0.0, 1.0, 3.0), y=(0.0, 0.0, 1.0, 0.0, 0.0)))
    """

    rule: str
    forward: str
    over: Literal["z", "feedback"]
    output: Line | None
    sent: Line
    low: Line | None = None
    high: Line | None = None


def curve_of(rule: Rule, forward: ForwardLike | None = None) -> RuleCurve:
    """Measure the gradient that a rule sends.

    Args:
        rule: Rule or chain of rules.
        forward: Forward beside which to measure; one that goes with the rule unless given.
    Raises:
        UntrainableError, RuleValueError: the two do not go together.
    Example:
        >>> from tieless.report import curve_of
        >>> curve_of(tl.rule("scale(2)")).sent
        Line(x=(-2.0, 2.0), y=(-4.0, 4.0))
    """
    half = _forward_for(rule) if forward is None else forward_of(forward)
    pair_of(half, rule)
    by_z = any(part.family != "transform" for part in rule.parts())
    if by_z:
        x = _places(half, rule)
        z, feedback = x, torch.ones_like(x)
        output = _line(x, untie(x, half, "frozen"))
    else:
        x = torch.linspace(-_FEEDBACK, _FEEDBACK, _STEPS + 1, dtype=torch.float64)
        z, feedback, output = torch.full_like(x, 0.5), x, None
    draws = any(part.draws for part in rule.parts())
    calls = torch.stack([_sent(z, feedback, half, rule, seed) for seed in range(DRAWS if draws else 1)])
    low, high = (_line(x, calls.amin(0)), _line(x, calls.amax(0))) if draws else (None, None)
    sent = Line(_numbers(x), _numbers(calls[0])) if draws else _line(x, calls[0])
    return RuleCurve(str(rule), str(half), "z" if by_z else "feedback", output, sent, low, high)


def _forward_for(rule: Rule) -> Forward:
    first = next((_BESIDE[part.name] for part in rule.parts() if part.name in _BESIDE), "heaviside")
    return forward_of(next((name for name in (first, "heaviside", "gelu") if _fit(name, rule)), "linear"))


def _fit(forward: str, rule: Rule) -> bool:
    try:
        pair_of(forward, rule)
    except (RuleValueError, UntrainableError):
        return False
    return True


def _places(forward: Forward, rule: Rule) -> Tensor:
    """Positions at which to measure: evenly spread, and on both sides of every possible edge."""
    known = [value for value in gate_of(forward, rule).landmarks if abs(value) <= 6]
    reach = max(3.0, 1.5 * max(abs(value) for value in known))
    edges = torch.tensor(known, dtype=torch.float64)
    grid = torch.linspace(-reach, reach, _STEPS + 1, dtype=torch.float64)
    return cast("Tensor", torch.cat([grid, edges, edges - _NEXT, edges + _NEXT]).unique())  # pyright: ignore[reportUnknownMemberType]


def _sent(z: Tensor, feedback: Tensor, forward: Forward, rule: Rule, seed: int) -> Tensor:
    # One sample, so that a rule which looks at a whole sample or channel sees all of it.
    leaf = z[None].detach().requires_grad_()
    y = untie(leaf, forward, rule, generator=torch.Generator().manual_seed(seed))
    (sent,) = torch.autograd.grad(y, leaf, feedback[None])
    return sent[0]


def _numbers(values: Tensor) -> tuple[float, ...]:
    return tuple(cast("list[float]", values.tolist()))


def _line(x: Tensor, y: Tensor) -> Line:
    kept: list[tuple[float, float]] = []
    for point in zip(_numbers(x), _numbers(y), strict=True):
        if len(kept) >= 2 and _straight(kept[-2:], point):
            kept.pop()
        kept.append(point)
    return Line(tuple(place for place, _ in kept), tuple(value for _, value in kept))


def _straight(before: Sequence[tuple[float, float]], point: tuple[float, float]) -> bool:
    (x0, y0), (x1, y1), (x2, y2) = *before, point
    return math.isclose(y1, y0 + (y2 - y0) * (x1 - x0) / (x2 - x0), rel_tol=0, abs_tol=1e-9)
