"""What a forward would be without tieless: PyTorch's own function, with PyTorch's own derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from tieless.forwards import Elementwise, Forward
from tieless.kernels import reference


def is_flat(forward: Forward) -> bool:
    """Whether PyTorch could not train through it, because its derivative is 0 almost everywhere."""
    return forward.derivative() is None


def native(forward: Forward) -> Callable[[Tensor], Tensor]:
    """The forward as plain PyTorch: it keeps for the backward pass what PyTorch keeps.

    A flat forward becomes a surrogate as they are written by hand, which keeps its float input.

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
    """Keeps what hand-written surrogates keep. Its slope is nobody's: the memory is measured, nothing is sent back."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, forward: Forward) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(z)
        return forward.value(z)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return grad_output, None
