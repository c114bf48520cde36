"""Data set ONES: bit vectors, labelled by their fraction of ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from tieless.data.dataset import Dataset
from tieless.data.source import SOURCES, Source, split, stream


@SOURCES.register
@dataclass(frozen=True, slots=True)
class Ones(Source):
    """Bit vectors with a Hamming weight uniform on ``0 .. d``; the label is ``1[mean(x) > tau]``.

    The weight is drawn first, then which bits are set, each choice equally likely. ``n`` samples, the first 80 % to
    train on. ``seed`` draws all of them: two seeds share no samples but by chance, and two values of ``tau`` under
    one seed label the same vectors.

    Args:
        d: Number of bits per vector.
        tau: Fraction of ones that a vector of class 1 exceeds, in ``[0, 1)``.
        n: Number of vectors in all, at least 2.
    Shape:
        x: ``(n, d)``, 0 or 1.
    Raises:
        RuleValueError: a parameter is out of range.
    Source:
        Troiano et al. 2025, doi:10.1016/j.neucom.2025.131178; there d = 10, tau = 0.5 and 0.7, n = 2000.
    Example:
        >>> data = Ones(d=4, n=10).read(seed=0)
        >>> bool((data.train_y == (data.train_x.mean(1) > 0.5)).all())
        True
    """

    origin: ClassVar[str] = "generated"

    d: int = 10
    tau: float = 0.5
    n: int = 2000

    def check(self) -> None:
        self.require(self.d >= 1, "d of at least 1")
        self.require(0 <= self.tau < 1, "tau in [0, 1)")
        self.require(self.n >= 2, "n of at least 2")

    def read(self, seed: int) -> Dataset:
        generator = stream("ones", seed)
        weight = torch.randint(self.d + 1, (self.n,), generator=generator)
        places = torch.rand(self.n, self.d, dtype=torch.float64, generator=generator).argsort(dim=1)
        x = (places < weight[:, None]).to(torch.float32)
        # In float64 k / d rounds as the literal in the spec does, so 7 of 10 is not above 0.7.
        y = (weight.to(torch.float64) / self.d > self.tau).to(torch.int64)
        return split(str(self), x, y, classes=2)
