"""Augmentations of training images, drawn anew in each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from tieless.errors import RuleValueError
from tieless.grammar import parse_chain
from tieless.registry import Named, Registry


class Augmentation(Named):
    """Random change of each image of a batch."""

    __slots__ = ()

    def apply(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Changed images, ``(n, channels, height, width)`` to the same shape."""
        raise NotImplementedError


AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation")


@AUGMENTATIONS.register
@dataclass(frozen=True, slots=True)
class _Nothing(Augmentation):
    """No change."""

    name: ClassVar[str] = "none"

    def apply(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return x


@AUGMENTATIONS.register
@dataclass(frozen=True, slots=True)
class _Shift(Augmentation):
    """Shift of each image by up to ``pixels`` in both directions, filled with 0."""

    name: ClassVar[str] = "shift"
    pixels: int = 2

    def check(self) -> None:
        self.require(self.pixels >= 1, "pixels >= 1")

    def apply(self, x: Tensor, generator: torch.Generator) -> Tensor:
        n, _, height, width = x.shape
        reach = self.pixels
        # A CPU generator draws the same numbers whatever the device.
        moved = torch.randint(0, 2 * reach + 1, (n, 2), generator=generator).to(x.device)
        rows = (moved[:, :1] + torch.arange(height, device=x.device))[:, None, :, None]
        columns = (moved[:, 1:] + torch.arange(width, device=x.device))[:, None, None, :]
        sample = torch.arange(n, device=x.device)[:, None, None, None]
        channel = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
        return F.pad(x, (reach,) * 4)[sample, channel, rows, columns]


@AUGMENTATIONS.register
@dataclass(frozen=True, slots=True)
class _Flip(Augmentation):
    """Mirror of each image, left to right, with a probability of 1/2."""

    name: ClassVar[str] = "flip"

    def apply(self, x: Tensor, generator: torch.Generator) -> Tensor:
        turned = torch.rand(len(x), generator=generator) < 0.5
        return torch.where(turned.to(x.device)[:, None, None, None], x.flip(3), x)


def augmentations(spec: str) -> tuple[Augmentation, ...]:
    """Augmentations of a spec such as ``"shift(2) >> flip"``, in order; ``"none"`` does nothing.

    Raises:
        SpecError, RuleTypeError, RuleValueError: the spec cannot be read, or a parameter is wrong.
    """
    read = [AUGMENTATIONS.build(call) for call in parse_chain(spec)]
    return tuple(one for one in read if not isinstance(one, _Nothing))


def augmented(x: Tensor, changes: Sequence[Augmentation], generator: torch.Generator) -> Tensor:
    """Batch after some augmentations.

    Raises:
        RuleValueError: there is an augmentation, and ``x`` is no batch of images.
    """
    for change in changes:
        if x.dim() != 4:
            shape = tuple(x.shape[1:])
            raise RuleValueError(f"{change.name} needs images, (channels, height, width), and the data has {shape}.")
        x = change.apply(x, generator)
    return x
