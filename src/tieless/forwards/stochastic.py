"""Random forwards, which draw ``y`` by the key of the call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tieless.draws import Random
from tieless.forwards.advice import Advice
from tieless.forwards.base import Forward, register_forward
from tieless.registry import hidden_at_default

Chance = Literal["logistic", "clamp"]


@register_forward
@dataclass(frozen=True, slots=True)
class Bernoulli(Forward):
    """Bernoulli neuron: ``y = 1`` with a probability that grows with ``z``, else 0: ``y = 1[U < p(z)]``.

    U is uniform on [0, 1) and drawn for each element; ``p(z) = sigma(z / width)`` if ``chance="logistic"``, ``min(max(z
    / width, 0), 1)`` if ``chance="clamp"``. U follows from the key of the call as a jam's slopes do, so one seed gives
    the same ``y`` eager, compiled, checkpointed and on any number of threads. The forward is as random in ``eval()`` as
    in training, like that of the peers. It is flat almost everywhere, whatever U is, so ``tied`` is refused. The rule
    ``sigmoid(width, 1 / (4 * width))`` sends the derivative of the mean of ``y`` under ``"logistic"``, and
    ``rectangular(0, 1)`` that under ``"clamp"`` with width 1. An exported program draws its own numbers.

    Args:
        width: Unit of ``z``; positive. A small width is nearly ``heaviside``.
        chance: Form of the probability, ``"logistic"`` or ``"clamp"``.
    Raises:
        RuleValueError: ``width`` is not finite or not positive.
    Source:
        Norse's logistic is ``chance="logistic"`` with ``width = 1 / (2 k)``; SpikingJelly's PoissonPass is
        ``chance="clamp"``, but is an error where ``z`` is no probability. Both fire with the rule ``constant`` or one
        of their surrogates. The logistic neuron is Hinton's, in Bengio et al. 2013, arXiv:1308.3432.
    Example:
        >>> z = torch.tensor([-1.0, 0.25, 2.0]).expand(1000, 3)
        >>> y = forward('bernoulli(chance="clamp")').value(z)
        >>> y.unique(), bool(abs(y[:, 1].mean() - 0.25) < 0.1), y[:, 0].sum(), y[:, 2].sum()
        (tensor([0., 1.]), True, tensor(0.), tensor(1000.))
    """

    draws: ClassVar[bool] = True
    known_as: ClassVar[tuple[str, ...]] = ("SpikingJelly PoissonPass", "Norse logistic")
    width: float = 1
    chance: Chance = hidden_at_default("logistic")

    def check(self) -> None:
        self.require(1e-30 <= self.width <= 1e30, "width > 0 (1e-30 to 1e30)")

    def trained_by(self) -> tuple[Advice, Advice]:
        width, slope = self.width, 1 / self.width
        mean = f"sigmoid({width!r}, {min(max(slope / 4, 1e-30), 1e30)!r})"
        if self.chance == "clamp":
            mean = f"rectangular(0, {width!r}, height={slope!r})"
        return (
            Advice(mean, "the derivative of y's mean"),
            Advice("rectangular", "a window, stores 1 bit an element"),
        )

    def _sizes(self) -> dict[str, float]:
        return {}  # the arithmetic is that of float64

    def probability(self, z: Tensor) -> Tensor:
        """Probability ``p(z)``, in float64."""
        # Implementations of exp differ in the last place. In float32 that changes about one element in ten million, and
        # compiled code would differ from eager code; in float64 it changes none, for U has 24 bits.
        scaled = z.double() / self.width
        return torch.sigmoid(scaled) if self.chance == "logistic" else scaled.clamp(0, 1)

    def sample(self, z: Tensor, random: Random) -> Tensor:
        return _positive(self.probability(z) - random.uniform(z)).to(z.dtype)

    def exported(self, z: Tensor) -> Tensor:
        return _positive(self.probability(z) - torch.rand_like(z, dtype=torch.float64)).to(z.dtype)


def _positive(excess: Tensor) -> Tensor:
    """Step function ``1[excess > 0]`` of numbers from -1 to 1, and NaN of NaN.

    A compiler would store a comparison, as a mask of bools, for the backward pass, which its kernels on the CPU are
    slow with.
    """
    return excess.clamp(0, 1).ceil()
