"""Products of bytes with weights of 8 bits over tiles, whose sums of 32 bits stay in registers.

Numbers of more than 8 bits are several planes of bytes, the lowest first: sums are shifted from plane to plane. What goes beyond
32 bits on the way comes back, as the result has 32. Four numbers at a time meet those of 16 columns, by the path:

- ``"avx512"``: VPDPBUSD, four products of bytes added up at once.
- ``"avx2"``: VPMADDWD, two products of 16 bits added up at once.
- ``"plain"``: one after the other, for any CPU that LLVM knows.
"""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (numba and llvmlite have no types)
# ruff: noqa: C901  (loops over rows and vectors, unrolled)

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from tieless_runtime.kernels.places import following

I8, I16, I32, I64 = (ir.IntType(width) for width in (8, 16, 32, 64))
GROUP = 4
"""Numbers of a row that are multiplied at a time."""
TOGETHER = {"avx512": 4, "avx2": 2, "plain": 1}
"""Numbers whose products one instruction adds up; as many weights of a column lie beside each other."""
SHAPES = {"avx512": (4, 4), "avx2": (2, 1), "plain": (2, 1)}
"""Rows and blocks of 16 columns of a tile."""
# Places in a frame.
ROW, OUT = 0, 4
WEIGHTS, BLOCK, COUNT, OFFSETS, PLANES, PLANE, BIAS = range(8, 15)
FRAME = 15


def _vector(kind, lanes):
    return ir.VectorType(kind, lanes)


class _Dot:
    """Four numbers of a row times those of 16 columns, added to sums, by the instructions of a path."""

    def __init__(self, builder, path) -> None:
        self.builder, self.path = builder, path
        self.sums = 2 if path == "avx2" else 1
        self.kind = _vector(I32, 16 // self.sums)

    def load(self, address, kind):
        found = self.builder.load(self.builder.inttoptr(address, kind.as_pointer()))
        found.align = 1
        return found

    def at(self, address, offset):
        return self.builder.add(address, ir.Constant(I64, offset))

    def everywhere(self, number, lanes):
        kind = _vector(number.type, lanes)
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(
            first, ir.Constant(kind, ir.Undefined), ir.Constant(_vector(I32, lanes), [0] * lanes)
        )

    def call(self, name, *arguments):
        kinds = [argument.type for argument in arguments]
        function = self.builder.module.declare_intrinsic(name, fnty=ir.FunctionType(self.kind, kinds))
        return self.builder.call(function, arguments)

    def numbers(self, address):
        """Four numbers of a row, as the instructions take them."""
        builder = self.builder
        if self.path == "avx512":
            return [self.everywhere(self.load(address, I32), 16)]
        if self.path == "avx2":
            pairs = [self.load(self.at(address, 2 * pair), _vector(I8, 2)) for pair in range(2)]
            wide = [builder.bitcast(builder.zext(pair, _vector(I16, 2)), I32) for pair in pairs]
            return [builder.bitcast(self.everywhere(pair, 8), _vector(I16, 16)) for pair in wide]
        return [
            self.everywhere(builder.zext(self.load(self.at(address, number), I8), I32), 16) for number in range(GROUP)
        ]

    def weights(self, address):
        """Four weights of each column, as the instructions take them: a list for each of the numbers, of one for each sum."""
        builder = self.builder
        if self.path == "avx512":
            return [[self.load(address, _vector(I32, 16))]]
        if self.path == "avx2":
            return [
                [
                    builder.sext(self.load(self.at(address, 32 * pair + 16 * half), _vector(I8, 16)), _vector(I16, 16))
                    for half in range(2)
                ]
                for pair in range(2)
            ]
        found = [self.load(self.at(address, 16 * number), _vector(I8, 16)) for number in range(GROUP)]
        return [[builder.sext(each, _vector(I32, 16))] for each in found]

    def add(self, total, numbers, weights):
        """Sum plus products."""
        if self.path == "avx512":
            return self.call("llvm.x86.avx512.vpdpbusd.512", total, numbers, weights)
        if self.path == "avx2":
            return self.builder.add(total, self.call("llvm.x86.avx2.pmadd.wd", numbers, weights))
        return self.builder.add(total, self.builder.mul(numbers, weights))


def _tile(shape):
    @intrinsic
    def tile(_context, choice, frame):
        path = choice.choice.path
        height, blocks = shape(path)

        def lower(_context, builder, _sig, args):
            dot = _Dot(builder, path)

            def argument(place):
                return dot.load(dot.at(args[1], 8 * place), I64)

            weights, block, offsets = argument(WEIGHTS), argument(BLOCK), argument(OFFSETS)
            rows = [argument(ROW + row) for row in range(height)]
            width = blocks * dot.sums
            nothing = ir.Constant(dot.kind, None)
            sums = [[cgutils.alloca_once_value(builder, nothing) for _ in range(width)] for _ in rows]
            for row in sums:
                for total in row:
                    builder.store(nothing, total)
            planes = argument(PLANES)
            with cgutils.for_range(builder, planes) as outer:
                last = builder.sub(builder.sub(planes, outer.index), ir.Constant(I64, 1))
                plane = builder.mul(last, argument(PLANE))
                for row in sums:
                    for total in row:
                        builder.store(
                            builder.shl(builder.load(total), ir.Constant(dot.kind, [8] * dot.kind.count)), total
                        )
                with cgutils.for_range(builder, argument(COUNT)) as loop:
                    column = builder.add(weights, builder.shl(loop.index, ir.Constant(I64, 6)))
                    parts = [
                        dot.weights(builder.add(column, builder.mul(block, ir.Constant(I64, number))))
                        for number in range(blocks)
                    ]
                    place = dot.load(builder.add(offsets, builder.shl(loop.index, ir.Constant(I64, 3))), I64)
                    place = builder.add(place, plane)
                    for row, totals in zip(rows, sums, strict=True):
                        for index, numbers in enumerate(dot.numbers(builder.add(row, place))):
                            vectors = [vector for part in parts for vector in part[index]]
                            for total, vector in zip(totals, vectors, strict=True):
                                builder.store(dot.add(builder.load(total), numbers, vector), total)
            size = 4 * dot.kind.count
            for number, totals in enumerate(sums):
                for part, total in enumerate(totals):
                    added = dot.load(dot.at(argument(BIAS), size * part), dot.kind)
                    address = builder.inttoptr(dot.at(argument(OUT + number), size * part), dot.kind.as_pointer())
                    builder.store(builder.add(builder.load(total), added), address).align = 4
            return ir.Constant(I64, 0)

        return types.int64(choice, types.int64), lower

    return tile


_wide, _narrow = _tile(SHAPES.get), _tile(lambda path: (SHAPES[path][0], 1))
_long, _short = _tile(lambda path: (1, 2 * SHAPES[path][1])), _tile(lambda _: (1, 1))


@intrinsic
def _shape_of(_context, choice):
    """Rows of a tile, and blocks of a wide one."""
    numbers = SHAPES[choice.choice.path]

    def lower(context, builder, sig, _args):
        return context.make_tuple(builder, sig.return_type, [ir.Constant(I64, number) for number in numbers])

    return types.UniTuple(types.int64, 2)(choice), lower


@numba.njit(nogil=True, cache=True)
def product(choice, x, offsets, steps, weights, bias, count, out):
    """Product of all windows with ``weights (blocks, groups, 64)`` plus ``bias (16 blocks,)``, into ``out (..., 16 blocks)`` of ``count`` windows.

    ``x`` has planes of bytes, padded, the lowest first. ``offsets`` and ``steps`` say where the groups of a window and the
    windows lie in one.
    """
    rows, wide = _shape_of(choice)
    frame_ = np.empty(FRAME, np.int64)
    frame = frame_.ctypes.data
    blocks, length, _ = weights.shape
    frame_[BLOCK], frame_[COUNT], frame_[OFFSETS] = 64 * length, length, offsets.ctypes.data
    frame_[PLANES], frame_[PLANE] = x.shape[0], x.strides[0]
    address, side, top = x.ctypes.data, 0, 0
    for first in range(0, count, rows):
        frame_[WEIGHTS], frame_[BIAS] = weights.ctypes.data, bias.ctypes.data
        for row in range(rows):
            frame_[ROW + row] = address
            frame_[OUT + row] = out.ctypes.data + min(first + row, count - 1) * 64 * blocks
            if first + row + 1 < count:
                address, side, top = following(address, side, top, steps)
        alone = first + 1 == count
        most = 2 * wide if alone else wide
        block = 0
        while block < blocks:
            step = most if block + most <= blocks else 1
            if alone:
                _long(choice, frame) if step > 1 else _short(choice, frame)
            elif step > 1:
                _wide(choice, frame)
            else:
                _narrow(choice, frame)
            block += step
            frame_[WEIGHTS] += step * 64 * length
            frame_[BIAS] += step * 64
            for row in range(rows):
                frame_[OUT + row] += step * 64
