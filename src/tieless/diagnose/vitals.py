"""One forward and one backward pass, watched at every activation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from tieless.diagnose.gate import Gate, gate_of
from tieless.diagnose.health import LayerHealth
from tieless.diagnose.sites import Site
from tieless.diagnose.untouched import untouched
from tieless.functional import join, untie_joined
from tieless.rules import Rule

__all__ = ["FAINT", "vitals"]

FAINT = 0.01
"""A slope under this part of its greatest is counted as none."""

PERCENTILES = (0.05, 0.95)

SAMPLE = 1 << 20
"""Elements of which the percentiles are taken; of more, as many at equal distances."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of an activation: what it got, and views of ``z`` and ``y`` through which the feedback passes."""

    site: int
    z: Tensor
    y: Tensor


def vitals(
    model: nn.Module,
    sites: Sequence[Site],
    loss_of: Callable[[nn.Module], Tensor],
    rules: Mapping[str, Rule],
    *,
    seed: int = 0,
) -> list[LayerHealth]:
    """How each activation does, in the order of their first calls; those that are not called are left out.

    Args:
        model: It is left as it was; no gradient is added to its parameters.
        sites: Its activations.
        loss_of: Runs the model and gives a scalar.
        rules: By the name of an activation, the rule to run in the place of its own.
        seed: For whatever draws.
    """
    calls: list[_Call] = []
    with torch.inference_mode(mode=False), torch.enable_grad(), untouched(model, *(site.module for site in sites)):
        for number, site in enumerate(sites):
            # In the instance it hides the method of the class; `untouched` takes it out again.
            vars(site.module)["forward"] = _watched(number, site, rules.get(site.name, site.rule), calls)
        torch.manual_seed(seed)
        loss = loss_of(model)
        seen = [tensor for call in calls for tensor in (call.y, call.z)]
        sent = torch.autograd.grad(loss, seen, allow_unused=True) if seen and loss.requires_grad else [None] * len(seen)
        pairs = list(zip(sent[::2], sent[1::2], strict=True))
        order = list(dict.fromkeys(call.site for call in calls))
        healths: list[LayerHealth] = []
        for number in order:
            own = [(call, *pair) for call, pair in zip(calls, pairs, strict=True) if call.site == number]
            healths.append(_health(sites[number], rules.get(sites[number].name, sites[number].rule), own))
    return _with_ratios(healths)


def _watched(number: int, site: Site, rule: Rule, calls: list[_Call]) -> Callable[..., Tensor]:
    joined = join(site.forward, rule)

    def forward(z: Tensor, *_: Any, **__: Any) -> Tensor:
        # A view of its own: what arrives at z from elsewhere, past a residual connection, is not what this one sends.
        # Where nothing below learns, z starts the graph, or nothing would be sent.
        start = z.view_as(z) if z.requires_grad else z.detach().requires_grad_()
        y = untie_joined(start, joined)
        calls.append(_Call(number, start, y))
        return y.view_as(y)

    return forward


def _health(site: Site, rule: Rule, calls: Sequence[tuple[_Call, Tensor | None, Tensor | None]]) -> LayerHealth:
    gate = gate_of(site.forward, rule, calls[0][0].z.device)
    z = torch.cat([call.z.detach().float().flatten() for call, _, _ in calls])
    received = torch.cat([_or_zeros(feedback, call.y) for call, feedback, _ in calls])
    sent = torch.cat([_or_zeros(feedback, call.z) for call, _, feedback in calls])
    strength, peak, window = _window(gate, z)
    low, high = cast("list[float]", torch.quantile(_sample(z), z.new_tensor(PERCENTILES)).tolist())
    return LayerHealth(
        name=site.name,
        forward=str(site.forward),
        backward=str(rule),
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


def _or_zeros(feedback: Tensor | None, like: Tensor) -> Tensor:
    return (torch.zeros_like(like) if feedback is None else feedback).detach().float().flatten()


def _sample(z: Tensor) -> Tensor:
    return z[:: -(-z.numel() // SAMPLE)]


def _fraction(mask: Tensor) -> float:
    return float(mask.float().mean()) if mask.numel() else 0.0


def _rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt()) if values.numel() else 0.0


def _constant(calls: Sequence[tuple[_Call, Tensor | None, Tensor | None]]) -> float | None:
    outputs = [call.y.detach() for call, _, _ in calls]
    if any(y.dim() == 0 or len(y) < 2 for y in outputs) or not outputs[0].numel():
        return None
    # Called more than once, a unit is constant if it is in every call.
    same = [(y == y[:1]).all(0).flatten() for y in outputs]
    if len({units.numel() for units in same}) > 1:
        return _fraction(torch.cat(same))
    return _fraction(torch.stack(same).all(0))


def _window(gate: Gate, z: Tensor) -> tuple[Tensor, float, tuple[float | None, float | None]]:
    """The slope at each ``z``, its greatest, and from where to where it is no less than 1 % of that."""
    reach = 2 * max(8.0, float(z.abs().max()) if z.numel() else 0.0)
    # Ever closer to where something may change, so that the narrowest window is seen, to 2 % of its width.
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
