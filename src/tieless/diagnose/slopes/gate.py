"""Gate of a rule: the region where it passes any gradient, found by sending gradients through the rule.

Rules are not known by name here, so the results for a user's rule are as reliable as those for ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import pairwise

import torch
from torch import Tensor

from tieless.diagnose.slopes.region import describe, pieces_of
from tieless.forwards import Forward
from tieless.forwards.base import remembered_by_forward
from tieless.functional import untie
from tieless.ops import rounded
from tieless.rules import Rule
from tieless.slopes import Codes, Window

REACH = 8.0
"""Search range past the kinks of every forward that ships. A larger parameter extends the search."""

KEYS = (0, 1)
"""Two keys: a jam sends exactly 0 where U is 0, in 1 of 2^24 elements; both keys do so in 1 of 2^48."""

SMALLEST = 1e-30
"""Least test gradient: the product of a smaller one with a multiplier would round to 0."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Region where a rule's slopes and jams (random multipliers) pass any gradient; its transforms are ignored.

    Args:
        forward, rules: Forward, and the slopes and jams of the chain.
        feedback: Incoming gradient that is sent as a test; ``None`` if nothing passes anywhere.
        region: Words such as ``"-1 <= z <= 1"``, ``"feedback >= 0"``, two with "and", ``"nowhere"``; ``None`` if there
            is no gate.
    """

    forward: Forward
    rules: tuple[Rule, ...]
    feedback: float | None
    region: str | None

    @property
    def landmarks(self) -> tuple[float, ...]:
        """Values of ``z`` where the multiplier may change, ascending: parameters, edges, 0, and mirror images."""
        return _known(self.forward, self.rules)

    def passes(self, z: Tensor) -> Tensor:
        """True for each element of ``z`` at which any gradient is passed.

        Shape:
            ``z``: ``(...)``, floating. Result: bool, of the same shape.
        Example:
            >>> from tieless.diagnose.slopes.gate import gate_of
            >>> gate_of(forward("heaviside"), tl.rule("rectangular")).passes(torch.tensor([0.0, 0.5, 1.0]))
            tensor([ True,  True, False])
        """
        return self.strength(z) > 0

    def strength(self, z: Tensor) -> Tensor:
        """Unsigned fraction of the incoming gradient passed at each element of ``z``; for a jam, the larger of two.

        Shape:
            ``z``: ``(...)``, floating. Result: like ``z``.
        Example:
            >>> from tieless.diagnose.slopes.gate import gate_of
            >>> gate_of(forward("heaviside"), tl.rule("triangular(2)")).strength(torch.tensor([0.0, 1.0, 3.0]))
            tensor([1.0000, 0.5000, 0.0000])
        """
        if self.feedback is None:
            return torch.zeros_like(z)
        return _sent(z, torch.full_like(z, self.feedback), self.forward, self.rules)


@remembered_by_forward
def gate_of(forward: Forward, rule: Rule, device: torch.device | str = "cpu") -> Gate:
    """Gate of a forward with a rule, measured in float32 on a device.

    Edges are exact: between two neighbouring numbers, one of which passes. ``z`` is searched to 8 on both sides, or to
    twice the largest parameter, and the result at the ends is taken to hold beyond them.

    Example:
        >>> gate_of(forward("relu6"), tl.rule("tied")).region
        '0 < z < 6'
        >>> gate_of(forward("relu"), tl.rule('positive_jam(gate="feedback")')).region
        'feedback >= 0'
    """
    rules = tuple(part for part in rule.parts() if part.family != "transform")
    known = _known(forward, rules)
    between = [low / 2 + high / 2 for low, high in pairwise(known)]
    points = _points(known, between, device)
    # Feedback of 1 first: only a rule that tests the feedback can refuse it.
    for feedback in (1.0, -1.0, *known, *between):
        sent = _sent(points, torch.full_like(points, feedback), forward, rules)
        if sent.any():
            break
    else:
        return Gate(forward, rules, None, "nowhere")
    steepest = points[sent.argmax()]

    def by_z(z: Tensor) -> Tensor:
        return _sent(z, torch.full_like(z, feedback), forward, rules)

    def by_feedback(values: Tensor) -> Tensor:
        return _sent(steepest.expand_as(values), values.abs().clamp(min=SMALLEST).copysign(values), forward, rules)

    regions = (
        describe("z", pieces_of(by_z, points, known)),
        describe("feedback", pieces_of(by_feedback, points, known)),
    )
    return Gate(forward, rules, feedback, " and ".join(filter(None, regions)) or None)


def _sent(z: Tensor, feedback: Tensor, forward: Forward, rules: tuple[Rule, ...]) -> Tensor:
    """Magnitude of ``feedback`` that passes the rule that passes least."""
    least = torch.full_like(z, math.inf)
    for rule in rules:
        most = torch.zeros_like(z)
        for seed in KEYS if rule.draws else KEYS[:1]:
            with torch.enable_grad():
                start = z.detach().requires_grad_()
                y = untie(start, forward, rule, generator=torch.Generator().manual_seed(seed))
            if y.requires_grad:  # a callable may cut its graph, and then PyTorch sends nothing
                (sent,) = torch.autograd.grad(y, start, feedback, materialize_grads=True)
                most = torch.maximum(most, sent.abs())
        least = torch.minimum(least, most)
    return least


def _known(forward: Forward, rules: tuple[Rule, ...]) -> tuple[float, ...]:
    """Values where the multiplier may change, ascending: parameters, edges of windows and codes, mirror images."""
    values: set[float] = {0.0}
    for named in (forward, *rules):
        values.update(_numbers(getattr(named, field.name) for field in fields(named)))
    for need in (rule.needs(forward) for rule in rules):
        if isinstance(need, Window):
            values.update(_numbers([need.low, need.high]))
        elif isinstance(need, Codes):
            values.update(_numbers(need.boundaries))
    both = {rounded(sign * value, torch.float32) for value in values for sign in (1, -1)}
    return tuple(sorted(value for value in both if math.isfinite(2 * value)))


def _numbers(values: Iterable[object]) -> list[float]:
    return [float(value) for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]


def _points(known: tuple[float, ...], between: list[float], device: torch.device | str) -> Tensor:
    """First points of the search, ascending: densely near 0, to twice the farthest known place, and in all gaps."""
    ends = [REACH, max(REACH, 2 * known[-1])]
    grids = [torch.linspace(-end, end, 1025, device=device) for end in ends]
    points = torch.cat([*grids, torch.tensor([*known, *between], device=device)])
    return points.unique()  # pyright: ignore[reportUnknownVariableType]
