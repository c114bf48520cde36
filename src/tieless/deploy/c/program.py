"""Packed networks as C programs: a header and a source in C99 that compute what ``tieless_runtime.evaluate`` does."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from tieless_runtime import Network
from tieless_runtime.network import INPUT
from tieless_runtime.operations import Quantise

from tieless._files import write_whole
from tieless.deploy.c.helpers import called
from tieless.deploy.c.layouts import Layout, layout_of, planar
from tieless.deploy.c.memory import Buffer, placed
from tieless.deploy.c.plan import Plan, Stage
from tieless.deploy.c.stages import StageWriter
from tieless.deploy.c.tables import Tables
from tieless.deploy.networks import checked
from tieless.errors import DeployError

_TAKEN = ("stdint", "string")
"""Names whose files a program includes."""


LARGEST_SAMPLE = float(np.finfo(np.float32).max)
"""Largest finite number of float32, which samples are."""


@dataclass(frozen=True)
class CProgram:
    """Packed network in C99.

    Args:
        name: Prefix of all its names, and the name of its files.
        header, source: Text of ``NAME.h`` and ``NAME.c``.
        tables: Bytes of its constants.
        scratch: Bytes of its working memory.
    Example:
        >>> from tieless.deploy import pack, to_c
        >>> from tieless.models import BinaryMLP
        >>> packed = pack(BinaryMLP(16, (32,), 4), torch.rand(8, 16), ends="int8")
        >>> program = to_c(packed.network, "tiny")
        >>> program.tables, program.scratch
        (132, 24)
        >>> "int32_t tiny_classify(const uint8_t *input);" in program.header
        True
    """

    name: str
    header: str
    source: str
    tables: int
    scratch: int

    def save(self, folder: str | os.PathLike[str]) -> tuple[Path, Path]:
        """Write header and source.

        Args:
            folder: Folder, which is made if it does not exist. Files of the same names are replaced.
        Returns:
            Paths of header and source.
        """
        to = Path(folder)
        to.mkdir(parents=True, exist_ok=True)
        header, source = to / f"{self.name}.h", to / f"{self.name}.c"
        write_whole(header, self.header.encode("ascii"))
        write_whole(source, self.source.encode("ascii"))
        return header, source


def to_c(network: Network, name: str, *, pixel: tuple[float, float] | None = None) -> CProgram:
    """Translate a packed network into C99: integers alone, no allocation, no library but ``string.h``.

    The scores are those of ``tieless_runtime.evaluate``, number for number.

    Args:
        network: Network whose values are all integers, as ``pack(model, example, ends="int8")`` makes it.
        name: Prefix of all names in the program: letters, digits and underscores.
        pixel: Factor and offset by which a byte of the input becomes the sample that the network takes, as in ``(1 / 255, 0)``.
            ``None`` takes the network's own integers: a byte is that integer less the smallest.
    Raises:
        DeployError: a layer computes in float32, the name is no name in C, or the samples of ``pixel`` are not finite, or all
            the same.
    """
    checked(network, "to_c")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,40}", name) or name in _TAKEN:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeployError(
            f"The name of a C program has up to 41 letters, digits and underscores and begins with a letter, got {name!r}."
        )
    return _Program(network, name, None if pixel is None else _samples(pixel)).program()


def _samples(pixel: object) -> tuple[float, float]:
    """Factor and offset by which bytes become samples that differ."""
    try:
        factor, offset = map(float, cast("tuple[float, float]", pixel))
    except (TypeError, ValueError):
        factor, offset = 0.0, 0.0
    if not (factor != 0 and 255 * abs(factor) + abs(offset) <= LARGEST_SAMPLE):
        raise DeployError(
            f"A byte stands for byte * FACTOR + OFFSET, numbers that float32 holds, with a FACTOR other than 0; got {pixel!r}."
        )
    return factor, offset


def name_in_c(text: str) -> str:
    """Name in C that is like a text, such as the name of a file."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", text)[:36].strip("_")
    return name if name[:1].isalpha() and name not in _TAKEN else f"net_{name}".strip("_")


def _shifted_byte(low: int) -> str:
    return f"(byte {'-' if low < 0 else '+'} {abs(low)})" if low else "byte"


def _comment(text: str) -> str:
    """Text that is safe in a comment: a file may come from anyone."""
    kept = re.sub(r"[^A-Za-z0-9_. ,\-]", "_", text)
    return kept if len(kept) <= 100 else f"{kept[:97]}..."


class _Program:
    def __init__(self, network: Network, name: str, pixel: tuple[float, float] | None) -> None:
        self._network = network
        self._name = name
        self._pixel = pixel
        self._plan = Plan(network)
        self._tables = Tables()
        self._inputs: dict[float, str] = {}
        self._layouts: dict[str, Layout] = {}
        self._writers = [self._writer(index, stage) for index, stage in enumerate(self._plan.stages)]

    def _writer(self, index: int, stage: Stage) -> StageWriter:
        taken = {name: self._layout(name) for name in [*stage.sources, *stage.others]}
        last = index == len(self._plan.stages) - 1
        if not last:
            self._layouts[stage.output] = layout_of(self._network.values[stage.output])
        result = None if last else self._layouts[stage.output]
        return StageWriter(self._name, f"{self._name}_{index}", stage, self._network, taken, result, self._tables)

    # The input.

    def _layout(self, name: str) -> Layout:
        view = self._plan.view(name)
        layout = self._layouts[view.base] if view.base != INPUT else self._input_layout(name, view.quantise)
        return layout.flattened() if view.flat else layout

    def _input_layout(self, name: str, quantise: Quantise | None) -> Layout:
        shape = self._network.shape
        height, width = planar(shape[1:], 1)
        layout = Layout("u8", shape[0], height, width, place=1, channel=height * width)
        assert quantise is not None
        if self._pixel is None:
            if quantise.high - quantise.low > 255:
                raise DeployError(
                    f"{quantise.name or name} takes integers from {quantise.low} to {quantise.high}, which no byte holds: "
                    f"say by a factor and an offset what a byte of the input stands for."
                )
            self._inputs[quantise.scale] = f"{_shifted_byte(quantise.low)} * {quantise.scale:.9g}"
            return replace(layout, low=quantise.low)
        factor, offset = self._pixel
        samples = (np.arange(256) * factor + offset).astype(np.float32)
        with np.errstate(over="ignore"):
            numbers = np.clip(np.rint(samples / np.float32(quantise.scale)), quantise.low, quantise.high).astype(
                np.int64
            )
        self._inputs[quantise.scale] = f"byte * {factor:.9g} + {offset:.9g}"
        if (numbers == np.arange(256) + quantise.low).all():
            return replace(layout, low=quantise.low)
        table = self._tables.integers(f"{self._name}_input_{len(self._inputs)}", numbers)
        return replace(layout, table=table)

    # The memory.

    def _merged(self) -> dict[str, str]:
        """Buffer of each stored value: its own, or that of a value which it replaces number by number."""
        ends = self._ends()
        homes: dict[str, str] = {}
        for index, (stage, writer) in enumerate(zip(self._plan.stages[:-1], self._writers[:-1], strict=True)):
            homes[stage.output] = stage.output
            if stage.flat or self._layouts[stage.output].kind == "bits":
                continue
            links = stage.outer if stage.pool else stage.inner
            same = [link.other for link in links if link.other is not None]
            if stage.product is None and stage.pool is None and len(stage.sources) == 1:
                same += stage.sources
            for name in same:
                base = self._plan.view(name).base
                reads = [self._plan.view(each).base for each in [*stage.sources, *stage.others]]
                if (
                    base in self._layouts
                    and ends[base] == index
                    and reads.count(base) == 1
                    and self._layout(name).alike == self._layouts[stage.output].alike
                ):
                    homes[stage.output] = homes[base]
                    break
            del writer
        return homes

    def _ends(self) -> dict[str, int]:
        """Index of the stage that takes each stored value last."""
        return {
            self._plan.view(name).base: index
            for index, stage in enumerate(self._plan.stages)
            for name in [*stage.sources, *stage.others]
        }

    def _memory(self) -> tuple[dict[str, int], int]:
        """Offset of each stored value and of each stage's working memory, and bytes of all."""
        ends, homes = self._ends(), self._merged()
        lives: dict[str, Buffer] = {}
        for index, (stage, writer) in enumerate(zip(self._plan.stages, self._writers, strict=True)):
            if stage.output in homes:
                home, end = homes[stage.output], ends.get(stage.output, index)
                size = -(-self._layouts[stage.output].size // 4) * 4
                lives[home] = replace(lives[home], last=end) if home in lives else Buffer(home, size, index, end)
            if writer.scratch:
                lives[f"/{index}"] = Buffer(f"/{index}", writer.scratch, index, index)
        offsets, size = placed(list(lives.values()))
        return {**offsets, **{name: offsets[home] for name, home in homes.items()}}, size

    # The text.

    def program(self) -> CProgram:
        functions = [writer.function() for writer in self._writers]
        offsets, scratch = self._memory()
        code = "\n\n".join(
            f"/* {_comment(', '.join(stage.names))} */\n{function}"
            for stage, function in zip(self._plan.stages, functions, strict=True)
        )
        run = self._run(offsets, scratch)
        helpers = called(self._name, code)
        popcount = _POPCOUNT.replace("@", self._name) if f"{self._name}_POPCOUNT" in helpers else ""
        parts = [f'#include "{self._name}.h"\n\n#include <string.h>', popcount, str(self._tables), helpers, code, run]
        source = "\n\n".join(part for part in parts if part) + "\n"
        return CProgram(self._name, self._header(scratch), source, self._tables.size, scratch)

    def _run(self, offsets: dict[str, int], scratch: int) -> str:
        calls: list[str] = []
        for index, (stage, writer) in enumerate(zip(self._plan.stages, self._writers, strict=True)):
            pointers: dict[str, str] = {}
            for name in writer.arguments:
                base = self._plan.view(name).base
                pointers[name] = "input" if base == INPUT else _sum("memory", offsets[base])
            out = "scores" if writer is self._writers[-1] else _sum("memory", offsets[stage.output])
            patch = _sum("scratch", offsets.get(f"/{index}", 0) // 4)
            calls.append(f"    {writer.call(pointers, out, patch)}")
        body = "\n".join(calls)
        memory = "    uint8_t *const memory = (uint8_t *)scratch;\n" if "memory" in body else ""
        unused = "" if "scratch" in memory + body else "    (void)scratch;\n"
        return _RUN.format(name=self._name, memory=memory, unused=unused, body=body, words=max(1, scratch // 4)) + (
            _CLASSIFY.format(name=self._name, words=max(1, scratch // 4), count=self._count) if self._classes else ""
        )

    @property
    def _count(self) -> int:
        return self._network.values[self._network.output].size

    @property
    def _classes(self) -> bool:
        return len(self._network.values[self._network.output].shape) == 1

    def _header(self, scratch: int) -> str:
        shape = self._network.shape
        axes = ("channels", "rows", "columns") if len(shape) == 3 else ("channels", "places")
        sizes = " x ".join(map(str, shape))
        where = (
            ""
            if len(shape) == 1
            else f", {axes[0]} first: the bytes of one channel lie together, row by row"
            if len(shape) == 3
            else ", channels first"
        )
        stands = "; ".join(dict.fromkeys(self._inputs.values())) or "itself"
        scale = self._network.score_scale
        return _HEADER.format(
            name=self._name,
            upper=self._name.upper(),
            tables=self._tables.size,
            scratch=scratch,
            words=max(1, scratch // 4),
            inputs=int(np.prod(shape)),
            sizes=sizes,
            where=where,
            stands=stands,
            count=self._count,
            scores=f"times {scale:.9g}, they are the model's" if scale != 1 else "they are the model's",
            classify=_CLASSIFY_HEADER.format(name=self._name) if self._classes else "",
        )


def _sum(pointer: str, offset: int) -> str:
    return f"{pointer} + {offset}" if offset else pointer


_POPCOUNT = """\
/* Targets with an instruction that counts bits. */
#if defined(__GNUC__) && (defined(__POPCNT__) || defined(__aarch64__) || defined(__riscv_zbb))
#define @_POPCOUNT
#endif"""

_RUN = """\
void {name}_run_with(uint32_t *scratch, const uint8_t *input, int32_t *scores)
{{
{memory}{unused}{body}
}}

#ifndef {name}_NO_BUFFER
static uint32_t {name}_buffer[{words}];

void {name}_run(const uint8_t *input, int32_t *scores)
{{
    {name}_run_with({name}_buffer, input, scores);
}}
#endif"""

_CLASSIFY = """

int32_t {name}_classify_with(uint32_t *scratch, const uint8_t *input)
{{
    int32_t scores[{count}];
    int32_t best = 0;
    {name}_run_with(scratch, input, scores);
    for (int32_t i = 1; i < {count}; i++) {{
        if (scores[i] > scores[best]) best = i;
    }}
    return best;
}}

#ifndef {name}_NO_BUFFER
int32_t {name}_classify(const uint8_t *input)
{{
    return {name}_classify_with({name}_buffer, input);
}}
#endif"""

_CLASSIFY_HEADER = """
/* Index of the largest score, the first of several. */
int32_t {name}_classify_with(uint32_t *scratch, const uint8_t *input);
#ifndef {name}_NO_BUFFER
int32_t {name}_classify(const uint8_t *input);
#endif
"""

_HEADER = """\
/* Network in integers, written by tieless.

   Flash: {tables} bytes of tables, and the code.
   RAM: {scratch} bytes of scratch, and the stack.

   Input: {inputs} bytes, {sizes}{where}.
   A byte stands for the sample {stands}.
   Scores: {count} integers; {scores}. */

#ifndef {upper}_H
#define {upper}_H

#include <stdint.h>

#define {upper}_INPUTS {inputs}
#define {upper}_SCORES {count}
#define {upper}_SCRATCH {words} /* words of 32 bits */

#ifdef __cplusplus
extern "C" {{
#endif

/* Scores of one sample. The scratch has {upper}_SCRATCH words, and nothing in it outlives the call. */
void {name}_run_with(uint32_t *scratch, const uint8_t *input, int32_t *scores);

/* The same in a buffer of its own; define {name}_NO_BUFFER for a program without it. */
#ifndef {name}_NO_BUFFER
void {name}_run(const uint8_t *input, int32_t *scores);
#endif
{classify}
#ifdef __cplusplus
}}
#endif

#endif
"""
