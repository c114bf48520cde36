"""Text of a C program: lines with their indentation, and constant tables."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tieless.deploy.c.layouts import WIDTHS, narrowest

_TYPES = {"u8": "uint8_t", "i8": "int8_t", "i16": "int16_t", "i32": "int32_t"}
_WIDTH = 116


class Lines:
    """Lines of C, indented by their blocks."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0

    def add(self, *lines: str) -> None:
        """Add lines at the depth of the block that is open."""
        self._lines += ["    " * self._depth + line for line in lines]

    @contextmanager
    def block(self, head: str) -> Generator[None]:
        """Braces behind a head, around all that is added inside."""
        self.add(f"{head} {{" if head else "{")
        self._depth += 1
        yield
        self._depth -= 1
        self.add("}")

    def __str__(self) -> str:
        return "\n".join(self._lines)


class Tables:
    """Constant tables of a program.

    Attributes:
        size: Bytes of all of them.
    """

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.size = 0

    def integers(self, name: str, numbers: NDArray[Any]) -> str:
        """Add a table of integers in the narrowest type, or of bytes as they are; returns its name."""
        if numbers.dtype == np.uint8:
            return self._table(name, "uint8_t", 1, numbers)
        kind = narrowest(int(numbers.min()), int(numbers.max()), ("i8", "u8", "i16", "i32"))
        return self._table(name, _TYPES[kind], WIDTHS[kind], numbers)

    def words(self, name: str, bits: NDArray[Any]) -> str:
        """Add rows of bits as words of 32, the first in the lowest bit; returns its name."""
        rows = bits.reshape(-1, bits.shape[-1]).astype(bool)
        rows = np.pad(rows, [(0, 0), (0, -rows.shape[1] % 32)])
        numbers = np.ascontiguousarray(np.packbits(rows, axis=1, bitorder="little")).view("<u4")
        return self._table(name, "uint32_t", 4, numbers)

    def _table(self, name: str, kind: str, width: int, numbers: NDArray[Any]) -> str:
        flat = numbers.reshape(-1)
        self.size += width * len(flat)
        texts = (
            [f"0x{number:08x}u" for number in flat.tolist()]
            if kind == "uint32_t"
            else [_number(n) for n in flat.tolist()]
        )
        lines: list[str] = []
        line = ""
        for text in texts:
            if len(line) + len(text) > _WIDTH:
                lines.append(line.rstrip())
                line = ""
            line += f"{text}, "
        lines.append(line.rstrip(", "))
        body = "\n    ".join(lines)
        self._texts.append(f"static const {kind} {name}[{len(flat)}] = {{\n    {body}\n}};")
        return name

    def __str__(self) -> str:
        return "\n\n".join(self._texts)


def _number(number: int) -> str:
    return "(-2147483647 - 1)" if number == -(2**31) else str(number)
