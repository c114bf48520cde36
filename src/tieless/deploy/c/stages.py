"""C functions of the stages of a network."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tieless_runtime import Network
from tieless_runtime.operations import Add, Affine, Lif, MaxPool, Prelu, Relu, Rescale, SumTime, Threshold

from tieless.deploy.c.layouts import Layout, indexed, planar
from tieless.deploy.c.plan import Link, Stage
from tieless.deploy.c.products import Product, product_of
from tieless.deploy.c.tables import Lines, Tables

Array = NDArray[Any]


class StageWriter:
    """Writer of the C function of one stage.

    Args:
        prefix: Prefix of all names in the program.
        name: Name of the function.
        stage: Stage.
        network: Network to which it belongs.
        layouts: Layout of each value that the stage takes.
        result: Layout of the result; ``None`` if it is the scores.
        tables: Tables of the program, to which those of the stage are added.
    Attributes:
        scratch: Bytes of working memory.
        arguments: Values that the function takes, each once.
    """

    def __init__(
        self,
        prefix: str,
        name: str,
        stage: Stage,
        network: Network,
        layouts: dict[str, Layout],
        result: Layout | None,
        tables: Tables,
    ) -> None:
        self._prefix = prefix
        self._name = name
        self._stage = stage
        self._values = network.values
        self._layouts = layouts
        self._result = result
        self._tables = tables
        self._lines = Lines()
        self._names = 0
        self.arguments = list(dict.fromkeys([*stage.sources, *stage.others]))
        self._source = layouts[stage.sources[0]]
        self._timed = self._times(stage.sources[0]) > 0
        self._product: Product | None = None
        self._channels = sum(layouts[each].channels for each in stage.sources)
        self._sizes = (self._source.height, self._source.width)
        if stage.product is not None:
            incoming = self._values[stage.product.inputs[0]]
            self._product = product_of(stage.product, self._source, incoming, prefix, name, tables)
            shape = self._values[stage.product.output].shape
            self._channels, self._sizes = shape[0], planar(shape[1:], 1)
        self._grid = self._sizes
        self._kernel = (1, 1)
        if stage.pool is not None:
            self._kernel = planar(stage.pool.kernel, 1)
            self._grid = planar(self._values[stage.pool.output].shape[1:], 1)
        self._moments = self._source.times if self._timed else 1
        patches = self._moments * self._kernel[0] * self._kernel[1]
        self.scratch = 0 if self._product is None else patches * self._product.words * 4

    def _times(self, name: str) -> int:
        return self._values[name].times

    def _pointer(self, name: str) -> str:
        return f"x{self.arguments.index(name)}"

    def _table(self, what: str, numbers: Array) -> str:
        self._names += 1
        return self._tables.integers(f"{self._name}_{what}_{self._names}", numbers)

    def call(self, pointers: dict[str, str], out: str, patch: str) -> str:
        """Statement that runs the stage."""
        return f"{self._name}({', '.join([*(pointers[name] for name in self.arguments), out, *([patch] if self.scratch else [])])});"

    def function(self) -> str:
        """C functions of the stage."""
        lines, result = self._lines, self._result
        taken = [f"const uint8_t *x{index}" for index in range(len(self.arguments))]
        out = "int32_t *out" if result is None else "uint8_t *out"
        patch = ["uint32_t *patch"] if self.scratch else []
        lines.add(f"static void {self._name}({', '.join([*taken, out, *patch])})")
        with lines.block(""), ExitStack() as stack:
            if result is not None and result.kind == "bits":
                lines.add(f"memset(out, 0, {result.size});")
            for variable, size in zip(("row", "column"), self._grid, strict=True):
                if size > 1:
                    stack.enter_context(self._loop(variable, size))
            if self._product is None:
                self._elements()
            else:
                self._products(self._product)
        window = "" if self._product is None else self._product.function()
        return f"{window}\n\n{lines}" if window else str(lines)

    def _loop(self, variable: str, size: int, first: int = 0) -> Any:
        return self._lines.block(f"for (int32_t {variable} = {first}; {variable} < {size}; {variable}++)")

    def _place(self) -> str:
        """Expression of the place in the result."""
        return self._in_grid("row", "column", self._grid)

    @staticmethod
    def _in_grid(row: str, column: str, grid: tuple[int, ...]) -> str:
        terms = [(row, grid[1] if grid[0] > 1 else 0), (column, 1 if grid[1] > 1 else 0)]
        place = indexed(*terms)
        return f"({place})" if " " in place else place

    def _elements(self) -> None:
        base = 0
        for name in self._stage.sources:
            layout = self._layouts[name]
            with self._loop("c", base + layout.channels, base):
                channel = f"(c - {base})" if base else "c"

                def read(moment: str, place: str, name: str = name, channel: str = channel) -> str:
                    return self._read(name, moment, place, channel)

                self._numbers(read)
            base += layout.channels

    def _read(self, name: str, moment: str, place: str, channel: str) -> str:
        moment = moment if self._times(name) else "0"
        return self._layouts[name].read(self._prefix, self._pointer(name), moment, place, channel)

    def _products(self, product: Product) -> None:
        with ExitStack() as stack:
            if product.groups > 1:
                stack.enter_context(self._loop("group", product.groups))
            if product.words:
                self._gather(product)
            if product.groups > 1:
                first = f"group * {product.outputs}"
                stack.enter_context(
                    self._lines.block(f"for (int32_t c = {first}; c < {first} + {product.outputs}; c++)")
                )
            else:
                stack.enter_context(self._loop("c", product.outputs))
            folded = self._folds(product)
            bias = "" if folded or not product.bias.any() else self._table("bias", product.bias)

            def computed(moment: str, place: str) -> str:
                patch = self._patch(product, moment) if product.words else self._pointer(self._stage.sources[0])
                number = product.number(patch, "c")
                return f"{self._prefix}_int({f'(uint32_t){bias}[c] + ' if bias else ''}{number})"

            self._numbers(computed)

    def _folds(self, product: Product) -> bool:
        """True if the bias becomes part of the first threshold."""
        first = self._stage.inner[:1]
        if not first or not isinstance(first[0].operation, Threshold):
            return False
        value = self._values[first[0].operation.inputs[0]]
        return bool((np.abs(product.bias) + max(abs(value.low), abs(value.high)) < 2**30).all())

    def _patch(self, product: Product, moment: str) -> str:
        taps = self._kernel[0] * self._kernel[1]
        terms = [
            (moment if self._timed else "0", taps * product.words),
            ("i" if self._kernel[0] > 1 else "0", self._kernel[1] * product.words),
            ("j" if self._kernel[1] > 1 else "0", product.words),
        ]
        offset = indexed(*terms)
        return "patch" if offset == "0" else f"(patch + {offset})"

    def _gather(self, product: Product) -> None:
        source = self._stage.sources[0]
        with ExitStack() as stack:
            if self._timed:
                stack.enter_context(self._loop("t", self._moments))
            row, column = self._taps(stack, placed=True)
            pointer = self._pointer(source)
            pointer = f"{pointer} + t * {self._source.moment}" if self._timed else pointer
            self._lines.add(product.gather(pointer, row, column, "group", self._patch(product, "t")))

    def _taps(self, stack: ExitStack, *, placed: bool) -> tuple[str, str]:
        """Loops over the places of the pool, if there is one; returns the expressions of row and column if they are needed."""
        names = ["row" if self._grid[0] > 1 else "0", "column" if self._grid[1] > 1 else "0"]
        pool = self._stage.pool
        if pool is None:
            return names[0], names[1]
        stride = planar(pool.stride, 1)
        padding = planar(pool.padding, 0) if isinstance(pool, MaxPool) else (0, 0)
        dilation = planar(pool.dilation, 1) if isinstance(pool, MaxPool) else (1, 1)
        found: list[str] = []
        for axis, (variable, name) in enumerate(zip("ij", ("y", "z"), strict=True)):
            if self._sizes[axis] == 1 and self._kernel[axis] == 1:
                found.append("0")
                continue
            if self._kernel[axis] > 1:
                stack.enter_context(self._loop(variable, self._kernel[axis]))
            terms = [(names[axis], stride[axis]), (variable if self._kernel[axis] > 1 else "0", dilation[axis])]
            if padding[axis]:
                self._lines.add(f"const int32_t {name} = {indexed(*terms)} - {padding[axis]};")
                self._lines.add(f"if ({name} < 0 || {name} >= {self._sizes[axis]}) continue;")
            elif placed:
                self._lines.add(f"const int32_t {name} = {indexed(*terms)};")
            found.append(name)
        return found[0], found[1]

    # What happens to the numbers of one channel at one place.

    def _numbers(self, read: Any) -> None:
        """Read a number, or all of its time steps, send it through the chain and store it."""
        stage, lines = self._stage, self._lines
        head, tail = (stage.inner, stage.outer) if stage.pool is not None else ([], stage.inner)
        early = self._timed or any(self._opens(link) for link in head)
        start = next((index for index, link in enumerate(tail) if self._opens(link)), None)
        times = self._moments
        for link in (*head, *tail):
            times = max(times, self._times(link.operation.output), self._times(link.other) if link.other else 0)
        for index, link in enumerate(tail):
            if isinstance(link.operation, Lif):
                lines.add(f"int32_t potential{index} = 0, fired{index} = 0;")
            if isinstance(link.operation, SumTime):
                lines.add("int32_t total = 0;")
        moments = ExitStack()
        moment, number = "0", "v"
        if early:
            moments.enter_context(self._loop("t", times))
            moment = "t"
        self._head(read, moment, head)
        for index, link in enumerate(tail):
            if not early and index == start:
                moments.enter_context(self._loop("t", times))
                lines.add("int32_t u = v;")
                moment, number = "t", "u"
            if isinstance(link.operation, SumTime):
                lines.add(f"total += {number};")
                moments.close()
                if early:
                    lines.add("int32_t v = total;")
                else:
                    lines.add("v = total;")
                moment, number = "0", "v"
                continue
            raw = index == len(tail) - 1 and self._result is not None and self._result.kind == "bits"
            self._link(link, number, moment, self._place(), raw=raw, index=index)
        self._store(number, moment, raw=bool(tail) and isinstance(tail[-1].operation, (Threshold, Lif)))
        moments.close()

    def _opens(self, link: Link) -> bool:
        """True for an operation that has a result at each time step even if its input has not."""
        return isinstance(link.operation, Lif) or (link.other is not None and self._times(link.other) > 0)

    def _head(self, read: Any, moment: str, head: list[Link]) -> None:
        """Declare ``v``: the number that is read, or the pool of those in a window."""
        lines, pool = self._lines, self._stage.pool
        if pool is None:
            lines.add(f"int32_t v = {read(moment, self._place())};")
            return
        largest = isinstance(pool, MaxPool)
        least = pool.least if isinstance(pool, MaxPool) else None
        lines.add(f"int32_t v = {'-2147483647' if largest else '0'};")
        table = "" if least is None or not least.any() else self._table("least", least)
        with ExitStack() as stack:
            placed = self._product is None or any(link.other is not None for link in head)
            row, column = self._taps(stack, placed=placed)
            if self._kernel == (1, 1):
                stack.enter_context(lines.block(""))
            place = self._in_grid(row, column, self._sizes)
            lines.add(f"int32_t w = {read(moment, place)};")
            for index, link in enumerate(head):
                self._link(link, "w", moment, place, raw=False, index=index)
            if table:
                lines.add(f"if ({table}[c]) w = -w;")
            lines.add("if (w > v) v = w;" if largest else "v += w;")
        if table:
            lines.add(f"if ({table}[c]) v = -v;")

    def _link(self, link: Link, v: str, moment: str, place: str, *, raw: bool, index: int) -> None:
        operation, lines = link.operation, self._lines
        if isinstance(operation, Threshold):
            self._threshold(operation, v, raw=raw, first=link is (self._stage.inner or [None])[0])
        elif isinstance(operation, Affine):
            factor = (
                "" if (operation.factor == 1).all() else f"(uint32_t){self._table('factor', operation.factor)}[c] * "
            )
            offset = f" + (uint32_t){self._table('offset', operation.offset)}[c]" if operation.offset.any() else ""
            lines.add(f"{v} = {self._prefix}_int({factor}(uint32_t){v}{offset});")
        elif isinstance(operation, Prelu):
            slope = self._channel("slope", operation.slope)
            lines.add(f"if ({v} < 0) {v} = (int32_t){self._shifted(f'(int64_t){slope} * {v}', operation.shift)};")
        elif isinstance(operation, Relu):
            lines.add(f"if ({v} < 0) {v} = 0;")
        elif isinstance(operation, Rescale):
            factor = self._channel("factor", operation.factor)
            lines.add(
                f"{v} = {self._prefix}_clip({self._shifted(f'(int64_t){factor} * {v}', operation.shift)}, "
                f"{operation.low}, {operation.high});"
            )
        elif isinstance(operation, Add):
            assert link.other is not None
            lines.add(f"{v} += {self._read(link.other, moment, place, 'c')};")
        elif isinstance(operation, Lif):
            self._lif(operation, v, index)

    def _channel(self, what: str, numbers: Array) -> str:
        """Expression of a number of each channel, a constant if all have the same."""
        if (numbers == numbers[0]).all():
            return f"({int(numbers[0])})"
        return f"{self._table(what, numbers)}[c]"

    def _shifted(self, number: str, shift: int) -> str:
        return f"{self._prefix}_shift({number}, {shift})" if shift else f"({number})"

    def _threshold(self, operation: Threshold, v: str, *, raw: bool, first: bool) -> None:
        lines = self._lines
        value = self._values[operation.inputs[0]]
        down = operation.direction < 0
        levels = operation.thresholds.astype(np.int64)
        # x <= t is not x >= t + 1; beyond the range all thresholds are the same.
        levels = np.clip(np.where(down, levels + 1, levels), value.low, value.high + 1)
        if first and self._product is not None and self._folds(self._product):
            levels = levels - self._product.bias
        table = self._table("thresholds", levels)
        flips = ""
        if down.any() and not down.all():
            flips = f"({self._table('falling', np.packbits(down, bitorder='little'))}[c >> 3] >> (c & 7) & 1)"
        if len(levels) == 1:
            turned = f" ^ {flips}" if flips else ""
            lines.add(f"{v} = ({v} {'<' if down.all() else '>='} {table}[c]){turned};")
        else:
            with lines.block(""):
                lines.add("int32_t k = 0;")
                lines.add(
                    f"for (int32_t level = 0; level < {len(levels)}; level++) "
                    f"k += {v} {'<' if down.all() else '>='} {table}[level * {levels.shape[1]} + c];"
                )
                lines.add(f"{v} = {f'{flips} ? {len(levels)} - k : k' if flips else 'k'};")
        if not raw and (operation.low, operation.step) != (0, 1):
            lines.add(f"{v} = {operation.low} + {operation.step} * {v};")

    def _lif(self, operation: Lif, v: str, index: int) -> None:
        lines, potential, fired = self._lines, f"potential{index}", f"fired{index}"
        threshold = int(operation.threshold)
        reset = {"subtract": f"if ({fired}) {potential} -= {threshold};", "zero": f"if ({fired}) {potential} = 0;"}
        resets = [reset[operation.reset]] if operation.reset in reset else []
        if not (operation.beta == 2**operation.shift).all():
            product = f"(int64_t){self._channel('beta', operation.beta)} * {potential}"
            lines.add(f"{potential} = (int32_t){self._shifted(product, operation.shift)};")
        if operation.delay_reset:
            lines.add(*resets)
        lines.add(
            f"{potential} += {v};", f"{fired} = {potential} {'>=' if operation.at_threshold else '>'} {threshold};"
        )
        if not operation.delay_reset:
            lines.add(*resets)
        lines.add(f"{v} = {fired};")

    def _store(self, v: str, moment: str, *, raw: bool) -> None:
        place = self._place()
        result, channel = self._result, "c"
        if result is None:
            places = self._grid[0] * self._grid[1]
            self._lines.add(f"out[{indexed(('c', places), (place, 1))}] = {v};")
            return
        if self._stage.flat:
            channel = f"({indexed(('c', self._grid[0] * self._grid[1]), (place, 1))})"
            place = "0"
        if result.kind == "bits" and not raw:
            v = f"({v} > {result.low})"
        self._lines.add(result.write(self._prefix, "out", moment, place, channel, v))
