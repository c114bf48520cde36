"""Vectors of 16 numbers inside Numba functions: types, arithmetic, loads and stores in all four dtypes.

Numba leaves vectors to LLVM's optimiser, which packs comparisons into bits four times slower than a vector compare
followed by a bitcast (3.2 against 1.0 us for 2^14 floats on AVX-512). So kernels say what they mean: 16 lanes a step,
whatever the machine's registers hold; LLVM splits them where they are narrower.

A kernel takes one ``Arguments``: a pointer to 64-bit words, integers and doubles mixed, read with ``word`` and
``real``. Its type carries the dtype of the elements, so that one Python function serves all four. Half types are
widened to float32 when loaded, which is exact, and rounded once when stored.
"""

# pyright: basic

from __future__ import annotations

from tieless.kernels.lanes.arithmetic import decay, fabs, floor, rint, splat, where
from tieless.kernels.lanes.kinds import LANES, Arguments, Lanes, Mask
from tieless.kernels.lanes.memory import (
    any_lane,
    bits_at,
    byte_at,
    copy,
    element_size,
    elements_of,
    fetch,
    load,
    load_numbers,
    matches,
    number_scratch,
    pattern_at,
    real,
    scratch,
    set_bits_at,
    set_byte,
    set_word,
    store,
    store_patterns,
    word,
    word_at,
)
from tieless.kernels.lanes.random import spread_uniforms, uniforms
from tieless.kernels.lanes.smooth import logistic_tail, normal_tail

__all__ = [
    "LANES",
    "Arguments",
    "Lanes",
    "Mask",
    "any_lane",
    "bits_at",
    "byte_at",
    "copy",
    "decay",
    "element_size",
    "elements_of",
    "fabs",
    "fetch",
    "floor",
    "load",
    "load_numbers",
    "logistic_tail",
    "matches",
    "normal_tail",
    "number_scratch",
    "pattern_at",
    "real",
    "rint",
    "scratch",
    "set_bits_at",
    "set_byte",
    "set_word",
    "splat",
    "spread_uniforms",
    "store",
    "store_patterns",
    "uniforms",
    "where",
    "word",
    "word_at",
]
