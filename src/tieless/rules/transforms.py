"""What all feedback transforms share: they see the feedback alone, and keep nothing of the forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tieless.draws import Random
from tieless.rules.base import Family, Rule

__all__ = ["LinearTransform", "Transform", "per_sample_rms", "rms_over", "rms_per"]


class Transform(Rule):
    """A rule on ``grad_output`` alone. Subclasses define ``transform``, or ``disturb`` where they draw numbers.

    Half types are widened to float32 for the arithmetic and rounded once at the end.
    """

    __slots__ = ()
    family: ClassVar[Family] = "transform"

    def feedback(self, grad_output: Tensor, kept: Tensor | None, random: Random | None) -> Tensor:
        wide = grad_output.float() if grad_output.dtype in (torch.float16, torch.bfloat16) else grad_output
        sent = self.transform(wide) if random is None else self.disturb(wide, random)
        return sent.to(grad_output.dtype)

    def transform(self, grad_output: Tensor) -> Tensor:
        raise NotImplementedError

    def disturb(self, grad_output: Tensor, random: Random) -> Tensor:
        return self.transform(grad_output)


class LinearTransform(Transform):
    """A transform that is linear in the feedback, or that and a constant, written in PyTorch's operations."""

    __slots__ = ()

    @property
    def linear(self) -> bool:
        return True


def per_sample_rms(grad_output: Tensor) -> Tensor:
    """Root mean square of each sample, which broadcasts against the feedback.

    A sample is an entry of dimension 0; a feedback of fewer than two dimensions is one sample.
    """
    return rms_over(grad_output, range(1, grad_output.dim()) or range(grad_output.dim()))


def rms_per(grad_output: Tensor, per: Literal["sample", "tensor"]) -> Tensor:
    """Root mean square of each sample or of the whole feedback, which broadcasts against it."""
    return per_sample_rms(grad_output) if per == "sample" else rms_over(grad_output, range(grad_output.dim()))


def rms_over(grad_output: Tensor, dimensions: Sequence[int]) -> Tensor:
    """Root mean square over some dimensions, which broadcasts against the feedback. 0-dim: the magnitude."""
    dims = tuple(dimensions)
    # The largest element is divided out first: squares of tiny or huge feedback would leave the dtype's range.
    largest = grad_output.abs().amax(dims, keepdim=True) if grad_output.numel() else grad_output.abs()
    unit = torch.where(largest > 0, largest, 1.0)
    return (grad_output / unit).square().mean(dims, keepdim=True).sqrt() * unit
