"""One forward and one backward pass, measured at every activation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from tieless.diagnose.health.records import LayerHealth
from tieless.diagnose.slopes.gate import Gate, gate_of
from tieless.diagnose.watching.passes import ActivationCall, run_pass
from tieless.diagnose.watching.sites import Place
from tieless.functional import Pair
from tieless.rules import Rule

FAINT = 0.01
"""Fraction of the greatest multiplier below which a multiplier counts as 0."""

PERCENTILES = (0.05, 0.95)

SAMPLE = 1 << 20
"""Most elements for the percentiles; of a larger tensor, this many at equal distances are taken."""


def vitals(
    model: nn.Module, sites: Sequence[Place], loss_of: Callable[[nn.Module], Tensor], rules: Mapping[str, Rule]
) -> list[LayerHealth]:
    """Health of each activation, in the order of first calls; activations without calls or elements are left out.

    Args:
        model: Model, which is left as it was; no gradient is added to its parameters.
        sites: Activations of the model.
        loss_of: Function that runs the model and gives a scalar.
        rules: Rule to run in place of an activation's own, by the activation's name.
    """
    halves = {n: Pair(site.forward, rules[site.name]) for n, site in enumerate(sites) if site.name in rules}
    seen = run_pass(model, sites, loss_of, halves, seed=0, received=True)
    calls: dict[int, list[_Fed]] = {}
    for fed in zip(seen.calls, seen.received, seen.sent, strict=True):
        if fed[0].z.numel():
            calls.setdefault(fed[0].place, []).append(fed)
    return _with_ratios([_health(sites[number].name, own) for number, own in calls.items()])


_Fed = tuple[ActivationCall, Tensor, Tensor]
"""A call, its incoming gradient, and the gradient that it passed down."""


def _health(name: str, calls: Sequence[_Fed]) -> LayerHealth:
    pair = calls[-1][0].pair
    gate = gate_of(pair.forward, pair.rule, calls[-1][0].z.device)
    z, received, sent = (
        torch.cat([one.detach().float().flatten() for one in part])
        for part in zip(*((call.z, received, sent) for call, received, sent in calls), strict=True)
    )
    strength, peak, window = _window(gate, z)
    low, high = cast("list[float]", torch.quantile(_sample(z), z.new_tensor(PERCENTILES)).tolist())
    return LayerHealth(
        name=name,
        forward=str(pair.forward),
        backward=str(pair.rule),
        elements=z.numel(),
        arrives=_fraction(received != 0),
        live=_fraction(sent != 0),
        saturated=_fraction(strength < FAINT * peak) if peak else 1.0,
        constant=_constant(calls),
        mean=float(z.mean()),
        spread=float(z.std(correction=0)),
        low=low,
        high=high,
        window=window,
        received=_rms(received),
        sent=_rms(sent),
        ratio=None,
    )


def _sample(z: Tensor) -> Tensor:
    return z[:: -(-z.numel() // SAMPLE)]


def _fraction(mask: Tensor) -> float:
    return float(mask.float().mean())


def _rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())


def _constant(calls: Sequence[_Fed]) -> float | None:
    outputs = [call.y.detach() for call, _, _ in calls]
    if any(y.dim() == 0 or len(y) < 2 for y in outputs):
        return None
    # A unit of an activation that is called several times is constant if it is constant in every call.
    same = [(y == y[:1]).all(0).flatten() for y in outputs]
    if len({units.numel() for units in same}) > 1:
        return _fraction(torch.cat(same))
    return _fraction(torch.stack(same).all(0))


def _window(gate: Gate, z: Tensor) -> tuple[Tensor, float, tuple[float | None, float | None]]:
    """Multiplier at each ``z``, its greatest value, and the interval in which it is no less than 1 % of that."""
    reach = 2 * max(8.0, float(z.abs().nan_to_num(0.0, posinf=0.0).max()))
    # Points lie ever closer to the landmarks, so that the narrowest window is seen, to 2 % of its width.
    away = torch.logspace(-8, math.log10(2 * reach), 1000, device=z.device)
    near = [mark + side * away for mark in gate.landmarks for side in (-1, 1)]
    points = torch.cat([torch.linspace(-reach, reach, 4001, device=z.device), *near]).clamp(-reach, reach).sort().values
    there, here = gate.strength(points), gate.strength(z)
    finite = torch.cat([there, here]).nan_to_num(0.0, posinf=0.0)
    peak = float(finite.max())
    passing = points[there >= FAINT * peak] if peak else points[:0]
    if not passing.numel():
        return here, peak, (math.nan, math.nan)
    first, last = float(passing[0]), float(passing[-1])
    return here, peak, (None if first <= -reach else first, None if last >= reach else last)


def _with_ratios(healths: list[LayerHealth]) -> list[LayerHealth]:
    last = healths[-1:]
    followed = [
        replace(health, ratio=health.sent / following.sent if following.sent else None)
        for health, following in pairwise(healths)
    ]
    return followed + last
