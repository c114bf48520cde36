"""Orthogonal matrix nearest to a matrix: its direction, with every singular value set to 1, or nearly so."""

from __future__ import annotations

import torch
from torch import Tensor

# One step is x -> a x + b x^3 + c x^5 of every singular value. From a slope of 3.44 at 0 they rise fast and then wander
# between 0.68 and 1.20 instead of settling at 1: values above a five-hundredth of the norm get there in five steps.
_A, _B, _C = 3.4445, -4.7750, 2.0315
STEPS = 5
"""Steps of the iteration; ten matrix products a matrix."""


def unit(value: Tensor) -> Tensor:
    """Matrices of a batch, or one vector, each divided by its norm, however small or large; 0 stays 0.

    Shape:
        ``(..., m, n)`` or ``(n)``, float32 or float64. Result: the same.
    """
    dims = (-2, -1) if value.dim() > 1 else (0,)
    # The largest element is divided out first: squares of tiny or huge gradients would leave the dtype's range.
    largest = value.abs().amax(dims, keepdim=True)
    scaled = value / torch.where(largest > 0, largest, 1.0)
    norm = scaled.square().sum(dims, keepdim=True).sqrt()
    return scaled / torch.where(norm > 0, norm, 1.0)


def orthogonalised(matrix: Tensor) -> Tensor:
    """Matrices with unchanged singular vectors, and singular values between 0.68 and 1.20.

    ``U S V^T -> U S' V^T``. Singular values below a five-hundredth of the norm stay smaller; 0 stays 0. No positive
    factor on the matrix changes the result.

    Shape:
        ``(..., m, n)``, float32 or float64. Result: the same.
    Source:
        Jordan et al. 2024, "Muon", https://kellerjordan.github.io/posts/muon, with its quintic Newton-Schulz iteration.
    """
    tall = matrix.shape[-2] > matrix.shape[-1]
    wide = unit(matrix.mT if tall else matrix)
    # One batch, for a product with a sum in it: separate sums pass over the memory three times more.
    x = wide.reshape(-1, *wide.shape[-2:])
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    x = x.view(wide.shape)
    return x.mT if tall else x
