"""Products of bits, a tile at a time: a few rows of activations times a few blocks of eight columns of weights.

Weights of eight columns lie beside each other in a vector of 64-bit words, and one word of the activations is repeated in all
lanes, so nothing is summed across lanes. A tile keeps all its counts in registers.

- ``"avx512"``: 4 rows x 4 vectors of 8 words, counted by ``llvm.ctpop.v8i64``: one instruction, VPOPCNTQ, where the CPU has it.
- ``"avx2"``: 2 rows x 8 columns in vectors of 4 words; halves of bytes are counted by a shuffle, bytes summed for 31 words.
- ``"plain"``: 1 row x 8 columns, ``llvm.ctpop.i64``: any CPU that LLVM knows.

A tile reads its arguments from a frame of 64-bit integers, whose places are named below.
"""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (numba and llvmlite have no types)

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.extending import NativeValue, intrinsic, register_model, typeof_impl, unbox

I8, I16, I32, I64 = (ir.IntType(width) for width in (8, 16, 32, 64))

ROWS = {"avx512": 4, "avx2": 2, "plain": 1}
"""Rows of a tile."""

# Places in a frame. Addresses are of the first row, the others follow; each is of the tile's first column.
ROW, LEVEL, OUT = 0, 4, 8
WEIGHTS, BLOCK, WORDS, OFFSETS, PAIRS, TABLE, FLIPS = range(12, 19)
FRAME = 19


class _Path:
    """Vectors of a path: type of the counts of eight columns, and how words are counted."""

    def __init__(self, builder: ir.IRBuilder, lanes: int) -> None:
        self.builder = builder
        self.lanes = lanes
        self.parts = 8 // lanes
        self.vector = ir.VectorType(I64, lanes) if lanes > 1 else I64

    def call(self, name, result, *arguments):
        function = self.builder.module.declare_intrinsic(
            name, fnty=ir.FunctionType(result, [a.type for a in arguments])
        )
        return self.builder.call(function, arguments)

    def constant(self, value):
        return ir.Constant(self.vector, [value] * self.lanes) if self.lanes > 1 else ir.Constant(I64, value)

    def everywhere(self, value):
        if self.lanes == 1:
            return value
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(
            first, undefined, ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        )

    def load(self, address, kind=None):
        kind = kind or self.vector
        found = self.builder.load(self.builder.inttoptr(address, kind.as_pointer()))
        found.align = 8
        return found

    def store(self, value, address):
        stored = self.builder.store(value, self.builder.inttoptr(address, value.type.as_pointer()))
        stored.align = 1


def _counted(path, x):
    if path.lanes == 1:
        return path.call("llvm.ctpop.i64", I64, x)
    return path.call(f"llvm.ctpop.v{path.lanes}i64", path.vector, x)


class _Shuffled:
    """Counting of bits by a shuffle: the number of bits of each half of a byte is looked up."""

    LONGEST = 31
    """Number of words whose counts, 8 a byte at most, fit into a byte."""

    def __init__(self, path: _Path) -> None:
        self.path = path
        self.bytes = ir.VectorType(I8, 32)
        self.table = ir.Constant(self.bytes, [(half % 16).bit_count() for half in range(32)])
        self.low = ir.Constant(self.bytes, [15] * 32)

    def bytes_of(self, x):
        builder, path = self.path.builder, self.path
        high = builder.bitcast(builder.lshr(x, path.constant(4)), self.bytes)
        halves = (builder.and_(builder.bitcast(x, self.bytes), self.low), builder.and_(high, self.low))
        counts = [path.call("llvm.x86.avx2.pshuf.b", self.bytes, self.table, half) for half in halves]
        return builder.add(*counts)

    def words_of(self, counts):
        return self.path.call("llvm.x86.avx2.psad.bw", self.path.vector, counts, ir.Constant(self.bytes, [0] * 32))


@dataclass(frozen=True)
class Choice:
    """Choice of a compiled function, given to it as its first argument.

    Args:
        path: Name of the path.
    """

    path: str


@dataclass(frozen=True)
class Variant(Choice):
    """Choice of a product of bits.

    Args:
        path: Name of the path.
        xor: True to count the bits in which weights and activations differ, False those that both have.
        bits: True to store one bit a column, ``level >= count`` turned by the flips; False to store ``level + count``
            as int32.
        single: True if there is one pair of planes; False to add up pairs. Each count is shifted and has a sign, but one
            whose bits are asked for.
    """

    xor: bool
    bits: bool
    single: bool


class ChoiceType(types.Type):
    """Type of a ``Choice``, which a function is compiled for. The sources are in its name: it is the key on disk."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        super().__init__(f"{choice}, {sources()}")


register_model(ChoiceType)(models.OpaqueModel)


@cache
def sources() -> str:
    """Digest of what is compiled: Numba looks at the file of a function alone."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@typeof_impl.register(Choice)
def _type_of(value, _context):
    return ChoiceType(value)


@unbox(ChoiceType)
def _unbox(_kind, _value, context):
    return NativeValue(context.context.get_dummy_value())


def compiled(kernel: Any, choice: Choice, *kinds: Any) -> Any:
    """Entry of a kernel for a choice and types: what Numba's own call of it would find, which takes longer than a small product."""
    return kernel.compile((ChoiceType(choice), *kinds))


WIDE = {"avx512": 4, "avx2": 1, "plain": 1}
"""Blocks of eight columns of the largest tile."""


def _tile(wide):
    @intrinsic
    def tile(_context, variant, frame):
        choice = variant.choice
        lanes = {"avx512": 8, "avx2": 4, "plain": 1}[choice.path]
        blocks = WIDE[choice.path] if wide else 1

        def lower(_context, builder, _sig, args):
            path = _Path(builder, lanes)
            emitter = _Emitter(path, args[1], ROWS[choice.path], blocks, xor=choice.xor, shuffled=choice.path == "avx2")
            totals = emitter.single() if choice.single else emitter.pairs()
            if choice.single and not choice.bits:
                totals = emitter.scaled(totals, emitter.argument(TABLE))
            (emitter.store_bits if choice.bits else emitter.store_sums)(totals)
            return ir.Constant(I64, 0)

        return types.int64(variant, types.int64), lower

    return tile


wide_tile, narrow_tile = _tile(wide=True), _tile(wide=False)


@intrinsic
def shape_of(_context, variant):
    """Rows of a tile, blocks of a wide one, and bits of a result, of a variant."""
    choice = variant.choice
    numbers = (ROWS[choice.path], WIDE[choice.path], 1 if choice.bits else 32)

    def lower(context, builder, sig, _args):
        return context.make_tuple(builder, sig.return_type, [ir.Constant(I64, number) for number in numbers])

    return types.UniTuple(types.int64, 3)(variant), lower


class _Emitter:
    def __init__(self, path, frame, rows, blocks, *, xor, shuffled) -> None:
        self.path, self.builder, self.frame = path, path.builder, frame
        self.rows, self.blocks, self.xor = rows, blocks, xor
        self.shuffled = _Shuffled(path) if shuffled else None
        self.places = [(row, part) for row in range(rows) for part in range(blocks * path.parts)]

    def argument(self, place):
        address = self.builder.add(self.frame, ir.Constant(I64, 8 * place))
        return self.builder.load(self.builder.inttoptr(address, I64.as_pointer()))

    def fresh(self, kind=None):
        """Counts of the tile's places in memory, which LLVM keeps in registers."""
        kind = kind or self.path.vector
        return [cgutils.alloca_once_value(self.builder, ir.Constant(kind, None)) for _ in self.places]

    def clear(self, counts):
        for count in counts:
            self.builder.store(ir.Constant(count.type.pointee, None), count)

    def add_to(self, counts, values):
        for count, value in zip(counts, values, strict=True):
            self.builder.store(self.builder.add(self.builder.load(count), value), count)

    def mixed(self, rows, weights, block, word):
        """Words of the tile's places: weights and activations, joined."""
        builder, path = self.builder, self.path
        place = builder.add(self.argument(OFFSETS), builder.shl(word, ir.Constant(I64, 3)))
        offset = path.load(place, I64)
        columns = builder.add(weights, builder.shl(word, ir.Constant(I64, 6)))
        vectors = []
        for number in range(self.blocks):
            base = builder.add(columns, builder.mul(block, ir.Constant(I64, number)))
            vectors += [
                path.load(builder.add(base, ir.Constant(I64, 8 * path.lanes * part))) for part in range(path.parts)
            ]
        join = builder.xor if self.xor else builder.and_
        for row in rows:
            word_ = path.everywhere(path.load(builder.add(row, offset), I64))
            for vector in vectors:
                yield join(word_, vector)

    def count(self, counts, rows, weights):
        """Add the counts of all words of a pair of planes."""
        builder = self.builder
        block, words = self.argument(BLOCK), self.argument(WORDS)
        if self.shuffled is None:
            with cgutils.for_range(builder, words) as loop:
                self.add_to(counts, [_counted(self.path, x) for x in self.mixed(rows, weights, block, loop.index)])
            return
        longest = ir.Constant(I64, _Shuffled.LONGEST)
        sections = builder.udiv(builder.add(words, ir.Constant(I64, _Shuffled.LONGEST - 1)), longest)
        bytes_ = self.fresh(self.shuffled.bytes)
        with cgutils.for_range(builder, sections) as outer:
            self.clear(bytes_)
            first = builder.mul(outer.index, longest)
            left = builder.sub(words, first)
            length = builder.select(builder.icmp_signed("<", left, longest), left, longest)
            with cgutils.for_range(builder, length) as loop:
                word = builder.add(first, loop.index)
                self.add_to(bytes_, [self.shuffled.bytes_of(x) for x in self.mixed(rows, weights, block, word)])
            self.add_to(counts, [self.shuffled.words_of(builder.load(each)) for each in bytes_])

    def single(self):
        counts = self.fresh()
        self.clear(counts)
        self.count(counts, [self.argument(ROW + row) for row in range(self.rows)], self.argument(WEIGHTS))
        return [self.builder.load(count) for count in counts]

    def scaled(self, counts, row):
        """Counts, shifted and with the sign of a row of the table."""
        builder, path = self.builder, self.path
        shift, sign = (
            path.everywhere(path.load(builder.add(row, ir.Constant(I64, 8 * place)), I64)) for place in (2, 3)
        )
        return [builder.sub(builder.xor(builder.shl(count, shift), sign), sign) for count in counts]

    def pairs(self):
        """Sum over pairs of planes. A row of the table: bytes to the planes of weights and activations, shift, sign."""
        builder, path = self.builder, self.path
        totals, counts = self.fresh(), self.fresh()
        self.clear(totals)
        table = self.argument(TABLE)
        with cgutils.for_range(builder, self.argument(PAIRS)) as loop:
            row = builder.add(table, builder.mul(loop.index, ir.Constant(I64, 32)))
            weights, acts = (path.load(builder.add(row, ir.Constant(I64, 8 * place)), I64) for place in range(2))
            self.clear(counts)
            rows = [builder.add(self.argument(ROW + number), acts) for number in range(self.rows)]
            self.count(counts, rows, builder.add(self.argument(WEIGHTS), weights))
            self.add_to(totals, self.scaled([builder.load(count) for count in counts], row))
        return [builder.load(total) for total in totals]

    def levels(self, row):
        base = self.argument(LEVEL + row)
        return [
            self.path.load(self.builder.add(base, ir.Constant(I64, 8 * self.path.lanes * part)))
            for part in range(self.blocks * self.path.parts)
        ]

    def of_row(self, totals, row):
        width = self.blocks * self.path.parts
        return totals[row * width : (row + 1) * width]

    def store_bits(self, totals):
        builder, path = self.builder, self.path
        flips = self.argument(FLIPS)
        for row in range(self.rows):
            met = [
                builder.icmp_signed(">=", *each)
                for each in zip(self.levels(row), self.of_row(totals, row), strict=True)
            ]
            for block in range(self.blocks):
                byte = ir.Constant(I8, 0)
                for part, mask in enumerate(met[block * path.parts : (block + 1) * path.parts]):
                    some = mask if path.lanes == 1 else builder.bitcast(mask, ir.IntType(path.lanes))
                    wide = some if path.lanes == 8 else builder.zext(some, I8)
                    byte = builder.or_(byte, builder.shl(wide, ir.Constant(I8, path.lanes * part)))
                place = ir.Constant(I64, block)
                flip = path.load(builder.add(flips, place), I8)
                flip.align = 1
                path.store(builder.xor(byte, flip), builder.add(self.argument(OUT + row), place))

    def store_sums(self, totals):
        builder, path = self.builder, self.path
        kind = ir.VectorType(I32, path.lanes) if path.lanes > 1 else I32
        for row in range(self.rows):
            sums = [builder.add(*each) for each in zip(self.levels(row), self.of_row(totals, row), strict=True)]
            for part, value in enumerate(sums):
                address = builder.add(self.argument(OUT + row), ir.Constant(I64, 4 * path.lanes * part))
                path.store(builder.trunc(value, kind), address)
