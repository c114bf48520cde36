"""Flat forwards: step functions, whose derivative is 0 almost everywhere. Training needs a surrogate gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from tieless import ops
from tieless.forwards.advice import APPROXIMATE, CLIPPED, SPIKING, STRAIGHT_THROUGH, WINDOW, Advice
from tieless.forwards.base import Forward, register_forward
from tieless.registry import hidden_at_default

ROUNDED = (
    Advice("constant", "straight-through, as if nothing had been rounded, stores nothing"),
    Advice("rectangular(-8, 8)", "the same within a range of your choice, stores 1 bit an element"),
)
"""Rules for a forward that rounds, and has no ends."""


def within(low: float, high: float) -> tuple[Advice, Advice]:
    """Rules for a forward that rounds between two ends."""
    return (
        Advice(f"rectangular({low!r}, {high!r})", "straight-through within its range, stores 1 bit an element"),
        STRAIGHT_THROUGH,
    )


@register_forward
@dataclass(frozen=True, slots=True)
class Heaviside(Forward):
    """Heaviside step function: ``y = 1[z > 0]``, with 0 at ``z = 0`` unless ``at_zero`` is 1.

    Args:
        at_zero: Value at ``z = 0``: 0 or 1. SpikingJelly's neurons fire at their threshold, those of snnTorch and Norse
            above it.
    Example:
        >>> forward("heaviside").value(torch.tensor([-1.0, 0.0, 2.0]))
        tensor([0., 0., 1.])
        >>> forward("heaviside(at_zero=1)").value(torch.tensor([-1.0, 0.0, 2.0]))
        tensor([0., 1., 1.])
    """

    known_as: ClassVar[tuple[str, ...]] = ("step", "unit_step", "threshold", "spike", "Larq SteHeaviside")
    at_zero: float = hidden_at_default(0)

    def check(self) -> None:
        self.require(self.at_zero in {0, 1}, "at_zero 0 or 1")

    def trained_by(self) -> tuple[Advice, Advice]:
        return WINDOW, SPIKING

    def body(self, dtype: torch.dtype) -> tuple[str, tuple[float, ...]]:
        return "three_level", (0.0, 0.0, 0.0, float(self.at_zero), 1.0)


@register_forward
@dataclass(frozen=True, slots=True)
class Sign(Forward):
    """Sign: ``y = 1`` where ``z >= 0``, else -1; ``sign(0) = 1``, so that a binary weight is never 0.

    Example:
        >>> forward("sign").value(torch.tensor([-1.0, 0.0, 2.0]))
        tensor([-1.,  1.,  1.])
    """

    known_as: ClassVar[tuple[str, ...]] = ("signum", "binarize", "Brevitas binary_sign", "Larq SteSign")

    def trained_by(self) -> tuple[Advice, Advice]:
        return CLIPPED, APPROXIMATE

    def body(self, dtype: torch.dtype) -> tuple[str, tuple[float, ...]]:
        return "three_level", (0.0, 0.0, -1.0, 1.0, 1.0)


@register_forward
@dataclass(frozen=True, slots=True)
class Ternary(Forward):
    """Ternary step function: ``y = -1`` where ``z < -threshold``, 1 where ``z > threshold``, else 0; both edges give 0.

    Args:
        threshold: Half the width of the range that gives 0, in units of ``z``; not negative.
    Example:
        >>> forward("ternary").value(torch.tensor([-1.0, 0.5, 2.0]))
        tensor([-1.,  0.,  1.])
    """

    known_as: ClassVar[tuple[str, ...]] = ("Larq SteTern", "Brevitas ternary_sign")
    threshold: float = 0.5

    def check(self) -> None:
        self.require(self.threshold >= 0, "threshold >= 0")

    def trained_by(self) -> tuple[Advice, Advice]:
        edge = max(1, self.threshold)
        return (
            Advice(f"rectangular({-edge!r}, {edge!r})", "a window over both thresholds, stores 1 bit an element"),
            STRAIGHT_THROUGH,
        )

    def body(self, dtype: torch.dtype) -> tuple[str, tuple[float, ...]]:
        threshold = ops.rounded(float(self.threshold), dtype)
        return "three_level", (-threshold, threshold, -1.0, 0.0, 1.0)


@register_forward
@dataclass(frozen=True, slots=True)
class Round(Forward):
    """Rounding to the integer nearest to ``z``; halves go to the even one.

    Example:
        >>> forward("round").value(torch.tensor([-0.6, 0.5, 1.5]))
        tensor([-1.,  0.,  2.])
    """

    known_as: ClassVar[tuple[str, ...]] = ("Brevitas round_ste", "SpikingJelly quantize.round")

    def trained_by(self) -> tuple[Advice, Advice]:
        return ROUNDED

    def body(self, dtype: torch.dtype) -> tuple[str, tuple[float, ...]]:
        return "round", ()


@register_forward
@dataclass(frozen=True, slots=True)
class Staircase(Forward):
    """Staircase: ``z`` clipped to [0, 1] and rounded to the nearest of ``levels`` values with equal distances.

    ``y = round((levels - 1) clip(z, 0, 1)) / (levels - 1)``; halves go to the even step.

    Args:
        levels: Number of values, at least 2.
    Example:
        >>> forward("staircase(3)").value(torch.tensor([-1.0, 0.4, 2.0]))
        tensor([0.0000, 0.5000, 1.0000])
    """

    known_as: ClassVar[tuple[str, ...]] = ("Larq DoReFa",)
    levels: int

    def check(self) -> None:
        self.require(self.levels >= 2, "levels >= 2")

    def trained_by(self) -> tuple[Advice, Advice]:
        return within(0, 1)

    def body(self, dtype: torch.dtype) -> tuple[str, tuple[float, ...]]:
        return "staircase", (float(self.levels - 1),)


@register_forward
@dataclass(frozen=True, slots=True)
class SquareWave(Forward):
    """Square wave: 1 in the first half of each period, -1 in the second. Infinite ``z`` gives NaN.

    A period begins at 0.

    Args:
        period: Length of a period, in units of ``z``; 1e-29 to 1e30.
    Example:
        >>> forward("square_wave").value(torch.tensor([0.0, 0.5, 1.0]))
        tensor([ 1.,  1., -1.])
    """

    period: float = 2.0

    def check(self) -> None:
        self.require(1e-29 <= self.period <= 1e30, "period > 0 (1e-29 to 1e30)")

    def trained_by(self) -> tuple[Advice, Advice]:
        quarter = self.period / 4
        return (
            Advice(f"square_wave_series({quarter!r})", "follows the wave, stores z"),
            Advice(f"rectangular({-quarter!r}, {quarter!r})", "the first half wave alone, stores 1 bit an element"),
        )

    def body(self, dtype: torch.dtype) -> tuple[str, tuple[float, ...]]:
        return "square_wave", (float(self.period),)
