"""Windows of a product over a value in memory: where their numbers lie, so that none is copied to be multiplied."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportCallIssue=false
# (NumPy does not know the dtype behind a transpose, and Numba has no types)

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tieless_runtime.kernels import rows
from tieless_runtime.operations import Conv, Linear

Array = NDArray[Any]
SLACK = 4
"""Numbers behind a value that a kernel may read, and multiplies by 0."""


def words_of(channels: int) -> int:
    """Number of 64-bit words that hold one bit of each channel."""
    return (channels + 63) // 64


def with_slack(shape: tuple[int, ...], dtype: Any) -> Array:
    """Empty array with bytes behind it that a kernel may read."""
    size = math.prod(shape)
    return np.empty(size + SLACK, dtype)[:size].reshape(shape)


class Windows:
    """Windows of a linear layer, whose window is the whole input, or of a convolution.

    Args:
        operation: Linear layer or convolution.
        place: Height and width of the input in memory.
    """

    def __init__(self, operation: Linear | Conv, place: tuple[int, int]) -> None:
        if isinstance(operation, Linear):
            settings = (place, (1, 1), (0, 0), (1, 1))
        else:
            sizes = operation.weight.shape[2:]
            lead, none = (1,) * (2 - len(sizes)), (0,) * (2 - len(sizes))
            settings = (
                (*lead, *sizes),
                (*lead, *operation.stride),
                (*none, *operation.padding),
                (*lead, *operation.dilation),
            )
        self.place = place
        self.kernel, self.stride, self.padding, self.dilation = (np.array(each, np.int64) for each in settings)
        self.pads = bool(self.padding.any())
        self._inside = tuple(int(size) for size in np.array(place) + 2 * self.padding)
        reach = self.dilation * (self.kernel - 1) + 1
        self.places = tuple(int(size) for size in (self._inside - reach) // self.stride + 1)
        self.count = math.prod(self.places)

    def weights(self, operation: Linear | Conv) -> Array:
        """Weights ``(out, height, width, in)``: channels last, as values are in memory."""
        weights = operation.weight.values
        if isinstance(operation, Linear):
            weights = weights.reshape(len(weights), -1, *self.place)
        elif weights.ndim == 3:
            weights = weights[:, :, None]
        return np.ascontiguousarray(weights.transpose(0, 2, 3, 1))

    def padded(self, x: Array, filler: Any = 0) -> Array:
        """Values ``(..., height, width, channels)`` with their padding."""
        if not self.pads:
            return x
        *lead, height, width, channels = x.shape
        out = with_slack((*lead, *self._inside, channels), x.dtype)
        inner, whole = (
            x.reshape(-1, height, width * channels),
            out.reshape(-1, self._inside[0], self._inside[1] * channels),
        )
        rows.pad(inner, int(self.padding[0]), int(self.padding[1]) * channels, x.dtype.type(filler), whole)
        return out

    def runs(self, channels: int) -> tuple[NDArray[np.int64], int]:
        """First numbers of the parts of a window that lie beside each other, and the length of a part."""
        height, width = self.kernel
        down, side = np.arange(height) * self.dilation[0] * self._inside[1], np.arange(width) * self.dilation[1]
        if width > 1 and self.dilation[1] > 1:
            return (down[:, None] + side).reshape(-1) * channels, channels
        if height > 1 and (width < self._inside[1] or self.dilation[0] > 1):
            return down * channels, int(width) * channels
        return np.zeros(1, np.int64), int(height * width) * channels

    def offsets(self, channels: int, size: int) -> NDArray[np.int64]:
        """Bytes from the first number of a window, of ``size`` bytes, to each."""
        starts, length = self.runs(channels)
        return (starts[:, None] + np.arange(length)).reshape(-1) * size

    def steps(self, channels: int, size: int) -> NDArray[np.int64]:
        """Places of a product's rows in memory, as ``kernels.places`` reads them."""
        (height, width), down = self.places, self._inside[1] * channels * size
        side, line = int(self.stride[1]) * channels * size, int(self.stride[0]) * down
        return np.array([height, width, side, line - width * side, self._inside[0] * down - height * line], np.int64)

    def inside(self, axis: int) -> NDArray[np.bool_]:
        """Places of a window that lie inside, for each output place, along one axis."""
        at = np.arange(self.places[axis])[:, None] * self.stride[axis] - self.padding[axis]
        at = at + np.arange(self.kernel[axis]) * self.dilation[axis]
        return (at >= 0) & (at < self.place[axis])
