"""Slopes and transforms of freegrad, called as there, ``rule(ctx, grad_out, tin, **params)``, or named in ``use``."""

from __future__ import annotations

from tieless.compat.freegrad.registry import transform
from tieless.errors import RuleValueError
from tieless.rules import Centralize, ClipNorm, Constant, LeakyReLU, Noise, Rectangular, Rule, Scale, Triangular

__all__ = ["centralize", "clip_norm", "heaviside", "identity", "noise", "rectangular", "scale", "triangular"]


@transform("d(ReLU)", without_input=Constant)
def heaviside() -> Rule:
    """Slope of relu: ``grad_out * 1[tin > 0]``; ``tl.rules.LeakyReLU(0)``. Without an input, the gradient as it is."""
    return LeakyReLU()


@transform("d(Linear)", without_input="same")
def identity() -> Rule:
    """Gradient as it is; ``tl.Constant(1)``."""
    return Constant()


@transform("rectangular")
def rectangular(a: float = -0.5, b: float = 0.5) -> Rule:
    """Window: ``grad_out * 1[a <= tin <= b]``, ``a < b``; ``tl.Rectangular(a, b)``."""
    return Rectangular(a, b)


@transform("triangular")
def triangular(width: float = 1.0) -> Rule:
    """Triangle of height 1: ``grad_out * max(0, 1 - |tin| / width)``, ``width > 0``; ``tl.Triangular(width)``."""
    return Triangular(width)


@transform("scale", without_input="same")
def scale(s: float = 1.0) -> Rule:
    """Scaled gradient: ``grad_out * s``; ``tl.Scale(s)``."""
    return Scale(s)


@transform("clip_norm", without_input="same")
def clip_norm(max_norm: float = 1.0, eps: float = 1e-12) -> Rule:
    """Clipped norm: ``grad_out * min(1, max_norm / |grad_out|)``, ``max_norm > 0``; ``tl.ClipNorm(max_norm)``.

    0 stays 0 without ``eps``.
    """
    if eps > max_norm > 0:
        raise RuleValueError(f"clip_norm needs eps <= max_norm, got max_norm={max_norm!r}, eps={eps!r}.")
    return ClipNorm(max_norm)


@transform("noise", without_input="same")
def noise(sigma: float = 0.1) -> Rule:
    """Additive noise: ``grad_out + sigma N``, N standard normal; ``tl.Noise(sigma)``."""
    return Noise(sigma)


@transform("centralize", without_input="same")
def centralize(dim: int = -1, keepdim: bool = True) -> Rule:
    """Centred gradient: ``grad_out - mean(grad_out, dim)``; ``tl.Centralize(dim)``."""
    if not keepdim:
        raise RuleValueError("centralize subtracts the mean along dim from each element, so it needs keepdim=True.")
    return Centralize(dim)
