"""Triangle in place of the derivative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tieless.registry import hidden_at_default
from tieless.rules.base import register_rule
from tieless.rules.bump import Bump, positive


@register_rule
@dataclass(frozen=True, slots=True)
class Triangular(Bump):
    """Triangular slope, 0 from ``|z| = width`` on: ``grad_output * height max(0, 1 - |z| / width)``.

    Memory: ``z`` is stored, whose value the rule needs.

    Args:
        width: Half the base, in units of ``z``; positive.
        height: Slope at 0; positive.
    Shape:
        ``grad_output`` and ``z``: ``(...)``, one floating dtype and device. Result: laid out like ``z``.
    Raises:
        RuleValueError: a parameter is not finite or not positive.
    Source:
        Troiano et al. 2025, doi:10.1016/j.neucom.2025.131178. The derivative of a piecewise quadratic function, for
        which it is named in SpikingJelly, see ``from_alpha``; ApproxSign (Liu et al. 2018, arXiv:1808.00278) is
        ``triangular(1, height=2)``.
    Use:
        Gradients that should end, but not at an edge.
    Example:
        >>> z = torch.tensor([-0.5, 0.0, 2.0], requires_grad=True)
        >>> untie(z, "heaviside", Triangular(1)).sum().backward(); z.grad
        tensor([0.5000, 1.0000, 0.0000])
    """

    known_as: ClassVar[tuple[str, ...]] = (
        "piecewise_linear",
        "freegrad triangular",
        "SpikingJelly PiecewiseQuadratic",
        "Norse triangle",
        "Larq ApproxSign",
    )
    half: ClassVar[float] = 0.5
    width: float = 1
    height: float = hidden_at_default(1)

    @classmethod
    def from_alpha(cls, alpha: float) -> Triangular:
        """Rule in the form of SpikingJelly: ``alpha - alpha^2 |z|`` where ``|z| <= 1 / alpha``.

        Example:
            >>> Triangular.from_alpha(2)
            Triangular(width=0.5, height=2)
        """
        (alpha,) = positive("Triangular.from_alpha", alpha=alpha)
        return cls(1 / alpha, alpha)

    @classmethod
    def from_norse(cls, alpha: float = 0.3) -> Triangular:
        """Rule in the form of Norse: ``alpha max(0, 1 - |z|)``, in which alpha is the height alone.

        Example:
            >>> Triangular.from_norse(0.3)
            Triangular(width=1, height=0.3)
        """
        (alpha,) = positive("Triangular.from_norse", alpha=alpha)
        return cls(1, alpha)
