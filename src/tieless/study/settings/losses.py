"""Losses that a trial can name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from tieless.errors import StudyError


@dataclass(frozen=True, slots=True)
class Loss:
    """Loss, and the mapping of the network's outputs to classes.

    Outputs are ``(n, classes)`` for labels ``(n,)``, ``(n, classes, context)`` for labels ``(n, context)``, or, of one
    unit, ``(n,)``.

    Args:
        mean: Function (outputs, labels) -> mean loss over all labels, 0-dim.
        classes: Function outputs -> labels, in the shape of the labels.
    """

    mean: Callable[[Tensor, Tensor], Tensor]
    classes: Callable[[Tensor], Tensor]


def _squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
    if outputs.dim() < 2:
        return F.mse_loss(outputs, labels.to(outputs.dtype))
    targets = F.one_hot(labels, outputs.shape[1]).movedim(-1, 1)
    return F.mse_loss(outputs, targets.to(outputs.dtype))


def _binary_cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    if outputs.shape != labels.shape:
        raise StudyError(
            f"bce takes one output for each label, such as suc gives, got outputs of shape {tuple(outputs.shape)} for "
            f"labels of shape {tuple(labels.shape)}: use cross_entropy or mse."
        )
    return F.binary_cross_entropy(outputs, labels.to(outputs.dtype))


def _above_half(outputs: Tensor) -> Tensor:
    return outputs.argmax(1) if outputs.dim() >= 2 else (outputs > 0.5).long()


LOSSES: dict[str, Loss] = {
    "bce": Loss(_binary_cross_entropy, _above_half),
    "cross_entropy": Loss(F.cross_entropy, _above_half),
    "mse": Loss(_squared_error, _above_half),
}
