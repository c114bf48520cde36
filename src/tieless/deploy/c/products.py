"""C code of linear layers and convolutions: a window is gathered once, then multiplied with the weights of each output.

Beside bits, weights are planes of bits, and a product is counts of bits that are 1. With a bit ``b`` of the input, ``low + step b``
its number and ``w = k + sum_p f_p B_p`` a weight:

    sum w x = low sum(w) + step (k count(b) + sum_p f_p count(B_p & b))

Padded places are the number 0. There a mask ``m`` tells which bits are there; ``low sum(w)`` is taken over those, and for signs
with weights of -1 and 1 all of it becomes ``count(m) - 2 count((B ^ b) & m)``. Beside integers of more bits, weights are
fields ``u`` of 1, 2, 4 or 8 bits with ``w = a + s u``.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tieless_runtime.operations import Conv, Linear
from tieless_runtime.values import Value
from tieless_runtime.weights import Weight

from tieless.deploy.c.layouts import WIDTHS, Layout, indexed, narrowest, planar
from tieless.deploy.c.tables import Lines, Tables

Array = NDArray[Any]
POINTERS = {"u8": "uint8_t", "i8": "int8_t", "i32": "int32_t"}


def combined(terms: list[tuple[int, str]]) -> str:
    """Sum of C expressions of type uint32_t, each times a constant, modulo 2^32."""
    text = ""
    for factor, expression in terms:
        if factor:
            sign = ("+ " if text else "") if factor > 0 else ("- " if text else "0u - ")
            text += f" {sign}{expression}" if abs(factor) == 1 else f" {sign}{abs(factor)}u * {expression}"
    return text.strip() or "0u"


@dataclass(frozen=True, eq=False)
class _Window:
    """Sizes of a window: those of a convolution in two dimensions, or of a linear layer as one place."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def padded(self) -> bool:
        return any(self.padding)


def _window(operation: Linear | Conv) -> _Window:
    if isinstance(operation, Linear):
        return _Window()
    return _Window(
        planar(operation.weight.shape[2:], 1),
        planar(operation.stride, 1),
        planar(operation.padding, 0),
        planar(operation.dilation, 1),
        operation.groups,
    )


def _rows(operation: Linear | Conv, layout: Layout) -> Array:
    """Weights of each output, in the order in which a window is gathered: place by place, the channels of each."""
    values = operation.weight.values
    if isinstance(operation, Conv):
        return np.moveaxis(values, 1, -1).reshape(len(values), -1)
    if layout.order is None:
        return values
    return np.where(layout.order >= 0, values[:, np.maximum(layout.order, 0)], 0)


class Product:
    """Linear layer or convolution in C.

    Args:
        operation: Operation.
        layout: Layout of what it takes.
        prefix, name: Prefix of the program's names, and name of the stage.
        tables: Tables of the program.
    Attributes:
        words: Words of 32 bits of a window; 0 if it is read where it lies.
        groups, outputs: Number of groups, and of outputs in each.
        bias: Constant of each output, which ``number`` leaves out.
    """

    words: int
    bias: Array

    def __init__(self, operation: Linear | Conv, layout: Layout, prefix: str, name: str, tables: Tables) -> None:
        self._operation = operation
        self._layout = layout
        self._prefix = prefix
        self._name = name
        self._tables = tables
        self._window = _window(operation)
        self._rows = _rows(operation, layout)
        self.groups = self._window.groups
        self.outputs = len(self._rows) // self.groups
        self._inputs = layout.channels // self.groups
        given = operation.bias
        self.bias = np.zeros(len(self._rows), np.int64) if given is None else given.astype(np.int64)

    def number(self, patch: str, channel: str) -> str:
        """Expression of the sum of one output without its bias, a uint32_t."""
        raise NotImplementedError

    def _gathered(self, lines: Lines) -> None:
        raise NotImplementedError

    def function(self) -> str:
        """C function that gathers a window."""
        if not self.words:
            return ""
        lines = Lines()
        grouped = ", int32_t group" if self.groups > 1 else ""
        placed = "" if self._alone else ", int32_t row, int32_t column"
        lines.add(f"static void {self._name}_window(const uint8_t *x{placed}{grouped}, uint32_t *patch)")
        with lines.block(""):
            self._gathered(lines)
        return str(lines)

    @property
    def _alone(self) -> bool:
        """True if there is one place."""
        return self._layout.places == 1 and self._window.kernel == (1, 1) and not self._window.padded

    def gather(self, x: str, row: str, column: str, group: str, patch: str) -> str:
        """Statement that gathers a window."""
        placed = [] if self._alone else [row, column]
        return f"{self._name}_window({', '.join([x, *placed, *([group] if self.groups > 1 else []), patch])});"

    def _over_places(self, lines: Lines, inside: list[str], outside: list[str]) -> None:
        """Loop over the places of a window; ``x`` is moved to each that is there."""
        if self._alone:
            lines.add(*inside)
            return
        window, layout = self._window, self._layout
        with ExitStack() as stack:
            for variable, size in zip("ij", window.kernel, strict=True):
                stack.enter_context(lines.block(f"for (int32_t {variable} = 0; {variable} < {size}; {variable}++)"))
            for axis, index, place in ((0, "i", "row"), (1, "j", "column")):
                stride, pad, spread = window.stride[axis], window.padding[axis], window.dilation[axis]
                shift = f" - {pad}" if pad else ""
                lines.add(
                    f"const int32_t {'yz'[axis]} = {place}{f' * {stride}' if stride > 1 else ''}{shift}"
                    f" + {index}{f' * {spread}' if spread > 1 else ''};"
                )
            at = f"const uint8_t *const p = x + {indexed(('y', layout.width * layout.place), ('z', layout.place))};"
            if window.padded:
                with lines.block(f"if (y >= 0 && y < {layout.height} && z >= 0 && z < {layout.width})"):
                    lines.add(at, *inside)
                if outside:
                    with lines.block("else"):
                        lines.add(*outside)
            else:
                lines.add(at, *inside)


class BitProduct(Product):
    """Product with bits: counts of bits."""

    def __init__(self, operation: Linear | Conv, layout: Layout, prefix: str, name: str, tables: Tables) -> None:
        super().__init__(operation, layout, prefix, name, tables)
        self._bits = self._rows.shape[1]
        self._length = (self._bits + 31) // 32
        self._masked = self._window.padded and layout.low != 0
        self._signs = self._masked and operation.weight.kind == "binary" and 2 * layout.low == -layout.step
        self._constant, self._factors, planes = _planes(operation.weight, self._rows)
        # A byte that is appended may reach over the last word.
        self._room = (self._bits + 7 + 31) // 32 if self._inputs % 8 else self._length
        self._counted = self._constant != 0 or self._signs
        self.words = self._room * (2 if self._masked else 1) + self._counted * (
            2 if self._masked and not self._signs else 1
        )
        self._weights = tables.words(f"{name}_weights", np.stack(planes, 1))
        if not self._masked:
            self.bias = self.bias + layout.low * self._rows.astype(np.int64).sum(1)

    def _gathered(self, lines: Lines) -> None:
        inputs, prefix = self._inputs, self._prefix
        rooms = 2 if self._masked else 1
        lines.add(f"memset(patch, 0, {4 * self._room * rooms});")
        if not self._alone:
            lines.add("int32_t at = 0;")
        at = "" if self._alone else "at + "
        p = "x" if self._alone else "p"
        first = self._layout.kind == "bits" and self.groups > 1 and inputs % 8 != 0
        inside: list[str] = []
        if first:
            inside.append(f"for (int32_t c = 0; c < {inputs}; c++) {{")
            inside.append(f"    const int32_t d = group * {inputs} + c;")
            inside.append(f"    {prefix}_append(patch, {at}c, (uint32_t){p}[d >> 3] >> (d & 7) & 1u);")
            inside += [f"    {prefix}_append(patch + {self._room}, {at}c, 1u);"] if self._masked else []
        else:
            start = f"(group * {inputs // 8} + c / 8)" if self.groups > 1 else "c / 8"
            inside.append(f"for (int32_t c = 0; c < {inputs}; c += 8) {{")
            inside.append(f"    {prefix}_append(patch, {at}c, {p}[{start}]);")
            if self._masked:
                full = "255u" if inputs % 8 == 0 else f"{inputs} - c >= 8 ? 255u : {2 ** (inputs % 8) - 1}u"
                inside.append(f"    {prefix}_append(patch + {self._room}, {at}c, {full});")
        inside.append("}")
        self._over_places(lines, inside if self._alone else [*inside, f"at += {inputs};"], [f"at += {inputs};"])
        if self._counted:
            end = self._room * rooms
            counted = self._room if self._signs else 0
            lines.add(
                f"patch[{end}] = {prefix}_count(patch + {counted}, {self._length});".replace("patch + 0", "patch")
            )
            if self._masked and not self._signs:
                lines.add(f"patch[{end + 1}] = {prefix}_count(patch + {self._room}, {self._length});")

    def number(self, patch: str, channel: str) -> str:
        planes, length, layout = len(self._factors), self._length, self._layout
        weights = f"{self._weights} + {channel} * {planes * length}"
        end = self._room * (2 if self._masked else 1)
        if self._signs:
            different = f"{self._prefix}_count_xor({patch}, {weights}, {patch} + {self._room}, {length})"
            half = layout.step // 2
            return combined([(half, f"{patch}[{end}]"), (-2 * half, different)])

        def counts(factor: int, bits: str, count: str) -> list[tuple[int, str]]:
            return [
                (factor * self._constant, count),
                *(
                    (
                        factor * each,
                        f"{self._prefix}_count_and({bits}, {weights}{f' + {plane * length}' if plane else ''}, {length})",
                    )
                    for plane, each in enumerate(self._factors)
                ),
            ]

        terms = counts(layout.step, patch, f"{patch}[{end}]")
        if self._masked:
            terms += counts(layout.low, f"{patch} + {self._room}", f"{patch}[{end + 1}]")
        return combined(terms)


def _planes(weight: Weight, rows: Array) -> tuple[int, list[int], list[Array]]:
    """Constant, factors and planes of bits, of which weights are the sum."""
    if weight.kind == "binary":
        return -1, [2], [rows > 0]
    if weight.kind == "ternary":
        return 0, [1, -1], [rows > 0, rows < 0]
    bits = rows.astype(np.uint8)
    factors = [2**plane if plane < weight.bits - 1 else -(2**plane) for plane in range(weight.bits)]
    return 0, factors, [bits >> plane & 1 for plane in range(weight.bits)]


class IntegerProduct(Product):
    """Product with integers."""

    def __init__(
        self, operation: Linear | Conv, layout: Layout, incoming: Value, prefix: str, name: str, tables: Tables
    ) -> None:
        super().__init__(operation, layout, prefix, name, tables)
        weight = operation.weight
        kind = narrowest(incoming.low, incoming.high)
        self._kind = kind if kind in ("u8", "i8") else "i32"
        needed = {"binary": 1, "ternary": 2}.get(weight.kind, weight.bits)
        self._field = next(bits for bits in (1, 2, 4, 8) if bits >= needed)
        self._base, self._factor = {"binary": (-1, 2), "ternary": (-1, 1)}.get(
            weight.kind, (0 if self._field == 8 else -(2 ** (weight.bits - 1)), 1)
        )
        each = 8 // self._field
        self._count = self._rows.shape[1]
        self._length = -(-self._count // each) * each
        in_place = (
            self._alone
            and layout.kind == self._kind
            and not layout.table
            and layout.low == 0
            and layout.channel == 1
            and layout.times == 1
            and self._length == self._count
            and not self._base
            and self.groups == 1
        )
        self._room = 0 if in_place else (self._length * WIDTHS[self._kind] + 3) // 4
        self.words = self._room + (self._base != 0)
        padded = np.pad(
            self._rows.astype(np.int64), [(0, 0), (0, self._length - self._count)], constant_values=self._base
        )
        if self._field == 8:
            self._weights = tables.integers(f"{name}_weights", padded.astype(np.int8))
        else:
            fields = ((padded - self._base) // self._factor).reshape(-1, each)
            packed = (fields << (self._field * np.arange(each))).sum(1)
            self._weights = tables.integers(f"{name}_weights", packed.astype(np.uint8))

    def _gathered(self, lines: Lines) -> None:
        kind, inputs = POINTERS[self._kind], self._inputs
        lines.add(f"{kind} *const to = ({kind} *)patch;", "int32_t n = 0;")
        pointer = "x" if self._alone else "p"
        channel = f"(group * {inputs} + c)" if self.groups > 1 else "c"
        number = self._layout.read(self._prefix, pointer, "0", "0", channel)
        loop = f"for (int32_t c = 0; c < {inputs}; c++)"
        self._over_places(lines, [f"{loop} to[n++] = ({kind}){number};"], [f"{loop} to[n++] = 0;"])
        if self._length > self._count:
            lines.add(f"while (n < {self._length}) to[n++] = 0;")
        if self._base:
            lines.add(f"patch[{self._room}] = {self._prefix}_total_{self._kind}(to, {self._length});")

    def number(self, patch: str, channel: str) -> str:
        each = 8 // self._field
        stride = self._length // each
        kind = POINTERS[self._kind]
        dot = f"{self._prefix}_dot_{self._kind}_{self._field}(({'const '}{kind} *){patch}, {self._weights} + {channel} * {stride}, {self._length})"
        return combined([(self._factor, dot), (self._base, f"{patch}[{self._room}]")])


def product_of(
    operation: Linear | Conv, layout: Layout, incoming: Value, prefix: str, name: str, tables: Tables
) -> Product:
    """Product of the kind that the input needs."""
    if layout.kind == "bits":
        return BitProduct(operation, layout, prefix, name, tables)
    return IntegerProduct(operation, layout, incoming, prefix, name, tables)
