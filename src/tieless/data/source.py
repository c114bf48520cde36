"""What a data set is before it is loaded: a frozen value with a name, which a spec can write."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from tieless.data.dataset import Dataset
from tieless.data.published import Publication
from tieless.registry import Named, Registry


class Source(Named):
    """A data set by name: where its samples come from, and how they are read.

    Subclasses are ``@SOURCES.register`` and ``@dataclass(frozen=True, slots=True)``.
    """

    __slots__ = ()
    origin: ClassVar[str] = ""
    """Where the samples come from, in a few words."""
    publication: ClassVar[Publication | None] = None
    """The files to be had before it can be read; ``None`` where it needs none."""

    @abstractmethod
    def read(self, seed: int) -> Dataset:
        """All samples, on the CPU. What ``seed`` decides is in the docstring of each source."""


SOURCES: Registry[Source] = Registry("data set")


def stream(purpose: str, seed: int) -> torch.Generator:
    """A CPU generator for one use of ``seed``.

    Uses are kept apart by a hash: were all seeded with ``seed`` itself, the permutation that draws a subset would
    also be the one that shuffles the first epoch.
    """
    digest = hashlib.sha256(f"tieless.data/{purpose}/{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big"))


def split(name: str, x: Tensor, y: Tensor, classes: int) -> Dataset:
    """The first 80 % of the samples, rounded down, to train on; the rest to test."""
    train = len(y) * 4 // 5
    return Dataset(name, x[:train], y[:train], x[train:], y[train:], classes)
