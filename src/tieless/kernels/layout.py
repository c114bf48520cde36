"""Order of a tensor's elements in memory, which is the order of the bits that are stored of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor


def memory_order(like: Tensor) -> tuple[int, ...] | None:
    """Dimensions of ``torch.empty_like(like)`` from the outermost in memory to the innermost.

    The result is ``None`` if that is their own order.
    """
    if like.is_contiguous():
        return None
    # By sizes and strides alone: so an example has one order inside of a batch that is mapped and by itself.
    sizes, strides = like.shape, like.stride()
    if all(type(number) is int for number in (*sizes, *strides)):
        return _known_order(tuple(sizes), strides)
    return _order(sizes, strides)  # a compiler's symbols, which have no hash


def _order(sizes: Sequence[int], strides: Sequence[int]) -> tuple[int, ...] | None:
    tensor = torch.empty_like(torch.empty_strided(sizes, strides, device="meta"))
    if tensor.is_contiguous():
        return None
    order: list[int] = []
    for dim in range(tensor.dim()):
        place = len(order)
        while place and tensor.stride(order[place - 1]) < tensor.stride(dim):
            place -= 1
        order.insert(place, dim)
    return tuple(order)


_known_order = lru_cache(maxsize=1024)(_order)


def in_memory_order(tensor: Tensor, like: Tensor) -> Tensor:
    """Elements of ``tensor`` in one dimension, as they would lie in memory if it were laid out like ``like``."""
    order = memory_order(like)
    return tensor.reshape(-1) if order is None else tensor.permute(order).reshape(-1)


def laid_out(flat: Tensor, like: Tensor) -> Tensor:
    """Elements in memory order, shaped and laid out as ``torch.empty_like(like)`` is."""
    order = memory_order(like)
    if order is None:
        return flat.view(like.shape)
    inverse = [order.index(dim) for dim in range(len(order))]
    return flat.view([like.shape[dim] for dim in order]).permute(inverse)


def same_layout(tensor: Tensor, order: tuple[int, ...] | None) -> Tensor:
    """Tensor with its dimensions in the given order in memory; ``tensor`` itself if they are."""
    if order is None:
        return tensor if tensor.is_contiguous() else tensor.contiguous()
    inverse = [order.index(dim) for dim in range(len(order))]
    return tensor.permute(order).contiguous().permute(inverse)


def laid_out_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Tensor with its elements in the memory order of ``torch.empty_like(like)``, that of stored bits of ``like``."""
    return same_layout(tensor, memory_order(like))
