"""What a linear layer is apart from its weights: how its inputs meet them, and what that makes of feedback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Geometry:
    """A linear layer or a convolution without its weights.

    Args:
        shape: Of the weights: outputs, inputs, window.
        stride, padding, dilation: Of a convolution, a number for each dimension of its window.
        groups: Of a convolution.
        pads: What is put around the input beforehand, as ``F.pad`` takes it, where ``padding`` cannot say it.
        mode: How.
        transposed: True if the layer has its weights with the inputs first, as GPT-2's ``Conv1D``.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    pads: tuple[int, ...] = ()
    mode: str = "constant"
    transposed: bool = False

    def outputs_first(self, weight: Tensor) -> Tensor:
        """The layer's weights in the shape that is said here."""
        return weight.mT if self.transposed else weight

    def padded(self, x: Tensor) -> Tensor:
        """The input with what is put around it beforehand."""
        return F.pad(x, self.pads, self.mode) if self.pads else x

    def grad_input(self, grad_output: Tensor, weights: Tensor, shape: tuple[int, ...]) -> Tensor:
        """What the transposed ``weights`` make of feedback.

        Args:
            grad_output: As the layer's output.
            weights: In the shape of the layer's weights, in the dtype of the feedback.
            shape: Of the layer's padded input.
        """
        dims = len(self.shape) - 2
        if dims == 0:
            return grad_output @ weights
        if len(shape) == dims + 1:
            return self.grad_input(grad_output[None], weights, (1, *shape))[0]
        # The input itself is not needed, its shape is: as in torch.nn.grad.
        like = grad_output.new_empty(1).expand(shape)
        found: Any = torch.ops.aten.convolution_backward(
            grad_output,
            like,
            weights,
            None,
            list(self.stride),
            list(self.padding),
            list(self.dilation),
            transposed=False,
            output_padding=[0] * dims,
            groups=self.groups,
            output_mask=[True, False, False],
        )
        return cast("Tensor", found[0])
