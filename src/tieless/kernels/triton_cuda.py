"""CUDA kernels in Triton: the functions of ``reference``, bit for bit, each in one launch.

A tensor whose elements fill its memory in any order of dimensions is read where it is; another (sliced, expanded,
strided) is copied once to the layout of the result. Random numbers follow the logical order in every layout. Packing
activations is the reference's own: it has to wait for an answer, beside which its few launches are short.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor

from tieless.kernels import reference
from tieless.kernels.layout import memory_order, same_layout
from tieless.kernels.operands import packed_bits, value_like
from tieless.kernels.philox import WORD
from tieless.kernels.reference import arithmetic_dtype, slope_range

bodies: Any
elementwise: Any
try:
    from tieless.kernels import triton_bodies as bodies, triton_elementwise as elementwise
except ImportError as error:
    bodies = elementwise = None
    _missing: str | None = f"cannot import the package triton ({error})"
else:
    _missing = None

# Nothing of ours is faster for these yet.
restore = reference.restore
two_values = reference.two_values

NATIVE = frozenset({"gelu", "silu"})
"""Forwards left to PyTorch where no codes are wanted: their exponentials cost a GPU no time, and its values are equal in
every layout."""

_BLOCK = 1024
"""Elements per program: whole bytes of bits and whole Philox blocks, 8 elements to each of its 128 threads."""

_NARROW = 2**31 - _BLOCK
"""Beyond this many elements, their numbers take 64 bits."""

_OLDEST = (3, 4)
"""First Triton that compiles these kernels."""


def refusal(dtype: torch.dtype, device: str) -> str | None:
    """Reason why these kernels do not run here; ``None`` if they do."""
    if _missing is not None:
        return _missing
    if elementwise.VERSION < _OLDEST:
        return f"needs triton {'.'.join(map(str, _OLDEST))} or newer, got {'.'.join(map(str, elementwise.VERSION))}"
    interpreted = bool(elementwise.INTERPRETED.value)
    if device == "cpu":
        return None if interpreted else "needs TRITON_INTERPRET=1 from before triton was imported"
    return None if interpreted else _failure(dtype)


@cache
def _failure(dtype: torch.dtype) -> str | None:
    """Error of a trial with one element: Triton needs a C compiler, and a GPU that it knows; ``None`` if it ran."""
    if torch.version.hip is not None:
        return "tested on NVIDIA only"
    try:
        activate(torch.zeros(1, dtype=dtype, device="cuda"), "relu", (), (0.0, 1.0, False, False))
    except Exception as error:  # noqa: BLE001  (a driver, a compiler and an assembler each raise their own)
        return f"failed to compile or to start ({' '.join(str(error).split())[:200] or type(error).__name__})"
    return None


def _launch(kernel: Any, elements: int, *operands: Any, **constants: Any) -> None:
    """Start a kernel on the GPU that holds its first operand."""
    if not elements:
        return
    device = operands[0].device
    here = device.type != "cuda" or device.index == torch.cuda.current_device()
    with nullcontext() if here else torch.cuda.device(device):
        kernel[(-(-elements // _BLOCK),)](
            *operands,
            **constants,
            BLOCK=_BLOCK,
            WIDE=elements > _NARROW,
            # A product and a sum, each rounded: fused they would round once, and other bits come out.
            enable_fp_fusion=False,
        )


def _bytes(elements: int) -> int:
    return (elements + 7) // 8


_NO_PARAMETERS = (0.0,) * 5


def activate(
    z: Tensor, function: str, parameters: tuple[float, ...], window: tuple[float, float, bool, bool] | None
) -> tuple[Tensor, Tensor | None]:
    if function in NATIVE:
        return reference.FORWARDS[function](z, *parameters), None if window is None else window_bits(z, *window)
    y = torch.empty_like(z)
    elements = z.numel()
    bits = None if window is None else torch.empty(_bytes(elements), dtype=torch.uint8, device=z.device)
    low, high, open_low, open_high = window or (0.0, 0.0, False, False)
    _launch(
        bodies.activate,
        elements,
        same_layout(z, memory_order(z)),
        y,
        bits,
        elements,
        *(parameters + _NO_PARAMETERS)[:5],
        low,
        high,
        FUNCTION=elementwise.FORWARDS[function],
        OPEN_LOW=open_low,
        OPEN_HIGH=open_high,
    )
    return y, bits


def window_bits(z: Tensor, low: float, high: float, open_low: bool, open_high: bool) -> Tensor:
    elements = z.numel()
    bits = torch.empty(_bytes(elements), dtype=torch.uint8, device=z.device)
    _launch(
        bodies.window_bits,
        elements,
        same_layout(z, memory_order(z)),
        bits,
        elements,
        low,
        high,
        OPEN_LOW=open_low,
        OPEN_HIGH=open_high,
    )
    return bits


def codes(z: Tensor, boundaries: Sequence[float], even: bool) -> Tensor:
    return _codes(z, None, "linear", (), boundaries, even)


def activate_codes(
    z: Tensor, function: str, parameters: tuple[float, ...], boundaries: Sequence[float], even: bool
) -> tuple[Tensor, Tensor]:
    if function not in elementwise.WITH_CODES or (function in NATIVE and z.dtype == torch.float64):
        return activate(z, function, parameters, None)[0], codes(z, boundaries, even)
    y = torch.empty_like(z)
    return y, _codes(z, y, function, parameters, boundaries, even)


def _codes(
    z: Tensor,
    y: Tensor | None,
    function: str,
    parameters: tuple[float, ...],
    boundaries: Sequence[float],
    even: bool,
) -> Tensor:
    """Codes of ``z``, and in the same pass its values into ``y`` if there is one."""
    elements = z.numel()
    planes = len(boundaries).bit_length()
    packed = torch.empty((planes, _bytes(elements)), dtype=torch.uint8, device=z.device)
    _launch(
        bodies.codes,
        elements,
        same_layout(z, memory_order(z)),
        y,
        packed,
        elements,
        packed.shape[1],
        *(parameters + _NO_PARAMETERS)[:5],
        FUNCTION=elementwise.WITH_CODES[function],
        BOUNDARIES=tuple(boundaries),
        COUNT=len(boundaries),
        PLANES=planes,
        EVEN=even,
    )
    return packed


def gate(grad_output: Tensor, bits: Tensor, inside: float, outside: float) -> Tensor:
    sent = torch.empty_like(grad_output)
    elements = grad_output.numel()
    operand = same_layout(grad_output, memory_order(grad_output))
    _launch(bodies.gate, elements, operand, packed_bits(bits, grad_output), sent, elements, inside, outside)
    return sent


def levels(grad_output: Tensor, packed: Tensor, values: Sequence[float]) -> Tensor:
    packed = packed_bits(packed, grad_output, (len(values) - 1).bit_length())
    sent = torch.empty_like(grad_output)
    elements = grad_output.numel()
    _launch(
        bodies.levels,
        elements,
        same_layout(grad_output, memory_order(grad_output)),
        packed,
        sent,
        elements,
        packed.shape[1],
        VALUES=tuple(values),
        COUNT=len(values),
        PLANES=packed.shape[0],
    )
    return sent


def slope(grad_output: Tensor, value: Tensor, function: str, parameters: tuple[float, ...]) -> Tensor:
    sent = torch.empty_like(grad_output)
    elements = grad_output.numel()
    order = memory_order(grad_output)
    _launch(
        bodies.slope,
        elements,
        same_layout(grad_output, order),
        same_layout(value_like(value, grad_output), order),
        sent,
        elements,
        *(parameters + _NO_PARAMETERS)[:5],
        FUNCTION=elementwise.SLOPES[function],
    )
    return sent


def _key_words(key: Tensor | int) -> tuple[Tensor | None, int, int]:
    """Address of the key, if the key is on the kernel's device; else the key in two halves.

    The halves are signed words, which have one type, whatever the key.
    """
    if isinstance(key, Tensor) and key.is_cuda:  # of a captured graph, whose replays have others
        return key, 0, 0
    # Any other key is drawn on the CPU, so that reading it waits for no GPU.
    bits = int(key)
    return None, (bits & WORD ^ 1 << 31) - (1 << 31), bits >> 32


def _numbering(like: Tensor, order: Sequence[int] | None) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Sizes and strides from an element's place in memory to its logical number, the innermost dimension first.

    The two are ``None`` if both orders are one. The outermost size is not needed, and left out: batches of any size
    share a kernel.
    """
    if order is None:
        return None, None
    logical = [math.prod(like.shape[dim + 1 :]) for dim in range(like.dim())]
    folded: list[tuple[int, int]] = []
    for dim in reversed(order):
        size, stride = like.shape[dim], logical[dim]
        if size == 1:
            continue
        if folded and stride == math.prod(folded[-1]):
            folded[-1] = (folded[-1][0] * size, folded[-1][1])
        else:
            folded.append((size, stride))
    if len(folded) < 2:
        return None, None
    return tuple(size for size, _ in folded[:-1]), tuple(stride for _, stride in folded)


def uniform(like: Tensor, key: Tensor | int, stream: int, draw: int) -> Tensor:
    numbers = torch.empty_like(like, dtype=arithmetic_dtype(like.dtype))
    elements = like.numel()
    sizes, strides = _numbering(like, memory_order(like))
    _launch(
        bodies.uniform,
        elements,
        numbers,
        elements,
        *_key_words(key),
        stream,
        draw,
        sizes,
        strides,
        DIMS=len(strides or ()),
    )
    return numbers


def jam(
    grad_output: Tensor,
    key: Tensor | int,
    stream: int,
    minimum: float,
    maximum: float,
    magnitude: bool,
    bits: Tensor | None,
) -> Tensor:
    sent = torch.empty_like(grad_output)
    elements = grad_output.numel()
    order = memory_order(grad_output)
    sizes, strides = _numbering(grad_output, order)
    _launch(
        bodies.jam,
        elements,
        same_layout(grad_output, order),
        None if bits is None else packed_bits(bits, grad_output),
        sent,
        elements,
        *_key_words(key),
        stream,
        sizes,
        strides,
        *slope_range(minimum, maximum, arithmetic_dtype(grad_output.dtype)),
        MAGNITUDE=magnitude,
        DIMS=len(strides or ()),
    )
    return sent
