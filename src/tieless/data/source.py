"""Description of a data set before it is loaded: a frozen value with a name, which a spec can write."""

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
    """Data set by name: the source of its samples, and how they are read.

    Subclasses are ``@SOURCES.register`` and ``@dataclass(frozen=True, slots=True)``.
    """

    __slots__ = ()
    origin: ClassVar[str] = ""
    """Origin of the samples, in a few words."""
    publication: ClassVar[Publication | None] = None
    """Files that it needs before it can be read; ``None`` if it needs none."""

    @abstractmethod
    def read(self, seed: int) -> Dataset:
        """Read all samples, on the CPU. The docstring of each source says what ``seed`` determines."""


SOURCES: Registry[Source] = Registry(
    "data set", advice=" Data of your own are given by their path, such as ./mydata.npz or ./images."
)


def stream(purpose: str, seed: int) -> torch.Generator:
    """CPU generator for one use of ``seed``.

    Uses are kept apart by a hash: were all seeded with ``seed`` itself, the permutation that draws a subset would
    also be the one that shuffles the first epoch.
    """
    digest = hashlib.sha256(f"tieless.data/{purpose}/{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big"))


def split(name: str, x: Tensor, y: Tensor, classes: int) -> Dataset:
    """Split into the first 80 % of the samples, rounded down, to train on, and the rest to test."""
    train = len(y) * 4 // 5
    return Dataset(name, x[:train], y[:train], x[train:], y[train:], classes)
