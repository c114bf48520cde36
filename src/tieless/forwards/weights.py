"""Forwards for weights, with a scale that is computed over a whole tensor. All other forwards are elementwise.

Under ``torch.func.vmap`` each example has a scale of its own, as in a loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tieless.errors import DimensionError
from tieless.forwards.advice import Advice
from tieless.forwards.base import Forward, register_forward
from tieless.kernels.reductions import mean_over
from tieless.kernels.reference import arithmetic_dtype


def existing_dim(tensor: Tensor, dim: int) -> int:
    """Dimension, counted from the first; of a 0-dim tensor 0 and -1 are one, as for PyTorch.

    Raises:
        DimensionError: the tensor has no such dimension.
    """
    count = max(tensor.dim(), 1)
    if not -count <= dim < count:
        raise DimensionError(
            f"Expected dim from {-count} to {count - 1} for a tensor of shape {tuple(tensor.shape)}, got {dim}."
        )
    return dim % count


def channel_magnitude(z: Tensor, dim: int) -> Tensor:
    """Mean magnitude ``mean|z|`` over all dimensions but ``dim``, in the arithmetic dtype; broadcasts against ``z``."""
    magnitude = z.abs().to(arithmetic_dtype(z.dtype))
    if z.dim() == 0:
        return magnitude
    dim = existing_dim(z, dim)
    if z.numel() == 0:
        return magnitude
    others = [other for other in range(z.dim()) if other != dim]
    return mean_over(magnitude, others) if others else magnitude


@register_forward
@dataclass(frozen=True, slots=True)
class MagnitudeAwareSign(Forward):
    """Sign times the mean magnitude of the channel: ``y = sign(z) mean|z|`` over all dimensions but ``dim``.

    Here ``sign(0) = 1``.

    Args:
        dim: Dimension of the output channels: 0 in PyTorch's weights.
    Raises:
        DimensionError: ``z`` has no such dimension.
    Source:
        Liu et al. 2018, arXiv:1808.00278, section 3.3.
    Example:
        >>> forward("magnitude_aware_sign").value(torch.tensor([[0.5, -1.5], [0.0, 0.4]]))
        tensor([[ 1.0000, -1.0000],
                [ 0.2000,  0.2000]])
    """

    known_as: ClassVar[tuple[str, ...]] = ("Larq MagnitudeAwareSign",)
    elementwise: ClassVar[bool] = False
    dim: int = 0

    def trained_by(self) -> tuple[Advice, Advice]:
        return (
            Advice(f"magnitude_aware(1, {self.dim})", "the paper's: a window times the channel's mean magnitude"),
            Advice("rectangular(-1, 1)", "the window alone, stores 1 bit an element"),
        )

    def value(self, z: Tensor) -> Tensor:
        scale = channel_magnitude(z, self.dim).to(z.dtype)
        return torch.where(z.isnan(), z, torch.where(z >= 0, scale, -scale))


@register_forward
@dataclass(frozen=True, slots=True)
class TernaryWeight(Forward):
    """Ternary step function with a threshold that follows the weights: ``factor * mean|z|``, over all elements.

    Args:
        factor: Threshold in mean magnitudes; not negative.
    Source:
        Li and Liu 2016, arXiv:1605.04711, without their scale.
    Example:
        >>> forward("ternary_weight").value(torch.tensor([-1.0, 0.2, 0.6]))
        tensor([-1.,  0.,  1.])
    """

    known_as: ClassVar[tuple[str, ...]] = ("Larq SteTern",)
    elementwise: ClassVar[bool] = False
    _wide: ClassVar[bool] = True
    factor: float = 0.7

    def check(self) -> None:
        self.require(self.factor >= 0, "factor >= 0")

    def value(self, z: Tensor) -> Tensor:
        if z.numel() == 0:
            return z.clone()
        wide = z.to(arithmetic_dtype(z.dtype))
        threshold = mean_over(wide.abs(), range(z.dim())) * self.factor
        # No comparing: where the threshold is computed too, Inductor would store the masks for the backward pass.
        level = torch.sign(wide - wide.clamp(-threshold, threshold))
        return torch.where(z.isnan(), z, level.to(z.dtype))
