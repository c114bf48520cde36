"""Checks of the input of an activation, and of the output of functions that are not ours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from tieless import ops
from tieless.errors import RuleTypeError
from tieless.forwards import ForwardLike, forward as forward_of
from tieless.forwards.base import without_graph
from tieless.signature import real


def floating(z: Tensor) -> Tensor:
    """Input of an activation, refused if its dtype is not floating."""
    if z.dtype not in ops.FLOATING:
        raise RuleTypeError(
            f"untie needs a floating z, of float16, bfloat16, float32 or float64, got {z.dtype}. Convert it first."
        )
    return z


def checked(y: Tensor, z: Tensor, forward: object) -> Tensor:
    """Output ``y`` of a function, refused if it is not elementwise."""
    if not isinstance(y, Tensor) or y.shape != z.shape or y.device != z.device:  # pyright: ignore[reportUnnecessaryIsInstance]
        found = f"shape {tuple(y.shape)} on {y.device}" if isinstance(y, Tensor) else f"a {type(y).__name__}"  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RuleTypeError(
            f"The forward {forward} is not elementwise: z has shape {tuple(z.shape)} on {z.device}, its output is {found}."
        )
    # Autocast computes some functions in float32; the promise is the dtype of z.
    return real(y, z.dtype, forward)


def followed(y: Tensor, z: Tensor, forward: ForwardLike) -> Tensor:
    """Output ``y`` of a callable whose derivative is PyTorch's, if it has one."""
    if z.requires_grad and torch.is_grad_enabled() and not y.requires_grad:
        raise without_graph(forward_of(forward))
    return y


def unlearned(y: Tensor, forward: object) -> Tensor:
    """Output ``y`` of a function, refused if it depends on parameters; its dependence on ``z`` was cut off."""
    if _is_followed(y):
        raise RuleTypeError(
            f"The forward {forward} uses tensors that require gradients, and a rule would send them none. Detach them."
        )
    return y


def _is_followed(y: Tensor) -> bool:
    """True if autograd, or a transform of ``torch.func`` at any level, takes derivatives through ``y``."""
    if y.requires_grad or (ops.forward_mode() and forward_ad.unpack_dual(y).tangent is not None):
        return True
    if torch.compiler.is_dynamo_compiling() or not ops.transformed():  # the test is repeated when the code runs
        return False
    return ops.one_level_down(y, _is_followed)
