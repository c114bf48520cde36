"""Rectangular window in place of the derivative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tieless.forwards import Forward
from tieless.registry import hidden_at_default
from tieless.rules.base import Rule, register_rule
from tieless.rules.bump import positive
from tieless.slopes import TwoValuedSlope, Window


@register_rule
@dataclass(frozen=True, slots=True)
class Rectangular(Rule):
    """Rectangular window (boxcar surrogate): pass the gradient where ``low <= z <= high``; block it elsewhere.

    ``grad_input = grad_output * height * 1[low <= z <= high]``. Both edges pass, rounded to the dtype of ``z``; NaN in
    ``z`` blocks; blocked elements are exactly 0. Memory: one bit per element.

    Args:
        low, high: Edges of the window, in units of ``z``.
        height: Multiplier inside, any finite number.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: an edge is not finite, or ``low >= high``.
    Source:
        Troiano et al. 2025, doi:10.1016/j.neucom.2025.131178; window height 1. SpikingJelly's Rect is as high as it is
        narrow, see ``from_alpha``; for Larq's clip values see ``from_clip``.
    Use:
        Binary networks; the rule has the smallest memory of all surrogates.
    Example:
        >>> z = torch.tensor([-0.6, 0.5, 0.7], requires_grad=True)
        >>> untie(z, "heaviside", Rectangular(-0.5, 0.5)).sum().backward(); z.grad
        tensor([0., 1., 0.])
    """

    known_as: ClassVar[tuple[str, ...]] = (
        "boxcar",
        "window",
        "clipped_ste",
        "ste",
        "hardtanh",
        "freegrad rectangular",
        "SpikingJelly Rect",
        "SpikingJelly clamp",
        "Larq SteSign",
        "Larq SteHeaviside",
        "Larq SteTern",
        "Larq DoReFa",
    )
    low: float = -0.5
    high: float = 0.5
    height: float = hidden_at_default(1)

    def check(self) -> None:
        self.require(self.low < self.high, "low < high")

    def slope(self, forward: Forward) -> TwoValuedSlope:
        return TwoValuedSlope(Window(float(self.low), float(self.high)), float(self.height))

    @property
    def half_width(self) -> float:
        """Half the window, at whose end the slope ends: comparable with the ``half_width`` of the other surrogates."""
        return (self.high - self.low) / 2

    @classmethod
    def from_alpha(cls, alpha: float) -> Rectangular:
        """Rule in the form of SpikingJelly: ``alpha`` where ``|z| < 1 / (2 alpha)``; here both edges pass.

        Example:
            >>> Rectangular.from_alpha(2)
            Rectangular(low=-0.25, high=0.25, height=2)
        """
        (alpha,) = positive("Rectangular.from_alpha", alpha=alpha)
        return cls(-0.5 / alpha, 0.5 / alpha, alpha)

    @classmethod
    def from_clip(cls, clip_value: float = 1) -> Rectangular:
        """Rule in the form of Larq: 1 where ``|z| <= clip_value``. Without a clip value the rule is ``constant``.

        Example:
            >>> Rectangular.from_clip(1)
            Rectangular(low=-1, high=1, height=1)
        """
        (clip_value,) = positive("Rectangular.from_clip", clip_value=clip_value)
        return cls(-clip_value, clip_value)

    @classmethod
    def from_half_width(cls, half_width: float, height: float = 1) -> Rectangular:
        """Window around 0 that is ``half_width`` wide on each side.

        Example:
            >>> Rectangular.from_half_width(0.5)
            Rectangular(low=-0.5, high=0.5, height=1)
        """
        half_width, height = positive("Rectangular.from_half_width", half_width=half_width, height=height)
        return cls(-half_width, half_width, height)
