"""DIGITS: 1797 handwritten digits of 8 x 8 pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from tieless._imports import try_import
from tieless.data.dataset import Dataset
from tieless.data.source import SOURCES, Source, split, stream


@SOURCES.register
@dataclass(frozen=True, slots=True)
class Digits(Source):
    """Handwritten digits, 8 x 8 pixels as a vector of 64, divided by 16.

    No split is published: ``seed`` draws 1437 of the 1797 samples to train on, so equal seeds give equal splits.

    Shape:
        x: ``(n, 64)``.
    Raises:
        MissingExtraError: scikit-learn, which brings the data, is not installed.
    Source:
        scikit-learn's ``load_digits``: the test part of UCI's Optical Recognition of Handwritten Digits,
        doi:10.24432/C50P49.
    Example:
        >>> Digits().read(seed=0).train_x.shape
        torch.Size([1437, 64])
    """

    origin: ClassVar[str] = "comes with scikit-learn"

    def read(self, seed: int) -> Dataset:
        x, y = _samples()
        order = torch.randperm(len(y), generator=stream("digits", seed))
        return split(str(self), x[order], y[order], classes=10)


@cache
def _samples() -> tuple[Tensor, Tensor]:
    with try_import("study") as study_extra:
        # Not at the top: it takes over a second to import, and no other data set needs it.
        from sklearn.datasets import load_digits  # noqa: PLC0415 # pyright: ignore[reportMissingTypeStubs]
    study_extra.check()
    bundle = cast("Any", load_digits())  # pyright: ignore[reportPossiblyUnboundVariable]
    return torch.tensor(bundle.data / 16, dtype=torch.float32), torch.tensor(bundle.target, dtype=torch.int64)
