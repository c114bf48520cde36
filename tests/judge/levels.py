"""Independent search for the step function nearest to a derivative: dynamic programming, then Newton's method."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tests.judge.forwards import below, gelu, sigma, softplus
from tests.judge.numbers import Array

__all__ = ["Steps", "gate", "nearest"]


class Steps(NamedTuple):
    """Step function ``values[number of boundaries c with z > c]``, or with ``|z| > c`` where ``even``."""

    boundaries: tuple[float, ...]
    values: tuple[float, ...]
    even: bool = False


class _Curve(NamedTuple):
    """Derivative, its integral, its limits on the left and the right, and True if it is even."""

    derivative: Callable[[Array], Array]
    integral: Callable[[Array], Array]
    limits: tuple[float, float]
    even: bool = False


def _gelu_slope(z: Array) -> Array:
    return below(z) + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _silu_slope(z: Array) -> Array:
    return sigma(z) * (1 + z * sigma(-z))


def _elu(alpha: float) -> _Curve:
    return _Curve(
        lambda z: np.where(z > 0, 1.0, alpha * np.exp(np.minimum(z, 0))),
        lambda z: np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0))),
        (0, 1),
    )


_CURVES = {
    "gelu": _Curve(_gelu_slope, gelu, (0, 1)),
    "logistic": _Curve(lambda z: sigma(z) * sigma(-z), sigma, (0, 0), even=True),
    "silu": _Curve(_silu_slope, lambda z: z * sigma(z), (0, 1)),
    "softplus": _Curve(sigma, softplus, (0, 1)),
    "tanh": _Curve(lambda z: 1 / np.cosh(z) ** 2, np.tanh, (0, 0), even=True),
}
_END = 10.0
_GRID = 0.5 * np.sinh(np.linspace(0, math.asinh(2 * _END), 241))
_FINE = 16
"""Points of the numerical integral of the squared derivative between two of the grid."""


_FEW: dict[str, Callable[[dict], Steps]] = {
    "abs": lambda parameters: Steps((0.0,), (-1.0, 1.0)),
    "clamp": lambda parameters: _between(parameters["low"], parameters["high"], 1.0),
    "hard_sigmoid": lambda parameters: _between(-3.0, 3.0, 1 / 6),
    "hard_tanh": lambda parameters: _between(-1.0, 1.0, 1.0),
    "leaky_relu": lambda parameters: Steps((0.0,), (parameters["negative_slope"], 1.0)),
    "linear": lambda parameters: Steps((), (1.0,)),
    "relu": lambda parameters: Steps((0.0,), (0.0, 1.0)),
    "relu6": lambda parameters: _between(0.0, 6.0, 1.0),
    "sawtooth": lambda parameters: Steps((), (2 / parameters["period"],)),
}
"""Derivatives of few values; boundaries belong to the left, and to the inside."""


def _between(low: float, high: float, value: float) -> Steps:
    return Steps((high,), (value, 0.0), even=True) if low == -high else Steps((low, high), (0.0, value, 0.0))


def nearest(name: str, parameters: dict, bits: int) -> Steps | None:
    """Nearest step function of at most ``2**bits`` values; None if so few cannot follow the derivative."""
    if name not in _FEW:
        return _nearest(name, parameters.get("alpha", 0.0), bits)
    steps = _FEW[name](parameters)
    if len(steps.values) > 2**bits:
        return None
    return steps._replace(values=tuple(round(value, 8) for value in steps.values))


def gate(name: str, parameters: dict) -> Steps:
    """Step function of 1, 0, -1: the sign of the nearest one of 1 or 2 bits, where it is above half its height."""
    steps = nearest(name, parameters, 1) or nearest(name, parameters, 2)
    half = max(map(abs, steps.values)) / 2
    return steps._replace(values=tuple(math.copysign(1, value) * (abs(value) > half) for value in steps.values))


@lru_cache(maxsize=256)
def _nearest(name: str, alpha: float, bits: int) -> Steps:
    curve = _elu(alpha) if name == "elu" else _CURVES[name]
    grid = _GRID if curve.even else np.concatenate([-_GRID[:0:-1], _GRID])
    inner = _polished(curve, grid, _cheapest(curve, grid, 2**bits))
    boundaries = tuple(round(float(edge), 8) + 0.0 for edge in inner)
    values = tuple(round(float(value), 8) + 0.0 for value in _values(curve, grid, inner))
    return Steps(boundaries, values, curve.even)


def _values(curve: _Curve, grid: Array, inner: Array) -> Array:
    edges = np.concatenate([grid[:1], inner, grid[-1:]])
    values = np.diff(curve.integral(edges)) / np.diff(edges)
    values[-1] = curve.limits[1]
    if not curve.even:
        values[0] = curve.limits[0]
    return values


def _cheapest(curve: _Curve, grid: Array, count: int) -> Array:
    """Inner boundaries, on the grid, of the step function with the least squared error."""
    fine = np.linspace(grid[:-1], grid[1:], _FINE + 1, axis=1)
    heights = curve.derivative(fine) ** 2
    squares = ((heights[:, 1:] + heights[:, :-1]) / 2 * np.diff(fine)).sum(1)
    square, first = np.concatenate([[0], np.cumsum(squares)]), curve.integral(grid)
    width, rise = grid[None, :] - grid[:, None], first[None, :] - first[:, None]

    def cost(value: Array | float) -> Array:
        error = square[None, :] - square[:, None] - 2 * value * rise + value * value * width
        return np.where(width > 0, error, np.inf)

    with np.errstate(divide="ignore", invalid="ignore"):
        mean = cost(np.where(width > 0, rise / width, 0))
    least = (mean if curve.even else cost(curve.limits[0]))[0]
    chosen = []
    for place in range(1, count):
        total = least[:, None] + (cost(curve.limits[1]) if place == count - 1 else mean)
        chosen.append(total.argmin(0))
        least = total.min(0)
    place, inner = len(grid) - 1, []
    for choice in reversed(chosen):
        place = choice[place]
        inner.append(grid[place])
    return np.array(inner[::-1])


def _polished(curve: _Curve, grid: Array, inner: Array) -> Array:
    """Boundaries at which the derivative crosses the middle between the values on both sides."""

    def crossing(inner: Array) -> Array:
        values = _values(curve, grid, inner)
        middle = (values[1:] + values[:-1]) / 2
        low, high = inner.copy(), inner.copy()
        for step in (0.01 * 1.5**i for i in range(12)):
            same = (curve.derivative(low) > middle) == (curve.derivative(high) > middle)
            low, high = np.where(same, low - step, low), np.where(same, high + step, high)
        rising = curve.derivative(high) > middle
        for _ in range(60):
            center = (low + high) / 2
            above = (curve.derivative(center) > middle) == rising
            low, high = np.where(above, low, center), np.where(above, center, high)
        return (low + high) / 2

    for _ in range(15):
        inner = crossing(inner)
    # The rest shrinks by a constant factor per step: Newton's method on `crossing(inner) - inner`.
    for _ in range(6):
        left = crossing(inner) - inner
        if np.abs(left).max() < 1e-13:
            break
        step = 1e-6
        slopes = np.stack(
            [
                (crossing(inner + step * unit) - crossing(inner - step * unit)) / (2 * step)
                for unit in np.eye(len(inner))
            ],
            1,
        )
        inner = inner + np.linalg.solve(np.eye(len(inner)) - slopes, left)
    return inner
