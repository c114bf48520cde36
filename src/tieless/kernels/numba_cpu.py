"""CPU kernels in Numba: the functions of ``reference``, bit for bit, each in one pass over memory.

Compiled code is kept on disk, so that only the first process pays for it.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
from array import array
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from struct import Struct
from typing import NamedTuple, cast

import torch
from numba import cfunc, types  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

from tieless.kernels import loops
from tieless.kernels.lanes import Arguments
from tieless.kernels.layout import memory_order
from tieless.kernels.reference import WORD, arithmetic_dtype, slope_range
from tieless.kernels.threads import runtime

__all__ = ["activate", "codes", "gate", "jam", "levels", "slope", "uniform", "window_bits"]


class _Kernel(NamedTuple):
    """A compiled kernel: to be called here, or by its address in many threads."""

    call: Callable[[bytes], None]
    address: int


@cache
def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _compiled(name: str, dtype: torch.dtype, function: str = "") -> _Kernel:
    arguments = Arguments(str(dtype).removeprefix("torch."), function, _sources())
    address = cast("int", cfunc(types.void(arguments), cache=True)(getattr(loops, name)).address)
    return _Kernel(ctypes.CFUNCTYPE(None, ctypes.c_char_p)(address), address)


def _run(kernel: _Kernel, elements: int, arguments: bytes, grain: int = 1 << 15) -> None:
    """Call a kernel, in as many threads as PyTorch uses and the work is worth: ``grain`` elements each or more."""
    if elements > grain:
        threads = min(torch.get_num_threads(), -(-elements // grain))
        parallel = runtime().parallel
        if threads > 1 and parallel is not None:
            parallel(kernel.address, arguments, threads, 0)
            return
    kernel.call(arguments)


def _operand(tensor: Tensor, order: Sequence[int] | None, kept: list[array[int]]) -> tuple[int, int]:
    """Where a tensor is, and 0 if its elements lie in the order of the work, else the address of its geometry."""
    if order is None and tensor.is_contiguous():
        return tensor.data_ptr(), 0
    sizes, strides = tensor.shape, tensor.stride()
    if order is not None:
        sizes, strides = [sizes[dim] for dim in order], [strides[dim] for dim in order]
    folded: list[tuple[int, int]] = []
    for size, stride in zip(sizes, strides, strict=True):
        if size == 1:
            continue
        if folded and folded[-1][1] == size * stride:
            folded[-1] = (folded[-1][0] * size, stride)
        else:
            folded.append((size, stride))
    if not folded or (len(folded) == 1 and folded[0][1] == 1):
        return tensor.data_ptr(), 0
    geometry = array("q", [len(folded), *(size for size, _ in folded), *(stride for _, stride in folded)])
    kept.append(geometry)
    return tensor.data_ptr(), geometry.buffer_info()[0]


_NO_PARAMETERS = (0.0,) * 5
_ACTIVATE, _WINDOW, _CODES = Struct("9q7d").pack, Struct("7q2d").pack, Struct("7q16d").pack
_GATE, _LEVELS, _SLOPE = Struct("7q2d").pack, Struct("9q16d").pack, Struct("8q5d").pack
_JAM, _UNIFORM = Struct("11q3d").pack, Struct("8q").pack


def activate(
    z: Tensor, function: str, parameters: tuple[float, ...], window: tuple[float, float, bool, bool] | None
) -> tuple[Tensor, Tensor | None]:
    y = torch.empty_like(z)
    elements = z.numel()
    bits = None
    kept: list[array[int]] = []
    order = memory_order(z)
    low, high, open_low, open_high = window or (0.0, 0.0, False, False)
    if window is not None:
        bits = torch.empty((elements + 7) // 8, dtype=torch.uint8)
    arguments = _ACTIVATE(
        elements,
        z.element_size(),
        *_operand(z, order, kept),
        *_operand(y, order, kept),
        0 if bits is None else bits.data_ptr(),
        open_low,
        open_high,
        low,
        high,
        *(parameters + _NO_PARAMETERS)[:5],
    )
    _run(_compiled("activate", z.dtype, function), elements, arguments)
    return y, bits


def window_bits(z: Tensor, low: float, high: float, open_low: bool, open_high: bool) -> Tensor:
    elements = z.numel()
    kept: list[array[int]] = []
    order = memory_order(z)
    bits = torch.empty((elements + 7) // 8, dtype=torch.uint8)
    arguments = _WINDOW(
        elements, z.element_size(), *_operand(z, order, kept), bits.data_ptr(), open_low, open_high, low, high
    )
    _run(_compiled("window_bits", z.dtype), elements, arguments)
    return bits


def codes(z: Tensor, boundaries: Sequence[float]) -> Tensor:
    elements = z.numel()
    kept: list[array[int]] = []
    order = memory_order(z)
    planes = len(boundaries).bit_length()
    packed = torch.empty((planes, (elements + 7) // 8), dtype=torch.uint8)
    padded = (*boundaries, *[math.inf] * (16 - len(boundaries)))
    arguments = _CODES(
        elements, z.element_size(), *_operand(z, order, kept), packed.data_ptr(), packed.shape[1], planes, *padded
    )
    _run(_compiled("codes", z.dtype), elements, arguments)
    return packed


def gate(grad_output: Tensor, bits: Tensor, inside: float, outside: float) -> Tensor:
    sent = torch.empty_like(grad_output)
    elements = grad_output.numel()
    kept: list[array[int]] = []
    order = memory_order(grad_output)
    arguments = _GATE(
        elements,
        grad_output.element_size(),
        *_operand(grad_output, order, kept),
        *_operand(sent, order, kept),
        bits.data_ptr(),
        inside,
        outside,
    )
    _run(_compiled("gate", grad_output.dtype), elements, arguments)
    return sent


def levels(grad_output: Tensor, packed: Tensor, values: Sequence[float]) -> Tensor:
    sent = torch.empty_like(grad_output)
    elements = grad_output.numel()
    kept: list[array[int]] = []
    order = memory_order(grad_output)
    planes = packed.shape[0]
    padded = (*values, *[0.0] * (16 - len(values)))
    arguments = _LEVELS(
        elements,
        grad_output.element_size(),
        *_operand(grad_output, order, kept),
        *_operand(sent, order, kept),
        packed.data_ptr(),
        packed.shape[1],
        planes,
        *padded,
    )
    _run(_compiled("levels", grad_output.dtype), elements, arguments)
    return sent


def slope(grad_output: Tensor, value: Tensor, function: str, parameters: tuple[float, ...]) -> Tensor:
    sent = torch.empty_like(grad_output)
    elements = grad_output.numel()
    kept: list[array[int]] = []
    order = memory_order(grad_output)
    arguments = _SLOPE(
        elements,
        grad_output.element_size(),
        *_operand(grad_output, order, kept),
        *_operand(value, order, kept),
        *_operand(sent, order, kept),
        *(parameters + _NO_PARAMETERS)[:5],
    )
    _run(_compiled("slope", grad_output.dtype, function), elements, arguments)
    return sent


def _key_words(key: Tensor) -> tuple[int, int]:
    bits = int(key.item())
    return bits & WORD, bits >> 32 & WORD


def uniform(like: Tensor, key: Tensor, stream: int, draw: int) -> Tensor:
    dtype = arithmetic_dtype(like.dtype)
    numbers = torch.empty_like(like, dtype=dtype)
    kept: list[array[int]] = []
    arguments = _UNIFORM(
        like.numel(), numbers.element_size(), *_operand(numbers, None, kept), stream, draw, *_key_words(key)
    )
    _run(_compiled("uniform", dtype), like.numel(), arguments, grain=1 << 13)
    return numbers


def jam(
    grad_output: Tensor, key: Tensor, stream: int, minimum: float, maximum: float, magnitude: bool, bits: Tensor | None
) -> Tensor:
    sent = torch.empty_like(grad_output)
    elements = grad_output.numel()
    kept: list[array[int]] = []
    # Random numbers follow the logical order of the elements, bits the order in memory.
    apart = bits is not None and not grad_output.is_contiguous()
    arguments = _JAM(
        elements,
        grad_output.element_size(),
        *_operand(grad_output, None, kept),
        *_operand(sent, None, kept),
        0 if bits is None or apart else bits.data_ptr(),
        magnitude,
        stream,
        *_key_words(key),
        *slope_range(minimum, maximum, arithmetic_dtype(grad_output.dtype)),
    )
    _run(_compiled("jam", grad_output.dtype), elements, arguments, grain=1 << 13)
    return gate(sent, bits, 1.0, 0.0) if apart and bits is not None else sent
