"""Draws in the order of the code, in graphs that a compiler may reorder.

To a compiler two draws of one graph are independent: it may run the second first, and each gets the other's key. So
where a graph is written down, each draw takes the key before it as an input, and the order is one of data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode

_last: WeakKeyDictionary[Any, Tensor] = WeakKeyDictionary()
"""The key that was drawn last in each graph that is being written."""


def keep(library: torch.library.Library, draw: Any, draw_after: Callable[..., Tensor]) -> None:
    """Let graphs hold ``draw_after`` in place of ``draw``.

    Args:
        library: Library of the operators.
        draw: Operator ``draw(z, shape, generator) -> key``.
        draw_after: Operator like ``draw``, with the key before it, or none, between ``shape`` and ``generator``.
    """

    def written(
        mode: ProxyTorchDispatchMode,
        operator: object,
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Tensor:
        z, shape, generator = _arguments(*args, **(kwargs or {}))
        with mode:
            key = draw_after(z, shape, _last.get(mode.tracer), generator)
        _last[mode.tracer] = key
        return key

    torch.library.register_torch_dispatch(draw, ProxyTorchDispatchMode, written, lib=library)


def _arguments(
    z: Tensor, shape: Sequence[int], generator: torch.Generator | None = None
) -> tuple[Tensor, Sequence[int], torch.Generator | None]:
    return z, shape, generator
