"""Levels of a forward: the objective of the search, and the error of its result.

The objective is that of Novikov et al. 2023 (arXiv:2202.00441): the integral of ``(phi'(z) - q(z))^2`` over
``-10 <= z <= 10``, each ``z`` counting alike. A normalised layer's pre-activation at its end is ten deviations out.
With one change: where the derivative is within a thousandth of a limit by then, as that of every smooth forward of the
catalogue is, the outer value is the limit. So the squared error stays finite on the whole line, and activations far out
get the slope they should. An even derivative is followed in ``|z|``, as in the paper's program.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal, TypeVar

import numpy as np
import torch

from tieless.errors import RuleTypeError, RuleValueError
from tieless.forwards import Elementwise, Forward, ForwardLike, forward as forward_of
from tieless.forwards.base import remembered_by_forward, untrainable
from tieless.grammar import shown
from tieless.levels.search import Array, Function, cheapest, curve_on, integrals, points, polished
from tieless.levels.value import Levels
from tieless.registry import plain_number
from tieless.slopes import Packed, TwoValuedSlope

_END = 10.0
_SETTLED = 1e-3
_ALIKE = 0.05
# Those on which the exp and erf of two machines agree with room to spare, and more than float32 has near 1.
_DIGITS = 8
_GRID = 0.5 * np.sinh(math.asinh(2 * _END) * np.linspace(-1, 1, 1025))

T = TypeVar("T")


def optimal_levels(forward: ForwardLike, bits: int, outer: Literal["limit", "mean"] = "limit") -> Levels:
    """Step function of at most ``2**bits`` values that is nearest to a forward's derivative.

    ``q = argmin of integral of (phi'(z) - q(z))^2 over -10 <= z <= 10``. At the optimum each value is the mean of
    ``phi'`` over its region, and ``phi'`` crosses the middle between two values at the boundary between them. There are
    fewer values where more are no nearer (``relu`` has two). An even ``phi'`` is followed in ``|z|``. Numbers are
    rounded to 8 decimals, so that they are the same on every machine.

    Derived once for each forward, in about 0.1 s, and in a thread of its own: no mode of the caller's (autocast,
    tracing, a function transform) reaches it.

    Args:
        forward: Spec, ``Forward`` or elementwise callable whose derivative is finite on ``-10 <= z <= 10``.
        bits: Number of bits, 1 to 4.
        outer: Name of the choice of the outer values. ``"limit"``: where ``phi'`` is within a thousandth of its largest
            value from a limit by ``|z| = 10``, the outer value is the limit. ``"mean"``: the outer values are means
            too, as in the paper.
    Raises:
        UntrainableError: the forward is flat.
        RuleValueError: ``bits`` is out of range or too few for this forward, or the derivative is not finite.
        RuleTypeError: ``bits`` is no integer.
    Source:
        Novikov et al. 2023, arXiv:2202.00441; ``outer="mean"`` gives the errors that they print.
    Example:
        >>> levels = tl.levels.optimal_levels("gelu", 2)
        >>> levels.boundaries
        (-0.45201281, 0.0, 0.45201281)
        >>> levels.values
        (0.0, 0.32562988, 0.67437012, 1.0)
        >>> levels.relative_error
        0.06675379
    """
    count = plain_number(bits)
    if not isinstance(count, int):
        raise RuleTypeError(f"bits must be an integer from 1 to 4, got {shown(bits)}.")
    if not 1 <= count <= 4:
        raise RuleValueError(
            f"Few-bit levels need bits from 1 to 4, got {shown(bits)}. For more, keep z: use the rule 'tied'."
        )
    if outer not in {"limit", "mean"}:
        raise RuleValueError(f"outer must be 'limit' or 'mean', got {shown(outer)}.")
    return _derived(forward_of(forward), count, outer == "limit")


def error_of(levels: Levels, forward: ForwardLike) -> tuple[float, float]:
    """Distance of a step function from a forward's derivative: absolute and relative error.

    ``sqrt(mean of (phi'(z) - q(z))^2)`` over ``-10 <= z <= 10``, and the same over ``sqrt(mean of phi'(z)^2)``.

    Args:
        levels: Step function, found by ``optimal_levels`` or not.
        forward: Spec, ``Forward`` or elementwise callable.
    Raises:
        UntrainableError, RuleValueError: the same as in ``optimal_levels``.
    Example:
        >>> tl.levels.error_of(tl.levels.REGELU2, "gelu")
        (0.08854213, 0.12434364)
    """
    chosen = forward_of(forward)
    return _undisturbed(lambda: _error_of(levels, _derivative(chosen)))


@remembered_by_forward
def resembles(forward: Forward, other: Forward) -> bool:
    """True if a forward is another one, or comes within a twentieth of it on ``-10 <= z <= 10``, as its variants do."""

    def apart() -> float:
        z = torch.from_numpy(_GRID)
        return float((forward.value(z.clone()) - other.value(z)).abs().max())

    return type(forward) is type(other) or _undisturbed(apart) < _ALIKE


@remembered_by_forward
def _derived(forward: Forward, bits: int, pinned: bool) -> Levels:
    return _undisturbed(lambda: _derive(forward, bits, pinned))


def _undisturbed(work: Callable[[], T]) -> T:
    """Run a function in a thread of its own, whose modes are PyTorch's defaults."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def _derive(forward: Forward, bits: int, pinned: bool) -> Levels:
    slope = _derivative(forward)
    nodes = _nodes(slope)
    inside = points(nodes[:-1], nodes[1:])[0]
    scale = float(np.abs(slope(inside)).max())
    even = bool(np.abs(slope(inside) - slope(-inside)).max() <= 1e-9 * scale)
    curve = curve_on(
        slope,
        np.append(0.0, nodes[nodes > 0]) if even else nodes,
        low=_limit(slope, -1, scale) if pinned and not even else None,
        high=_limit(slope, +1, scale) if pinned else None,
    )
    boundaries, values = map(_rounded, polished(curve, cheapest(curve, 2**bits)))
    levels = Levels(boundaries, values, even and bool(boundaries))
    if not any(levels.values):
        raise RuleValueError(
            f"One bit cannot follow the derivative of {forward}, which leaves 0 and comes back to it, and not evenly "
            "around z = 0. Give 2 bits or more."
        )
    error, relative = _error_of(levels, slope)
    return replace(levels, error=error, relative_error=relative)


def _derivative(forward: Forward) -> Function:
    """Multiplier of the rule ``tied``, on arrays and without a kernel; refused if it is of no use."""
    form = forward.derivative()

    def slope(z: Array) -> Array:
        if isinstance(form, TwoValuedSlope):
            window = form.needs
            return np.where((z >= window.low) & (z <= window.high), form.inside, form.outside)
        x = torch.from_numpy(z)
        if isinstance(forward, Elementwise):
            # Not by its own form, and of a sum: the first use of torch.func takes two seconds, the first gradient of
            # a tensor that is not a scalar 0.3.
            y = forward.value(x.requires_grad_().clone())
            return torch.autograd.grad(y.sum(), x)[0].numpy() if y.requires_grad else np.zeros_like(z)
        assert form is not None
        needs = form.needs
        kept = forward.value(x) if needs == "output" else needs.pack(x) if isinstance(needs, Packed) else x
        return form.send(torch.ones_like(x), kept).detach().numpy()

    sample = None if form is None else slope(_GRID)
    if sample is None or not sample.any():
        raise untrainable(forward, "on -10 <= z <= 10, so there is no derivative to approximate")
    if not np.isfinite(sample).all():
        raise RuleValueError(
            f"The derivative of {forward} is not finite at z = {_GRID[~np.isfinite(sample)][0]:.3g}, so no levels are "
            "near it. Use another rule, such as 'rectangular' or 'triangular'."
        )
    return slope


def _nodes(slope: Function) -> Array:
    """Candidate boundaries: half of them close around 0 and wider outside, half where the derivative is steep."""
    climb = np.append(0.0, np.abs(np.diff(slope(_GRID))).cumsum())
    steep = np.interp(np.linspace(0, float(climb[-1]), len(_GRID) // 2), climb, _GRID)
    nodes = np.union1d(_GRID[::2], steep)
    return nodes[np.append(True, np.diff(nodes) > 1e-9)]


def _limit(slope: Function, side: int, scale: float) -> float | None:
    """Limit of the derivative far out on one side, if it is nearly there at the interval's end.

    The limit is its last finite number on a geometric row up to 8e14: many a formula overflows before its end.
    """
    far = slope(side * _END * np.exp(np.arange(33.0)))
    finite = far[: int(np.append(np.isfinite(far), False).argmin())]
    return float(finite[-1]) if len(finite) > 1 and abs(finite[0] - finite[-1]) <= _SETTLED * scale else None


def _rounded(numbers: Array) -> tuple[float, ...]:
    return tuple(round(float(number), _DIGITS) + 0.0 for number in numbers)


def _error_of(levels: Levels, slope: Function) -> tuple[float, float]:
    inside = [c for c in levels.boundaries if abs(c) < _END]
    edges = np.union1d(_nodes(slope), [*inside, *(-c for c in inside)])
    level = levels.slope(torch.from_numpy((edges[:-1] + edges[1:]) / 2)).numpy()
    squared = integrals(slope, edges[:-1], edges[1:], level)[1].sum()
    whole = integrals(slope, edges[:-1], edges[1:])[1].sum()
    return round(math.sqrt(squared / (2 * _END)), _DIGITS), round(math.sqrt(squared / whole), _DIGITS)
