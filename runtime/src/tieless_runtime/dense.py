"""Products of numbers with weights, in float32 and in integers, prepared for the kernels of a path."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportCallIssue=false
# (NumPy does not know the dtype behind a transpose, and Numba has no types)

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from tieless_runtime.kernels import floats, integers, rows
from tieless_runtime.kernels.tiles import Choice, compiled
from tieless_runtime.operations import Conv, Linear, Quantise, Threshold
from tieless_runtime.values import Value
from tieless_runtime.windows import Array, Windows, with_slack, words_of

COLUMNS = 16
"""Columns that lie beside each other in a vector."""


def can_be_bytes(operation: Linear | Conv, value: Value) -> bool:
    """True if a product is one of integers, in one group."""
    one_group = not isinstance(operation, Conv) or operation.groups == 1
    return value.kind != "float" and operation.weight.kind != "float" and one_group


class Quantiser:
    """Integers of floats, less a base, into an array of the same shape.

    Args:
        operation: Operation that makes them.
        base: Number that is taken from each.
    """

    def __init__(self, operation: Quantise, base: int = 0) -> None:
        self._settings = np.float32(operation.scale), operation.low, operation.high, base

    def __call__(self, x: NDArray[np.float32], out: Array) -> Array:
        """The array ``out``, filled."""
        rows.quantise(x, *self._settings, out)
        return out


class OneBit:
    """Threshold of one level: bits of numbers whose channels are padded to sixteens.

    Args:
        operation: Threshold.
    """

    def __init__(self, operation: Threshold) -> None:
        edges = operation.thresholds[0]
        self._columns = len(edges)
        width = -(-self._columns // COLUMNS) * COLUMNS
        self._floats = edges.dtype == np.float32
        # What lies behind the last channel is 0, and meets no edge.
        self._edges = np.full(width, np.inf if self._floats else np.iinfo(np.int32).max, edges.dtype)
        up = np.ones(width, np.bool_)
        self._edges[: self._columns], up[: self._columns] = edges, operation.direction > 0
        self._up = np.packbits(up, bitorder="little").view("<u2").astype(np.int64)

    def __call__(self, x: Array) -> NDArray[np.uint64]:
        """Bits ``(1, n, height, width, words)`` of numbers ``(n, height, width, channels)``."""
        out = np.empty((1, *x.shape[:-1], words_of(self._columns)), np.uint64)
        rows.one_bit(x, self._edges, self._up, self._floats, x.size // x.shape[-1], out)
        return out


class _Dense:
    """Windows and columns of a product whose columns are padded to blocks of sixteen."""

    def __init__(self, operation: Linear | Conv, place: tuple[int, int], step: Threshold | None) -> None:
        self._windows = Windows(operation, place)
        self._by_place = self._windows.weights(operation)
        self.columns = len(self._by_place)
        self._blocks = -(-self.columns // COLUMNS)
        self._step = None if step is None else OneBit(step)

    def _for_all_columns(self, vector: Array) -> Array:
        found = np.zeros(COLUMNS * self._blocks, vector.dtype)
        found[: self.columns] = vector
        return found

    def _products(self, kernel: Any, n: int, dtype: Any, *arguments: Any) -> Array:
        out = np.empty((n, *self._windows.places, COLUMNS * self._blocks), dtype)
        kernel(*arguments, n * self._windows.count, out)
        if self._step is not None:
            return self._step(out)
        return out if out.shape[-1] == self.columns else np.ascontiguousarray(out[..., : self.columns])


class FloatProduct(_Dense):
    """Product in float32.

    Args:
        operation: Linear layer or convolution in one group.
        channels: Channels of its input in memory.
        place: Height and width of its input in memory.
        step: Threshold with one level that is the only user of the products; ``None`` for the products themselves.
        path: Name of the path.
    """

    def __init__(
        self, operation: Linear | Conv, channels: int, place: tuple[int, int], step: Threshold | None, path: str
    ) -> None:
        super().__init__(operation, place, step)
        width = self._by_place[0].size
        laid = np.zeros((COLUMNS * self._blocks, width), np.float32)
        laid[: self.columns] = self._by_place.reshape(self.columns, width)
        self._weights = np.ascontiguousarray(laid.reshape(self._blocks, COLUMNS, width).transpose(0, 2, 1))
        bias = np.zeros(self.columns, np.float32) if operation.bias is None else operation.bias
        self._bias = self._for_all_columns(bias)
        self._where = self._windows.offsets(channels, 4), self._windows.steps(channels, 4)
        self._choice = Choice(path)
        f4, i8 = types.float32, types.int64
        images = f4[:, :, :, ::1]
        kinds = images, i8[::1], i8[::1], f4[:, :, ::1], f4[::1], i8, images
        self._kernel = compiled(floats.product, self._choice, *kinds)

    def __call__(self, x: NDArray[np.float32]) -> Array:
        """Products ``(n, height, width, columns)`` of numbers ``(n, height, width, channels)``, or their bits."""
        given = self._windows.padded(x), *self._where, self._weights, self._bias
        return self._products(self._kernel, len(x), np.float32, self._choice, *given)


class ByteProduct(_Dense):
    """Product of integers, as planes of bytes, with weights of 8 bits.

    Args:
        operation: Linear layer or convolution that ``can_be_bytes`` accepts.
        value: Type of its input.
        channels: Channels of its input in memory.
        place: Height and width of its input in memory.
        step: Threshold with one level that is the only user of the products; ``None`` for the products themselves.
        path: Name of the path.
        quantise: Operation that makes the input from floats, which are then given in its place; ``None`` for integers.
    """

    def __init__(
        self,
        operation: Linear | Conv,
        value: Value,
        channels: int,
        place: tuple[int, int],
        step: Threshold | None,
        path: str,
        quantise: Quantise | None = None,
    ) -> None:
        super().__init__(operation, place, step)
        low, high = value.low, value.high
        if self._windows.pads:
            low, high = min(low, 0), max(high, 0)
        self._low, self._planes = low, max(1, -(-(high - low).bit_length() // 8))
        self._quantise = None if quantise is None else Quantiser(quantise, low if self._planes == 1 else 0)
        starts, length = self._windows.runs(channels)
        groups = -(-length // integers.GROUP)
        laid = np.zeros((COLUMNS * self._blocks, len(starts), integers.GROUP * groups), np.int8)
        laid[: self.columns, :, :length] = self._by_place.reshape(self.columns, len(starts), length)
        together = integers.TOGETHER[path]
        parts = laid.reshape(self._blocks, COLUMNS, len(starts) * groups, integers.GROUP // together, together)
        self._weights = np.ascontiguousarray(parts.transpose(0, 2, 3, 1, 4)).reshape(self._blocks, -1, 64)
        sums = self._by_place.reshape(self.columns, -1).sum(1, dtype=np.int64)
        # What goes beyond 32 bits comes back, as the result has 32.
        bias = low * sums + (0 if operation.bias is None else operation.bias)
        self._bias = self._for_all_columns(bias.astype(np.int32))
        offsets = (starts[:, None] + integers.GROUP * np.arange(groups)).reshape(-1)
        self._where = offsets, self._windows.steps(channels, 1)
        self._choice = Choice(path)
        u1, i1, i4, i8 = types.uint8, types.int8, types.int32, types.int64
        kinds = u1[:, :, :, :, ::1], i8[::1], i8[::1], i1[:, :, ::1], i4[::1], i8, i4[:, :, :, ::1]
        self._kernel = compiled(integers.product, self._choice, *kinds)

    def __call__(self, x: Array) -> Array:
        """Products ``(n, height, width, columns)``, or their bits.

        Args:
            x: Numbers ``(n, height, width, channels)``: int32, or float32 that are to be quantised.
        """
        given = self._bytes(x), *self._where, self._weights, self._bias
        return self._products(self._kernel, len(x), np.int32, self._choice, *given)

    def _bytes(self, x: Array) -> NDArray[np.uint8]:
        """Planes of the padded input, less the smallest number."""
        if self._quantise is not None and self._planes == 1:
            return self._windows.padded(self._quantise(x, with_slack(x.shape, np.uint8)), -self._low)[None]
        if self._quantise is not None:
            x = self._quantise(x, np.empty(x.shape, np.int32))
        x = self._windows.padded(x)
        found = with_slack((self._planes, *x.shape), np.uint8)
        rows.split(x.reshape(-1), self._low, found.reshape(self._planes, -1))
        return found
