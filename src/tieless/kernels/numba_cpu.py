"""CPU kernels in Numba: the functions of ``reference``, bit for bit, each in one pass over memory.

Compiled code is stored on disk, so that only the first process compiles.
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
from typing import NamedTuple

import torch
from torch import Tensor

from tieless.kernels import code_loops, loops, time_loops
from tieless.kernels.callbacks import address_of
from tieless.kernels.chunks import CHUNK
from tieless.kernels.lanes import Arguments
from tieless.kernels.layout import memory_order
from tieless.kernels.membranes import Membrane
from tieless.kernels.operands import packed_bits, value_like
from tieless.kernels.philox import WORD
from tieless.kernels.reference import arithmetic_dtype, slope_range
from tieless.kernels.threads import runtime

_CPU = torch.device("cpu")
"""Device of each ``torch.empty``, which would follow the default device."""


class _Kernel(NamedTuple):
    """Compiled kernel: to be called here, or by its address in many threads."""

    call: Callable[[bytes], None]
    address: int


def _made_from(module: str) -> list[Path]:
    """Files that the kernels of a module of loops, given by its name, are compiled from."""
    parts = (
        f"{module.rpartition('.')[2]}.py",
        "chunks.py",
        "elementwise.py",
        "philox.py",
        "threads.py",
        "lanes/*.py",
    )
    return [path for part in parts for path in sorted(Path(__file__).parent.glob(part))]


@cache
def _sources(module: str) -> str:
    digest = hashlib.sha256()
    for path in _made_from(module):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _compiled(name: str, dtype: torch.dtype, function: str = "") -> _Kernel:
    module = next(each for each in (code_loops, time_loops, loops) if hasattr(each, name))
    arguments = Arguments(str(dtype).removeprefix("torch."), function, _sources(module.__name__))
    address = address_of(getattr(module, name), arguments)
    return _Kernel(ctypes.CFUNCTYPE(None, ctypes.c_char_p)(address), address)


_GRAIN = 1 << 15
_RANDOM_GRAIN = 1 << 13


def _run(kernel: _Kernel, elements: int, arguments: bytes, grain: int = _GRAIN) -> None:
    """Call a kernel, in as many threads as PyTorch uses and the work is worth: ``grain`` elements each or more."""
    if elements > grain:
        threads = min(torch.get_num_threads(), -(-elements // grain))
        parallel = runtime().parallel
        if threads > 1 and parallel is not None:
            parallel(kernel.address, arguments, threads, 0)
            return
    kernel.call(arguments)


def _folded(sizes: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Sizes and strides with as few dimensions as possible."""
    folded: list[tuple[int, int]] = []
    for size, stride in zip(sizes, strides, strict=True):
        if size == 1:
            continue
        if folded and folded[-1][1] == size * stride:
            folded[-1] = (folded[-1][0] * size, stride)
        else:
            folded.append((size, stride))
    return folded


def _crossed(*tensors: Tensor) -> tuple[int, int, int] | None:
    """Order of random numbers, drawn in the logical order, in the memory of tensors without gaps.

    For tensors in which the channels of a position lie side by side, as in channels-last images and transposed
    matrices: the number of channels, a quarter of the number of positions, and the number of elements to draw for at a
    time. ``None`` for other layouts, and if the four numbers of a counter would be of two channels.
    """
    first, *others = (_folded(tensor.shape, tensor.stride()) for tensor in tensors)
    if any(other != first for other in others) or len(first) not in (2, 3):
        return None
    (channels, side_by_side), (positions, apart) = first[-2:]
    dense = (side_by_side, apart) == (1, channels) and (len(first) == 2 or first[0][1] == channels * positions)
    # Whole rows of bits, and an even number of groups of four positions.
    least = 4 * channels * max(2, 16 // math.gcd(channels, 16))
    if not dense or positions % 4 or least > loops.CROSSED:
        return None
    return channels, positions // 4, least * max(1, CHUNK // least)


class _Places:
    """Addresses of tensors for as long as a kernel runs, each with 0 or the address of a geometry.

    A tensor whose elements lie in the order of the work needs no geometry. The order of the work is given by
    dimensions from the outermost to the innermost, ``None`` for the logical one.
    """

    def __init__(self, order: Sequence[int] | None, *tensors: Tensor) -> None:
        self.words: list[int] = []
        self._kept: list[array[int]] = []
        for tensor in tensors:
            self.words += (tensor.data_ptr(), self._geometry(tensor, order))

    def _geometry(self, tensor: Tensor, order: Sequence[int] | None) -> int:
        sizes, strides = tensor.shape, tensor.stride()
        if order is not None:
            sizes, strides = [sizes[dim] for dim in order], [strides[dim] for dim in order]
        folded = _folded(sizes, strides)
        if not folded or folded == [(tensor.numel(), 1)]:
            return 0
        self._kept.append(array("q", [len(folded), *(size for size, _ in folded), *(stride for _, stride in folded)]))
        return self._kept[-1].buffer_info()[0]


def _side_by_side(tensor: Tensor, new: Tensor) -> bool:
    """True if a tensor lies in memory as a new one of its shape does, which has no gaps: element for element."""
    return (tensor.is_contiguous() and new.is_contiguous()) or tensor.stride() == new.stride()


# Arguments of each kernel: the number of elements; tensors with their geometries; bits; settings; numbers.
_NO_PARAMETERS = (0.0,) * 5
_NO_BOUNDARIES = (math.inf,) * 16
_NO_VALUES = (0.0,) * 16
_IN_ORDER = (0, 0, 0)
_ACTIVATE, _WINDOW, _CODES = Struct("8q7d").pack, Struct("6q2d").pack, Struct("7q16d").pack
_ACTIVATE_CODES = Struct("9q21d").pack
_GATE, _LEVELS, _SLOPE = Struct("6q2d").pack, Struct("8q16d").pack, Struct("7q5d").pack
_JAM, _UNIFORM = Struct("12q3d").pack, Struct("10q").pack
_TWO_VALUES, _RESTORE = Struct("4q").pack, Struct("6q").pack
_POTENTIALS, _POTENTIALS_BACKWARD = Struct("8q8d").pack, Struct("9q8d").pack
_RESETS = {"none": time_loops.NONE, "subtract": time_loops.SUBTRACT, "zero": time_loops.ZERO}


def activate(
    z: Tensor, function: str, parameters: tuple[float, ...], window: tuple[float, float, bool, bool] | None
) -> tuple[Tensor, Tensor | None]:
    y = torch.empty_like(z)
    elements = z.numel()
    parameters += _NO_PARAMETERS[len(parameters) :]
    kernel = _compiled("activate", z.dtype, function)
    places = None if _side_by_side(z, y) else _Places(memory_order(z), z, y)
    where = (z.data_ptr(), 0, y.data_ptr(), 0) if places is None else places.words
    if window is None:
        _run(kernel, elements, _ACTIVATE(elements, *where, 0, 0, 0, 0.0, 0.0, *parameters))
        return y, None
    low, high, open_low, open_high = window
    bits = torch.empty((elements + 7) // 8, dtype=torch.uint8, device=_CPU)
    arguments = _ACTIVATE(elements, *where, bits.data_ptr(), open_low, open_high, low, high, *parameters)
    _run(kernel, elements, arguments)
    return y, bits


def window_bits(z: Tensor, low: float, high: float, open_low: bool, open_high: bool) -> Tensor:
    elements = z.numel()
    bits = torch.empty((elements + 7) // 8, dtype=torch.uint8, device=_CPU)
    places = None if z.is_contiguous() else _Places(memory_order(z), z)
    where = (z.data_ptr(), 0) if places is None else places.words
    arguments = _WINDOW(elements, *where, bits.data_ptr(), open_low, open_high, low, high)
    _run(_compiled("window_bits", z.dtype), elements, arguments)
    return bits


def _room_for_codes(z: Tensor, boundaries: Sequence[float], even: bool) -> tuple[Tensor, tuple[int | float, ...]]:
    """Memory for the codes of ``z``, and the arguments by which kernels find and write them."""
    planes = len(boundaries).bit_length()
    plane = (z.numel() + 7) // 8
    packed = torch.empty((planes, plane), dtype=torch.uint8, device=_CPU)
    return packed, (packed.data_ptr(), plane, planes, even, *boundaries, *_NO_BOUNDARIES[len(boundaries) :])


def codes(z: Tensor, boundaries: Sequence[float], even: bool) -> Tensor:
    elements = z.numel()
    packed, settings = _room_for_codes(z, boundaries, even)
    places = None if z.is_contiguous() else _Places(memory_order(z), z)
    where = (z.data_ptr(), 0) if places is None else places.words
    _run(_compiled("codes", z.dtype), elements, _CODES(elements, *where, *settings))
    return packed


def activate_codes(
    z: Tensor, function: str, parameters: tuple[float, ...], boundaries: Sequence[float], even: bool
) -> tuple[Tensor, Tensor]:
    y = torch.empty_like(z)
    elements = z.numel()
    packed, settings = _room_for_codes(z, boundaries, even)
    parameters += _NO_PARAMETERS[len(parameters) :]
    places = None if _side_by_side(z, y) else _Places(memory_order(z), z, y)
    where = (z.data_ptr(), 0, y.data_ptr(), 0) if places is None else places.words
    arguments = _ACTIVATE_CODES(elements, *where, *settings, *parameters)
    _run(_compiled("activate_codes", z.dtype, function), elements, arguments)
    return y, packed


def gate(grad_output: Tensor, bits: Tensor, inside: float, outside: float) -> Tensor:
    bits = packed_bits(bits, grad_output)
    sent = torch.empty_like(grad_output)
    elements = grad_output.numel()
    places = None if _side_by_side(grad_output, sent) else _Places(memory_order(grad_output), grad_output, sent)
    where = (grad_output.data_ptr(), 0, sent.data_ptr(), 0) if places is None else places.words
    arguments = _GATE(elements, *where, bits.data_ptr(), inside, outside)
    _run(_compiled("gate", grad_output.dtype), elements, arguments)
    return sent


def levels(grad_output: Tensor, packed: Tensor, values: Sequence[float]) -> Tensor:
    planes = (len(values) - 1).bit_length()
    packed = packed_bits(packed, grad_output, planes)
    sent = torch.empty_like(grad_output)
    elements = grad_output.numel()
    places = None if _side_by_side(grad_output, sent) else _Places(memory_order(grad_output), grad_output, sent)
    where = (grad_output.data_ptr(), 0, sent.data_ptr(), 0) if places is None else places.words
    padded = *values, *_NO_VALUES[len(values) :]
    arguments = _LEVELS(elements, *where, packed.data_ptr(), packed.shape[1], planes, *padded)
    _run(_compiled("levels", grad_output.dtype), elements, arguments)
    return sent


def slope(grad_output: Tensor, value: Tensor, function: str, parameters: tuple[float, ...]) -> Tensor:
    value = value_like(value, grad_output)
    sent = torch.empty_like(grad_output)
    elements = grad_output.numel()
    parameters += _NO_PARAMETERS[len(parameters) :]
    places = None
    if not (_side_by_side(grad_output, sent) and _side_by_side(value, sent)):
        places = _Places(memory_order(grad_output), grad_output, value, sent)
    where = (grad_output.data_ptr(), 0, value.data_ptr(), 0, sent.data_ptr(), 0) if places is None else places.words
    _run(_compiled("slope", grad_output.dtype, function), elements, _SLOPE(elements, *where, *parameters))
    return sent


def uniform(like: Tensor, key: Tensor | int, stream: int, draw: int) -> Tensor:
    dtype = arithmetic_dtype(like.dtype)
    numbers = torch.empty_like(like, dtype=dtype)
    bits = int(key)
    crossed = None if numbers.is_contiguous() else _crossed(numbers)
    places = _Places(None, numbers) if crossed is None else None
    where = (numbers.data_ptr(), 0) if places is None else places.words
    drawn = stream, draw, bits & WORD, bits >> 32 & WORD
    arguments = _UNIFORM(like.numel(), *where, *drawn, *(crossed or _IN_ORDER))
    _run(_compiled("uniform", dtype), like.numel(), arguments, _RANDOM_GRAIN)
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
    bits = None if bits is None else packed_bits(bits, grad_output)
    sent = torch.empty_like(grad_output)
    elements = grad_output.numel()
    key = int(key)
    numbers = slope_range(minimum, maximum, arithmetic_dtype(grad_output.dtype))
    function = ("unit " if numbers[:2] == (0.0, 1.0) else "") + ("magnitude" if magnitude else "slope")
    kernel = _compiled("jam", grad_output.dtype, function)
    drawn = stream, key & WORD, key >> 32 & WORD
    # Random numbers follow the logical order of the elements, bits the order in memory.
    crossed = None if grad_output.is_contiguous() else _crossed(grad_output, sent)
    if crossed is not None or grad_output.is_contiguous():
        where = grad_output.data_ptr(), 0, sent.data_ptr(), 0, 0 if bits is None else bits.data_ptr()
        arguments = _JAM(elements, *where, *drawn, *(crossed or _IN_ORDER), *numbers)
        _run(kernel, elements, arguments, _RANDOM_GRAIN)
        return sent
    places = _Places(None, grad_output, sent)
    arguments = _JAM(elements, *places.words, 0, *drawn, *_IN_ORDER, *numbers)
    _run(kernel, elements, arguments, _RANDOM_GRAIN)
    return sent if bits is None else gate(sent, bits, 1.0, 0.0)


def two_values(elements: Tensor) -> tuple[Tensor | None, int, int]:
    count = elements.numel()
    bits = torch.empty((count + 7) // 8, dtype=torch.uint8, device=_CPU)
    verdict = array("q", [0, 0, 0])
    arguments = _TWO_VALUES(count, elements.data_ptr(), bits.data_ptr(), verdict.buffer_info()[0])
    _compiled("two_values", elements.dtype).call(arguments)
    found, low, high = verdict
    return (bits, low, high) if found else (None, 0, 0)


def restore(bits: Tensor, low: int, high: int, count: int, dtype: torch.dtype) -> Tensor:
    elements = torch.empty(count, dtype=dtype, device=_CPU)
    _run(_compiled("restore", dtype), count, _RESTORE(count, elements.data_ptr(), 0, bits.data_ptr(), low, high))
    return elements


def potentials(x: Tensor, state: Tensor | None, membrane: Membrane) -> tuple[Tensor, Tensor]:
    x, state = x.contiguous(), None if state is None else state.contiguous()
    z = torch.empty_like(x)
    last = torch.empty_like(x[0])
    given = 0 if state is None else state.data_ptr()
    arguments = _POTENTIALS(
        last.numel(),
        *(x.data_ptr(), given, z.data_ptr(), last.data_ptr()),
        *(len(x), _RESETS[membrane.reset], membrane.delayed),
        *_numbers_of(membrane),
    )
    _run_over_time("potentials", x, membrane, arguments)
    return z, last


def potentials_backward(
    grad_z: Tensor, grad_state: Tensor, z: Tensor | None, state: Tensor | None, membrane: Membrane
) -> tuple[Tensor, Tensor]:
    # Held by their names: a copy of what lies otherwise in memory must outlive the kernel.
    grad_z, grad_state = grad_z.contiguous(), grad_state.contiguous()
    z, state = (None if kept is None else kept.contiguous() for kept in (z, None if z is None else state))
    grad_x, grad_first = torch.empty_like(grad_z), torch.empty_like(grad_state)
    kept = (0 if z is None else z.data_ptr(), 0 if state is None else state.data_ptr())
    arguments = _POTENTIALS_BACKWARD(
        grad_first.numel(),
        *(grad_z.data_ptr(), grad_state.data_ptr(), *kept, grad_x.data_ptr(), grad_first.data_ptr()),
        *(len(grad_z), membrane.delayed),
        *_numbers_of(membrane),
    )
    _run_over_time("potentials_backward", grad_z, membrane, arguments)
    return grad_x, grad_first


def _numbers_of(membrane: Membrane) -> tuple[float, ...]:
    parameters = membrane.parameters
    padded = *parameters, *_NO_PARAMETERS[len(parameters) :]
    return membrane.beta, membrane.gain, membrane.threshold, *padded


def _run_over_time(name: str, sequence: Tensor, membrane: Membrane, arguments: bytes) -> None:
    kernel = _compiled(name, sequence.dtype, membrane.function)
    steps = max(1, len(sequence))
    _run(kernel, sequence.numel() // steps, arguments, max(CHUNK, _GRAIN // steps))
