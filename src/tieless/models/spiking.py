"""Convolutional spiking network that sees an image for a few time steps."""

from __future__ import annotations

from torch import Tensor, nn

from tieless.forwards import ForwardLike
from tieless.nn import LIF
from tieless.rules import RuleLike


class SpikingCNN(nn.Module):
    """Convolutions with leaky integrate-and-fire neurons between them, over time; scores are means over the time steps.

    ``conv - max pool - norm - LIF - conv - max pool - norm - LIF - linear - LIF - linear``. The image itself is the
    input of the first layer at each time step, so its convolution is done once; all later layers see spikes.

    Args:
        forward, backward: Forward and backward rule of every spike: ``heaviside`` with a rule (a surrogate gradient).
        width: Number of channels of the first convolution; the second has twice as many, the hidden layer eight times.
        steps: Number of time steps.
        beta: Fraction of a membrane potential that remains after one time step.
        classes: Number of scores per sample.
    Shape:
        ``(n, 1, 28, 28) -> (n, classes)``.
    Source:
        Fang et al. 2021, arXiv:2007.05785, for the input of the first layer and the order of the layers.
    Example:
        >>> SpikingCNN("heaviside", "atan", width=4)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        forward: ForwardLike = "heaviside",
        backward: RuleLike = "atan(0.3183098861837907, 1)",
        *,
        width: int = 32,
        steps: int = 4,
        beta: float = 0.5,
        classes: int = 10,
    ) -> None:
        super().__init__()

        def cell() -> LIF:
            return LIF(beta, forward=forward, backward=backward)

        self.steps = steps

        def planes(channels: int, wanted: int) -> nn.Sequential:
            conv = nn.Conv2d(channels, wanted, 3, padding=1, bias=False)
            # Pooled before the neurons, which are then a quarter as many in each step.
            return nn.Sequential(conv, nn.MaxPool2d(2), nn.BatchNorm2d(wanted))

        self.seen = planes(1, width)
        self.first = cell()
        self.between = planes(width, 2 * width)
        self.second = cell()
        self.flat = nn.Sequential(nn.Flatten(), nn.Linear(2 * width * 7 * 7, 8 * width))
        self.third = cell()
        self.scores = nn.Linear(8 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        current = self.seen(x)
        spikes, _ = self.first.over_time(current.expand(self.steps, *current.shape))
        spikes, _ = self.second.over_time(self._each_step(self.between, spikes))
        spikes, _ = self.third.over_time(self._each_step(self.flat, spikes))
        return self.scores(spikes.mean(0))

    @staticmethod
    def _each_step(layers: nn.Module, x: Tensor) -> Tensor:
        """Apply layers without a state to all time steps as one batch."""
        return layers(x.flatten(0, 1)).unflatten(0, x.shape[:2])
