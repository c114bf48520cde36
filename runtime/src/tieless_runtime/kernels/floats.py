"""Products of floats over tiles: 4 rows times 4 vectors of 16 columns, or a row that is left times 8, whose sums stay in registers."""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (numba and llvmlite have no types)

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from tieless_runtime.kernels.places import following

I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
VECTOR = ir.VectorType(F32, 16)
ROWS = 4
# Places in a frame.
ROW, OUT = 0, 4
WEIGHTS, BLOCK, COUNT, OFFSETS, BIAS = range(8, 13)
FRAME = 13


def _tile(height, blocks):  # noqa: C901  (loops over rows and vectors, unrolled)
    @intrinsic
    def tile(_context, frame):
        def lower(_context, builder, _sig, args):
            def argument(place):
                address = builder.add(args[0], ir.Constant(I64, 8 * place))
                return builder.load(builder.inttoptr(address, I64.as_pointer()))

            def load(address, kind):
                found = builder.load(builder.inttoptr(address, kind.as_pointer()))
                found.align = 4
                return found

            weights, block, bias, offsets = argument(WEIGHTS), argument(BLOCK), argument(BIAS), argument(OFFSETS)
            rows = [argument(ROW + row) for row in range(height)]
            firsts = [load(builder.add(bias, ir.Constant(I64, 64 * number)), VECTOR) for number in range(blocks)]
            sums = [[cgutils.alloca_once_value(builder, first) for first in firsts] for _ in rows]
            # What is allocated once is set once, so a second call in a loop must set it again.
            for row in sums:
                for total, first in zip(row, firsts, strict=True):
                    builder.store(first, total)
            fma = builder.module.declare_intrinsic("llvm.fma.v16f32", fnty=ir.FunctionType(VECTOR, [VECTOR] * 3))
            undefined, zeros = ir.Constant(VECTOR, ir.Undefined), ir.Constant(ir.VectorType(I32, 16), [0] * 16)
            with cgutils.for_range(builder, argument(COUNT)) as loop:
                column = builder.add(weights, builder.shl(loop.index, ir.Constant(I64, 6)))
                vectors = [
                    load(builder.add(column, builder.mul(block, ir.Constant(I64, number))), VECTOR)
                    for number in range(blocks)
                ]
                place = load(builder.add(offsets, builder.shl(loop.index, ir.Constant(I64, 3))), I64)
                for row, totals in zip(rows, sums, strict=True):
                    number = load(builder.add(row, place), F32)
                    first = builder.insert_element(undefined, number, ir.Constant(I32, 0))
                    spread = builder.shuffle_vector(first, undefined, zeros)
                    for total, vector in zip(totals, vectors, strict=True):
                        builder.store(builder.call(fma, [spread, vector, builder.load(total)]), total)
            for number, totals in enumerate(sums):
                out = argument(OUT + number)
                for part, total in enumerate(totals):
                    address = builder.add(out, ir.Constant(I64, 64 * part))
                    stored = builder.store(builder.load(total), builder.inttoptr(address, VECTOR.as_pointer()))
                    stored.align = 4
            return ir.Constant(I64, 0)

        return types.int64(types.int64), lower

    return tile


_wide, _narrow, _long, _short = _tile(ROWS, 4), _tile(ROWS, 1), _tile(1, 8), _tile(1, 1)


@numba.njit(nogil=True, cache=True)
def product(_choice, x, offsets, steps, weights, bias, count, out):
    """Product of all windows with ``weights (blocks, k, 16)`` plus ``bias (16 blocks,)``, into ``out (..., 16 blocks)`` of ``count`` windows.

    ``x`` is padded, ``offsets`` and ``steps`` say where the numbers of a window and the windows lie in it.
    """
    frame_ = np.empty(FRAME, np.int64)
    frame = frame_.ctypes.data
    blocks, length, _ = weights.shape
    frame_[BLOCK], frame_[COUNT], frame_[OFFSETS] = 64 * length, length, offsets.ctypes.data
    address, side, top = x.ctypes.data, 0, 0
    for first in range(0, count, ROWS):
        frame_[WEIGHTS], frame_[BIAS] = weights.ctypes.data, bias.ctypes.data
        for row in range(ROWS):
            frame_[ROW + row] = address
            frame_[OUT + row] = out.ctypes.data + min(first + row, count - 1) * 64 * blocks
            if first + row + 1 < count:
                address, side, top = following(address, side, top, steps)
        alone = first + 1 == count
        most = 8 if alone else 4
        block = 0
        while block < blocks:
            step = most if block + most <= blocks else 1
            if alone:
                _long(frame) if step > 1 else _short(frame)
            elif step > 1:
                _wide(frame)
            else:
                _narrow(frame)
            block += step
            frame_[WEIGHTS] += step * 64 * length
            frame_[BIAS] += step * 64
            for row in range(ROWS):
                frame_[OUT + row] += step * 64
