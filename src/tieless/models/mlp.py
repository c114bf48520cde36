"""Multi-layer perceptron of any depth and width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

from tieless.forwards import ForwardLike
from tieless.nn import Activation
from tieless.rules import RuleLike

Norm = Literal["none", "batch"]


class MLP(nn.Sequential):
    """Hidden layers with an activation, then a linear layer to the classes' scores.

    Args:
        features: Number of values per sample.
        widths: Number of units of each hidden layer; empty for a linear classifier.
        classes: Number of scores per sample.
        forward, backward: Forward and backward rule of every activation.
        norm: Kind of norm; ``"batch"`` puts batch norm before each activation.
    Shape:
        ``(n, ...) -> (n, classes)``, where the rest multiplies to ``features``.
    Source:
        Troiano et al. 2025, doi:10.1016/j.neucom.2025.131178, study 2 (64-64-10, logistic).
    Example:
        >>> MLP(64, (64,), 10, "logistic", "constant")(torch.rand(5, 64)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        features: int,
        widths: Sequence[int],
        classes: int,
        forward: ForwardLike = "relu",
        backward: RuleLike = "tied",
        *,
        norm: Norm = "none",
    ) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        for width in widths:
            layers.append(nn.Linear(features, width))
            if norm == "batch":
                layers.append(nn.BatchNorm1d(width))
            layers.append(Activation(forward, backward))
            features = width
        super().__init__(*layers, nn.Linear(features, classes))
