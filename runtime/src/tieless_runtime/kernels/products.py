"""Products of rows of bits with columns of bits, over tiles. Compiled for each variant at its first call, and kept on disk."""

# pyright: basic, reportMissingTypeStubs=false, reportCallIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import numba
import numpy as np

from tieless_runtime.kernels.tiles import (
    BLOCK,
    FLIPS,
    FRAME,
    LEVEL,
    OUT,
    PAIRS,
    ROW,
    TABLE,
    WEIGHTS,
    WORDS,
    narrow_tile,
    shape_of,
    wide_tile,
)


@numba.njit(nogil=True, cache=True)
def product(
    variant,
    acts,
    act_row,
    weights,
    block_bytes,
    words,
    table,
    pairs,
    levels,
    level_row,
    kinds,
    flips,
    out,
    out_row,
    columns,
    count,
):
    """Product of ``count`` rows with ``columns`` columns.

    Args:
        variant: Variant.
        acts, act_row: Address of the first row's words, and bytes from one row to the next.
        weights, block_bytes: Address of the words of eight columns beside each other, and bytes of eight columns.
        words: Words of a row.
        table, pairs: Address of the pairs of planes, four integers each, and their number.
        levels, level_row: Address of the levels of each kind of row, int64, and bytes of one kind.
        kinds: Kind of each row; empty if all are of kind 0.
        flips: Address of a byte for eight columns.
        out, out_row: Address of the result, and bytes of one row.
        columns: Number of columns, a multiple of 8.
        count: Number of rows.
    """
    rows, blocks, out_bits = shape_of(variant)
    frame_ = np.empty(FRAME, np.int64)
    frame = frame_.ctypes.data
    frame_[BLOCK], frame_[WORDS], frame_[TABLE], frame_[PAIRS] = block_bytes, words, table, pairs
    for first in range(0, count, rows):
        for row in range(rows):
            # A tile that is not full computes its last row again.
            place = min(first + row, count - 1)
            frame_[ROW + row] = acts + place * act_row
            frame_[LEVEL + row] = levels + (kinds[place] if len(kinds) else 0) * level_row
            frame_[OUT + row] = out + place * out_row
        frame_[WEIGHTS], frame_[FLIPS] = weights, flips
        left = columns
        while left > 0:
            step = blocks if left >= 8 * blocks else 1
            if step == blocks:
                wide_tile(variant, frame)
            else:
                narrow_tile(variant, frame)
            frame_[WEIGHTS] += step * block_bytes
            frame_[FLIPS] += step
            for row in range(rows):
                frame_[LEVEL + row] += step * 64
                frame_[OUT + row] += step * out_bits
            left -= 8 * step
