"""Search for the step function with a number of values that is nearest to a curve, in the mean square over an interval.

Dynamic programming over a thousand places for a boundary finds the optimum among those places; then the boundaries
leave them for where the curve crosses the middle between two values. The programming is plain, quadratic in the places:
the faster kinds (divide and conquer, SMAWK) need split costs that form a Monge array, and those of a curve that is not
monotone do not (the derivatives of gelu, silu and tanh are none).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Function = Callable[[Array], Array]


class Curve(NamedTuple):
    """Function on an interval, its integrals, and the outer values where they are given.

    Attributes:
        height: Function on the interval.
        nodes: Candidate boundaries, ascending; the first and the last are the interval's ends.
        first, second: Integrals of the function and of its square, from the first node to each.
        low, high: Values below the first boundary and above the last; ``None`` if free.
    """

    height: Function
    nodes: Array
    first: Array
    second: Array
    low: float | None
    high: float | None

    def values(self, boundaries: Array) -> Array:
        """Best values for these boundaries: the means over their regions, except for those that are given."""
        edges = np.concatenate([self.nodes[:1], boundaries, self.nodes[-1:]])
        cells = np.searchsorted(self.nodes, edges, side="right") - 1
        first = self.first[cells] + integrals(self.height, self.nodes[cells], edges)[0]
        values = np.diff(first) / np.diff(edges)
        if self.low is not None:
            values[0] = self.low
        if self.high is not None:
            values[-1] = self.high
        return values

    def cost(self, boundaries: Array) -> float:
        """Integral of the squared error for these boundaries, free of the cancellation in prefix sums."""
        edges = np.union1d(self.nodes, boundaries)
        level = self.values(boundaries)[np.searchsorted(boundaries, edges[:-1], side="right")]
        return float(integrals(self.height, edges[:-1], edges[1:], level)[1].sum())


def curve_on(height: Function, nodes: Array, low: float | None, high: float | None) -> Curve:
    """Curve with its integrals."""
    first, second = integrals(height, nodes[:-1], nodes[1:])
    return Curve(height, nodes, np.append(0.0, first.cumsum()), np.append(0.0, second.cumsum()), low, high)


def points(start: Array, end: Array) -> tuple[Array, Array]:
    """Gauss points, eight on each stretch from ``start`` to ``end``, and their weights."""
    places, weights = _quadrature()
    half = (end - start)[..., None] / 2
    return start[..., None] + half * (1 + places), half * weights


@lru_cache(maxsize=1)
def _quadrature() -> tuple[Array, Array]:
    return np.polynomial.legendre.leggauss(8)


def integrals(height: Function, start: Array, end: Array, level: Array | float = 0.0) -> tuple[Array, Array]:
    """Integrals of ``height - level`` and of its square, from each ``start`` to each ``end``."""
    places, weights = points(start, end)
    above = height(places) - np.asarray(level)[..., None]
    return (above * weights).sum(axis=-1), (above * above * weights).sum(axis=-1)


def cheapest(curve: Curve, count: int) -> Array:
    """Best boundaries among the nodes, for ``count`` regions, or fewer where more are no nearer.

    ``best[k][j] = min over i < j of best[k-1][i] + cost(i, j)``, where ``cost(i, j)`` is that of one region from node
    ``i`` to node ``j`` at its best value: 16 regions of 1,000 nodes are 16 million sums. Of two answers that are
    equally near, as mirror images can be, it is the one further left.
    """
    nodes = curve.nodes
    width, first, second = (sums[:, None] - sums for sums in (nodes, curve.first, curve.second))
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = np.where(width > 0, second - first * first / width, np.inf)  # [j, i]: the region from i to j

    def given(value: float) -> Array:
        return np.where(width > 0, second - 2 * value * first + value * value * width, np.inf)

    # Large beside the rounding of sums, small beside all else.
    whole = float(curve.second[-1])
    leftwards = 1e-12 * whole * nodes / np.abs(nodes).max()
    best = (cost if curve.low is None else given(curve.low))[:, 0]
    last = (cost if curve.high is None else given(curve.high))[-1]
    totals = [_of_one_region(curve)]
    splits: list[list[int]] = [[]]
    origins: list[NDArray[np.intp]] = []
    for _ in range(count - 1):
        best = best + leftwards
        total = best + last
        path = [int(total.argmin())]
        for origin in reversed(origins):
            path.append(int(origin[path[-1]]))
        totals.append(float(total[path[0]]))
        splits.append(path[::-1])
        candidates = best + cost
        origins.append(candidates.argmin(axis=1))
        best = candidates[np.arange(len(nodes)), origins[-1]]
    enough = next(k for k, total in enumerate(totals) if total <= min(totals) + 1e-10 * whole)
    return nodes[splits[enough]]


def _of_one_region(curve: Curve) -> float:
    if curve.low is not None and curve.high is not None and curve.low != curve.high:
        return math.inf
    value = curve.high if curve.low is None else curve.low
    width, first, second = curve.nodes[-1] - curve.nodes[0], curve.first[-1], curve.second[-1]
    value = first / width if value is None else value
    return float(second - 2 * value * first + value * value * width)


def polished(curve: Curve, start: Array) -> tuple[Array, Array]:
    """Optimum near boundaries at nodes, and its values.

    There the curve crosses the middle between the values beside a boundary. Bisection between the neighbouring nodes
    puts boundaries on jumps; Newton's method solves for the others together.
    """
    boundaries = start
    if len(start):
        place = np.searchsorted(curve.nodes, start)
        values = curve.values(start)
        middle = (values[:-1] + values[1:]) / 2
        boundaries = _crossings(curve.height, middle, start, curve.nodes[place - 1], curve.nodes[place + 1])
        boundaries = boundaries[np.append(np.diff(boundaries) > 1e-9, True)]
        # A jump between two nodes spoils the integral over that cell, unless the cell is split there.
        curve = curve_on(curve.height, np.union1d(curve.nodes, boundaries), curve.low, curve.high)
        for _ in range(50):
            step = _newton_step(curve, boundaries)
            boundaries = boundaries + step
            if not np.abs(step).max() > 1e-12:
                break
        # Where Newton's method diverged, the search's own result is kept.
        allowed = curve.cost(start) + 1e-12 * curve.second[-1]
        if not (np.diff(boundaries) > 0).all() or curve.cost(boundaries) > allowed:
            boundaries = start
    return boundaries, curve.values(boundaries)


def _crossings(height: Function, middle: Array, start: Array, left: Array, right: Array) -> Array:
    """Crossings of the curve with ``middle`` between ``left`` and ``right``; ``start`` if it does not cross."""
    rising = height(right) > middle
    crossed = rising != (height(left) > middle)
    for _ in range(60):
        halfway = (left + right) / 2
        beyond = (height(halfway) > middle) == rising
        left, right = np.where(beyond, left, halfway), np.where(beyond, halfway, right)
    return np.where(crossed, left, start)


def _newton_step(curve: Curve, boundaries: Array) -> Array:
    """One step towards ``height(c) = (value below + value above) / 2`` at every boundary ``c`` that is on no jump."""
    edges = np.concatenate([curve.nodes[:1], boundaries, curve.nodes[-1:]])
    width = np.diff(edges)
    values = curve.values(boundaries)
    heights = curve.height(edges)
    tiny = 1e-7
    change = curve.height(boundaries + tiny) - curve.height(boundaries - tiny)
    on_jump = np.abs(change) > 0.1 * np.abs(np.diff(values))
    # Change of a region's value with its left and with its right edge; a given value does not change.
    by_left, by_right = (values - heights[:-1]) / width, (heights[1:] - values) / width
    if curve.low is not None:
        by_left[0] = by_right[0] = 0
    if curve.high is not None:
        by_left[-1] = by_right[-1] = 0
    missing = (values[:-1] + values[1:]) / 2 - heights[1:-1]
    jacobian = np.diag(change / (2 * tiny) - (by_right[:-1] + by_left[1:]) / 2)
    jacobian -= np.diag(by_left[1:-1] / 2, -1) + np.diag(by_right[1:-1] / 2, 1)
    jacobian[on_jump] = np.eye(len(boundaries))[on_jump]
    try:
        step = np.linalg.solve(jacobian, np.where(on_jump, 0.0, missing))
    except np.linalg.LinAlgError:
        return np.zeros_like(boundaries)
    room = np.minimum(width[:-1], width[1:]) / 3
    return np.minimum(np.maximum(step, -room), room)
