"""Transforms of the gradient's magnitude: scale, bounds, centre, resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor

from tieless.forwards.weights import existing_dim
from tieless.kernels.reductions import mean_over, of_order_one, root_mean_square
from tieless.registry import hidden_at_default
from tieless.rules.base import register_rule
from tieless.rules.transforms import LinearTransform, Transform, dimensions_of


@register_rule
@dataclass(frozen=True, slots=True)
class Scale(LinearTransform):
    """Factor on the gradient: ``grad_output * factor``.

    Args:
        factor: Factor, any finite number.
    Source:
        freegrad.
    Use:
        To set the gain of a rule, such as the factor of one half that a jam has on average.
    Example:
        >>> z = torch.zeros(2, requires_grad=True)
        >>> untie(z, "relu", Scale(3)).backward(torch.tensor([-1.0, 2.0])); z.grad
        tensor([-3.,  6.])
    """

    known_as: ClassVar[tuple[str, ...]] = ("freegrad scale",)
    factor: float

    def is_elementwise(self) -> bool:
        return True

    def transform(self, grad_output: Tensor) -> Tensor:
        return grad_output * self.factor


@register_rule
@dataclass(frozen=True, slots=True)
class Clip(Transform):
    """Element-wise clipping of the gradient to ``[-value, value]``.

    Args:
        value: Largest magnitude, positive, in units of the gradient.
    Raises:
        RuleValueError: ``value <= 0``.
    Source:
        Pascanu et al. 2013, arXiv:1211.5063, for each element.
    Use:
        Gradients with single large elements.
    Example:
        >>> z = torch.zeros(2, requires_grad=True)
        >>> untie(z, "relu", Clip(1)).backward(torch.tensor([-0.5, 2.0])); z.grad
        tensor([-0.5000,  1.0000])
    """

    value: float

    def check(self) -> None:
        self.require(self.value > 0, "value > 0")

    def is_elementwise(self) -> bool:
        return True

    def transform(self, grad_output: Tensor) -> Tensor:
        return grad_output.clamp(-self.value, self.value)


@register_rule
@dataclass(frozen=True, slots=True)
class ClipNorm(Transform):
    """Limit on the norm of the whole gradient: ``grad_output * min(1, max_norm / |grad_output|)``.

    Args:
        max_norm: Largest norm, positive. The norm is over the whole tensor, batch included. A gradient with an infinity
            or a NaN has none, and is passed unchanged.
    Raises:
        RuleValueError: ``max_norm <= 0``.
    Source:
        Pascanu et al. 2013, arXiv:1211.5063.
    Use:
        Gradients that explode, with their direction kept.
    Example:
        >>> z = torch.zeros(2, requires_grad=True)
        >>> untie(z, "relu", ClipNorm(1)).backward(torch.tensor([3.0, 4.0])); z.grad
        tensor([0.6000, 0.8000])
    """

    known_as: ClassVar[tuple[str, ...]] = ("freegrad clip_norm",)
    _wide: ClassVar[bool] = True
    max_norm: float

    def check(self) -> None:
        self.require(self.max_norm > 0, "max_norm > 0")

    def transform(self, grad_output: Tensor) -> Tensor:
        shares, unit = of_order_one(grad_output, dimensions_of(grad_output, "tensor"))
        norm = cast("Tensor", torch.linalg.vector_norm(shares))
        return torch.where(norm > self.max_norm / unit, shares * (self.max_norm / norm), grad_output)


@register_rule
@dataclass(frozen=True, slots=True)
class Normalize(Transform):
    """Division of each sample's gradient by its root mean square, or of the whole gradient by its own; 0 stays 0.

    A sample is an entry of dimension 0; a gradient of fewer than two dimensions is one sample.

    Args:
        per: ``"sample"``: each sample then counts alike. ``"tensor"``: samples keep their shares, and only the range of
            the gradient is changed, batch included.
    Source:
        Hazan et al. 2015, arXiv:1507.02030, for each sample.
    Use:
        Gradients that vanish or explode on their way down.
    Example:
        >>> z = torch.zeros(2, 2, requires_grad=True)
        >>> untie(z, "relu", "normalize").backward(torch.tensor([[3.0, -3.0], [0.0, 0.0]])); z.grad
        tensor([[ 1., -1.],
                [ 0.,  0.]])
    """

    per: Literal["sample", "tensor"] = hidden_at_default("sample")

    def transform(self, grad_output: Tensor) -> Tensor:
        dimensions = dimensions_of(grad_output, self.per)
        shares, _ = of_order_one(grad_output, dimensions)
        rms = root_mean_square(shares, dimensions)
        return shares / torch.where(rms == 0, 1.0, rms)


@register_rule
@dataclass(frozen=True, slots=True)
class Centralize(LinearTransform):
    """Subtraction of the mean over one dimension: ``grad_output - mean(grad_output, dim)``.

    Args:
        dim: Dimension, the last unless given. A 0-dim gradient is its own mean and becomes 0.
    Raises:
        DimensionError: the gradient has no such dimension.
    Source:
        Yong et al. 2020, arXiv:2004.01461, for gradients of weights.
    Use:
        To remove a common drift from the gradient.
    Example:
        >>> z = torch.zeros(3, requires_grad=True)
        >>> untie(z, "relu", "centralize").backward(torch.tensor([1.0, 2.0, 6.0])); z.grad
        tensor([-2., -1.,  3.])
    """

    known_as: ClassVar[tuple[str, ...]] = ("freegrad centralize",)
    dim: int = -1

    def transform(self, grad_output: Tensor) -> Tensor:
        return grad_output - mean_over(grad_output, (existing_dim(grad_output, self.dim),))


@register_rule
@dataclass(frozen=True, slots=True)
class Quantize(Transform):
    """Rounding to ``2^bits - 1`` equally spaced levels around 0, of which the outermost is the largest element.

    ``step * round(grad_output / step)`` with ``step = max|grad_output| / (2^(bits - 1) - 1)``; halves go to the even
    level. The maximum is over the whole tensor; a gradient of 0 stays 0, and one with an infinity or a NaN becomes NaN.

    Args:
        bits: Number of bits, from 2 (three levels) to 16.
    Raises:
        RuleValueError: ``bits`` is outside 2..16.
    Source:
        Zhou et al. 2016, arXiv:1606.06160 (DoReFa), without its noise.
    Use:
        To measure how many bits of the gradient learning needs.
    Example:
        >>> z = torch.zeros(4, requires_grad=True)
        >>> untie(z, "relu", Quantize(2)).backward(torch.tensor([-2.0, 0.3, 0.9, 1.1])); z.grad
        tensor([-2.,  0.,  0.,  2.])
    """

    bits: int

    def check(self) -> None:
        self.require(2 <= self.bits <= 16, "2 <= bits <= 16")

    def transform(self, grad_output: Tensor) -> Tensor:
        if grad_output.numel() == 0:
            return grad_output
        largest = grad_output.abs().max()
        steps = 2 ** (self.bits - 1) - 1
        unit = torch.where(largest == 0, 1.0, largest)
        return torch.round(grad_output / unit * steps) / steps * unit
