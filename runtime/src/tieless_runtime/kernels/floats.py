"""Products of floats over tiles: 4 rows times 4 vectors of 16 columns, or a row that is left times 8, whose sums stay in registers.

Integers use them too, as long as no partial sum is beyond 2^24: float32 holds those exactly.
"""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (numba and llvmlite have no types)

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
VECTOR = ir.VectorType(F32, 16)
ROWS = 4
# Places in a frame.
ROW, OUT = 0, 4
WEIGHTS, BLOCK, COUNT, BIAS = range(8, 12)
FRAME = 12


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

            weights, block, bias = argument(WEIGHTS), argument(BLOCK), argument(BIAS)
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
                place = builder.shl(loop.index, ir.Constant(I64, 2))
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
def product(rows, weights, bias, out):
    """Product ``rows (r, k)`` times ``weights (blocks, k, 16)`` plus ``bias (16 blocks,)``, into ``out (r, 16 blocks)``."""
    frame_ = np.empty(FRAME, np.int64)
    frame = frame_.ctypes.data
    count, length = rows.shape
    blocks = weights.shape[0]
    frame_[BLOCK], frame_[COUNT] = 64 * length, length
    for first in range(0, count, ROWS):
        frame_[WEIGHTS], frame_[BIAS] = weights.ctypes.data, bias.ctypes.data
        for row in range(ROWS):
            place = min(first + row, count - 1)
            frame_[ROW + row] = rows.ctypes.data + place * 4 * length
            frame_[OUT + row] = out.ctypes.data + place * 64 * blocks
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
