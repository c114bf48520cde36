"""Means and norms of numbers of any size: no sum and no square leaves the range of the dtype.

A sum of float32 numbers of 1e38 is infinite where their mean is not, and the square of 1e-25 is 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def of_order_one(values: Tensor, dimensions: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Values over the largest magnitude of each reduced part, and that magnitude, which is 1 where all are 0.

    Args:
        values: Numbers, ``(...)``, float32 or float64.
        dimensions: Dimensions that are reduced; the magnitude broadcasts against ``values``.
    """
    magnitude = values.abs()
    largest = magnitude.amax(tuple(dimensions), keepdim=True) if values.numel() else magnitude
    unit = torch.where(largest > 0, largest, 1.0)
    return values / unit, unit


def root_mean_square(values: Tensor, dimensions: Sequence[int]) -> Tensor:
    """Root of the mean square, which broadcasts against ``values``; for numbers from ``of_order_one``."""
    return values.square().mean(tuple(dimensions), keepdim=True).sqrt()


def mean_over(values: Tensor, dimensions: Sequence[int]) -> Tensor:
    """Mean over some dimensions, which broadcasts against ``values``; exactly the plain mean where that is finite."""
    dims = tuple(dimensions)
    if values.numel() == 0:  # no number is the largest; a missing dimension is still refused
        return values.mean(dims, keepdim=True)
    # A power of two changes no digit, and of large numbers none that counts is lost below the smallest.
    scale = torch.where(values.abs().amax(dims, keepdim=True) > 1, 2.0**-60, 1.0).to(values.dtype)
    return (values * scale).mean(dims, keepdim=True) / scale
