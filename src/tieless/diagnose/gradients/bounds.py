"""Least cosine that multipliers in an interval allow, and a model's multipliers relative to the tied ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tieless._table import aligned
from tieless.diagnose.explaining.printed import NOTHING
from tieless.diagnose.gradients.compare import figures, sums_of
from tieless.diagnose.gradients.references import checked, smoothed
from tieless.diagnose.watching.passes import ActivationCall, Batch, Loss, batches_of, loss_on, places_of, run_pass
from tieless.diagnose.watching.sites import Place
from tieless.diagnose.watching.untouched import checked_seed
from tieless.errors import RuleTypeError, RuleValueError
from tieless.functional import Pair, untie_pair
from tieless.rules import Tied

TITLES = ("activation", "backward rule", "slopes over tied ones", "cosine at least", "cosine seen")
"""Head of each column."""


def kantorovich_bound(low: float, high: float) -> float:
    """Least cosine of a vector ``t`` with ``D t``, for any ``t`` and any diagonal ``D`` with entries in [low, high].

    The bound is ``2 sqrt(low high) / (low + high)``. It is attained by ``t = (sqrt(high), sqrt(low))`` with
    ``D = diag(low, high)``. For ``low = 0`` it is 0 and says only that the two do not point apart.

    Args:
        low, high: Bounds of the entries: ``0 <= low <= high``, ``high > 0``; ``high`` may be infinite.
    Raises:
        RuleTypeError, RuleValueError: the bounds are no such numbers. For multipliers of both signs there is no bound
            but -1.
    Source:
        Kantorovich 1948, for quadratic forms; Greub and Rheinboldt 1959, doi:10.1090/S0002-9939-1959-0105028-3.
    Example:
        >>> from tieless.diagnose import kantorovich_bound
        >>> kantorovich_bound(1, 4), kantorovich_bound(0, 1), kantorovich_bound(2, 2)
        (0.8, 0.0, 1.0)
    """
    for name, value in (("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RuleTypeError(f"kantorovich_bound: {name} must be a number, got {value!r}.")
    if not (0 <= low <= high and high > 0 and low < math.inf):
        raise RuleValueError(
            f"kantorovich_bound needs 0 <= low <= high, high > 0 and low finite, got low={low!r}, high={high!r}."
        )
    # The formula in the ratio neither over- nor underflows.
    ratio = low / high
    return 2 * math.sqrt(ratio) / (1 + ratio)


@dataclass(frozen=True, slots=True)
class SlopeBound:
    """Bound on the cosine that the multipliers of one activation allow, and the cosine that was measured.

    Args:
        name: Name of the activation.
        backward: Spec of its rule.
        low, high: Least and greatest quotient of the gradient that the rule passed down and the one that the tied rule
            would have passed down for the same incoming gradient, over all elements at which either is not 0. The
            quotient is infinite if only the rule passes a gradient.
        bound: Least cosine that these multipliers allow: Kantorovich's bound, 0 if ``low`` is 0, -1 if some are
            negative.
        cosine: Cosine between the gradient that the rule passed down and the tied one, over all elements.
    """

    name: str
    backward: str
    low: float
    high: float
    bound: float
    cosine: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """Result of ``bounds``. ``print`` shows it as a table.

    Args:
        model: Name of the model's class.
        parts: Bounds of each activation that was called, in the order of the model.
    Example:
        >>> from tieless.diagnose import bounds
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 32), tl.Activation("leaky_relu(0.1)", "leaky_relu(0.5)"), torch.nn.Linear(32, 3))
        >>> batch = torch.randn(64, 8), torch.randint(0, 3, (64,))
        >>> layer = bounds(net, batch).layers["1"]
        >>> round(layer.low, 3), round(layer.high, 3), round(layer.bound, 3), layer.cosine > layer.bound
        (1.0, 5.0, 0.745, True)
    """

    model: str
    parts: tuple[SlopeBound, ...]

    @property
    def layers(self) -> dict[str, SlopeBound]:
        """Bounds of the activations by their names."""
        return {part.name: part for part in self.parts}

    def __str__(self) -> str:
        rows = [
            [
                part.name or "(the model)",
                part.backward,
                NOTHING if math.isnan(part.low) else f"{part.low:.3g} to {part.high:.3g}",
                f"{part.bound:.3f}",
                f"{part.cosine:.3f}",
            ]
            for part in self.parts
        ]
        words = "For the same feedback from above. What layers add up to is not bounded by this: see alignment."
        return "\n".join([*aligned([TITLES, *rows]), "", words])


def bounds(model: nn.Module, batch: Batch, *, loss_fn: Loss | None = None, sigma: float = 0.5, seed: int = 0) -> Bounds:
    """Measure each activation's multipliers relative to the tied ones, and the least cosine that they allow.

    The model runs forward and backward once. At each activation, the gradient that the rule passed down is divided,
    element by element, by the gradient that the tied rule would have passed down for the same incoming gradient
    (``grad_output``); so this also holds for a rule that is no slope. A flat forward is given the derivative of its
    smoothed twin. The model is left as it was.

    Args:
        model: Model with one activation or more.
        batch: Pair ``(inputs, targets)``.
        loss_fn: Function ``loss_fn(model(inputs), targets)`` that gives a scalar; without one, the cross entropy for
            integer targets and the mean square error for others.
        sigma: Sigma of the smoothing, in standard deviations of ``z``.
        seed: Seed of everything random.
    Raises:
        RuleTypeError, RuleValueError: as ``alignment``.
    Example:
        >>> from tieless.diagnose import bounds
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 16), tl.Activation("relu", "leaky_relu(0.5)"), torch.nn.Linear(16, 3))
        >>> layer = bounds(net, (torch.randn(64, 4), torch.randint(0, 3, (64,)))).layers["1"]
        >>> layer.low, layer.high, layer.bound
        (1.0, inf, 0.0)
    """
    checked("smoothed", sigma)
    checked_seed(seed)
    places = places_of(model, "bounds")
    (one,) = batches_of(batch)
    seen = run_pass(model, places, loss_on(loss_fn or default_loss, one), {}, seed=seed, received=True)
    blurred, _ = smoothed(places, seen, sigma)
    parts: list[SlopeBound] = []
    for number, place in enumerate(places):
        own = [
            (call, sent, received)
            for call, sent, received in zip(seen.calls, seen.sent, seen.received, strict=True)
            if call.place == number
        ]
        if own:
            parts.append(_slope_bound(place, blurred.get(number), own))
    return Bounds(type(model).__name__, tuple(parts))


def default_loss(outputs: Any, targets: Tensor) -> Tensor:
    """Cross entropy for integer targets, mean square error for others."""
    return F.mse_loss(outputs, targets) if targets.is_floating_point() else F.cross_entropy(outputs, targets)


def _slope_bound(
    place: Place, blurred: Pair | None, calls: Sequence[tuple[ActivationCall, Tensor, Tensor]]
) -> SlopeBound:
    pairs = [
        (sent, _tied(blurred or Pair(call.pair.forward, Tied()), call.z, received)) for call, sent, received in calls
    ]
    (sums,) = sums_of([pairs])
    low, high = _extremes(pairs)
    return SlopeBound(place.name, str(place.rule), low, high, _bound(low, high), figures(sums).cosine)


def _tied(pair: Pair, z: Tensor, received: Tensor) -> Tensor:
    with torch.enable_grad():
        start = z.detach().requires_grad_()
        y = untie_pair(start, pair)
    (sent,) = torch.autograd.grad(y, start, received, materialize_grads=True)
    return sent


def _extremes(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Least and greatest quotient; NaN if neither vector has an element that is not 0."""
    sent = torch.cat([u.flatten().double() for u, _ in pairs])
    tied = torch.cat([t.flatten().double() for _, t in pairs])
    some = (sent != 0) | (tied != 0)
    if not some.any():
        return math.nan, math.nan
    # If only the rule passes a gradient, the tied vector gives no sign to compare with.
    quotients = torch.where(tied[some] == 0, math.inf, sent[some] / tied[some])
    return float(quotients.min()), float(quotients.max())


def _bound(low: float, high: float) -> float:
    if math.isnan(low):
        return 1.0
    if low < 0:
        return -1.0
    return 0.0 if high == 0 or math.isinf(low) else kantorovich_bound(low, high)
