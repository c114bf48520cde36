"""Staircase on both sides of zero: the values that a signed integer of a few bits can hold."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tieless.forwards.advice import Advice
from tieless.forwards.base import Forward, register_forward
from tieless.forwards.flat import within


@register_forward
@dataclass(frozen=True, slots=True)
class SignedStaircase(Forward):
    """Signed staircase: ``z`` clipped to [-1, 1] and rounded to the nearest multiple of ``1 / steps``.

    Halves go to the even multiple.

    ``y = round(steps clip(z, -1, 1)) / steps``: ``2 steps + 1`` values, zero among them. ``steps`` of ``2^(k - 1) - 1``
    gives the values that k bits hold with a sign.

    Args:
        steps: Number of values above zero, from 1 to 2^24.
    Example:
        >>> forward("signed_staircase(2)").value(torch.tensor([-3.0, -0.6, 0.1]))
        tensor([-1.0000, -0.5000,  0.0000])
    """

    steps: int

    def check(self) -> None:
        self.require(1 <= self.steps <= 2**24, "steps from 1 to 2^24")

    def trained_by(self) -> tuple[Advice, Advice]:
        return within(-1, 1)

    def value(self, z: Tensor) -> Tensor:
        # In half types the product would round to another step.
        wide = z.double() if z.dtype == torch.float64 else z.float()
        return (torch.round(wide.clamp(-1, 1) * self.steps) / self.steps).to(z.dtype)
