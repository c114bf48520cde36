"""Python's numbers as numbers of a dtype, without a tensor: a tensor would follow the default device and mode."""

from __future__ import annotations

import ctypes
import math
import struct

import torch


def rounded(value: float, dtype: torch.dtype) -> float:
    """Number of ``dtype`` nearest to ``value``, as PyTorch rounds it; inf beyond the largest.

    Args:
        value: Any number.
        dtype: float16, bfloat16, float32 or float64.
    """
    if dtype == torch.float64:
        return float(value)
    single = ctypes.c_float(value).value
    if dtype == torch.float32 or not math.isfinite(single):
        return single
    if dtype == torch.float16:
        try:
            return struct.unpack("<e", struct.pack("<e", single))[0]
        except OverflowError:
            return math.copysign(math.inf, single)
    # bfloat16 is the upper half of a float32, rounded to even.
    bits = struct.unpack("<I", struct.pack("<f", single))[0]
    bits += 0x7FFF + (bits >> 16 & 1)
    return struct.unpack("<f", struct.pack("<I", bits & 0xFFFF_0000))[0]


def next_below(value: float, dtype: torch.dtype) -> float:
    """Largest number of ``dtype`` below ``value``.

    Args:
        value: Finite number of ``dtype``.
        dtype: float32 or float64.
    """
    if dtype == torch.float64:
        return math.nextafter(value, -math.inf)
    if value == 0:
        return -(2.0**-149)
    bits = struct.unpack("<i", struct.pack("<f", value))[0]
    return struct.unpack("<f", struct.pack("<i", bits - 1 if value > 0 else bits + 1))[0]
