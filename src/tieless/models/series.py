"""Small networks that read series: channels of values, one at each time."""

from __future__ import annotations

from torch import Tensor, nn

from tieless.forwards import ForwardLike
from tieless.models.gru import Gates, GRULayer
from tieless.nn import Activation
from tieless.rules import RuleLike


class SeriesCNN(nn.Sequential):
    """Three convolutions over time with a stride of 2, then a linear layer to the classes' scores.

    Args:
        length: Number of values per channel, at least 6.
        channels: Number of channels.
        width: Number of channels of each convolution.
        classes: Number of scores per sample.
        forward, backward: Forward and backward rule of every activation.
    Shape:
        ``(n, channels, length) -> (n, classes)``.
    Source:
        Greydanus and Kobak 2024, arXiv:2011.14439, with 25 channels for MNIST-1D.
    Example:
        >>> SeriesCNN(40, 1, 25, 10, "relu", "constant")(torch.rand(2, 1, 40)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        length: int,
        channels: int = 1,
        width: int = 25,
        classes: int = 10,
        forward: ForwardLike = "relu",
        backward: RuleLike = "tied",
    ) -> None:
        layers: list[nn.Module] = []
        for kernel in (5, 3, 3):
            layers += [nn.Conv1d(channels, width, kernel, stride=2, padding=1), Activation(forward, backward)]
            channels, length = width, (length + 2 - kernel) // 2 + 1
        super().__init__(*layers, nn.Flatten(), nn.Linear(width * length, classes))


class SeriesGRU(nn.Module):
    """One layer of gated recurrent units over time, and a linear layer that reads its last state.

    Args:
        channels: Number of channels.
        width: Number of units.
        classes: Number of scores per sample.
        forward, backward: Forward and backward rule of the units' activation.
        gates: Rule of the gates: ``"untied"`` for ``backward``, or ``"tied"``.
    Shape:
        ``(n, channels, length) -> (n, classes)``.
    Source:
        Cho et al. 2014, arXiv:1406.1078.
    Example:
        >>> SeriesGRU(1, 16, 10, "tanh", "constant")(torch.rand(2, 1, 40)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 32,
        classes: int = 10,
        forward: ForwardLike = "tanh",
        backward: RuleLike = "tied",
        *,
        gates: Gates = "untied",
    ) -> None:
        super().__init__()
        self.units = GRULayer(channels, width, forward, backward, gates=gates)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.units(x.transpose(1, 2))[:, -1])
