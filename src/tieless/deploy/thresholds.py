"""Thresholds at which a step function changes, found by PyTorch's own evaluation, so that ties are PyTorch's too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tieless.forwards import Forward, Heaviside, Sign, Staircase, Ternary
from tieless.forwards.quantisers import SpikeCount

NEVER, ALWAYS = 2**31 - 1, -(2**31)
LARGEST = 0x7F7FFFFF
"""Largest finite float32, as bits."""


@dataclass(frozen=True)
class Steps:
    """Values of a step function: ``unit (low + step code)`` for the codes 0 to ``most``.

    Args:
        low, step, most: Settings of the codes.
        unit: Factor on the numbers of the codes.
    """

    low: int
    step: int
    most: int
    unit: float = 1.0

    def code(self, y: Tensor) -> Tensor:
        """Code of each value; 0 for NaN."""
        code = torch.round((y.double() / self.unit - self.low) / self.step)
        return torch.where(code.isnan(), 0.0, code).long()


def steps_of(forward: Forward) -> Steps | None:
    """Values of a forward that is an increasing step function; ``None`` for others."""
    if isinstance(forward, Heaviside):
        return Steps(0, 1, 1)
    if isinstance(forward, Sign):
        return Steps(-1, 2, 1)
    if isinstance(forward, Ternary):
        return Steps(-1, 1, 2)
    if isinstance(forward, Staircase) and forward.levels <= 256:
        return Steps(0, 1, forward.levels - 1, 1 / (forward.levels - 1))
    if isinstance(forward, SpikeCount) and forward.maximum <= 255:
        return Steps(0, 1, forward.maximum)
    return None


def search(
    code: Callable[[Tensor], Tensor], steps: Steps, channels: int, low: int, high: int, *, floats: bool
) -> tuple[NDArray[np.generic], NDArray[np.int8]]:
    """Thresholds and direction of each channel, for the operation ``threshold``.

    Args:
        code: Code of numbers ``(k, channels)``, which rises or falls with them.
        steps: Values of the step function.
        channels: Number of channels.
        low, high: Range of the numbers, which are integers.
        floats: True for numbers that are float32, and any.
    Returns:
        Thresholds ``(codes, channels)``, int32 or float32, and directions ``(channels,)``.
    Raises:
        DeployError: the code neither rises nor falls between the ends of the range.
    """
    if floats:
        low, high = -LARGEST, LARGEST
    ends = code(_numbers(torch.tensor([[low], [high]]).expand(2, channels), floats))
    direction = torch.where(ends[1] >= ends[0], 1, -1)
    wanted = torch.arange(1, steps.most + 1)[:, None].expand(steps.most, channels)
    # The first number, seen in the channel's direction, whose code is enough, lies above `missed` and not above `met`.
    missed, met = torch.full(wanted.shape, -1), torch.full(wanted.shape, high - low + 1)
    while bool((met - missed > 1).any()):
        middle = (missed + met) // 2
        inside = middle.clamp(0, high - low)
        enough = code(_numbers(torch.where(direction > 0, low + inside, high - inside), floats)) >= wanted
        met, missed = torch.where(enough, middle, met), torch.where(enough, missed, middle)
    first = torch.where(direction > 0, low + met, high - met)
    never, always = met > high - low, met == 0
    up = direction > 0
    if floats:
        extreme = torch.where(never == up, torch.inf, -torch.inf)
        found = torch.where(never | always, extreme, _numbers(first.clamp(low, high), True))
        return found.numpy().astype(np.float32), direction.numpy().astype(np.int8)
    found = torch.where(
        never, torch.where(up, NEVER, ALWAYS), torch.where(always, torch.where(up, ALWAYS, NEVER), first)
    )
    return found.numpy().astype(np.int32), direction.numpy().astype(np.int8)


def _numbers(places: Tensor, floats: bool) -> Tensor:
    """Numbers at places: the integers themselves, or float32 in their order, with 0 at place 0."""
    if not floats:
        return places
    magnitude = places.abs().to(torch.int32).view(torch.float32)
    return torch.where(places < 0, -magnitude, magnitude)
