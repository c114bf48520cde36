"""Products of codes with packed weights, prepared for the kernels of a path."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportCallIssue=false
# (NumPy does not know the dtype behind a transpose or a pad, and Numba has no types)

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from tieless_runtime.kernels.products import product
from tieless_runtime.kernels.tiles import Variant, compiled
from tieless_runtime.operations import Conv, Linear, Threshold
from tieless_runtime.values import Value
from tieless_runtime.weights import Weight
from tieless_runtime.windows import Array, Windows, words_of

MOST_PAIRS = 5
"""Number of pairs of planes up to which bits are counted: with more, bytes are multiplied in less time."""
FEWEST_USES = 64
"""Number of products with each number from which it is worth to make a byte of its bits."""
MOST_UNGROUPED = 2**22
"""Number of weights up to which groups become one."""


def can_count(operation: Linear | Conv, value: Value) -> bool:
    """True if a product is one of bits: codes times packed weights, in one group, a step of codes being a power of two."""
    one_group = not isinstance(operation, Conv) or operation.groups == 1
    weight = operation.weight
    fast = value.planes * weight.planes <= MOST_PAIRS or math.prod(weight.shape) < FEWEST_USES * weight.shape[1]
    packed = value.kind == "code" and weight.kind != "float"
    return packed and fast and one_group and value.step.bit_count() == 1


def ungrouped(operation: Linear | Conv) -> Linear | Conv:
    """Convolution in one group with weights of 0 between the groups, unless that takes too much memory."""
    if not isinstance(operation, Conv):
        return operation
    weights, groups = operation.weight, operation.groups
    outputs, each, *kernel = weights.shape
    if groups == 1 or weights.kind == "float" or math.prod(weights.shape) * groups > MOST_UNGROUPED:
        return operation
    values = np.zeros((groups, outputs // groups, groups, each, *kernel), np.int8)
    own = np.arange(groups)
    values[own, :, own] = weights.values.reshape(groups, outputs // groups, each, *kernel)
    kind = "ternary" if weights.kind == "binary" else weights.kind
    return replace(
        operation, groups=1, weight=Weight(kind, values.reshape(outputs, groups * each, *kernel), weights.bits)
    )


def _packed(bits: Array) -> NDArray[np.uint64]:
    """Bits of the last dimension, which is the channels, as words."""
    width = 64 * words_of(bits.shape[-1])
    padded = np.zeros((*bits.shape[:-1], width), np.uint8)
    padded[..., : bits.shape[-1]] = bits
    return np.packbits(padded, axis=-1, bitorder="little").view("<u8").astype(np.uint64)


class BitProduct:
    """Product of codes with packed weights, and the threshold behind it, if there is one.

    Args:
        operation: Linear layer or convolution that ``can_count`` accepts.
        value: Type of its input.
        place: Height and width of the input in memory.
        step: Threshold with one level that is the only user of the sums; ``None`` for the sums themselves.
        path: Name of the path.
    """

    def __init__(
        self, operation: Linear | Conv, value: Value, place: tuple[int, int], step: Threshold | None, path: str
    ) -> None:
        self._windows = Windows(operation, place)
        weights = self._windows.weights(operation)
        self.columns = len(weights)
        padded = -(-self.columns // 8) * 8
        planes, factors = self._planes(operation, weights)
        packed = _packed(planes).reshape(len(planes), self.columns, -1)
        words = packed.shape[2]
        blocks = np.zeros((len(planes), padded, words), np.uint64)
        blocks[:, : self.columns] = packed
        self._weights = np.ascontiguousarray(blocks.reshape(len(planes), -1, 8, words).transpose(0, 1, 3, 2))
        xor = operation.weight.kind == "binary"
        self._bits = step is not None
        single = xor and value.planes == 1
        self._value = value
        # Bits compare what is to be taken from the base, sums add to it.
        sign = -1 if self._bits else 1
        pairs = [
            (j, p, sign * factor * value.step * 2**p) for j, factor in enumerate(factors) for p in range(value.planes)
        ]
        shifts = [(j, p, abs(f).bit_length() - 1, -1 if f < 0 else 0) for j, p, f in pairs]
        self._pairs = np.array(shifts, np.int64)
        base, self._kinds = self._base(operation, weights, xor=xor)
        self._levels = np.full((len(base), padded), -(2**62) if step else 0, np.int64)
        self._flips = np.zeros(padded // 8, np.uint8)
        if step is None:
            self._levels[:, : self.columns] = base
        else:
            self._set_levels(base, step, value.step if single else 1)
        each = words_of(value.size // math.prod(place))
        self._where = self._windows.offsets(each, 8), self._windows.steps(each, 8)
        self._variant = Variant(path, xor, self._bits, single)
        self._arguments = self._weights, self._pairs, self._levels, self._kinds, self._flips
        # Bytes of a word that no column fills stay 0.
        self._empty = np.empty if padded % 64 == 0 or not self._bits else np.zeros
        self._width = words_of(self.columns) if self._bits else padded
        u8, i8, words = types.uint64, types.int64, types.uint64[:, :, :, :, ::1]
        kinds = u8[:, :, :, ::1], i8[:, ::1], i8[:, ::1], types.int32[::1], types.uint8[::1], i8
        out = words if self._bits else types.int32[:, :, :, ::1]
        self._kernel = compiled(product, self._variant, words, i8[::1], i8[::1], *kinds, out)

    @staticmethod
    def _planes(operation: Linear | Conv, weights: Array) -> tuple[Array, list[int]]:
        """Planes of the weights, and the factor of each."""
        kind, bits = operation.weight.kind, operation.weight.bits
        if kind == "binary":
            return (weights > 0)[None], [-1]
        if kind == "ternary":
            return np.stack([weights > 0, weights < 0]), [1, -1]
        planes = np.stack([(weights.astype(np.uint8) >> plane) & 1 for plane in range(bits)])
        return planes, [2**plane for plane in range(bits - 1)] + [-(2 ** (bits - 1))]

    def _base(
        self, operation: Linear | Conv, weights: Array, *, xor: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Part of the sums that no bit changes, for each kind of place and column; and the kind of each place.

        A code stands for ``low + step code``, so the weights inside of the border count ``low`` times.
        """
        wide = weights.astype(np.int64)
        value = self._value
        base = np.zeros((1, self.columns), np.int64)
        if operation.bias is not None:
            base = base + operation.bias.astype(np.int64)
        if xor:
            # A weight of 1 or -1 times a bit: those of 1, less those in which they differ.
            base = base + (wide > 0).sum((1, 2, 3)) * value.step * (2**value.planes - 1)
        if value.low == 0:
            return base, np.zeros(0, np.int32)
        if not self._windows.pads:
            return base + value.low * wide.sum((1, 2, 3)), np.zeros(0, np.int32)
        inside = [self._windows.inside(axis) for axis in range(2)]
        (tops, top), (sides, side) = (np.unique(each, axis=0, return_inverse=True) for each in inside)
        valid = np.einsum("ti,sj,oijc->tso", tops.astype(np.int64), sides.astype(np.int64), wide)
        kinds = top.reshape(-1, 1) * len(sides) + side.reshape(1, -1)
        return base + value.low * valid.reshape(-1, self.columns), kinds.reshape(-1).astype(np.int32)

    def _set_levels(self, base: NDArray[np.int64], step: Threshold, unit: int) -> None:
        """Largest count whose bit is 1, or, for a turned column, whose bit is 0."""
        edges, up = step.thresholds[0].astype(np.int64), step.direction > 0
        distance = base - edges
        self._levels[:, : self.columns] = np.where(up, distance // unit, -(-distance // unit) - 1)
        flips = np.zeros(8 * len(self._flips), np.uint8)
        flips[: self.columns] = ~up
        self._flips = np.packbits(flips, bitorder="little")

    def __call__(self, x: Array) -> Array:
        """Sums ``(n, height, width, columns)``, int32, or their bits ``(1, n, height, width, words)``.

        Args:
            x: Codes, ``(planes, n, height, width, words)``.
        """
        n, windows = x.shape[1], self._windows
        shape = (n, *windows.places, self._width)
        out = self._empty((1, *shape), np.uint64) if self._bits else np.empty(shape, np.int32)
        self._kernel(self._variant, windows.padded(x), *self._where, *self._arguments, n * windows.count, out)
        return out if self._bits or self._width == self.columns else np.ascontiguousarray(out[..., : self.columns])
