"""The losses that a trial can name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

__all__ = ["LOSSES", "Loss"]


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss, and how the network's outputs are read as classes.

    Args:
        mean: (outputs, labels) -> mean loss, 0-dim.
        classes: outputs -> labels, ``(n,)``.
    """

    mean: Callable[[Tensor, Tensor], Tensor]
    classes: Callable[[Tensor], Tensor]


def _squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
    targets = F.one_hot(labels, outputs.shape[1]) if outputs.dim() == 2 else labels
    return F.mse_loss(outputs, targets.to(outputs.dtype))


def _binary_cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy(outputs, labels.to(outputs.dtype))


def _above_half(outputs: Tensor) -> Tensor:
    return outputs.argmax(1) if outputs.dim() == 2 else (outputs > 0.5).long()


LOSSES: dict[str, Loss] = {
    "bce": Loss(_binary_cross_entropy, _above_half),
    "cross_entropy": Loss(F.cross_entropy, _above_half),
    "mse": Loss(_squared_error, _above_half),
}
