"""Backward rule for a sign that is scaled by the mean magnitude of its channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from tieless import ops
from tieless.forwards import Forward
from tieless.forwards.weights import channel_magnitude
from tieless.kernels.layout import laid_out_like
from tieless.rules.base import Rule, register_rule
from tieless.slopes import OwnSlope, Window


@register_rule
@dataclass(frozen=True, slots=True)
class MagnitudeAware(Rule):
    """Window, scaled by the mean magnitude of the channel: ``grad_output * mean|z| * 1[|z| <= clip]``.

    The mean is that of ``magnitude_aware_sign``: over all dimensions but ``dim``. The mean is a constant to the rule,
    as in the paper's code. Memory: ``z`` is stored, which costs nothing where ``z`` is a weight.

    Args:
        clip: Half the window, edges included; positive.
        dim: Dimension of the output channels.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: the clip is not finite or not positive.
        DimensionError: ``z`` has no such dimension.
    Source:
        Liu et al. 2018, arXiv:1808.00278, section 3.3; Larq's MagnitudeAwareSign, whose channels are the last
        dimension.
    Use:
        For binary weights, with the forward ``magnitude_aware_sign``.
    Example:
        >>> z = torch.tensor([[0.5, -1.5], [0.1, 0.3]], requires_grad=True)
        >>> untie(z, "magnitude_aware_sign", MagnitudeAware()).sum().backward(); z.grad
        tensor([[1.0000, 0.0000],
                [0.2000, 0.2000]])
    """

    known_as: ClassVar[tuple[str, ...]] = ("Larq MagnitudeAwareSign",)
    clip: float = 1
    dim: int = 0

    def check(self) -> None:
        self.require(self.clip > 0, "clip > 0")

    def is_elementwise(self) -> bool:
        return False

    def slope(self, forward: Forward) -> OwnSlope:
        return OwnSlope(self, "input")

    def slope_at(self, value: Tensor) -> Tensor:
        """Mean magnitude of the channel inside of the window, 0 outside."""
        value = value.detach()
        # By bits: for a comparison a compiler would store a mask of bools, which its kernels on the CPU are slow with.
        inside = Window(-float(self.clip), float(self.clip)).pack(value)
        magnitude = channel_magnitude(value, self.dim).expand_as(value)
        return ops.gate(laid_out_like(magnitude, value), inside, 1.0, 0.0)
