"""Comparison of two vectors: the sums from which cosine, norms and deviation follow, and those figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from tieless.diagnose.gradients.estimates import mean_and_interval
from tieless.diagnose.gradients.records import Agreement, Comparison


class Sums(NamedTuple):
    """Sums over the parts of two vectors ``u`` and ``t``.

    Attributes:
        uu, tt, ut, dd: Sums ``u . u``, ``t . t``, ``u . t`` and ``(u - t) . (u - t)``.
        same, either: Number of elements of equal sign among those that are not 0 in both, and number of the latter.
        elements: Number of all elements.
    """

    uu: float
    tt: float
    ut: float
    dd: float
    same: float
    either: float
    elements: int

    def plus(self, other: Sums) -> Sums:
        """Sums of both parts together."""
        uu, tt, ut, dd, same, either = (mine + theirs for mine, theirs in zip(self[:6], other[:6], strict=True))
        return Sums(uu, tt, ut, dd, same, either, self.elements + other.elements)


class Figures(NamedTuple):
    """Figures of one pair of vectors in one batch; ``Agreement`` has the meaning of each."""

    cosine: float
    sign_agreement: float
    norm_ratio: float
    deviation: float
    norm: float
    reference_norm: float
    elements: int


def sums_of(pairs: Sequence[Sequence[tuple[Tensor, Tensor]]]) -> list[Sums]:
    """Sums of each part, whose vectors may lie in several tensors; float64, and one transfer from a device.

    Example:
        >>> from tieless.diagnose.gradients.compare import sums_of
        >>> sums_of([[(torch.tensor([3.0, 0.0]), torch.tensor([1.0, 0.0]))]])
        [Sums(uu=9.0, tt=1.0, ut=3.0, dd=4.0, same=1.0, either=1.0, elements=2)]
    """
    if not pairs:
        return []
    device = pairs[0][0][0].device  # for a model on several devices, the first takes the sums
    stacked = torch.stack([torch.stack([_six(u, t).to(device) for u, t in part]).sum(0) for part in pairs])
    counts = [sum(u.numel() for u, _ in part) for part in pairs]
    rows = cast("list[tuple[float, float, float, float, float, float]]", stacked.tolist())
    return [Sums(*row, count) for row, count in zip(rows, counts, strict=True)]


def _six(u: Tensor, t: Tensor) -> Tensor:
    u, t = u.detach().flatten().double(), t.detach().flatten().double()
    apart, product = u - t, u * t
    return torch.stack([u @ u, t @ t, product.sum(), apart @ apart, (product > 0).sum(), ((u != 0) | (t != 0)).sum()])


def figures(sums: Sums) -> Figures:
    """Figures that follow from the sums.

    Example:
        >>> from tieless.diagnose.gradients.compare import Sums, figures
        >>> figures(Sums(uu=4.0, tt=1.0, ut=2.0, dd=1.0, same=3, either=4, elements=5))[:4]
        (1.0, 0.75, 2.0, 1.0)
    """
    uu, tt, ut, dd, same, either, elements = sums
    if not elements:
        return Figures(math.nan, math.nan, math.nan, math.nan, 0.0, 0.0, 0)
    if uu == tt == 0:
        return Figures(1.0, 1.0, 1.0, 0.0, 0.0, 0.0, elements)
    # An estimate of a square, from perturbations, can come out below 0: then too few were drawn to say.
    u, t = _root(uu), _root(tt)
    cosine = ut / (u * t) if u * t != 0 else 0.0
    # Rounding alone must not give more than 1; an estimate may, and stays as it is.
    cosine = math.copysign(1.0, cosine) if 1 < abs(cosine) < 1 + 1e-12 else cosine
    signs = same / either if either else 1.0
    return Figures(cosine, signs, _over(u, t), _over(_root(dd), t), u, t, elements)


def _root(square: float) -> float:
    return math.sqrt(square) if square >= 0 else math.nan


def _over(one: float, other: float) -> float:
    return one / other if other != 0 else math.nan if math.isnan(one) else math.inf if one else 0.0


def comparison(names: Sequence[str], batches: Sequence[Sequence[Sums]], confidence: float) -> Comparison:
    """Means and intervals of each part and of the whole, from the sums of each batch and part."""
    wholes = [_total(parts) for parts in batches]
    parts = [
        _agreement(name, [figures(batch[place]) for batch in batches], confidence) for place, name in enumerate(names)
    ]
    return Comparison(_agreement("", [figures(whole) for whole in wholes], confidence), tuple(parts))


def _total(parts: Sequence[Sums]) -> Sums:
    total = Sums(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)
    for part in parts:
        total = total.plus(part)
    return total


def _agreement(name: str, seen: Sequence[Figures], confidence: float) -> Agreement:
    means = [mean_and_interval(values, confidence) for values in zip(*(figures[:6] for figures in seen), strict=True)]
    (cosine, i), (signs, j), (ratio, k), (deviation, m), (norm, _), (reference, _) = means
    return Agreement(
        name, seen[0].elements, cosine, signs, ratio, deviation, i, j, k, m, norm=norm, reference_norm=reference
    )
