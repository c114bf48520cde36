"""Numbers of the judge: floating-point formats, ranges of the rounding of a formula, and Philox."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Format:
    """Binary floating-point format.

    Args:
        digits: Number of bits of the significand, the leading one included.
        lowest: Binary exponent of the smallest subnormal number.
        largest: Largest finite number.
    """

    digits: int
    lowest: int
    largest: float

    @property
    def tiny(self) -> float:
        """Smallest normal number."""
        return math.ldexp(1.0, self.lowest + self.digits - 1)

    def unit(self, x: Array) -> Array:
        """Unit in the last place of each number."""
        known = np.where(np.isfinite(x), x, 0)
        exponent = np.where(known == 0, self.lowest, np.frexp(known)[1] - self.digits)
        return np.ldexp(1.0, np.maximum(exponent, self.lowest))

    def nearest(self, x: Array) -> Array:
        """Float64 numbers rounded to the nearest of this format; halves go to the even one."""
        x = np.asarray(x, np.float64)
        if self.digits == 53:
            return x
        if self.digits == 24:
            with np.errstate(over="ignore"):
                return x.astype(np.float32).astype(np.float64)
        bounded = np.clip(x, -2 * self.largest, 2 * self.largest)
        unit = self.unit(bounded)
        near = np.rint(bounded / unit) * unit
        return np.where(np.abs(near) > self.largest, np.copysign(np.inf, x), near)


FORMATS = {
    "float16": Format(11, -24, 65504.0),
    "bfloat16": Format(8, -133, math.ldexp(255, 120)),
    "float32": Format(24, -149, math.ldexp(2**24 - 1, 104)),
    "float64": Format(53, -1074, np.finfo(np.float64).max),
}


def arithmetic(dtype: str) -> Format:
    """Format in which the docs compute: float64 for float64, float32 for everything narrower."""
    return FORMATS["float64" if dtype == "float64" else "float32"]


class Near:
    """Numbers that are known to lie from ``low`` to ``high``, both included: those that a formula may give.

    Ends of NaN say that nothing is known. So does a range of all numbers, whose ends become NaN: it comes of infinities
    of which the difference, or the product with 0, may be NaN.

    An operation gives the range of its results, rounded to ``format``, and wider by ``units`` in the last place on both
    sides. With 0 units it is the IEEE operation of the format, and a range of one number stays one.

    Args:
        low, high: Ends of the range, in float64.
        format: Format to which results are rounded.
        units: Largest error of an elementary operation, in units in the last place.
    """

    def __init__(self, low: Array, high: Array | None, format_: Format, units: float = 1) -> None:
        low = np.asarray(low, np.float64)
        high = low if high is None else np.asarray(high, np.float64)
        anything = np.isneginf(low) & np.isposinf(high)
        self.low, self.high = (np.where(anything, np.nan, end) for end in (low, high))
        self.format = format_
        self.units = units

    def hull(self, *ends: Array, units: float | Array | None = None) -> Near:
        """Range of these results of an operation, rounded and widened. NaN of one end is NaN of the range."""
        low, high = ends[0], ends[0]
        for end in ends[1:]:
            low, high = np.minimum(low, end), np.maximum(high, end)
        return self.widened(self.format.nearest(low), self.format.nearest(high), self.units if units is None else units)

    def widened(self, low: Array, high: Array, units: float | Array) -> Near:
        """Range, wider by so many units in the last place."""
        if np.any(units):
            low = self.format.nearest(low - units * self.format.unit(low))
            high = self.format.nearest(high + units * self.format.unit(high))
        return Near(low, high, self.format, self.units)

    def of(self, x: float | Array | Near) -> Near:
        """Number of the format; a parameter is rounded to it."""
        return x if isinstance(x, Near) else Near(self.format.nearest(x), None, self.format, self.units)

    def exact(self) -> Near:
        """Same range, under IEEE operations."""
        return Near(self.low, self.high, self.format, 0)

    def loose(self, units: float = 1) -> Near:
        """Same range, under operations that may be off."""
        return Near(self.low, self.high, self.format, units)

    def __add__(self, other):
        other = self.of(other)
        return self.hull(self.low + other.low, self.high + other.high)

    __radd__ = __add__

    def __neg__(self):
        return Near(-self.high, -self.low, self.format, self.units)

    def __sub__(self, other):
        return self + (-self.of(other))

    def __rsub__(self, other):
        return self.of(other) + (-self)

    def __mul__(self, other):
        other = self.of(other)
        return self.hull(*(a * b for a in (self.low, self.high) for b in (other.low, other.high)))

    __rmul__ = __mul__

    def __truediv__(self, other):
        other = self.of(other)
        crossed = (other.low < 0) & (other.high > 0)
        low = np.where(crossed, np.nan, other.low)
        return self.hull(*(a / b for a in (self.low, self.high) for b in (low, other.high)))

    def __rtruediv__(self, other):
        return self.of(other) / self

    def monotone(self, function: Callable[[Array], Array], units: float | Array = 4, vanishing: float = 2) -> Near:
        """Range of a monotone function.

        A transcendental one may be off by four units, unless operations are exact, and may come as 0 where it is less
        than ``vanishing`` times the smallest normal number.
        """
        if not self.units:
            return self.hull(function(self.low), function(self.high))
        near = self.hull(function(self.low), function(self.high), units=units)
        tiny = vanishing * self.format.tiny
        low = np.where((near.low > 0) & (near.low < tiny), 0, near.low)
        high = np.where((near.high < 0) & (near.high > -tiny), 0, near.high)
        return Near(low, high, self.format, self.units)

    def square(self) -> Near:
        inside = (self.low < 0) & (self.high > 0)
        ends = self.hull(self.low * self.low, self.high * self.high)
        return Near(np.where(inside, 0.0, ends.low), ends.high, self.format, self.units)

    def abs(self) -> Near:
        inside = (self.low < 0) & (self.high > 0)
        low, high = np.abs(self.low), np.abs(self.high)
        return Near(np.where(inside, 0.0, np.minimum(low, high)), np.maximum(low, high), self.format, self.units)

    def clipped(self, low: float, high: float) -> Near:
        """Clipped range ``min(max(x, low), high)``: a comparison, which is exact."""
        return Near(np.clip(self.low, low, high), np.clip(self.high, low, high), self.format, self.units)

    def sign(self) -> Near:
        return Near(np.sign(self.low), np.sign(self.high), self.format, self.units)

    def cos(self) -> Near:
        """Cosine of narrow ranges: off by no more than the range is wide."""
        middle = np.cos(self.low / 2 + self.high / 2)
        off = self.high - self.low + self.format.unit(np.ones_like(middle)) * 2
        return Near(np.maximum(middle - off, -1), np.minimum(middle + off, 1), self.format, self.units)

    def where(self, mask: Array, other: float | Near) -> Near:
        """Numbers where the mask is set, else others."""
        other = self.of(other)
        return Near(np.where(mask, self.low, other.low), np.where(mask, self.high, other.high), self.format, self.units)

    def joined(self, other: float | Near) -> Near:
        """Smallest range that holds both: the gradient where it is not known which is sent."""
        other = self.of(other)
        return Near(np.minimum(self.low, other.low), np.maximum(self.high, other.high), self.format, self.units)

    def either(self, certainly: Array, possibly: Array, other: float | Near) -> Near:
        """Numbers where ``certainly``, others where not ``possibly``, and in between the range of both."""
        return self.where(certainly, self.joined(other).where(possibly, other))

    def total(self, dims: tuple[int, ...]) -> Near:
        """Sum over dimensions, which stay. In any order of adding, eight partial sums at a time."""
        count = int(np.prod([self.low.shape[dim] for dim in dims])) if dims else 1
        off = (4 + count / 8) * self.format.unit(
            np.maximum(np.abs(self.low), np.abs(self.high)).sum(dims, keepdims=True)
        )
        low, high = self.low.sum(dims, keepdims=True), self.high.sum(dims, keepdims=True)
        return Near(low - off, high + off, self.format, self.units)

    def to(self, format_: Format) -> Near:
        """Range rounded to another format."""
        return Near(format_.nearest(self.low), format_.nearest(self.high), format_, self.units)


_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_WORD = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox(counter: Array, key: tuple[int, int]) -> Array:
    """Philox 4x32 with ten rounds (Salmon et al. 2011, doi:10.1145/2063384.2063405): a row of four words a counter."""
    c0, c1, c2, c3 = (counter[:, i].astype(np.uint64) for i in range(4))
    k0, k1 = key
    for _ in range(10):
        one, two = c0 * np.uint64(_MULTIPLIERS[0]), c2 * np.uint64(_MULTIPLIERS[1])
        c0, c1, c2, c3 = (
            (two >> _HALF) ^ c1 ^ np.uint64(k0),
            two & _WORD,
            (one >> _HALF) ^ c3 ^ np.uint64(k1),
            one & _WORD,
        )
        k0, k1 = (k0 + _KEY_STEPS[0]) & 0xFFFFFFFF, (k1 + _KEY_STEPS[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], 1)


def uniform(shape: tuple[int, ...], key: int, stream: int, draw: int = 0) -> Array:
    """Uniform numbers on [0, 1) of a call, as in docs/concepts.md: multiples of 2^-24, exact in every format here."""
    size = math.prod(shape)
    blocks = np.arange((size + 3) // 4, dtype=np.uint64)
    counter = np.stack([blocks & _WORD, blocks >> _HALF, np.full_like(blocks, stream), np.full_like(blocks, draw)], 1)
    words = philox(counter, (key & 0xFFFFFFFF, (key >> 32) & 0xFFFFFFFF))
    return (words.reshape(-1)[:size] >> np.uint64(8)).astype(np.float64).reshape(shape) * 2.0**-24
