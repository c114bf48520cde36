"""Residual networks for small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tieless.errors import RuleValueError
from tieless.forwards import ForwardLike
from tieless.nn import Activation
from tieless.rules import RuleLike


class _Block(nn.Module):
    """``act(norm(conv(act(norm(conv(x))))) + x)``; where the channels grow, ``x`` is thinned out and padded with zeros."""

    def __init__(self, channels: int, wanted: int, forward: ForwardLike, backward: RuleLike) -> None:
        super().__init__()
        self.stride = 1 if wanted == channels else 2
        self.missing = wanted - channels
        self.conv1 = nn.Conv2d(channels, wanted, 3, stride=self.stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(wanted)
        self.act1 = Activation(forward, backward)
        self.conv2 = nn.Conv2d(wanted, wanted, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(wanted)
        self.act2 = Activation(forward, backward)

    def forward(self, x: Tensor) -> Tensor:
        residue = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x)))))
        if self.missing:
            before = self.missing // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.missing - before))
        return self.act2(residue + x)


class ResNet(nn.Module):
    """Convolution, three stages of residual blocks with batch norm, a mean over all positions, then a linear layer.

    The second and third stage halve the image and double the channels. Shortcuts have no weights. Each of the ``depth -
    1`` convolutions has an activation behind it, those at a block's end behind the sum.

    Args:
        forward, backward: Forward and backward rule of every activation.
        depth: Number of layers with weights, ``6 k + 2`` for a whole ``k >= 1``.
        width: Number of channels of the first stage.
        classes: Number of scores per sample.
    Shape:
        ``(n, 1, height, width) -> (n, classes)``.
    Raises:
        RuleValueError: the depth is not ``6 k + 2``.
    Source:
        He et al. 2016, arXiv:1512.03385, section 4.2, with its shortcuts A.
    Example:
        >>> ResNet("relu", "full_jam", depth=8, width=4)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        forward: ForwardLike = "relu",
        backward: RuleLike = "tied",
        *,
        depth: int = 20,
        width: int = 16,
        classes: int = 10,
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise RuleValueError(f"A ResNet's depth is 6 k + 2 (8, 14, 20, ...), got {depth}.")
        self.conv = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.act = Activation(forward, backward)
        channels, blocks = width, list[nn.Module]()
        for wanted in (width, 2 * width, 4 * width):
            for _ in range((depth - 2) // 6):
                blocks.append(_Block(channels, wanted, forward, backward))
                channels = wanted
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        planes = self.blocks(self.act(self.norm(self.conv(x))))
        return self.head(torch.mean(planes, (2, 3)))
