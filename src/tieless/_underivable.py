"""Refusal to differentiate the gradient of a rule that is not linear in the feedback (the incoming gradient)."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from tieless.errors import SecondDerivativeError

NO_SECOND = (
    "This untied gradient has no derivative: the rule is not linear in the feedback. Where second derivatives are needed, "
    "use 'tied', a rule with a slope, or a jam of slopes."
)
NO_PUSHED = (
    "What is sent back has no forward-mode derivative (jvp, jacfwd, hessian, forward_ad of a gradient). Take its derivative "
    "in reverse mode: grad, vjp, jacrev or create_graph=True."
)
NO_FORWARD_MODE = (
    "untie has no forward-mode derivative (jvp, jacfwd, hessian, forward_ad): a backward rule says what is sent back, "
    "not what goes forward. Use reverse mode (grad, vjp, jacrev), or a native activation."
)


class _Underivable(torch.autograd.Function):
    """Identity on a gradient, which refuses to be differentiated."""

    generate_vmap_rule = True

    @staticmethod
    def forward(feedback: Tensor, anchor: Tensor, grad_output: Tensor, why: str) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return feedback.view_as(feedback)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.why = inputs[3]

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise SecondDerivativeError(ctx.why)

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> None:
        raise SecondDerivativeError(ctx.why)


def underivable(feedback: Tensor, anchor: Tensor, grad_output: Tensor, why: str = NO_SECOND) -> Tensor:
    """Return ``feedback`` itself; its derivative, by ``grad_output`` or through ``anchor``, is refused with the reason ``why``."""
    return cast("Tensor", _Underivable.apply(feedback, anchor, grad_output, why))
