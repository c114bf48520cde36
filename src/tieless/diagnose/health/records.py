"""What ``checkup`` finds, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Cause = Literal[
    "not finite",
    "nothing arrives",
    "sends nothing",
    "outside the window",
    "vanishing",
    "exploding",
    "constant outputs",
]
"""What can be wrong with an activation; ``docs/checkup.md`` says how each is recognised."""


@dataclass(frozen=True, slots=True)
class LayerHealth:
    """How one activation does in a forward and a backward pass. Fractions are of elements, over all calls.

    Args:
        name: In the model.
        forward, backward: The specs of its halves.
        elements: Of ``z``.
        arrives: Fraction at which feedback arrives that is not 0.
        live: Fraction at which feedback is sent on that is not 0.
        saturated: Fraction at which the rule's slope is under 1 % of its greatest.
        constant: Fraction of the units whose output is the same for the whole batch; a unit is a place in ``z`` beside
            its first dimension. ``None`` for a batch of one.
        mean, spread: Of ``z``: its mean and standard deviation.
        low, high: 5 % of ``z`` lie below ``low`` and 5 % above ``high``.
        window: Where the slope is 1 % of its greatest or more, from the first such ``z`` to the last; ``None`` for an
            end that goes on.
        received, sent: Root mean square of the feedback that arrives, and of what is sent on.
        ratio: ``sent`` over that of the activation called next; ``None`` for the last.
    """

    name: str
    forward: str
    backward: str
    elements: int
    arrives: float
    live: float
    saturated: float
    constant: float | None
    mean: float
    spread: float
    low: float
    high: float
    window: tuple[float | None, float | None]
    received: float
    sent: float
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one activation, and what was tried against it.

    Args:
        name: Of the activation.
        cause: One of a few.
        because: The numbers that say so, in words.
        proposal: The spec of a rule that cures it, tried on the same batch; ``None`` if no rule does.
        cured: How the activation does under all proposals together; ``None`` where it is not cured.
    """

    name: str
    cause: Cause
    because: str
    proposal: str | None = None
    cured: LayerHealth | None = None
