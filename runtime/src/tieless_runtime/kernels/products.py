"""Products of rows of bits with columns of bits, over tiles. Compiled for each variant at its first call, and kept on disk."""

# pyright: basic, reportMissingTypeStubs=false, reportCallIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import numba
import numpy as np

from tieless_runtime.kernels.places import following
from tieless_runtime.kernels.tiles import (
    BLOCK,
    FLIPS,
    FRAME,
    LEVEL,
    OFFSETS,
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
def product(variant, x, offsets, steps, weights, pairs, levels, kinds, flips, count, out):
    """Product of all windows with all columns.

    Args:
        variant: Variant.
        x: Words ``(planes, images, height, width, words)``, padded.
        offsets, steps: Bytes to the words of a window, and where windows lie.
        weights: Words of eight columns beside each other, ``(planes, columns / 8, words, 8)``.
        pairs: Pairs of planes: of the weights and of ``x``, bits by which a count is shifted, and its sign as 0 or -1.
        levels: Levels of each kind of place and column, int64.
        kinds: Kind of each place; empty if all are of kind 0.
        flips: Byte for eight columns.
        count: Number of windows.
        out: Result: words, or int32 for all columns, of each window.
    """
    rows, blocks, out_bits = shape_of(variant)
    planes, _, words, _ = weights.shape
    columns, out_row = levels.shape[1], out.itemsize * out.shape[-1]
    table = np.empty((len(pairs), 4), np.int64)
    for pair in range(len(pairs)):
        table[pair, 0] = pairs[pair, 0] * (weights.size // planes * 8)
        table[pair, 1] = pairs[pair, 1] * (x.size // x.shape[0] * 8)
        table[pair, 2:] = pairs[pair, 2:]
    frame_ = np.empty(FRAME, np.int64)
    frame = frame_.ctypes.data
    frame_[BLOCK], frame_[WORDS], frame_[OFFSETS] = 64 * words, words, offsets.ctypes.data
    frame_[TABLE], frame_[PAIRS] = table.ctypes.data, len(pairs)
    address, side, top, place = x.ctypes.data, 0, 0, 0
    level_row = 8 * columns
    for first in range(0, count, rows):
        for row in range(rows):
            # A tile that is not full computes its last row again.
            frame_[ROW + row] = address
            frame_[LEVEL + row] = levels.ctypes.data + (kinds[place] if len(kinds) else 0) * level_row
            frame_[OUT + row] = out.ctypes.data + min(first + row, count - 1) * out_row
            if first + row + 1 < count:
                address, side, top = following(address, side, top, steps)
                place = place + 1 if place + 1 < len(kinds) else 0
        frame_[WEIGHTS], frame_[FLIPS] = weights.ctypes.data, flips.ctypes.data
        left = columns
        while left > 0:
            step = blocks if left >= 8 * blocks else 1
            if step == blocks:
                wide_tile(variant, frame)
            else:
                narrow_tile(variant, frame)
            frame_[WEIGHTS] += step * 64 * words
            frame_[FLIPS] += step
            for row in range(rows):
                frame_[LEVEL + row] += step * 64
                frame_[OUT + row] += step * out_bits
            left -= 8 * step
