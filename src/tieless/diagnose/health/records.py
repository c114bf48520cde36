"""Results of ``checkup``, as frozen values."""

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
"""Problems of an activation; ``docs/checkup.md`` says how each is recognised."""


@dataclass(frozen=True, slots=True)
class LayerHealth:
    """Health of one activation in a forward and a backward pass. Fractions are of elements, over all calls.

    Args:
        name: Name in the model.
        forward, backward: Specs of its halves.
        elements: Number of elements of ``z``.
        arrives: Fraction at which the incoming gradient (feedback) is not 0.
        live: Fraction at which the gradient passed down is not 0.
        saturated: Fraction at which the rule's slope (multiplier) is under 1 % of its greatest.
        constant: Fraction of the units whose output is the same for the whole batch; a unit is a place in ``z`` beside
            its first dimension. ``None`` for a batch of one.
        mean, spread: Mean and standard deviation of ``z``.
        low, high: Percentiles of ``z``: 5 % lie below ``low`` and 5 % above ``high``.
        window: Interval in which the slope is 1 % of its greatest or more, from the first such ``z`` to the last;
            ``None`` for an open end.
        received, sent: Root mean square of the incoming gradient, and of the gradient passed down.
        ratio: Quotient of ``sent`` and that of the activation called next; ``None`` for the last.
    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 32), tl.Activation("relu", "rectangular(-1, 1)"), torch.nn.Linear(32, 3))
        >>> layer = tl.checkup(net, torch.randn(64, 8)).layers[0]
        >>> layer.window, round(layer.live, 1), layer.arrives
        ((-1.0, 1.0), 0.9, 1.0)
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
    """Problem of one activation, and the cure that was tried.

    Args:
        name: Name of the activation.
        cause: Name of the problem, one of a few.
        because: Numbers that show the problem, in words.
        proposal: Spec of a rule that cures it, tried on the same batch; ``None`` if no rule does.
        cured: Health of the activation under all proposals together; ``None`` if it is not cured.
    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Linear(8, 64), tl.Activation("heaviside", "rectangular(-0.01, 0.01)"), torch.nn.Linear(64, 2))
        >>> (finding,) = tl.checkup(net, 10 * torch.randn(32, 8)).findings
        >>> finding.cause, finding.proposal, round(finding.cured.live, 1)
        ('outside the window', 'rectangular(-11.0, 11.0)', 0.9)
    """

    name: str
    cause: Cause
    because: str
    proposal: str | None = None
    cured: LayerHealth | None = None
