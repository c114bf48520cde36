"""Transforms of the gradient's direction: its signs, and rotations by an angle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tieless.draws import Random
from tieless.errors import RuleValueError
from tieless.kernels.reductions import of_order_one, root_mean_square
from tieless.registry import hidden_at_default
from tieless.rules.base import register_rule
from tieless.rules.randomness import normal
from tieless.rules.transforms import LinearTransform, Transform, dimensions_of


@register_rule
@dataclass(frozen=True, slots=True)
class Sign(Transform):
    """Sign of the incoming gradient: 1, -1, 0 for 0 and NaN for NaN; on request with the norm of each sample or of all.

    A sample is an entry of dimension 0; a gradient of fewer than two dimensions is one sample.

    Args:
        norm: ``"none"``: signs alone. ``"sample"``: all elements of a sample have one magnitude, which keeps the
            sample's norm. ``"tensor"``: all elements have one magnitude, which keeps the norm of the whole gradient, so
            that a sample counts by its number of non-zero elements.
    Source:
        Bernstein et al. 2018, arXiv:1802.04434, for gradients of weights.
    Use:
        To pass a direction and no magnitude; with ``"sample"``, to leave each sample its weight.
    Example:
        >>> z = torch.zeros(2, 2, requires_grad=True)
        >>> untie(z, "relu", "sign").backward(torch.tensor([[-0.2, 0.0], [3.0, 4.0]])); z.grad
        tensor([[-1.,  0.],
                [ 1.,  1.]])
        >>> z.grad = None
        >>> untie(z, "relu", 'sign(norm="sample")').backward(torch.tensor([[-0.2, 0.0], [7.0, 1.0]])); z.grad
        tensor([[-0.2000,  0.0000],
                [ 5.0000,  5.0000]])
    """

    norm: Literal["none", "sample", "tensor"] = hidden_at_default("none")

    def is_elementwise(self) -> bool:
        return self.norm == "none"

    def transform(self, grad_output: Tensor) -> Tensor:
        signs = torch.where(grad_output.isnan(), grad_output, torch.sign(grad_output))  # which is 0 for NaN
        if self.norm == "none":
            return signs
        dimensions = dimensions_of(grad_output, self.norm)
        shares, unit = of_order_one(grad_output, dimensions)
        has, wanted = root_mean_square(signs, dimensions), root_mean_square(shares, dimensions)
        return signs * (wanted / torch.where(has == 0, 1.0, has) * unit)


@register_rule
@dataclass(frozen=True, slots=True)
class Flip(LinearTransform):
    """Sign flips: the sign of each element changes with probability ``p``, independently of the others.

    Args:
        p: Probability of a flip, in [0, 1].
    Raises:
        RuleValueError: ``p`` is outside [0, 1].
    Source:
        Ours.
    Use:
        To measure how many wrong signs learning tolerates.
    Example:
        >>> z = torch.zeros(2, requires_grad=True)
        >>> untie(z, "relu", Flip(1)).backward(torch.tensor([-1.0, 2.0])); z.grad
        tensor([ 1., -2.])
    """

    draws: ClassVar[bool] = True
    p: float

    def _sizes(self) -> dict[str, float]:
        return {}  # a probability is no size

    def check(self) -> None:
        self.require(0 <= self.p <= 1, "0 <= p <= 1")

    def is_elementwise(self) -> bool:
        return True

    def disturb(self, grad_output: Tensor, random: Random) -> Tensor:
        return torch.where(random.uniform(grad_output) < self.p, -grad_output, grad_output)


@register_rule
@dataclass(frozen=True, slots=True)
class Rotate(Transform):
    """Rotation of each sample's gradient by an angle in a random direction; its norm stays.

    ``g cos a + |g| e sin a`` with a random unit vector ``e`` at right angles to ``g``. A sample is an entry of
    dimension 0; a gradient of fewer than two dimensions is one sample. A gradient of 0 stays 0.

    Args:
        degrees: Angle, in [0, 180].
    Raises:
        RuleValueError: the angle is outside [0, 180], or a sample has one element, which has no other direction.
    Source:
        Ours.
    Use:
        To measure how far from the true direction learning still works.
    Example:
        >>> z = torch.zeros(2, 50, requires_grad=True)
        >>> g = torch.linspace(-1, 1, 100).view(2, 50)
        >>> untie(z, "relu", Rotate(60)).backward(g)
        >>> torch.cosine_similarity(z.grad, g)
        tensor([0.5000, 0.5000])
    """

    draws: ClassVar[bool] = True
    degrees: float

    def _sizes(self) -> dict[str, float]:
        return {}  # an angle is no size

    def check(self) -> None:
        self.require(0 <= self.degrees <= 180, "0 <= degrees <= 180")

    def disturb(self, grad_output: Tensor, random: Random) -> Tensor:
        dims = dimensions_of(grad_output, "sample")
        if grad_output.numel() == 0:
            return grad_output
        samples = grad_output.shape[0] if grad_output.dim() > 1 else 1
        if grad_output.numel() == samples:
            raise RuleValueError("rotate needs at least 2 elements a sample to turn in, and the feedback has 1.")
        shares, unit = of_order_one(grad_output, dims)
        rms = root_mean_square(shares, dims)
        along = shares / torch.where(rms > 0, rms, 1.0)
        aside = normal(random, grad_output)
        aside = aside - along * (aside * along).mean(dims, keepdim=True)
        aside = aside / root_mean_square(aside, dims)
        angle = math.radians(self.degrees)
        return grad_output * math.cos(angle) + rms * aside * math.sin(angle) * unit
