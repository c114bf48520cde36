"""Small residual network in which every convolution has a shortcut of its own, as binary networks need it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tieless.forwards import ForwardLike
from tieless.nn import Activation
from tieless.rules import RuleLike


class _Bend(nn.Module):
    """PReLU and shift, ``prelu(x) + shift``, each channel with its own slope and shift."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.prelu = nn.PReLU(channels)
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(x) + self.shift


class _Layer(nn.Module):
    """Layer ``norm(conv(act(x)))`` plus a shortcut, which repeats its channels where more of them are needed."""

    def __init__(self, channels: int, wanted: int, forward: ForwardLike, backward: RuleLike, *, bend: bool) -> None:
        super().__init__()
        self.act = Activation(forward, backward)
        self.conv = nn.Conv2d(channels, wanted, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(wanted)
        self.repeat = wanted // channels
        self.bend = _Bend(wanted) if bend else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.repeat == 1 else torch.cat([x] * self.repeat, 1)
        return self.bend(self.norm(self.conv(self.act(x))) + shortcut)


class ResidualCNN(nn.Module):
    """Convolution, then stages of layers ``x + norm(conv(act(x)))`` with max pooling between them, then a linear layer.

    Pooling, batch norm and the sums are applied before an activation, so no layer sees anything but the activation's
    values, and the shortcuts carry numbers of full precision past each step function. A stage doubles the channels of
    the one before it, in its first layer. Convolutions have no bias. All its weights are float: quantise all but the
    first and the last layer with ``tieless.nn.quantize_weights``.

    Args:
        forward, backward: Forward and backward rule of every activation.
        width: Number of channels of the first stage.
        depths: Number of layers of each stage.
        bend: True to send each sum through a PReLU and a shift of its channel, which lets the network learn the part of
            it that remains after a step function.
        classes: Number of scores per sample.
    Shape:
        ``(n, 1, height, width) -> (n, classes)``; height and width at least ``2 ** len(depths)``.
    Source:
        Liu et al. 2018, "Bi-Real Net", arXiv:1808.00278, for the shortcut of each layer; Rastegari et al. 2016,
        arXiv:1603.05279, for the order of the rest; Liu et al. 2020, "ReActNet", arXiv:2003.03488, for ``bend``.
    Example:
        >>> ResidualCNN("sign", "rectangular(-1, 1)", width=8)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        forward: ForwardLike = "relu",
        backward: RuleLike = "tied",
        *,
        width: int = 64,
        depths: Sequence[int] = (2, 3),
        bend: bool = False,
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(width))
        stages: list[nn.Module] = []
        channels = width
        for i, depth in enumerate(depths):
            wanted = width * 2**i
            layers: list[nn.Module] = [nn.MaxPool2d(2)] if i else []
            for _ in range(depth):
                layers.append(_Layer(channels, wanted, forward, backward, bend=bend))
                channels = wanted
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        planes = self.stages(self.stem(x))
        return self.head(F.adaptive_avg_pool2d(planes, 1).flatten(1))
