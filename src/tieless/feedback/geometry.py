"""Geometry of a linear layer apart from its weights: how inputs meet the weights, and how gradients go back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Geometry:
    """Linear layer or convolution without its weights.

    Args:
        shape: Shape of the weights: outputs, inputs, window.
        stride, padding, dilation: Settings of a convolution, a number for each dimension of its window.
        groups: Number of groups of a convolution.
        pads: Padding around the input beforehand, as ``F.pad`` takes it, where ``padding`` cannot express it.
        mode: Mode of that padding.
        transposed: True if the layer has its weights with the inputs first, as GPT-2's ``Conv1D``.
    Example:
        >>> from tieless.feedback import Geometry
        >>> dense = Geometry(shape=(2, 3))
        >>> dense.grad_input(torch.tensor([[1.0, 10.0]]), torch.ones(2, 3), (1, 3))
        tensor([[11., 11., 11.]])
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
        """Weights of the layer in the shape of ``shape``."""
        return weight.mT if self.transposed else weight

    def padded(self, x: Tensor) -> Tensor:
        """Input with the padding around it."""
        return F.pad(x, self.pads, self.mode) if self.pads else x

    def grad_input(self, grad_output: Tensor, weights: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Gradient of the input, by the transposed ``weights``.

        Args:
            grad_output: Incoming gradient, in the shape of the layer's output.
            weights: Feedback weights, in the shape of the layer's weights and the dtype of the gradient.
            shape: Shape of the layer's padded input.
        """
        dims = len(self.shape) - 2
        if dims == 0:
            return grad_output @ weights
        if len(shape) == dims + 1:
            return self.grad_input(grad_output[None], weights, (1, *shape))[0]
        # The shape of the input is needed, not the input: as in torch.nn.grad.
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
