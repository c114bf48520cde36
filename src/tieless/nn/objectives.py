"""Objectives by which a slope's width and height learn, since the loss has no gradient for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from tieless.errors import RuleValueError
from tieless.forwards import Forward, Heaviside, Sign
from tieless.kernels.reductions import of_order_one
from tieless.registry import positive_number

Slope = Callable[[Tensor, Tensor], Tensor]
"""Function from log width and log height to the slope at each element of ``z``."""


def _log_rms(values: Tensor) -> Tensor:
    shares, unit = of_order_one(values, range(values.dim()))
    return 0.5 * torch.log(shares.square().mean()) + torch.log(unit).sum()


def _huber_slope(distance: Tensor) -> Tensor:
    """Derivative of a Huber loss, which is ``x^2 / 2`` up to 1 and straight beyond; 0 where ``x`` is NaN."""
    return torch.where(distance.isfinite(), distance, 0.0).clamp(-1, 1)


@dataclass(frozen=True, slots=True)
class Spread:
    """Objective for a width that follows the magnitude of ``z``, and a height that keeps the norm of the gradient.

    With ``rms`` the root mean square over all elements, ``g`` the incoming gradient (feedback) and ``s`` the slope::

        J(width)  = huber(log(width / (ratio rms(z))))        d/dlog width  = clip(log(width / (ratio rms(z))), -1, 1)
        J(height) = huber(log(rms(g s) / rms(g)))             d/dlog height = clip(log(rms(g s) / rms(g)), -1, 1)

    ``huber(x)`` is ``x^2 / 2`` where ``|x| <= 1``, else ``|x| - 1/2``. Each parameter has its own objective. The
    gradient does not depend on the scale of the incoming gradient; it is 0 where a logarithm would be of 0.

    Args:
        ratio: Width in units of ``rms(z)``; positive.
    Example:
        >>> from tieless.nn import Spread
        >>> Spread(0.5)
        Spread(ratio=0.5)
    """

    ratio: float = 1.0

    def __post_init__(self) -> None:
        positive_number("Spread: ratio", self.ratio)

    def check(self, forward: Forward) -> None:
        """Accept any forward."""

    def gradients(
        self, slope: Slope, logs: tuple[Tensor, Tensor], z: Tensor, grad_output: Tensor, forward: Forward
    ) -> tuple[Tensor, Tensor]:
        """Derivatives by log width and log height."""
        feedback, _ = of_order_one(grad_output, range(grad_output.dim()))
        width = logs[0] - math.log(self.ratio) - _log_rms(z)
        height = _log_rms(feedback * slope(*logs)) - _log_rms(feedback)
        return _huber_slope(width), _huber_slope(height)


@dataclass(frozen=True, slots=True)
class SmoothedTarget:
    """Objective that brings the gradient passed down close to that of a smoothed step function.

    ``r`` is the derivative of the forward after smoothing by a normal distribution, ``jump / (sigma sqrt(2 pi)) exp(-(z
    / sigma)^2 / 2)`` with a jump of 1 for ``heaviside`` and 2 for ``sign``; ``g`` is the incoming gradient (feedback),
    ``s`` the slope, sums run over all elements::

        J = sum(g^2 (s - r)^2) / sum(g^2 (s^2 + r^2))         from 0 to 1
        dJ/ds = 2 g^2 ((s - r) - J s) / sum(g^2 (s^2 + r^2))

    The chain rule gives log width and log height. ``J`` does not depend on the scale of the incoming gradient. The
    gradient is 0 where the denominator is.

    Args:
        sigma: Standard deviation of the smoothing, in units of ``z``; positive.
    Example:
        >>> from tieless.nn import SmoothedTarget
        >>> SmoothedTarget(0.5)
        SmoothedTarget(sigma=0.5)
    """

    sigma: float = 0.5

    def __post_init__(self) -> None:
        positive_number("SmoothedTarget: sigma", self.sigma)

    def check(self, forward: Forward) -> None:
        """Refuse a forward that is no step function at 0.

        Raises:
            RuleValueError: the forward is neither ``heaviside`` nor ``sign``.
        """
        if not isinstance(forward, (Heaviside, Sign)):
            raise RuleValueError(
                f"SmoothedTarget knows the smoothed derivative of heaviside and sign, not of {forward}. Take Spread."
            )

    def reference(self, z: Tensor, forward: Forward) -> Tensor:
        """Derivative ``r`` at each element of ``z``."""
        jump = 2 if isinstance(forward, Sign) else 1
        return jump / (self.sigma * math.sqrt(2 * math.pi)) * torch.exp(-(z / self.sigma).square() / 2)

    def gradients(
        self, slope: Slope, logs: tuple[Tensor, Tensor], z: Tensor, grad_output: Tensor, forward: Forward
    ) -> tuple[Tensor, Tensor]:
        """Derivatives by log width and log height."""
        feedback, _ = of_order_one(grad_output, range(grad_output.dim()))
        weight, reference = feedback.square(), self.reference(z, forward)
        sent, pull = cast("tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]", torch.func.vjp(slope, *logs))
        whole = (weight * (sent.square() + reference.square())).sum()
        whole = torch.where(whole > 0, whole, 1.0)
        off = sent - reference
        apart = (weight * off.square()).sum() / whole
        return pull(2 * weight * (off - apart * sent) / whole)


Objective = Spread | SmoothedTarget


def objective(given: Objective | Literal["spread", "alignment"]) -> Objective:
    """Objective by its name, with its defaults; an objective stands for itself.

    Raises:
        RuleValueError: no objective has that name.
    """
    if isinstance(given, (Spread, SmoothedTarget)):
        return given
    known = {"spread": Spread, "alignment": SmoothedTarget}
    if given not in known:
        raise RuleValueError(
            f"objective must be 'spread', 'alignment', Spread(...) or SmoothedTarget(...), got {given!r}."
        )
    return known[given]()
