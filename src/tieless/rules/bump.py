"""Common base of slopes with a width and a height: domain, and the widths by which two slopes are compared.

``width`` is the unit in which a rule measures ``z``, and ``height`` its slope at the peak: ``slope(z) = height *
shape(z / width)``, with a shape that each family has of its own. Twice the width is twice as wide, in every family. Two
families are compared at equal ``half_width``, the ``|z|`` at which the slope has fallen to half its height:
``ATan.from_half_width(0.5)`` and ``Erf.from_half_width(0.5)`` are equally wide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, cast

from tieless.errors import RuleTypeError, RuleValueError
from tieless.forwards import Forward
from tieless.grammar import shown
from tieless.registry import plain_number
from tieless.rules.base import Rule
from tieless.slopes import NamedSlope, SlopeForm

if TYPE_CHECKING:  # Python has it from 3.11 on
    from typing_extensions import Self

SMALLEST, LARGEST = 1e-30, 1e30
"""Bounds between which a number and its inverse are normal numbers of float32, in which the arithmetic is done."""


def positive(constructor: str, **parameters: float) -> tuple[int | float, ...]:
    """Parameters of a peer library, each checked to be a number from 1e-30 to 1e30, so that its inverse is one too."""
    plain = {name: plain_number(value) for name, value in parameters.items()}
    for name, value in plain.items():
        if value is None:
            raise RuleTypeError(f"{constructor}: {name} must be a number, got {shown(parameters[name])}.")
        if not SMALLEST <= value <= LARGEST:
            raise RuleValueError(f"{constructor} needs {name} > 0 (1e-30 to 1e30), got {name}={shown(value)}.")
    return tuple(value for value in plain.values() if value is not None)


class Scaled(Rule):
    """Slope of ``z / width`` with a peak of ``height``. Subclasses define ``slope`` if kernels take more than these."""

    __slots__ = ()
    width: float
    height: float

    def check(self) -> None:
        self.require(SMALLEST <= self.width <= LARGEST, "width > 0 (1e-30 to 1e30)")
        self.require(SMALLEST <= self.height <= LARGEST, "height > 0 (1e-30 to 1e30)")

    def scales(self) -> tuple[float, float]:
        """Inverse of the width, and the height, as kernels take them: a product is faster than a quotient."""
        return 1 / self.width, float(self.height)

    def slope(self, forward: Forward) -> SlopeForm:
        return NamedSlope(self.name, self.scales())


class Bump(Scaled):
    """Scaled slope that is symmetric, and falls on both sides."""

    __slots__ = ()
    half: ClassVar[float]
    """Value of ``|z| / width`` at which the slope is half its height."""

    @property
    def half_width(self) -> float:
        """Half width at half maximum: the ``|z|`` at which the slope is half its height, comparable across families."""
        return self.width * self.half

    @classmethod
    def from_half_width(cls, half_width: float, height: float = 1) -> Self:
        """Rule that is ``half_width`` wide at half its height.

        Args:
            half_width: Half the width at half the height, in units of ``z``; positive.
            height: Slope at 0; positive.
        Raises:
            RuleValueError: a parameter is not positive.
        Example:
            >>> tl.Triangular.from_half_width(0.5)
            Triangular(width=1.0, height=1)
        """
        half_width, height = positive(f"{cls.__name__}.from_half_width", half_width=half_width, height=height)
        make = cast("Callable[..., Self]", cls)
        unit = make(width=1)
        return make(width=half_width / unit.half_width, height=height)
