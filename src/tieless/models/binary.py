"""Networks with binary weights: the sign of latent weights, with a custom gradient like an activation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from tieless.forwards import ForwardLike
from tieless.nn import Activation, BinaryConv2d, BinaryLinear
from tieless.rules import RuleLike


class BinaryMLP(nn.Sequential):
    """MLP whose weights are +1 or -1 and whose hidden activations are of two levels.

    Every layer is ``sign(latent weights) x``, then batch norm, then (but for the last) the activation. Latent weights
    learn by the rule ``rectangular(-1, 1)`` (a straight-through estimator); see ``tieless.nn.BinaryLinear``.

    Args:
        features: Number of values per sample.
        widths: Number of units of each hidden layer.
        classes: Number of scores per sample.
        forward, backward: Forward and backward rule of every activation: ``sign`` or ``heaviside`` with a rule.
    Shape:
        ``(n, ...) -> (n, classes)``, where the rest multiplies to ``features``.
    Source:
        Hubara et al. 2016, "Binarized neural networks", arXiv 1602.02830.
    Example:
        >>> BinaryMLP(64, (32,), 10, "sign", "rectangular(-1, 1)")(torch.rand(5, 64)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        features: int,
        widths: Sequence[int],
        classes: int,
        forward: ForwardLike = "sign",
        backward: RuleLike = "rectangular(-1, 1)",
    ) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        for width in widths:
            layers += [BinaryLinear(features, width, bias=False), nn.BatchNorm1d(width), Activation(forward, backward)]
            features = width
        super().__init__(*layers, BinaryLinear(features, classes, bias=False), nn.BatchNorm1d(classes))


class BinaryLeNet5(nn.Sequential):
    """LeNet-5 whose weights are +1 or -1: each layer is ``sign(latent weights) x``, then batch norm and activation.

    Pooling takes the maximum and comes before batch norm, so that every layer but the first sees two levels only.

    Args:
        forward, backward: Forward and backward rule of every activation: ``sign`` or ``heaviside`` with a rule.
        classes: Number of scores per sample.
    Shape:
        ``(n, 1, 28, 28) -> (n, classes)``.
    Source:
        Rastegari et al. 2016, "XNOR-Net", arXiv 1603.05279, for the order of the layers.
    Example:
        >>> BinaryLeNet5("sign", "rectangular(-1, 1)")(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self, forward: ForwardLike = "sign", backward: RuleLike = "rectangular(-1, 1)", *, classes: int = 10
    ) -> None:
        super().__init__(
            BinaryConv2d(1, 6, 5, padding=2, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(6),
            Activation(forward, backward),
            BinaryConv2d(6, 16, 5, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(16),
            Activation(forward, backward),
            nn.Flatten(),
            BinaryLinear(400, 120, bias=False),
            nn.BatchNorm1d(120),
            Activation(forward, backward),
            BinaryLinear(120, 84, bias=False),
            nn.BatchNorm1d(84),
            Activation(forward, backward),
            BinaryLinear(84, classes, bias=False),
            nn.BatchNorm1d(classes),
        )
