"""Step functions as values, and the published ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from tieless.errors import RuleTypeError, RuleValueError
from tieless.grammar import shown
from tieless.registry import loadable, number


@loadable
@dataclass(frozen=True, slots=True)
class Levels:
    """Step function: ``slope(z) = values[number of boundaries c with z > c]``, or with ``|z| > c`` where ``even``.

    A boundary belongs to the region on its left (``even``: inside). It is compared in float64 with a float64 ``z``, in
    float32 with any other. NaN passes no boundary: its code is 0, its slope ``values[0]``.

    Args:
        boundaries: Boundaries, strictly ascending, in units of ``z``; positive where ``even``.
        values: Values, one more than boundaries, at most 16.
        even: True to compare ``|z|`` in place of ``z``, so that a value serves on both sides.
        error: Error ``sqrt(mean of (phi'(z) - slope(z))^2)`` over ``-10 <= z <= 10``, if known; see ``error_of``.
        relative_error: Error ``error / sqrt(mean of phi'(z)^2)`` over the same.
    Raises:
        RuleValueError: the boundaries do not ascend, there is not one value more, or a number is not finite.
        RuleTypeError: the boundaries or values are no numbers.
    Example:
        >>> levels = tl.levels.Levels((-1.0, 1.0), (0.0, 0.5, 1.0))
        >>> levels.bits
        2
        >>> levels.codes(torch.tensor([-1.0, 0.0, 1.5, torch.nan]))
        tensor([0, 1, 2, 0], dtype=torch.uint8)
        >>> levels.slope(torch.tensor([-1.0, 0.0, 1.5]))
        tensor([0.0000, 0.5000, 1.0000])
    """

    boundaries: tuple[float, ...]
    values: tuple[float, ...]
    even: bool = False
    error: float | None = None
    relative_error: float | None = None

    def __post_init__(self) -> None:
        for name in ("boundaries", "values"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        if not 1 <= len(self.values) <= 16 or len(self.values) != len(self.boundaries) + 1:
            raise RuleValueError(
                f"Levels need 1 to 16 values and one boundary less, got {len(self.values)} values and "
                f"{len(self.boundaries)} boundaries."
            )
        edges = (0.0, *self.boundaries) if self.even else self.boundaries
        if any(left >= right for left, right in itertools.pairwise(edges)):
            raise RuleValueError(
                f"Levels need strictly ascending boundaries{' above 0' * self.even}, got {shown(self.boundaries)}."
            )

    @property
    def bits(self) -> int:
        """Number of bits of a code: 2 for three or four values, 0 for a single one."""
        return (len(self.values) - 1).bit_length()

    def codes(self, z: Tensor) -> Tensor:
        """Number of boundaries that each element passes; uint8, shaped like ``z``."""
        wide = z.to(torch.promote_types(z.dtype, torch.float32))
        compared = wide.abs() if self.even else wide
        codes = torch.zeros_like(z, dtype=torch.uint8)
        for boundary in self.boundaries:
            codes += compared > boundary
        return codes

    def slope(self, z: Tensor) -> Tensor:
        """Value of each element's region, in the dtype of ``z``."""
        return torch.tensor(self.values, dtype=z.dtype, device=z.device)[self.codes(z).long()]


def _numbers(name: str, given: Iterable[object]) -> tuple[float, ...]:
    try:
        each = tuple(given)
    except TypeError:
        raise RuleTypeError(f"Levels need {name} in a tuple, got {shown(given)}.") from None
    return tuple(number(f"Levels need finite numbers: one of {name}", one) for one in each)


REGELU2 = Levels(
    boundaries=(-3.1858810036855245, -0.001178821281161997, 3.190832613414926),
    values=(0.0, -0.04922261145617846, 1.0487405950855513, 1.0),
    error=0.08854213,
    relative_error=0.12434364,
)
"""ReGELU2, for ``gelu`` (Yang et al. 2024, arXiv:2406.16282; the constants of their kernels): 2 bits an element.

They do not minimise the distance to gelu's derivative. They minimise that of the step function's integral ``h`` to gelu
itself, ``integral of (gelu(z) - h(z))^2`` over all ``z``, among the ``h`` with three kinks that are 0 far left and ``z``
far right (``search_act`` in their repository). The exact optimum has boundaries 0 and +-3.171310 and values -0.049575
and 1.049575; simulated annealing stopped within 0.02 of these boundaries and 0.001 of these values, its objective
0.025% above the least.

As a slope this is further from gelu's derivative (mean squared error 0.0078 over ``-10 <= z <= 10``) than the slope of
relu (0.0071), which takes one bit, and than ``optimal_levels("gelu", 2)`` (0.0023).
"""

RESILU2 = Levels(
    boundaries=(-6.3050461001646445, -0.0008684942046214787, 6.325815242089708),
    values=(0.0, -0.04060357190528599, 1.0403218566243822, 1.0),
    error=0.10897309,
    relative_error=0.15248771,
)
"""ReSiLU2, for ``silu``: what ``REGELU2`` is for gelu, from the same source.

The exact optimum has boundaries 0 and +-6.319933 and values -0.040524 and 1.040524; the published objective is 0.006%
above the least. Mean squared error of the slope: 0.0119; of relu's slope 0.0107, of ``optimal_levels("silu", 2)`` 0.0030.
"""
