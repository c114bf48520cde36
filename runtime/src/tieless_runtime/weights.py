"""Weights of a layer, and how a file stores them: as planes of bits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tieless_runtime.errors import PackedFileError

KINDS = ("float", "binary", "ternary", "integer")


@dataclass(frozen=True, eq=False)
class Weight:
    """Weights of a linear layer or a convolution, outputs first, in PyTorch's order.

    Args:
        kind: ``"float"`` for float32; ``"binary"`` for -1 and 1; ``"ternary"`` for -1, 0 and 1; ``"integer"`` for
            integers of ``bits`` bits.
        values: Weights, ``(out, in / groups, ...)``: float32, or int8 for all other kinds.
        bits: Bits per weight of kind ``"integer"``, 2 to 8; ignored for the others.
    """

    kind: str
    values: NDArray[Any]
    bits: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the weights."""
        return self.values.shape

    @property
    def planes(self) -> int:
        """Number of bits that are stored for each weight."""
        return {"float": 32, "binary": 1, "ternary": 2}.get(self.kind, self.bits)

    def stored(self) -> NDArray[Any]:
        """Array that a file stores: float32 as it is, else one row of bytes per plane, the first bit in the lowest."""
        if self.kind == "float":
            return self.values
        flat = self.values.reshape(-1)
        if self.kind == "binary":
            planes = [flat > 0]
        elif self.kind == "ternary":
            planes = [flat > 0, flat < 0]
        else:
            planes = [(flat.astype(np.uint8) >> plane) & 1 == 1 for plane in range(self.bits)]
        return np.stack([np.packbits(plane, bitorder="little") for plane in planes])


def stored_shape(kind: str, shape: tuple[int, ...], bits: int) -> tuple[int, ...]:
    """Shape of the array that a file stores."""
    if kind == "float":
        return shape
    return {"binary": 1, "ternary": 2}.get(kind, bits), (math.prod(shape) + 7) // 8


def from_stored(kind: str, shape: tuple[int, ...], bits: int, stored: NDArray[Any]) -> Weight:
    """Weights of a stored array, whose dtype and shape have been checked.

    Raises:
        PackedFileError: bits behind the last weight are set, a ternary weight is 1 and -1, or a float is not finite.
    """
    if kind == "float":
        if not np.isfinite(stored).all():
            raise PackedFileError("float weights must be finite")
        return Weight(kind, stored)
    count = math.prod(shape)
    planes = np.unpackbits(stored, axis=1, bitorder="little")
    if planes[:, count:].any():
        raise PackedFileError("bits behind the last weight must be 0")
    planes = planes[:, :count].astype(np.int8)
    if kind == "binary":
        values = 2 * planes[0] - 1
    elif kind == "ternary":
        if (planes[0] & planes[1]).any():
            raise PackedFileError("a ternary weight cannot be 1 and -1")
        values = planes[0] - planes[1]
    else:
        values = np.zeros(count, np.int16)
        for plane in range(bits):
            values += planes[plane].astype(np.int16) * ((-1 if plane == bits - 1 else 1) * 2**plane)
    return Weight(kind, values.astype(np.int8).reshape(shape), bits if kind == "integer" else 0)
