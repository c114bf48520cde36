"""Distribution of ``z`` and the multiplier that a rule has there, as records to be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from tieless.diagnose.watching.passes import ActivationCall, fresh, places_of, running
from tieless.diagnose.watching.untouched import checked_seed
from tieless.errors import RuleValueError
from tieless.forwards import Forward
from tieless.functional import untie
from tieless.rules import Rule, rule as rule_of

POINTS = 513
KEYS = 1024
"""Number of draws for the mean multiplier of a jam (random multiplier)."""

TAIL = 0.001
"""Fraction of ``z`` that is left out at each end, so that one far element does not squeeze the histogram."""

MARGIN = 0.1
"""Margin at each end, as a fraction of the width."""


@dataclass(frozen=True, slots=True)
class SlopeProfile:
    """Distribution of the ``z`` of one activation, and the multiplier of its rule there.

    Args:
        name: Name of the activation.
        forward, backward: Specs of its halves.
        edges: Edges of the bins of the histogram, ascending.
        shares: Fraction of ``z`` in each bin; elements outside all bins are the rest to 1.
        at: Values of ``z`` at which the multipliers are known.
        slope: Multiplier of the rule, without transforms of the feedback; for a jam, the mean.
        tied: Derivative of the forward; ``None`` if it is flat.
    Example:
        >>> from tieless.diagnose import slope_profiles
        >>> _ = torch.manual_seed(0)
        >>> (profile,) = slope_profiles(tl.Activation("tanh", "rectangular(-1, 1)"), torch.randn(1000))
        >>> passes = [at for at, slope in zip(profile.at, profile.slope) if slope]
        >>> round(min(passes), 1), round(max(passes), 1)
        (-1.0, 1.0)
    """

    name: str
    forward: str
    backward: str
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    at: tuple[float, ...]
    slope: tuple[float, ...]
    tied: tuple[float, ...] | None


def slope_profiles(model: nn.Module, inputs: Any, *, bins: int = 50, seed: int = 0) -> tuple[SlopeProfile, ...]:
    """Histogram of ``z``, with the multiplier over it, for each called activation. The model is left as it was.

    Args:
        model: Model with one activation or more.
        inputs: Argument for a call of the model.
        bins: Number of bins of the histogram.
        seed: Seed of everything random.
    Raises:
        RuleTypeError, RuleValueError: the model is no module, has no activation, or calls none.
    Example:
        >>> from tieless.diagnose import slope_profiles
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 16), tl.Activation("tanh", "rectangular(-1, 1)"))
        >>> (profile,) = slope_profiles(net, torch.randn(64, 4))
        >>> len(profile.shares), max(profile.slope), round(max(profile.tied), 2)
        (50, 1.0, 1.0)
    """
    checked_seed(seed)
    places = places_of(model, "slope_profiles")
    with running(model, places, {}, seed=seed) as calls, torch.no_grad():
        model(fresh(inputs))
    seen: dict[int, list[ActivationCall]] = {}
    for call in calls:
        if call.z.numel():
            seen.setdefault(call.place, []).append(call)
    if not seen:
        raise RuleValueError(
            f"None of the activations of {type(model).__name__} was called with this batch, or all of them with no elements."
        )
    return tuple(_profile(places[number].name, seen[number], bins) for number in sorted(seen))


def _profile(name: str, calls: Sequence[ActivationCall], bins: int) -> SlopeProfile:
    z = torch.cat([call.z.detach().flatten().float() for call in calls]).cpu()
    forward, rule = calls[-1].pair.forward, calls[-1].pair.rule
    if not z.isfinite().all():
        raise RuleValueError(f"The z of {name or 'the model'} has NaN or infinite numbers, which have no histogram.")
    ordered = z.sort().values
    cut = int(TAIL * (z.numel() - 1))
    low, high = float(ordered[cut]), float(ordered[z.numel() - 1 - cut])
    margin = MARGIN * (high - low) or 1.0
    edges = torch.linspace(low - margin, high + margin, bins + 1)
    shares = torch.histogram(z, edges).hist / z.numel()
    at = torch.linspace(low - margin, high + margin, POINTS)
    parts = [part for part in rule.parts() if part.family != "transform"]
    flat = forward.derivative() is None
    return SlopeProfile(
        name,
        str(forward),
        str(rule),
        _numbers(edges),
        _numbers(shares),
        _numbers(at),
        _numbers(_slope(at, forward, parts)),
        None if flat else _numbers(_slope(at, forward, [rule_of("tied")])),
    )


def _numbers(values: Tensor) -> tuple[float, ...]:
    return tuple(cast("list[float]", values.tolist()))


def _slope(at: Tensor, forward: Forward, parts: Sequence[Rule]) -> Tensor:
    """Gradient that one rule after the other passes for an incoming gradient of 1."""
    product = torch.ones_like(at)
    for part in parts:
        # Each element draws a number of its own, so one call of many is as good as many calls.
        start = at.repeat(KEYS if part.draws else 1, 1).requires_grad_()
        y = untie(start, forward, part, generator=torch.Generator().manual_seed(0))
        (sent,) = torch.autograd.grad(y.sum(), start, materialize_grads=True)
        product *= sent.mean(0)
    return product
