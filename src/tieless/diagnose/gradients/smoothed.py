"""Smoothed step functions: a forward of steps, blurred by normal noise, is the nearest one with a derivative."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from tieless.errors import RuleValueError
from tieless.forwards import Forward

FINE = 32
"""Search points for each sigma; two steps between the same points count as one, at most sigma / 64 off."""

FAR = 8.0
"""Distance in sigmas beyond which steps change nothing: less than 1e-15 of their height."""

MOST = 1 << 20
"""Largest number of search points. A sigma that needs more is too small for a ``z`` of this spread."""

SAMPLE = 4096
"""Elements of ``z`` at which the steps that were found are compared with the forward."""

_ROOT = math.sqrt(2 * math.pi)


@dataclass(frozen=True, slots=True)
class Smoothed:
    """Smoothed forward ``E[forward(z + sigma N(0, 1))]``, elementwise, for a forward of steps.

    With heights ``h`` at places ``t``, ``y = base + sum h Phi((z - t) / sigma)``, and the derivative, which PyTorch
    uses, is ``sum h phi((z - t) / sigma) / sigma``, with the normal distribution ``Phi`` and its density ``phi``.

    Args:
        forward: Forward that is flat almost everywhere.
        width: Sigma in standard deviations of ``z``.
        sigma: Sigma in units of ``z``; ``None`` takes ``width`` times the standard deviation of the given ``z``.
    Raises:
        RuleValueError: when called; the forward is not elementwise, ``z`` is not finite, or sigma is 0 or far too
            small.
    Example:
        >>> from tieless.diagnose.gradients.smoothed import Smoothed
        >>> z = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        >>> y = Smoothed(forward("heaviside"), sigma=0.5)(z)
        >>> y.sum().backward(); y, z.grad  # 1 / (0.5 sqrt(2 pi))
        (tensor([0.5000], ...), tensor([0.7979], ...))
    """

    forward: Forward
    width: float = 0.5
    sigma: float | None = None

    def __call__(self, z: Tensor) -> Tensor:
        if not z.numel():
            return z * 1
        sigma = width_at(z, self.width, str(self.forward)) if self.sigma is None else self.sigma
        return cast("Tensor", _Blurred.apply(z, self.forward, sigma))

    def __repr__(self) -> str:
        return f"{self.forward} smoothed"


def width_at(z: Tensor, width: float, name: str) -> float:
    """Sigma for a ``z``: ``width`` times its standard deviation.

    Raises:
        RuleValueError: sigma is 0 or not finite.
    """
    sigma = width * float(z.detach().to(torch.promote_types(z.dtype, torch.float32)).std(correction=0))
    if not 0 < sigma < math.inf:
        raise RuleValueError(
            f"Nothing to smooth {name} by: the standard deviation of its z is {sigma / width:g}. Look at a batch in which "
            "z differs and is finite."
        )
    return sigma


class _Blurred(torch.autograd.Function):
    """Sum over steps, one after the other; the derivative is computed in the same pass."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, forward: Forward, sigma: float) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        wide = z.detach().to(torch.promote_types(z.dtype, torch.float32))
        base, steps = steps_of(forward, wide, sigma)
        y, slope = torch.full_like(wide, base), torch.zeros_like(wide)
        for at, height in steps:
            away = (wide - at) / (sigma * math.sqrt(2))
            y.add_(torch.erf(away).add_(1), alpha=height / 2)
            slope.add_(away.square_().neg_().exp_(), alpha=height / (sigma * _ROOT))
        ctx.save_for_backward(slope)
        return y.to(z.dtype)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (slope,) = ctx.saved_tensors
        return (grad_output * slope).to(grad_output.dtype), None, None


def steps_of(forward: Forward, z: Tensor, sigma: float) -> tuple[float, list[tuple[float, float]]]:
    """Value of a flat forward far below ``z``, and its steps up to far above: place and height of each.

    Forwards are not known by name: each is evaluated, in float64, at points that lie ``sigma / 32`` apart.

    Args:
        forward: Forward that is flat almost everywhere.
        z: Values to be blurred; steps farther than 8 sigma from all of them are left out.
        sigma: Sigma of the blur.
    Raises:
        RuleValueError: ``z`` is not finite or spread too far, or the forward is not elementwise.
    Example:
        >>> from tieless.diagnose.gradients.smoothed import steps_of
        >>> steps_of(forward("ternary(0.5)"), torch.tensor([0.0]), 1.0)
        (-1.0, [(-0.5, 1.0), (0.5, 1.0)])
    """
    low, high = (float(end) for end in torch.aminmax(z))
    low, high = low - FAR * sigma, high + FAR * sigma
    if not math.isfinite(high - low):
        raise RuleValueError(f"Cannot smooth {forward}: z is not finite.")
    count = math.ceil((high - low) / sigma * FINE) + 1
    if count > MOST:
        raise RuleValueError(
            f"Cannot smooth {forward}: z goes from {low:.3g} to {high:.3g}, too far for sigma {sigma:.3g}. Give more sigma."
        )
    points = torch.linspace(low, high, count, dtype=torch.float64)
    values = forward.value(points)
    below = (values[1:] != values[:-1]).nonzero().squeeze(1)
    left, right, before = points[below], points[below + 1], values[below]
    for _ in range(60):
        middle = (left + right) / 2
        same = forward.value(middle) == before
        left, right = torch.where(same, middle, left), torch.where(same, right, middle)
    heights = values[below + 1] - before
    _check(forward, z, right, torch.cat([values[:1], values[:1] + heights.cumsum(0)]), sigma)
    places: list[float] = right.tolist()  # pyright: ignore[reportUnknownVariableType]
    sizes: list[float] = heights.tolist()  # pyright: ignore[reportUnknownVariableType]
    # Halving ends just beside the step; the intended number is a short one.
    return float(values[0]), [(round(at, 12) + 0.0, size) for at, size in zip(places, sizes, strict=True)]


def _check(forward: Forward, z: Tensor, at: Tensor, levels: Tensor, sigma: float) -> None:
    """Check that the steps that were found give the values of the forward, except for a ``z`` that lies on a step."""
    values, flat = forward.value(z).flatten(), z.flatten()
    every = -(-flat.numel() // SAMPLE)
    some = flat[::every].double().cpu()
    differs = (levels[torch.searchsorted(at, some, right=True)] - values[::every].double().cpu()).abs() > 1e-6
    wrong = some[differs]
    nearest = (wrong[:, None] - at).abs().amin(1) if at.numel() else torch.full_like(wrong, math.inf)
    if (nearest > sigma / FINE).any() or not torch.equal(forward.value(flat), values):
        raise RuleValueError(
            f"{forward} is no elementwise function of steps, so it has no smoothed twin. Ask for reference='perturbation'."
        )
