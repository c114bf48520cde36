"""Weights as few values: which grid they lie on, and how they are rounded to one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from tieless_runtime.weights import Weight
from torch import Tensor

from tieless.errors import DeployError


@dataclass(frozen=True)
class Gridded:
    """Weights ``scale[o] * weight[o]``, with ``o`` the output.

    Args:
        weight: Integers, or signs.
        scale: Scale of each output, float32.
    """

    weight: Weight
    scale: Tensor


def exact_grid(weights: Tensor) -> Gridded | None:
    """Grid on which weights lie already, of at most 8 bits; ``None`` if they lie on none.

    One scale for all is tried first, then one for each output.
    """
    flat = weights.detach().double().flatten(1)
    for largest in (flat.abs().max().expand(len(flat)), flat.abs().amax(1)):
        unit = torch.where(largest == 0, 1.0, largest)
        ratio = flat / unit[:, None]
        for steps in range(1, 128):
            counts = torch.round(ratio * steps)
            if bool((ratio * steps - counts).abs().max() <= 1e-6 * steps):
                return _gridded(counts.reshape(weights.shape), (unit / steps).float(), steps)
    return None


def _gridded(counts: Tensor, scale: Tensor, steps: int) -> Gridded:
    values = counts.numpy().astype(np.int8)
    if steps > 1:
        return Gridded(Weight("integer", values, steps.bit_length() + 1), scale)
    return Gridded(Weight("ternary" if (values == 0).any() else "binary", values), scale)


def rounded_grid(weights: Tensor, bits: int, *, per_output: bool = True) -> Gridded:
    """Weights rounded to integers of ``bits`` bits, from ``-q`` to ``q = 2^(bits-1) - 1``, times a scale.

    The scale is, of a hundred candidates, the one with the least squared error.

    Args:
        weights: Weights, outputs first.
        bits: Bits per weight, 2 to 8.
        per_output: True for a scale of each output, False for one of all.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 8:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeployError(f"Weights are rounded to 2 to 8 bits, got {bits!r}.")
    flat = weights.detach().double().flatten(1)
    rows = flat if per_output else flat.reshape(1, -1)
    steps = 2 ** (bits - 1) - 1
    largest = rows.abs().amax(1, keepdim=True)
    largest = torch.where(largest == 0, 1.0, largest)
    best, scale = torch.full_like(largest, float("inf")), largest / steps
    for fraction in torch.linspace(1.0, 0.2, 100, dtype=torch.float64):
        unit = (largest * fraction / steps).float().double()
        error = (rows - unit * torch.round(rows / unit).clamp(-steps, steps)).square().sum(1, keepdim=True)
        scale, best = torch.where(error < best, unit, scale), torch.minimum(error, best)
    counts = torch.round(rows / scale).clamp(-steps, steps).reshape(weights.shape)
    return Gridded(Weight("integer", counts.numpy().astype(np.int8), bits), scale.flatten().float().expand(len(flat)))
