"""Types of the values in a packed network, and the ranges of their integers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tieless_runtime.errors import PackedFileError

LARGEST = 2**31 - 2
"""Largest magnitude of an integer: thresholds of 2^31 - 1 and -2^31 are then never and always met."""

MOST_ELEMENTS = 2**26
"""Largest number of elements of one value, for one sample."""


@dataclass(frozen=True, slots=True)
class Value:
    """Type of a value.

    Args:
        shape: Sizes for one sample at one time step, channels first.
        kind: ``"float"`` for float32; ``"int"`` for integers; ``"code"`` for codes 0 to ``most``, of which code ``c``
            stands for the number ``low + step c``.
        low, high: Range of the numbers of an ``"int"`` or a ``"code"``.
        step: Distance between the numbers of two codes.
        most: Largest code.
        times: Number of time steps; 0 for a value that does not change over time.
    """

    shape: tuple[int, ...]
    kind: str
    low: int = 0
    high: int = 0
    step: int = 1
    most: int = 0
    times: int = 0

    def __post_init__(self) -> None:
        if math.prod(self.shape) * max(1, self.times) > MOST_ELEMENTS:
            raise PackedFileError(f"a value of shape {self.shape} over {self.times} time steps is too large")
        if self.kind != "float" and not -LARGEST <= self.low <= self.high <= LARGEST:
            raise PackedFileError(f"integers from {self.low} to {self.high} do not fit in 32 bits")

    @property
    def size(self) -> int:
        """Number of elements of one sample at one time step."""
        return math.prod(self.shape)

    @property
    def channels(self) -> int:
        """Size of the first dimension."""
        return self.shape[0]

    @property
    def planes(self) -> int:
        """Number of bits of a code."""
        return self.most.bit_length()

    def reshaped(self, shape: tuple[int, ...]) -> Value:
        """Type of the same numbers in another shape."""
        return replace(self, shape=shape)


def floats(shape: tuple[int, ...], times: int = 0) -> Value:
    """Type of float32 numbers."""
    return Value(shape, "float", times=times)


def integers(shape: tuple[int, ...], low: int, high: int, times: int = 0) -> Value:
    """Type of integers from ``low`` to ``high``."""
    return Value(shape, "int", low, high, times=times)


def codes(shape: tuple[int, ...], low: int, step: int, most: int, times: int = 0) -> Value:
    """Type of the codes 0 to ``most``, which stand for ``low + step code``."""
    if step < 1 or not 1 <= most <= 255:
        raise PackedFileError(f"codes need a step of 1 or more and a largest code of 1 to 255, got {step} and {most}")
    return Value(shape, "code", low, low + step * most, step, most, times)
