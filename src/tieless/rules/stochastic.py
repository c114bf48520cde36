"""Random slope below the threshold: the one surrogate of spiking networks that draws numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from tieless import ops
from tieless.draws import Random
from tieless.forwards import Forward
from tieless.kernels.layout import laid_out_like
from tieless.rules.base import Family, Rule, register_rule
from tieless.slopes import Window


@register_rule
@dataclass(frozen=True, slots=True)
class StochasticSpike(Rule):
    """Slope 1 where ``z > 0``, else a small random one: ``grad_output * (U - 0.5 + mean) * variance``.

    U is uniform on [0, 1), drawn for each element from the call's key. The random slope is also used at 0 and for NaN.
    Memory: the key and one bit per element.

    Args:
        mean: Shift of the random slopes, in units of ``variance``; from -1e6 to 1e6.
        variance: Spread of the random slopes: they lie in ``[mean - 0.5, mean + 0.5) * variance``; positive.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite or out of range.
    Source:
        snnTorch's stochastic spike operator (SSO).
    Use:
        Networks in which silent neurons should change without a direction.
    Example:
        >>> z = torch.tensor([-1.0, 2.0], requires_grad=True)
        >>> untie(z, "heaviside", StochasticSpike()).sum().backward()
        >>> bool(abs(z.grad[0]) <= 0.1), z.grad[1].item()
        (True, 1.0)
    """

    family: ClassVar[Family] = "jam"
    draws: ClassVar[bool] = True
    known_as: ClassVar[tuple[str, ...]] = ("snnTorch SSO",)
    mean: float = 0
    variance: float = 0.2

    @property
    def linear(self) -> bool:
        return True

    def check(self) -> None:
        self.require(-1e6 <= self.mean <= 1e6, "mean from -1e6 to 1e6")
        self.require(1e-30 <= self.variance <= 1e30, "variance > 0 (1e-30 to 1e30)")

    def is_elementwise(self) -> bool:
        return True

    def _sizes(self) -> dict[str, float]:
        return {"variance": float(self.variance), "(|mean| + 0.5) * variance": (abs(self.mean) + 0.5) * self.variance}

    def needs(self, forward: Forward) -> Window:
        return Window(0.0, math.inf, open="low")

    def feedback(self, grad_output: Tensor, kept: Tensor | None, random: Random | None) -> Tensor:
        assert kept is not None
        assert random is not None
        low, high = ((self.mean + edge) * self.variance for edge in (-0.5, 0.5))
        stirred = ops.jam(grad_output, random.key, random.stream, low, high, False, None)
        stirred = laid_out_like(stirred, grad_output)  # autograd's own batches lose this layout, which bits follow
        return ops.gate(grad_output, kept, 1.0, 0.0) + ops.gate(stirred, kept, 0.0, 1.0)
