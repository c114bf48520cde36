"""MNIST-1D: ten classes of one-dimensional digits, hard to tell apart without a convolution."""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from tieless._imports import try_import
from tieless.data.dataset import Dataset
from tieless.data.source import SOURCES, Source, split


@SOURCES.register
@dataclass(frozen=True, slots=True)
class Mnist1d(Source):
    """One-dimensional digits of 40 values, made by the package of their author with its own seed.

    A sample is one of ten templates of 12 values, padded, stretched, moved and sheared at random, with noise added. Samples
    are standardised, all by one mean and deviation. The published set has 5,000, of which the first 80 % are to train on;
    ``seed`` draws nothing.

    Args:
        n: Number of samples in all, at least 50; 5,000 are those that were published.
    Shape:
        x: ``(n, 1, 40)``: one channel, 40 values.
    Raises:
        MissingExtraError: mnist1d, which makes the data, is not installed.
        RuleValueError: ``n`` is too small.
    Source:
        Greydanus and Kobak 2024, "Scaling down deep learning with MNIST-1D", arXiv:2011.14439.
    Example:
        >>> Mnist1d().read(seed=0).train_x.shape
        torch.Size([4000, 1, 40])
    """

    name: ClassVar[str] = "mnist1d"
    origin: ClassVar[str] = "made by the package mnist1d"
    n: int = 5000

    def check(self) -> None:
        self.require(self.n >= 50 and self.n % 10 == 0, "n of at least 50, as many of each of ten classes")

    def read(self, seed: int) -> Dataset:
        return split(str(self), *_samples(self.n), classes=10)


@cache
def _samples(n: int) -> tuple[Tensor, Tensor]:
    with try_import("series") as extra:
        # Not at the top: it imports a plotting library.
        import mnist1d  # noqa: PLC0415 # pyright: ignore[reportMissingTypeStubs]
    extra.check()
    package = cast("Any", mnist1d)  # pyright: ignore[reportPossiblyUnboundVariable]
    settings = package.get_dataset_args()
    settings.num_samples = n
    with _random_state_kept():
        made = package.data.make_dataset(settings)
    x = np.concatenate([made["x"], made["x_test"]])
    y = np.concatenate([made["y"], made["y_test"]])
    return torch.tensor(x, dtype=torch.float32).unsqueeze(1), torch.tensor(y, dtype=torch.int64)


@contextmanager
def _random_state_kept() -> Generator[None]:
    """Context that leaves the random states which the package seeds as they were."""
    ours, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)  # noqa: NPY002
