"""Bits of ``reference`` in another order, by operations that a compiler fuses with their neighbours and vectorises.

Bit ``k`` of a byte belongs to the ``k``-th eighth of the elements, and what lies side by side in the tensor lies side by
side in the bytes: eight vectors are compared, shifted and joined to one vector of bytes. In the order of ``reference``
a byte has eight neighbours, which the CPU code of Inductor takes one by one. Masks are int32 on their way: as bool or
uint8 that code takes 12 to 17 % of a whole training step for them.

Packed bits have the shape ``(planes, 1, bytes)``, by which they are told from those of ``reference``, and are as many.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tieless.kernels.layout import memory_order
from tieless.kernels.reference import arithmetic_dtype

_DIMENSIONS = 3


def holds(packed: Tensor) -> bool:
    """True if bits are packed in the order of this module."""
    return packed.dim() == _DIMENSIONS


def accepts(z: Tensor) -> bool:
    """True if the elements of ``z`` are eight eighths; a compiler's symbol may be any number."""
    return all(type(size) is int for size in (*z.shape, *z.stride())) and z.numel() > 0 and z.numel() % 8 == 0


def window_bits(z: Tensor, low: float, high: float, open_low: bool, open_high: bool) -> Tensor:
    """Window of ``z``, one bit per element; ``reference`` says what is inside."""
    return _pack(_in_memory(_inside(z, low, high, open_low, open_high).to(torch.int32), z)).view(1, 1, -1)


def codes(z: Tensor, boundaries: Sequence[float], even: bool) -> Tensor:
    """Number of boundaries below each element, in binary; ``reference`` says how they are compared."""
    wide = _compared(z, even)
    passed = torch.zeros_like(wide, dtype=torch.int32)
    for boundary in boundaries:
        passed = passed + (wide > boundary).to(torch.int32)
    passed = _in_memory(passed, z)
    planes = [_pack((passed >> plane) & 1) for plane in range(len(boundaries).bit_length())]
    return torch.stack(planes).view(len(planes), 1, -1)


def gate(grad_output: Tensor, packed: Tensor, inside: float, outside: float) -> Tensor:
    """Product of ``grad_output`` and ``inside`` where the bit is set, else ``outside``; times 0 is 0, even of inf."""
    (mask,) = _unpack(packed, grad_output)
    return _either(mask, grad_output, inside, outside)


def levels(grad_output: Tensor, packed: Tensor, values: Sequence[float]) -> Tensor:
    """Product of ``grad_output`` and the value of each element's code; times 0 is 0, even of inf."""
    chosen = _numbers(values, grad_output)
    for bit in _unpack(packed, grad_output):
        last = chosen[-1:] if len(chosen) % 2 else []
        chosen = [*map(torch.where, [bit] * (len(chosen) // 2), chosen[1::2], chosen[::2]), *last]
    return _times(grad_output, chosen[0], values)


def gate_at(
    grad_output: Tensor, z: Tensor, window: tuple[float, float, bool, bool], slopes: tuple[float, float]
) -> Tensor:
    """``gate`` by the bits that ``window_bits`` would give of ``z``, which is at hand."""
    return _either(_inside(z, *window), grad_output, *slopes)


def levels_at(grad_output: Tensor, z: Tensor, steps: tuple[Sequence[float], bool], values: Sequence[float]) -> Tensor:
    """``levels`` by the codes that ``codes`` would give of ``z``, which is at hand."""
    boundaries, even = steps
    wide = _compared(z, even)
    value, *others = _numbers(values, grad_output)
    for boundary, number in zip(boundaries, others, strict=True):
        value = torch.where(wide > boundary, number, value)
    return _times(grad_output, value, values)


def _inside(z: Tensor, low: float, high: float, open_low: bool, open_high: bool) -> Tensor:
    return ((z > low) if open_low else (z >= low)) & ((z < high) if open_high else (z <= high))


def _compared(z: Tensor, even: bool) -> Tensor:
    wide = z.to(arithmetic_dtype(z.dtype))
    return wide.abs() if even else wide


def _either(mask: Tensor, grad_output: Tensor, inside: float, outside: float) -> Tensor:
    return torch.where(mask, _product(grad_output, inside), _product(grad_output, outside))


def _product(grad_output: Tensor, factor: float) -> Tensor:
    if factor == 0:
        return torch.zeros_like(grad_output)
    return grad_output if factor == 1 else grad_output * factor


def _numbers(values: Sequence[float], like: Tensor) -> list[Tensor]:
    return [torch.full((), value, dtype=arithmetic_dtype(like.dtype), device=like.device) for value in values]


def _times(grad_output: Tensor, value: Tensor, values: Sequence[float]) -> Tensor:
    sent = grad_output.to(value.dtype) * value
    return (torch.where(value == 0, 0.0, sent) if 0 in values else sent).to(grad_output.dtype)


def _in_memory(values: Tensor, like: Tensor) -> Tensor:
    """Values in eighths: the dimensions of ``like`` in memory, the outermost joined until there are eight or more."""
    order = memory_order(like)
    ordered = values if order is None else values.permute(order)
    return ordered.reshape(_eighths(ordered.shape))


def _eighths(sizes: Sequence[int]) -> tuple[int, ...]:
    joined = 1
    for place, size in enumerate(sizes):
        joined *= size
        if joined % 8 == 0:
            return 8, joined // 8, *sizes[place + 1 :]
    raise AssertionError(f"{sizes} has no eighths: accepts() was not asked.")


def _pack(bits: Tensor) -> Tensor:
    """Bits, 0 or 1, int32, ``(8, ...)``, as the bits of one byte each.

    The sum is a loop of its own: what reads its result would otherwise compute all eight bits of a byte for each.
    """
    return (bits << _places(bits)).sum(0, dtype=torch.int32).to(torch.uint8).view(-1)


def _places(eighths: Tensor) -> Tensor:
    return torch.arange(8, dtype=torch.int32, device=eighths.device).view(8, *[1] * (eighths.dim() - 1))


def _unpack(packed: Tensor, like: Tensor) -> list[Tensor]:
    """Masks, one for each plane, shaped and laid out like ``like``."""
    order = memory_order(like)
    sizes = list(like.shape) if order is None else [like.shape[dim] for dim in order]
    _, *eighth = _eighths(sizes)
    masks: list[Tensor] = []
    for plane in packed.to(torch.int32).view(len(packed), 1, *eighth).unbind():
        mask = ((plane >> _places(plane)) & 1 != 0).reshape(sizes)
        masks.append(mask if order is None else mask.permute([order.index(dim) for dim in range(len(order))]))
    return masks
