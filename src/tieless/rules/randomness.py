"""Random transforms of the gradient: noise and dropping."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tieless.draws import Random
from tieless.rules.base import register_rule
from tieless.rules.transforms import LinearTransform


def normal(random: Random, like: Tensor) -> Tensor:
    """Normal random numbers by Box and Muller: draws 0 and 1 give radius and angle. No number exceeds 5.77."""
    radius = torch.sqrt(-2 * torch.log1p(-random.uniform(like, 0)))
    return radius * torch.cos(2 * math.pi * random.uniform(like, 1))


@register_rule
@dataclass(frozen=True, slots=True)
class Noise(LinearTransform):
    """Normal noise on the gradient: ``grad_output + sigma * N(0, 1)``.

    Args:
        sigma: Standard deviation, in units of the gradient; not negative.
    Raises:
        RuleValueError: ``sigma < 0``.
    Source:
        Neelakantan et al. 2015, arXiv:1511.06807, for gradients of weights.
    Use:
        To measure how much noise learning tolerates, or to leave a plateau.
    Example:
        >>> z = torch.zeros(1000, requires_grad=True)
        >>> untie(z, "relu", Noise(2)).backward(torch.ones(1000))
        >>> bool(abs(z.grad.mean() - 1) < 0.3 and abs(z.grad.std() - 2) < 0.3)
        True
    """

    known_as: ClassVar[tuple[str, ...]] = ("freegrad noise",)
    draws: ClassVar[bool] = True
    sigma: float

    def check(self) -> None:
        self.require(self.sigma >= 0, "sigma >= 0")

    def is_elementwise(self) -> bool:
        return True

    def disturb(self, grad_output: Tensor, random: Random) -> Tensor:
        return grad_output + self.sigma * normal(random, grad_output)


@register_rule
@dataclass(frozen=True, slots=True)
class Drop(LinearTransform):
    """Random dropping: each element is 0 with probability ``p``, else divided by ``1 - p``, which keeps the mean.

    Args:
        p: Probability of dropping an element, in [0, 1).
    Raises:
        RuleValueError: ``p`` is outside [0, 1).
    Source:
        Wangni et al. 2018, arXiv:1710.09854, with one probability for all.
    Use:
        To measure how much of the gradient learning needs.
    Example:
        >>> z = torch.zeros(1000, requires_grad=True)
        >>> untie(z, "relu", Drop(0.5)).backward(torch.ones(1000))
        >>> z.grad.unique()
        tensor([0., 2.])
    """

    draws: ClassVar[bool] = True
    p: float

    def _sizes(self) -> dict[str, float]:
        return {}  # a probability is no size

    def check(self) -> None:
        self.require(0 <= self.p < 1, "0 <= p < 1")

    def is_elementwise(self) -> bool:
        return True

    def disturb(self, grad_output: Tensor, random: Random) -> Tensor:
        return torch.where(random.uniform(grad_output) < self.p, 0.0, grad_output / (1 - self.p))
