"""Layouts of values in the memory of a C program: where each number lies, and the C expression that reads it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tieless_runtime.values import Value

WIDTHS = {"bits": 1, "u8": 1, "i8": 1, "i16": 2, "i32": 4}
"""Bytes of one number; bits are stored 8 to a byte."""

RANGES = {"u8": (0, 255), "i8": (-128, 127), "i16": (-(2**15), 2**15 - 1), "i32": (-(2**31), 2**31 - 1)}


def narrowest(low: int, high: int, kinds: Sequence[str] = tuple(RANGES)) -> str:
    """First of the types that holds 0 and all integers of a range."""
    return next(kind for kind in kinds if RANGES[kind][0] <= min(low, 0) and max(high, 0) <= RANGES[kind][1])


def planar(sizes: Sequence[int], usual: int) -> tuple[int, int]:
    """Sizes in two dimensions, of which those that are missing have the usual one."""
    first, second = (usual, usual, *sizes)[-2:]
    return first, second


def indexed(*terms: tuple[str, int]) -> str:
    """Sum of C expressions, each times a constant."""
    shown = [text if factor == 1 else f"{text} * {factor}" for text, factor in terms if factor and text != "0"]
    return " + ".join(shown) or "0"


@dataclass(frozen=True, eq=False)
class Layout:
    """Layout of a value. Channels lie side by side unless said otherwise, as whole bytes of bits if they are bits.

    Args:
        kind: ``"bits"``, or the type of one number.
        channels, height, width, times: Sizes; 1 for the dimensions that the value does not have.
        place, channel, moment: Bytes from one place, channel or time step to the next.
        low, step: Numbers for which bits stand: ``low + step bit``.
        table: Name of a table of the numbers for which bytes stand, if there is one.
        order: Index in PyTorch's order of each channel, -1 for bits that are always 0; ``None`` if that is the channel.
    """

    kind: str
    channels: int
    height: int = 1
    width: int = 1
    times: int = 1
    place: int = 0
    channel: int = 0
    moment: int = 0
    low: int = 0
    step: int = 1
    table: str = ""
    order: NDArray[np.int64] | None = None

    @property
    def places(self) -> int:
        """Number of places, of one time step."""
        return self.height * self.width

    @property
    def size(self) -> int:
        """Bytes of all time steps."""
        return self.moment * self.times

    @property
    def alike(self) -> tuple[object, ...]:
        """Equal for layouts in which each number lies at the same byte."""
        return WIDTHS[self.kind], self.channels, self.places, self.times, self.place, self.channel, self.moment

    def at(self, moment: str, place: str, channel: str) -> str:
        """Expression of the byte in which a number begins."""
        if self.kind == "bits":
            return indexed((moment, self.moment), (place, self.place), (f"({channel} >> 3)", 1))
        return indexed((moment, self.moment), (place, self.place), (channel, self.channel))

    def read(self, prefix: str, pointer: str, moment: str, place: str, channel: str) -> str:
        """Expression of a number, an int32_t."""
        at = self.at(moment, place, channel)
        if self.kind == "bits":
            bit = f"(({pointer}[{at}] >> ({channel} & 7)) & 1)"
            return f"({self.low} + {self.step} * (int32_t){bit})" if (self.low, self.step) != (0, 1) else bit
        if self.table:
            return f"{self.table}[{pointer}[{at}]]"
        if self.kind in ("i16", "i32"):
            return f"{prefix}_get_{self.kind}({pointer} + {at})"
        number = f"{pointer}[{at}]" if self.kind == "u8" else f"((const int8_t *){pointer})[{at}]"
        return f"({number} + {self.low})" if self.low else number

    def write(self, prefix: str, pointer: str, moment: str, place: str, channel: str, number: str) -> str:
        """Statement that stores a number, or sets a bit that is 0."""
        at = self.at(moment, place, channel)
        if self.kind == "bits":
            return f"{pointer}[{at}] = (uint8_t)({pointer}[{at}] | ({number} << ({channel} & 7)));"
        if self.kind in ("i16", "i32"):
            return f"{prefix}_put_{self.kind}({pointer} + {at}, {number});"
        return f"{pointer}[{at}] = (uint8_t){number};"

    def flattened(self) -> Layout:
        """The same bytes as one place."""
        channels, places = self.channels, self.places
        if places == 1:
            return self
        if self.place == 1 and self.kind != "bits":
            return replace(self, channels=channels * places, height=1, width=1, place=0, channel=1)
        stored = np.full((places, self.place * 8 if self.kind == "bits" else channels), -1, np.int64)
        stored[:, :channels] = np.arange(channels * places).reshape(channels, places).T
        order = stored.reshape(-1)
        return replace(self, channels=len(order), height=1, width=1, place=0, order=order)


def layout_of(value: Value) -> Layout:
    """Layout of a value that a network stores: codes of one bit as bits, all else in the narrowest type."""
    height, width = planar(value.shape[1:], 1)
    times = max(1, value.times)
    if value.kind == "code" and value.most == 1:
        row = (value.channels + 7) // 8
        moment = row * height * width
        return Layout("bits", value.channels, height, width, times, row, 0, moment, value.low, value.step)
    kind = narrowest(value.low, value.high)
    return Layout(
        kind,
        value.channels,
        height,
        width,
        times,
        place=WIDTHS[kind] * value.channels,
        channel=WIDTHS[kind],
        moment=WIDTHS[kind] * math.prod(value.shape),
    )
