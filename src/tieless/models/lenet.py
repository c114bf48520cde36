"""LeNet-5 as the paper takes it."""

from __future__ import annotations

from torch import nn

from tieless.forwards import ForwardLike
from tieless.models.mlp import Norm
from tieless.nn import Activation
from tieless.rules import RuleLike


class LeNet5(nn.Sequential):
    """Two convolutions with average pooling, then three linear layers: 61,706 weights at 10 classes.

    ``conv(1, 6, 5, padding 2) - act - pool - conv(6, 16, 5) - act - pool - 400-120 - act - 120-84 - act - 84-classes``

    Args:
        forward, backward: Forward and backward rule of every activation.
        norm: Kind of norm; ``"batch"`` puts batch norm before each activation.
        classes: Number of scores per sample.
    Shape:
        ``(n, 1, 28, 28) -> (n, classes)``, values in [0, 1].
    Source:
        LeCun et al. 1998, doi:10.1109/5.726791, with the sizes of Troiano et al. 2025.
    Example:
        >>> LeNet5("heaviside", "rectangular")(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self, forward: ForwardLike = "relu", backward: RuleLike = "tied", *, norm: Norm = "none", classes: int = 10
    ) -> None:
        def act(channels: int, planes: bool) -> list[nn.Module]:
            activation = Activation(forward, backward)
            if norm == "none":
                return [activation]
            return [nn.BatchNorm2d(channels) if planes else nn.BatchNorm1d(channels), activation]

        super().__init__(
            nn.Conv2d(1, 6, 5, padding=2),
            *act(6, planes=True),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5),
            *act(16, planes=True),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(400, 120),
            *act(120, planes=False),
            nn.Linear(120, 84),
            *act(84, planes=False),
            nn.Linear(84, classes),
        )
