"""Data set in memory: four tensors on one device, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tieless.errors import RuleValueError


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Training and test samples as tensors on one device.

    Data sets loaded by one process share memory: treat the tensors as read-only.

    Args:
        name: Spec from which it was loaded, every parameter written out.
        train_x, test_x: Inputs, ``(n, ...)``: float32, of images in [0, 1], or int64 codes, such as those of characters.
        train_y, test_y: Labels, int64 in ``0 .. classes - 1``: ``(n,)``, or ``(n, context)`` with one for each position
            of a sample.
        classes: Number of classes.
    Example:
        >>> from tieless.data import load
        >>> digits = load("digits", seed=0)
        >>> digits.name, digits.classes, digits.train_x.shape[1:]
        ('digits', 10, torch.Size([64]))
    """

    name: str
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: int

    def batches(self, generator: torch.Generator, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch: every training sample once, in an order drawn now from ``generator``.

        With a CPU generator the order is the same on every device.

        Args:
            generator: Generator that draws the order: one permutation per epoch.
            batch: Number of samples per batch; the last one is shorter if they do not divide.
        Returns:
            Pairs ``(x, y)`` of ``(batch, ...)`` and ``(batch,)`` or ``(batch, context)``.
        Raises:
            RuleValueError: ``batch`` is below 1.
        Example:
            >>> from tieless.data import load
            >>> data = load("ones(d=4, n=10)", seed=0)
            >>> [len(y) for x, y in data.batches(torch.Generator().manual_seed(0), 3)]
            [3, 3, 2]
        """
        if batch < 1:
            raise RuleValueError(f"batch must be at least 1, got {batch}.")
        order = torch.randperm(len(self.train_y), generator=generator, device=generator.device)
        rows = torch.split(order.to(self.train_y.device), batch)
        return ((self.train_x[chosen], self.train_y[chosen]) for chosen in rows)
