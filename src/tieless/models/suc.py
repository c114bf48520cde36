"""Single-unit classifier."""

from __future__ import annotations

from torch import Tensor, nn

from tieless.forwards import ForwardLike
from tieless.nn import Activation
from tieless.rules import RuleLike


class SUC(nn.Module):
    """Single unit: ``y = phi(w x + b)``, one number per sample, taken as class 1 above 0.5.

    Args:
        features: Number of values per sample.
        forward, backward: Forward and backward rule of ``phi``; the paper takes ``logistic``, or ``heaviside`` for its
            BNN.
    Shape:
        ``(n, ...) -> (n,)``, where the rest multiplies to ``features``.
    Source:
        Troiano et al. 2025, doi:10.1016/j.neucom.2025.131178, study 1.
    Example:
        >>> SUC(10, "logistic", "constant")(torch.rand(5, 10)).shape
        torch.Size([5])
    """

    def __init__(self, features: int, forward: ForwardLike = "logistic", backward: RuleLike = "tied") -> None:
        super().__init__()
        self.unit = nn.Linear(features, 1)
        self.act = Activation(forward, backward)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.unit(x.flatten(1))).squeeze(1)
