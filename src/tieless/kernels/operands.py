"""Checks of the tensors beside the first before kernels read them at their address.

Such a tensor was stored by a forward pass, and comes back through whatever hooks and transforms lay in between:
expanded, in another order, moved, or of another size. A kernel without these checks would read foreign memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tieless.errors import KernelError


def packed_bits(bits: Tensor, elements: Tensor, planes: int | None = None) -> Tensor:
    """Packed bits of ``elements``, one byte after the other in memory.

    Args:
        bits: Bits, 8 elements to a byte; ``(bytes,)``, or ``(planes, bytes)``.
        elements: Tensor that the bits belong to.
        planes: Number of rows; ``None`` for one row without a dimension.
    Raises:
        KernelError: the bits are not of so many elements, or on another device.
    """
    row = (elements.numel() + 7) // 8
    expected = (row,) if planes is None else (planes, row)
    if bits.shape != expected or bits.dtype != torch.uint8 or bits.device != elements.device:
        raise _changed("bits", bits, expected, torch.uint8, elements.device)
    return bits if bits.is_contiguous() else bits.contiguous()


def value_like(value: Tensor, grad_output: Tensor) -> Tensor:
    """Value at which a slope is taken, which may lie in memory in any way.

    Args:
        value: Tensor that the forward pass stored.
        grad_output: Incoming gradient that meets it.
    Raises:
        KernelError: the value differs from the gradient in shape, dtype or device.
    """
    if value.shape != grad_output.shape or value.dtype != grad_output.dtype or value.device != grad_output.device:
        raise _changed("value", value, tuple(grad_output.shape), grad_output.dtype, grad_output.device)
    return value


def _changed(
    what: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> KernelError:
    return KernelError(
        f"The {what} kept for the backward pass came back as {tensor.dtype} of shape {tuple(tensor.shape)} on "
        f"{tensor.device}, and {dtype} of shape {shape} on {device} is needed. A saved-tensor hook must give back what it "
        "was given."
    )
