"""Jams of freegrad: random multipliers, drawn from a key that the forward pass takes."""

from __future__ import annotations

from tieless.compat.freegrad.registry import transform
from tieless.rules import FullJam, PositiveJam, RectangularJam, Rule

__all__ = ["full_jam", "positive_jam", "rectangular_jam"]


@transform("full_jam", without_input="same")
def full_jam() -> Rule:
    """Jam everywhere: ``grad_out * U``, U uniform on [0, 1), so half the gradient on average; ``tl.FullJam()``."""
    return FullJam()


@transform("positive_jam", without_input=FullJam)
def positive_jam() -> Rule:
    """Jam where ``tin >= 0``: ``grad_out * U * 1[tin >= 0]``; ``tl.PositiveJam()``. Without an input, ``full_jam``."""
    return PositiveJam()


def _without_input(a: float = -5.0, b: float = 5.0) -> Rule:
    RectangularJam(a, b)
    return FullJam()


@transform("rectangular_jam", without_input=_without_input)
def rectangular_jam(a: float = -5.0, b: float = 5.0) -> Rule:
    """Jam in a window: ``grad_out * U * 1[a <= tin <= b]``, ``a < b``; ``tl.RectangularJam(a, b)``.

    Without an input, ``full_jam``.
    """
    return RectangularJam(a, b)
