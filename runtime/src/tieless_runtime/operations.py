"""Operations of a packed network: their settings, and the type of what each returns.

An operation checks its inputs' types and settings in ``result``, for a network that is read as for one that is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tieless_runtime.errors import PackedFileError
from tieless_runtime.values import LARGEST, Value, codes, floats, integers
from tieless_runtime.weights import Weight

Array = NDArray[Any]


def expect(condition: object, message: str) -> None:
    """Refuse a file in which a condition does not hold."""
    if not condition:
        raise PackedFileError(message)


@dataclass(frozen=True, eq=False, kw_only=True)
class Operation:
    """Operation of a packed network.

    Args:
        name: Name of the layer in the model that it comes from.
        inputs: Names of the values that it takes.
        output: Name of the value that it makes.
    """

    kind: ClassVar[str]
    arity: ClassVar[int | None] = 1

    name: str
    inputs: tuple[str, ...]
    output: str

    def result(self, *values: Value) -> Value:
        """Type of the result.

        Raises:
            PackedFileError: the operation does not take such inputs, or has a setting out of range.
        """
        raise NotImplementedError


def _whole(field: str, numbers: Sequence[int], low: int, high: int = 2**16) -> None:
    given = ", ".join(map(str, numbers))
    expect(all(low <= number <= high for number in numbers), f"its {field} must be {low} to {high}, got {given}")


def _windows(
    value: Value, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> tuple[int, ...]:
    """Sizes of the result of windows that slide over all dimensions but the channels."""
    places = value.shape[1:]
    expect(
        len(places) == len(kernel) == len(stride) == len(padding) == len(dilation),
        f"windows of {len(kernel)} dimensions do not fit a value of shape {value.shape}",
    )
    _whole("kernel", kernel, 1)
    _whole("stride", stride, 1)
    _whole("dilation", dilation, 1)
    sizes: list[int] = []
    for size, window, step, pad, spread in zip(places, kernel, stride, padding, dilation, strict=True):
        reach = spread * (window - 1) + 1
        expect(0 <= pad < reach, f"padding must be 0 to {reach - 1}, less than the window reaches, got {pad}")
        expect(size + 2 * pad >= reach, f"a window that reaches over {reach} does not fit into {size} and its padding")
        sizes.append((size + 2 * pad - reach) // step + 1)
    return tuple(sizes)


def _vector(what: str, array: Array, value: Value, dtypes: tuple[Any, ...], *, single: bool = False) -> None:
    """Check an array with one number per channel, or, if ``single``, one number."""
    sizes = {(value.channels,), (1,)} if single else {(value.channels,)}
    expect(
        array.shape in sizes and array.dtype in dtypes,
        f"{what} must be {' or '.join(str(np.dtype(dtype)) for dtype in dtypes)} of shape ({value.channels},), "
        f"got {array.dtype} of shape {array.shape}",
    )
    expect(array.dtype != np.float32 or np.isfinite(array).all(), f"{what} must be finite")


def _extremes(value: Value, factor: Array, offset: Array | int) -> tuple[int, int]:
    """Range of ``factor x + offset``, in Python's integers."""
    ends = [
        factor.astype(object) * end + (offset.astype(object) if isinstance(offset, np.ndarray) else offset)
        for end in (value.low, value.high)
    ]
    return int(min(end.min() for end in ends)), int(max(end.max() for end in ends))


@dataclass(frozen=True, eq=False, kw_only=True)
class _Product(Operation):
    weight: Weight
    bias: Array | None

    def _product(self, value: Value, shape: tuple[int, ...], inputs: int) -> Value:
        """Type of sums over ``inputs`` of all channels' numbers times weights, plus the bias."""
        weight = self.weight
        expect(shape[0] == weight.shape[0] and min(weight.shape) >= 1, f"weights of shape {weight.shape} are empty")
        exact = value.kind != "float" and weight.kind != "float"
        if self.bias is not None:
            _vector("bias", self.bias, Value(shape, "float"), (np.int32 if exact else np.float32,))
        if not exact:
            return floats(shape, value.times)
        flat = weight.values.reshape(shape[0], -1).astype(np.int64)
        positive, negative = np.maximum(flat, 0).sum(1), np.minimum(flat, 0).sum(1)
        # A padded place counts as 0, so a sum may leave out any part.
        low, high = min(value.low, 0), max(value.high, 0)
        bias = 0 if self.bias is None else self.bias.astype(object)
        least = positive.astype(object) * low + negative.astype(object) * high + bias
        most = positive.astype(object) * high + negative.astype(object) * low + bias
        return integers(shape, int(least.min()), int(most.max()), value.times)


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(_Product):
    """Matrix product: ``y[o] = sum_i weight[o, i] x[i] + bias[o]``, with the numbers that codes stand for.

    Integers if neither input nor weights are float; else float32.
    """

    kind: ClassVar[str] = "linear"

    def result(self, *values: Value) -> Value:
        (value,) = values
        expect(
            len(self.weight.shape) == 2 and value.shape == self.weight.shape[1:],
            f"weights of shape {self.weight.shape} do not fit a value of shape {value.shape}",
        )
        return self._product(value, self.weight.shape[:1], self.weight.shape[1])


@dataclass(frozen=True, eq=False, kw_only=True)
class Conv(_Product):
    """Convolution in one or two dimensions as PyTorch defines it, padded with the number 0.

    Beside codes that stand for -1 and 1, padded places count as neither.
    """

    kind: ClassVar[str] = "conv"
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def result(self, *values: Value) -> Value:
        (value,) = values
        shape = self.weight.shape
        expect(len(shape) in (3, 4), f"convolutions have one or two dimensions, got weights of shape {shape}")
        _whole("groups", (self.groups,), 1)
        expect(
            value.channels == shape[1] * self.groups and shape[0] % self.groups == 0,
            f"weights of shape {shape} in {self.groups} groups do not fit a value of shape {value.shape}",
        )
        places = _windows(value, shape[2:], self.stride, self.padding, self.dilation)
        return self._product(value, (shape[0], *places), math.prod(shape[1:]))


@dataclass(frozen=True, eq=False, kw_only=True)
class Threshold(Operation):
    """Number of thresholds that a number meets, as a code.

    ``code = sum_j 1[x >= thresholds[j, c]]`` where ``direction[c]`` is 1, ``sum_j 1[x <= thresholds[j, c]]`` where it
    is -1, with ``c`` the channel. The code stands for ``low + step code``. NaN meets no threshold.
    """

    kind: ClassVar[str] = "threshold"
    thresholds: Array
    direction: Array
    low: int
    step: int

    def result(self, *values: Value) -> Value:
        (value,) = values
        dtype = np.float32 if value.kind == "float" else np.int32
        expect(
            self.thresholds.ndim == 2 and self.thresholds.dtype == dtype and self.thresholds.shape[1] == value.channels,
            f"thresholds must be {np.dtype(dtype)} of shape (codes, {value.channels}), got {self.thresholds.dtype} of shape {self.thresholds.shape}",
        )
        expect(not np.isnan(self.thresholds).any(), "thresholds must not be NaN")
        _vector("direction", self.direction, value, (np.int8,))
        expect(np.isin(self.direction, (-1, 1)).all(), "direction must be 1 or -1")
        _whole("low", (self.low,), -(2**16))
        return codes(value.shape, self.low, self.step, len(self.thresholds), value.times)


@dataclass(frozen=True, eq=False, kw_only=True)
class Affine(Operation):
    """Number of each channel times a factor, plus an offset: ``y = factor[c] x + offset[c]``.

    In float32, product and sum each rounded, or, if factor and offset are integers, in integers.
    """

    kind: ClassVar[str] = "affine"
    factor: Array
    offset: Array

    def result(self, *values: Value) -> Value:
        (value,) = values
        _vector("factor", self.factor, value, (np.float32, np.int32))
        _vector("offset", self.offset, value, (self.factor.dtype,))
        if self.factor.dtype == np.float32:
            return floats(value.shape, value.times)
        expect(value.kind != "float", "an integer factor needs an integer input")
        return integers(value.shape, *_extremes(value, self.factor, self.offset), value.times)


def _shifted(number: int, shift: int) -> int:
    """``number / 2^shift``, rounded to the nearest integer, halves upwards."""
    return number if shift == 0 else (number + (1 << (shift - 1))) >> shift


@dataclass(frozen=True, eq=False, kw_only=True)
class Prelu(Operation):
    """Number itself where it is not negative, else a multiple of it.

    ``y = slope[c] x`` in float32, or in integers ``y = (slope[c] x + 2^(shift-1)) >> shift``, with 64 bits in between
    and nothing added for ``shift = 0``.
    """

    kind: ClassVar[str] = "prelu"
    slope: Array
    shift: int

    def result(self, *values: Value) -> Value:
        (value,) = values
        expect(value.kind != "code", "prelu does not take codes")
        _vector("slope", self.slope, value, (np.float32 if value.kind == "float" else np.int32,), single=True)
        _whole("shift", (self.shift,), 0, 31)
        if value.kind == "float":
            return value
        ends = [_shifted(int(slope) * min(value.low, 0), self.shift) for slope in (self.slope.min(), self.slope.max())]
        return integers(value.shape, min(0, *ends), max(value.high, 0, *ends), value.times)


@dataclass(frozen=True, eq=False, kw_only=True)
class Relu(Operation):
    """Larger of a number and 0."""

    kind: ClassVar[str] = "relu"

    def result(self, *values: Value) -> Value:
        (value,) = values
        expect(value.kind != "code", "relu does not take codes")
        return value if value.kind == "float" else replace(value, low=max(value.low, 0), high=max(value.high, 0))


@dataclass(frozen=True, eq=False, kw_only=True)
class Tanh(Operation):
    """Hyperbolic tangent of a float."""

    kind: ClassVar[str] = "tanh"

    def result(self, *values: Value) -> Value:
        (value,) = values
        expect(value.kind == "float", f"{self.kind} takes floats alone")
        return value


@dataclass(frozen=True, eq=False, kw_only=True)
class Sigmoid(Tanh):
    """Logistic function of a float, ``1 / (1 + exp(-x))``."""

    kind: ClassVar[str] = "sigmoid"


@dataclass(frozen=True, eq=False, kw_only=True)
class Quantise(Operation):
    """Float as an integer: ``clip(round(x / scale), low, high)``, in float32, halves to even; NaN becomes ``low``."""

    kind: ClassVar[str] = "quantise"
    scale: float
    low: int
    high: int

    def result(self, *values: Value) -> Value:
        (value,) = values
        expect(value.kind == "float", "quantise takes floats alone")
        expect(1e-30 <= self.scale <= 1e30, f"scale must be 1e-30 to 1e30, got {self.scale}")
        expect(-(2**15) <= self.low < self.high < 2**15, f"a range of {self.low} to {self.high} is not of 16 bits")
        return integers(value.shape, self.low, self.high, value.times)


@dataclass(frozen=True, eq=False, kw_only=True)
class Rescale(Operation):
    """Integer times a fraction: ``clip((factor[c] x + 2^(shift-1)) >> shift, low, high)``, with 64 bits in between."""

    kind: ClassVar[str] = "rescale"
    factor: Array
    shift: int
    low: int
    high: int

    def result(self, *values: Value) -> Value:
        (value,) = values
        expect(value.kind != "float", "rescale takes integers alone")
        _vector("factor", self.factor, value, (np.int32,), single=True)
        _whole("shift", (self.shift,), 0, 62)
        expect(-LARGEST <= self.low < self.high <= LARGEST, f"a range of {self.low} to {self.high} is not of 32 bits")
        least, most = (_shifted(end, self.shift) for end in _extremes(value, self.factor, 0))
        low, high = (min(max(end, self.low), self.high) for end in (least, most))
        return integers(value.shape, low, high, value.times)


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool(Operation):
    """Maximum over windows; padded places do not count. Of codes it is the largest code: OR, for one bit.

    ``least`` has a 1 for each channel of which the minimum is taken instead: AND, for one bit.
    """

    kind: ClassVar[str] = "max_pool"
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    least: Array | None

    def result(self, *values: Value) -> Value:
        (value,) = values
        if self.least is not None:
            _vector("least", self.least, value, (np.uint8,))
            expect(self.least.max() <= 1, "least must be 0 or 1")
        # PyTorch allows no more either.
        expect(
            all(2 * pad <= size for pad, size in zip(self.padding, self.kernel, strict=False)),
            "padding must be at most half the window",
        )
        windows = _windows(value, self.kernel, self.stride, self.padding, self.dilation)
        # Only two padded places whose step passes over all places between them fit.
        sides = zip(self.padding, self.dilation, value.shape[1:], strict=True)
        expect(
            all(not pad or dilation <= places for pad, dilation, places in sides), "a window lies in the padding alone"
        )
        return value.reshaped((value.channels, *windows))


@dataclass(frozen=True, eq=False, kw_only=True)
class SumPool(Operation):
    """Sum over windows: an integer. Codes are added, so the result is a code again, if it is at most 255."""

    kind: ClassVar[str] = "sum_pool"
    kernel: tuple[int, ...]
    stride: tuple[int, ...]

    def result(self, *values: Value) -> Value:
        (value,) = values
        expect(value.kind != "float", "sum_pool takes integers alone")
        shape = (
            value.channels,
            *_windows(value, self.kernel, self.stride, (0,) * len(self.kernel), (1,) * len(self.kernel)),
        )
        return _sum_of(value.reshaped(shape), math.prod(self.kernel))


def _sum_of(value: Value, count: int) -> Value:
    if value.kind == "code" and value.most * count <= 255:
        return codes(value.shape, value.low * count, value.step, value.most * count, value.times)
    return integers(value.shape, value.low * count, value.high * count, value.times)


@dataclass(frozen=True, eq=False, kw_only=True)
class MeanPool(Operation):
    """Mean over windows, in float32; padded places count as 0."""

    kind: ClassVar[str] = "mean_pool"
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]

    def result(self, *values: Value) -> Value:
        (value,) = values
        expect(value.kind == "float", "mean_pool takes floats alone")
        return value.reshaped(
            (value.channels, *_windows(value, self.kernel, self.stride, self.padding, (1,) * len(self.kernel)))
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(Operation):
    """Sum of two values of one shape, both float or both integers. One that does not change over time is added each time."""

    kind: ClassVar[str] = "add"
    arity: ClassVar[int | None] = 2

    def result(self, *values: Value) -> Value:
        first, second = values
        expect(first.shape == second.shape, f"values of shapes {first.shape} and {second.shape} cannot be added")
        times = _common_times(values)
        expect((first.kind == "float") == (second.kind == "float"), "a float and an integer cannot be added")
        if first.kind == "float":
            return floats(first.shape, times)
        return integers(first.shape, first.low + second.low, first.high + second.high, times)


def _common_times(values: Sequence[Value]) -> int:
    found = {value.times for value in values} - {0}
    expect(len(found) <= 1, f"values over {sorted(found)} time steps do not fit each other")
    return max(found, default=0)


@dataclass(frozen=True, eq=False, kw_only=True)
class Concat(Operation):
    """Values one behind the other, by channels."""

    kind: ClassVar[str] = "concat"
    arity: ClassVar[int | None] = None

    def result(self, *values: Value) -> Value:
        first = values[0]
        expect(
            len({value.kind for value in values}) == 1
            and len({value.times for value in values}) == 1
            and len({value.shape[1:] for value in values}) == 1,
            "values that are joined must be alike",
        )
        expect(
            first.kind != "code" or len({(value.low, value.step, value.most) for value in values}) == 1,
            "codes that are joined must be alike",
        )
        shape = (sum(value.channels for value in values), *first.shape[1:])
        return replace(
            first, shape=shape, low=min(value.low for value in values), high=max(value.high for value in values)
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Flatten(Operation):
    """Value in one dimension, the last one running fastest."""

    kind: ClassVar[str] = "flatten"

    def result(self, *values: Value) -> Value:
        (value,) = values
        return value.reshaped((value.size,))


@dataclass(frozen=True, eq=False, kw_only=True)
class Lif(Operation):
    """Leaky integrate-and-fire neurons over ``times`` time steps; ``v`` is 0 before the first.

    In each step ``v = beta[c] v + x``, the spike is ``1[v > threshold]``, or ``1[v >= threshold]`` with ``at_threshold``,
    and then ``v = v - threshold`` (``reset="subtract"``), ``0`` (``"zero"``) or ``v`` (``"none"``) where there is a
    spike. With ``delay_reset`` that is done in the next step, to what is left of ``v`` there: ``beta[c] v - threshold``.
    In integers ``(beta[c] v + 2^(shift-1)) >> shift`` is in the place of ``beta[c] v``.
    """

    kind: ClassVar[str] = "lif"
    beta: Array
    shift: int
    threshold: float
    at_threshold: int
    reset: str
    delay_reset: int
    times: int

    def result(self, *values: Value) -> Value:
        (value,) = values
        whole = value.kind != "float"
        expect(value.kind != "code", "lif does not take codes")
        _vector("beta", self.beta, value, (np.int32 if whole else np.float32,), single=True)
        _whole("times", (self.times,), 1, 255)
        _whole("shift", (self.shift,), 0, 31)
        _whole("at_threshold and delay_reset", (self.at_threshold, self.delay_reset), 0, 1)
        expect(value.times in (0, self.times), f"a value over {value.times} time steps does not fit {self.times}")
        expect(self.reset in ("subtract", "zero", "none"), f"reset must be subtract, zero or none, got {self.reset!r}")
        expect(math.isfinite(self.threshold), "threshold must be finite")
        expect(not whole or (self.beta.min() >= 0 and self.beta.max() <= 2**self.shift), "beta must be 0 to 1")
        expect(not whole or self.threshold == int(self.threshold), "threshold must be an integer")
        if whole:
            # A potential is at most the sum of all inputs and of as many thresholds.
            most = self.times * (max(-value.low, value.high, 0) + abs(int(self.threshold)) + 1)
            expect(most <= LARGEST, "a potential does not fit in 32 bits")
        return codes(value.shape, 0, 1, 1, self.times)


@dataclass(frozen=True, eq=False, kw_only=True)
class SumTime(Operation):
    """Sum over the time steps: an integer, or a code if it is at most 255."""

    kind: ClassVar[str] = "sum_time"

    def result(self, *values: Value) -> Value:
        (value,) = values
        expect(value.times and value.kind != "float", "sum_time takes integers over time steps")
        return _sum_of(replace(value, times=0), value.times)


@dataclass(frozen=True, eq=False, kw_only=True)
class MeanTime(Operation):
    """Mean over the time steps, in float32."""

    kind: ClassVar[str] = "mean_time"

    def result(self, *values: Value) -> Value:
        (value,) = values
        expect(value.times and value.kind == "float", "mean_time takes floats over time steps")
        return replace(value, times=0)


OPERATIONS: dict[str, type[Operation]] = {
    cls.kind: cls
    for cls in (
        *(Linear, Conv, Threshold, Affine, Prelu, Relu, Tanh, Sigmoid, Quantise, Rescale, MaxPool, SumPool, MeanPool),
        *(Add, Concat, Flatten, Lif, SumTime, MeanTime),
    )
}
