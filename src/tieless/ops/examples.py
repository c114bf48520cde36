"""Operators under ``torch.func.vmap``: a batch gives the same as a loop over its examples, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import retrieve_current_functorch_interpreter

from tieless.errors import TransformError
from tieless.kernels.layout import memory_order, same_layout

# PyTorch lets an operator know its vmap only where a tensor of its own is mapped. A key belongs to each example even
# where z does not, so the draw answers to vmap itself. The names are private; from 2.6 to 2.13 they mean this.
_inner: Any = torch._C  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
_UNDER_VMAP = "FuncTorchVmapMode"
_ONLY_VMAP = _inner.DispatchKeySet(getattr(_inner.DispatchKey, _UNDER_VMAP))

_PACK = ("window_bits", "codes")
_UNPACK = ("gate", "levels")
_BY_KEY = ("uniform", "jam")


def register(library: torch.library.Library, operators: Any) -> None:
    """Give ``draw_key``, ``each_example`` and the other operators their meaning under ``vmap``."""
    for name in (*_PACK, *_UNPACK, *_BY_KEY):
        rule = _example_by_example(name, getattr(operators, name).default)
        torch.library.register_vmap(f"tieless::{name}", rule, lib=library)
    torch.library.register_vmap("tieless::activate", _elementwise(operators.activate.default), lib=library)
    library.impl("draw_key", _keys(operators.draw_key.default), _UNDER_VMAP)
    library.impl("each_example", _marks(operators.each_example.default), _UNDER_VMAP)


def _keys(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Keys, one for each example, drawn together: nested maps get them in the order in which nested loops draw."""

    def drawn(z: Tensor, shape: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        level: Any = retrieve_current_functorch_interpreter()
        randomness = level.randomness()
        if randomness == "error":
            raise TransformError(
                "The activation draws random numbers, and vmap was not told how. Give it randomness='different' for "
                "numbers of its own in each example, or randomness='same' for the same numbers in all."
            )
        apart = randomness == "different"
        with _inner._ExcludeDispatchKeyGuard(_ONLY_VMAP):  # noqa: SLF001
            keys = draw(torch.empty((), device="cpu"), [level.batch_size(), *shape] if apart else shape, generator)
        return _mapped(keys, level) if apart else keys

    return drawn


def _marks(mark: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def marked(y: Tensor) -> Tensor:
        level: Any = retrieve_current_functorch_interpreter()
        with _inner._ExcludeDispatchKeyGuard(_ONLY_VMAP):  # noqa: SLF001
            below = mark(torch.empty((), dtype=y.dtype, device=y.device))
            every = below.expand(level.batch_size())
        return _mapped(every, level)

    return marked


def _mapped(tensor: Tensor, level: Any) -> Tensor:
    return _inner._functorch._add_batch_dim(tensor, 0, level.level())  # noqa: SLF001


def _elementwise(operator: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, int | None]]:
    def rule(info: Any, in_dims: tuple[Any, ...], z: Tensor, *others: Any) -> tuple[Tensor, int | None]:
        return operator(z, *others), in_dims[0]

    return rule


def _example_by_example(name: str, operator: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, int | None]]:
    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int | None]:
        if info.batch_size == 0:
            return _of_none(rule, info, in_dims, args)
        mapped = [isinstance(dim, int) for dim in in_dims]
        batched = [arg.movedim(dim, 0) if has else arg for arg, dim, has in zip(args, in_dims, mapped, strict=True)]
        if name in _PACK and _whole_bytes(batched[0], info.batch_size):
            packed = operator(*batched)
            return packed.view(*packed.shape[:-1], info.batch_size, -1), packed.dim() - 1
        if name in _UNPACK and mapped[0] and _whole_bytes(batched[0], info.batch_size):
            bits: Tensor = args[1].movedim(in_dims[1], -2) if mapped[1] else args[1].unsqueeze(-2)
            together = bits.expand(*bits.shape[:-2], info.batch_size, -1).flatten(-2)
            return operator(batched[0], together, *batched[2:]), 0
        if name == "uniform" and not mapped[1]:
            return operator(batched[0][0], *args[1:]), None
        examples = [
            operator(*(arg[example] if has else arg for arg, has in zip(batched, mapped, strict=True)))
            for example in range(info.batch_size)
        ]
        together = torch.stack(examples)
        order = None if name in _PACK else memory_order(examples[0])
        # Each lies in the batch as it does alone: bits may be next to meet it.
        return together if order is None else same_layout(together, (0, *(dim + 1 for dim in order))), 0

    return rule


def _whole_bytes(examples: Tensor, count: int) -> bool:
    """True if the bits of the whole batch are those of its examples, one after the other."""
    return examples.is_contiguous() and examples.numel() // count % 8 == 0


def _of_none(
    rule: Callable[..., tuple[Tensor, int | None]], info: Any, in_dims: tuple[Any, ...], args: tuple[Any, ...]
) -> tuple[Tensor, int | None]:
    """Result for a batch without examples."""
    one = [
        arg.new_zeros([*arg.shape[:dim], 1, *arg.shape[dim + 1 :]]) if isinstance(dim, int) else arg
        for arg, dim in zip(args, in_dims, strict=True)
    ]
    result, dim = rule(info._replace(batch_size=1), in_dims, *one)
    return (result, None) if dim is None else (result.narrow(dim, 0, 0), dim)
