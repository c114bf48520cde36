"""Forwards without tieless: PyTorch's own function, with PyTorch's own derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from tieless.forwards import Elementwise, Forward
from tieless.kernels import reference


def is_flat(forward: Forward) -> bool:
    """True if PyTorch could not train through the forward, because its derivative is 0 almost everywhere."""
    return forward.derivative() is None


def native(forward: Forward) -> Callable[[Tensor], Tensor]:
    """Forward as plain PyTorch: it stores the same tensors for the backward pass as PyTorch.

    A flat forward becomes a surrogate gradient as users write it by hand, which stores its float input.

    Example:
        >>> from tieless.diagnose.explaining.native import native
        >>> z = torch.tensor([-1.0, 2.0], requires_grad=True)
        >>> native(forward("relu"))(z)
        tensor([0., 2.], grad_fn=<ReluBackward0>)
    """
    if is_flat(forward):

        def surrogate(z: Tensor) -> Tensor:
            return cast("Tensor", _SavedInput.apply(z, forward))

        return surrogate
    if isinstance(forward, Elementwise):
        return forward.function

    def plain(z: Tensor) -> Tensor:
        body = forward.body(z.dtype)
        return forward.value(z) if body is None else reference.activate(z, *body, None)[0]

    return plain


class _SavedInput(torch.autograd.Function):
    """Function that stores the input, as hand-written surrogates do.

    Only its memory is measured; its gradient is never computed.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, forward: Forward) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(z)
        return forward.value(z)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return grad_output, None
