"""Products of codes with packed weights, prepared for the kernels of a path."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportCallIssue=false
# (NumPy does not know the dtype behind a transpose or a pad, and Numba has no types)

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tieless_runtime.kernels import rows
from tieless_runtime.kernels.products import product
from tieless_runtime.kernels.tiles import Variant
from tieless_runtime.operations import Conv, Linear, Threshold
from tieless_runtime.values import Value
from tieless_runtime.weights import Weight

Array = NDArray[Any]
BUFFER = 2**16
"""Bytes of gathered windows at a time: they stay in the first caches."""
MOST_UNGROUPED = 2**22
"""Number of weights up to which groups become one."""


MOST_TABLES = 16
"""Number of sizes of a batch whose tables are kept."""


def words_of(channels: int) -> int:
    """Number of 64-bit words that hold one bit of each channel."""
    return (channels + 63) // 64


def can_count(operation: Linear | Conv, value: Value) -> bool:
    """True if a product is one of bits: codes times packed weights, in one group, a step of codes being a power of two."""
    one_group = not isinstance(operation, Conv) or operation.groups == 1
    return value.kind == "code" and operation.weight.kind != "float" and one_group and value.step.bit_count() == 1


def ungrouped(operation: Conv) -> Conv:
    """Convolution in one group with weights of 0 between the groups, unless that takes too much memory."""
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


def window_of(operation: Linear | Conv, place: tuple[int, int]) -> tuple[NDArray[np.int64], ...]:
    """Kernel, stride, padding and dilation in two dimensions; a linear layer's window is the whole ``place``."""
    if isinstance(operation, Linear):
        settings = (place, (1, 1), (0, 0), (1, 1))
    else:
        kernel = operation.weight.shape[2:]
        lead = (1,) * (2 - len(kernel))
        none = (0,) * len(lead)
        settings = (
            (*lead, *kernel),
            (*lead, *operation.stride),
            (*none, *operation.padding),
            (*lead, *operation.dilation),
        )
    return tuple(np.array(setting, np.int64) for setting in settings)


def weights_by_place(operation: Linear | Conv, place: tuple[int, int]) -> Array:
    """Weights ``(out, height, width, in)``: channels last, as values are in memory."""
    weights = operation.weight.values
    if isinstance(operation, Linear):
        weights = weights.reshape(len(weights), -1, *place)
    elif weights.ndim == 3:
        weights = weights[:, :, None]
    return np.ascontiguousarray(weights.transpose(0, 2, 3, 1))


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
        self._window, self._place = window_of(operation, place), place
        kernel, stride, padding, dilation = self._window
        self.places = tuple(int(size) for size in (place + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1)
        whole, point = tuple(kernel) == place, self.places == place and math.prod(kernel) == 1
        self._gathers = bool(padding.any()) or not (whole or point)
        weights = weights_by_place(operation, place)
        self.columns = len(weights)
        padded = -(-self.columns // 8) * 8
        planes, factors = self._planes(operation, weights)
        packed = _packed(planes).reshape(len(planes), self.columns, -1)
        self._words = packed.shape[2]
        blocks = np.zeros((len(planes), padded, self._words), np.uint64)
        blocks[:, : self.columns] = packed
        self._weights = np.ascontiguousarray(blocks.reshape(len(planes), -1, 8, self._words).transpose(0, 1, 3, 2))
        xor = operation.weight.kind == "binary"
        self._bits = step is not None
        single = xor and value.planes == 1
        self._variant = Variant(path, xor, self._bits, single)
        self._value = value
        pairs = [(j, p, factor * value.step * 2**p) for j, factor in enumerate(factors) for p in range(value.planes)]
        # Bits compare what is to be taken from the base, sums add to it.
        self._pairs = [(j, p, -factor if self._bits else factor) for j, p, factor in pairs]
        base, self._kinds = self._base(operation, weights, xor=xor)
        self._levels = np.full((len(base), padded), -(2**62) if step else 0, np.int64)
        self._flips = np.zeros(padded // 8, np.uint8)
        if step is None:
            self._levels[:, : self.columns] = base
        else:
            self._set_levels(base, step, value.step if single else 1)
        # To ask NumPy for an address takes as long as a small product.
        self._addresses = [each.ctypes.data for each in (self._weights, self._levels, self._flips)]
        self._tables: dict[int, NDArray[np.int64]] = {}

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
        if not self._window[2].any():
            return base + value.low * wide.sum((1, 2, 3)), np.zeros(0, np.int32)
        inside = [self._inside(axis) for axis in range(2)]
        (tops, top), (sides, side) = (np.unique(each, axis=0, return_inverse=True) for each in inside)
        valid = np.einsum("ti,sj,oijc->tso", tops.astype(np.int64), sides.astype(np.int64), wide)
        kinds = top.reshape(-1, 1) * len(sides) + side.reshape(1, -1)
        return base + value.low * valid.reshape(-1, self.columns), kinds.reshape(-1).astype(np.int32)

    def _inside(self, axis: int) -> NDArray[np.bool_]:
        """Places of a window that lie inside, for each output place, along one axis."""
        kernel, stride, padding, dilation = (setting[axis] for setting in self._window)
        at = np.arange(self.places[axis])[:, None] * stride - padding + np.arange(kernel) * dilation
        return (at >= 0) & (at < self._place[axis])

    def _set_levels(self, base: NDArray[np.int64], step: Threshold, unit: int) -> None:
        """Largest count whose bit is 1, or, for a turned column, whose bit is 0."""
        edges, up = step.thresholds[0].astype(np.int64), step.direction > 0
        distance = base - edges
        self._levels[:, : self.columns] = np.where(up, distance // unit, -(-distance // unit) - 1)
        flips = np.zeros(8 * len(self._flips), np.uint8)
        flips[: self.columns] = ~up
        self._flips = np.packbits(flips, bitorder="little")

    def __call__(self, x: NDArray[np.uint64]) -> Array:
        """Sums ``(n, height, width, columns)``, int32, or their bits ``(1, n, height, width, words)``.

        Args:
            x: Codes, ``(planes, n, height, width, words)``.
        """
        planes, n = x.shape[:2]
        count = n * math.prod(self.places)
        padded = self._levels.shape[1]
        if self._bits:
            width = 8 * words_of(self.columns)
            # Bytes that no column fills stay 0.
            out = (np.empty if padded == 8 * width else np.zeros)((count, width), np.uint8)
        else:
            out = np.empty((count, padded), np.int32)
        if self._gathers:
            self._in_parts(x, out)
        else:
            self._multiply(np.ascontiguousarray(x).reshape(planes, count, self._words), out, self._kinds_from(0, count))
        if self._bits:
            return out.view(np.uint64).reshape(1, n, *self.places, -1)
        return np.ascontiguousarray(out[:, : self.columns]).reshape(n, *self.places, self.columns)

    def _kinds_from(self, start: int, count: int) -> NDArray[np.int32]:
        if not len(self._kinds):
            return self._kinds
        return self._kinds[np.arange(start, start + count) % len(self._kinds)]

    def _in_parts(self, x: NDArray[np.uint64], out: Array) -> None:
        planes, size = len(x), max(4, BUFFER // (8 * self._words * len(x)) // 4 * 4)
        places = np.array(self.places, np.int64)
        buffer = np.empty((planes, min(size, len(out)), self._words), np.uint64)
        for start in range(0, len(out), size):
            part = out[start : start + size]
            if len(part) != buffer.shape[1]:
                buffer = np.empty((planes, len(part), self._words), np.uint64)
            for plane in range(planes):
                rows.gather(x[plane], *self._window, places, start, buffer[plane])
            self._multiply(buffer, part, self._kinds_from(start, len(part)))

    def _multiply(self, acts: NDArray[np.uint64], out: Array, kinds: NDArray[np.int32]) -> None:
        table = self._table(acts[0].nbytes)
        product(
            self._variant,
            acts.ctypes.data,
            8 * self._words,
            self._addresses[0],
            64 * self._words,
            self._words,
            table.ctypes.data,
            len(table),
            self._addresses[1],
            8 * self._levels.shape[1],
            kinds,
            self._addresses[2],
            out.ctypes.data,
            out.strides[0],
            self._levels.shape[1],
            len(out),
        )

    def _table(self, bytes_of_a_plane: int) -> NDArray[np.int64]:
        """Pairs of planes as the kernel reads them, kept for each size of a batch."""
        found = self._tables.get(bytes_of_a_plane)
        if found is None:
            plane = self._weights[0].nbytes
            pairs = [
                (j * plane, p * bytes_of_a_plane, abs(f).bit_length() - 1, -1 if f < 0 else 0)
                for j, p, f in self._pairs
            ]
            found = np.array(pairs, np.int64)
            if len(self._tables) < MOST_TABLES:
                self._tables[bytes_of_a_plane] = found
        return found
