"""Hold-out of training samples, by which a study chooses what it must not choose by the test samples."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tieless.data import Dataset
from tieless.data.source import stream
from tieless.errors import StudyError


def hold_out(data: Dataset, part: float, seed: int) -> tuple[Dataset, tuple[Tensor, Tensor]]:
    """Take a part of the training samples away.

    ``seed`` draws them from a stream of its own, without regard to their labels, so that neither the subset nor the
    order of the others depends on it. The test samples stay as they are.

    Args:
        data: Data set to take from.
        part: Fraction to take, above 0 to below 1; rounded to whole samples, at least one.
        seed: Seed that draws them.
    Returns:
        Data set without the held-out samples, and the inputs and labels of those, whole samples each.
    Raises:
        StudyError: no sample would be left to train on.
    Example:
        >>> from tieless.data import load
        >>> rest, (x, y) = hold_out(load("ones(d=4, n=50)", seed=0), 0.25, seed=0)
        >>> len(rest.train_y), len(y), len(rest.test_y)
        (30, 10, 10)
    """
    samples = len(data.train_y)
    count = max(1, round(part * samples))
    if count >= samples:
        raise StudyError(f"validation {part:g} of {samples} training samples leaves none to train on.")
    order = torch.randperm(samples, generator=stream("validation", seed)).to(data.train_y.device)
    held, kept = order[:count], order[count:].sort().values
    rest = replace(data, train_x=data.train_x[kept], train_y=data.train_y[kept])
    return rest, (data.train_x[held], data.train_y[held])
