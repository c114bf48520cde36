"""Base of all gradient transforms: they use the incoming gradient alone, and store nothing of the forward pass."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from tieless.draws import Random
from tieless.rules.base import Family, Rule


class Transform(Rule):
    """Rule on ``grad_output`` alone. Subclasses define ``transform``, or ``disturb`` if they draw numbers.

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
    """Transform that is linear in the incoming gradient, or affine, written in PyTorch's operations."""

    __slots__ = ()

    @property
    def linear(self) -> bool:
        return True


def dimensions_of(grad_output: Tensor, per: Literal["sample", "tensor"]) -> tuple[int, ...]:
    """Dimensions of one sample, or all.

    A sample is an entry of dimension 0; a gradient of fewer than two dimensions is one sample.
    """
    whole = tuple(range(grad_output.dim()))
    return whole[1:] or whole if per == "sample" else whole
