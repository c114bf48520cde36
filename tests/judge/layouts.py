"""Numbers in every order of memory that PyTorch has views for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

__all__ = ["LAYOUTS", "constant_along", "laid_out"]


def _strided(values: Tensor) -> Tensor:
    return torch.stack([values, torch.full_like(values, 7)], -1)[..., 0]


def _transposed(values: Tensor) -> Tensor:
    return values.transpose(0, -1).contiguous().transpose(0, -1) if values.dim() > 1 else values.clone()


def _channels_last(values: Tensor) -> Tensor:
    if values.dim() != 4:
        return _transposed(values)
    return values.contiguous(memory_format=torch.channels_last)


def _sliced(values: Tensor) -> Tensor:
    if not values.dim():
        return torch.stack([values] * 3)[1]
    wide = torch.full((*values.shape[:-1], values.shape[-1] + 3), 7, dtype=values.dtype)
    wide[..., 2:-1] = values
    return wide[..., 2:-1]


def _offset(values: Tensor) -> Tensor:
    """Tensor one element after the beginning of its storage, where no vector is aligned."""
    storage = torch.full((values.numel() + 1,), 7, dtype=values.dtype)
    storage[1:] = values.reshape(-1)
    return storage[1:].view(values.shape)


def _expanded(values: Tensor) -> Tensor:
    return values[:1].clone().expand_as(values) if values.dim() else values.clone()


def _negated(values: Tensor) -> Tensor:
    """View whose negation is still to be done, as the imaginary part of a conjugate is."""
    if values.dtype not in {torch.float32, torch.float64}:
        return torch._neg_view(-values)
    return torch.complex(torch.zeros_like(values), -values).conj().imag


def _conjugated(values: Tensor) -> Tensor:
    """View into a conjugate: every other number of its storage."""
    if values.dtype not in {torch.float32, torch.float64}:
        return _strided(values)
    return torch.complex(values, torch.ones_like(values)).conj().real


def _permuted(values: Tensor) -> Tensor:
    """Tensor with the last dimension outermost in memory."""
    return torch.movedim(torch.movedim(values, -1, 0).contiguous(), 0, -1) if values.dim() > 1 else values.clone()


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": torch.clone,
    "transposed": _transposed,
    "channels_last": _channels_last,
    "permuted": _permuted,
    "sliced": _sliced,
    "strided": _strided,
    "expanded": _expanded,
    "offset": _offset,
    "negated": _negated,
    "conjugated": _conjugated,
}


def constant_along(layout: str, values: np.ndarray) -> np.ndarray:
    """Numbers that the layout can hold: an expanded view repeats its first entry."""
    return np.broadcast_to(values[:1], values.shape) if layout == "expanded" and values.ndim else values


def laid_out(layout: str, values: np.ndarray, dtype: str) -> Tensor:
    """Tensor of these numbers, whose own numbers are equal to them."""
    tensor = LAYOUTS[layout](torch.from_numpy(np.array(values)).to(getattr(torch, dtype)))
    return tensor.detach()
