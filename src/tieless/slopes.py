"""Forms of a slope (the multiplier in place of the derivative): stored values, and effect on the feedback.

The derivative of a forward and the slope of a rule are the same kind of thing, so both are built from the forms here. A
form declares what it stores (``needs``) before anything runs; ``untie`` stores that and no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, cast

import torch
from torch import Tensor

from tieless import ops
from tieless.kernels.reference import arithmetic_dtype


@dataclass(frozen=True, slots=True)
class Window:
    """Region ``low <= z <= high``, stored as one bit per element. An edge in ``open`` is outside.

    The edges are rounded to the dtype of ``z``, so that an element equal to the edge in that dtype is on it.
    NaN is outside every window.
    """

    low: float
    high: float
    open: Literal["", "low", "high", "low high"] = ""

    def edges(self, dtype: torch.dtype) -> tuple[float, float, bool, bool]:
        """Edges ``low`` and ``high`` as numbers of ``dtype``, and for each True if it is outside."""
        return ops.rounded(self.low, dtype), ops.rounded(self.high, dtype), "low" in self.open, "high" in self.open

    def pack(self, z: Tensor, *, in_order: bool = True) -> Tensor:
        """Bits of ``z``, one per element in memory order, 8 to a byte, the first in the lowest: 1 if it is inside.

        If not ``in_order``, a compiler may have them in another order, which ``ops`` knows.
        """
        return ops.window_bits(z, *self.edges(z.dtype), in_order=in_order)


@dataclass(frozen=True, slots=True)
class Codes:
    """Number of ascending boundaries that lie below ``z``, stored in as few bits as hold it.

    If ``even``, it is the number below ``|z|``. NaN has passed none.
    """

    boundaries: tuple[float, ...]
    even: bool = False

    def edges(self, dtype: torch.dtype) -> tuple[tuple[float, ...], bool]:
        """Boundaries as numbers of the dtype that the arithmetic for ``dtype`` is done in, and ``even``."""
        wide = arithmetic_dtype(dtype)
        return tuple(ops.rounded(boundary, wide) for boundary in self.boundaries), self.even

    def pack(self, z: Tensor, *, in_order: bool = True) -> Tensor:
        """Codes of ``z`` in rows of bits, the lowest first, each packed as a window's are."""
        return ops.codes(z, *self.edges(z.dtype), in_order=in_order)


Packed = Window | Codes
"""Values that are stored as a few bits per element."""

Need = Packed | Literal["input", "output"] | None
"""Value stored per element: bits, the forward's input, its output (shared with the next layer), nothing."""


class SlopeForm(Protocol):
    """Slope (multiplier): the values that it stores, and its effect on the feedback (the incoming gradient)."""

    @property
    def needs(self) -> Need: ...

    def send(self, grad_output: Tensor, kept: Tensor | None) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class FixedSlope:
    """Slope that is one number everywhere; 0 sends exact zeros, whatever arrives."""

    value: float
    needs: None = None

    def send(self, grad_output: Tensor, kept: Tensor | None) -> Tensor:
        if self.value == 0:
            return torch.zeros_like(grad_output)
        return grad_output if self.value == 1 else grad_output * self.value


@dataclass(frozen=True, slots=True)
class TwoValuedSlope:
    """Slope ``inside`` within a window and ``outside`` elsewhere; a slope of 0 sends exact zeros, whatever arrives."""

    needs: Window
    inside: float = 1.0
    outside: float = 0.0

    def send(self, grad_output: Tensor, kept: Tensor | None) -> Tensor:
        assert kept is not None
        return ops.gate(grad_output, kept, self.inside, self.outside)


@dataclass(frozen=True, slots=True)
class LevelSlope:
    """Slope that is one of ``values``, by the number of boundaries below ``z``; a slope of 0 sends exact zeros."""

    needs: Codes
    values: tuple[float, ...]

    def send(self, grad_output: Tensor, kept: Tensor | None) -> Tensor:
        assert kept is not None
        return ops.levels(grad_output, kept, self.values)


@dataclass(frozen=True, slots=True)
class NamedSlope:
    """Slope that kernels know by name, of ``z`` or of ``y``."""

    function: str
    parameters: tuple[float, ...]
    needs: Literal["input", "output"] = "input"

    def send(self, grad_output: Tensor, kept: Tensor | None) -> Tensor:
        assert kept is not None
        return ops.slope(grad_output, kept, self.function, self.parameters)


@dataclass(frozen=True, slots=True)
class NativeSlope:
    """Derivative that PyTorch has as one operation of its own: ``operation(grad_output, kept)``.

    It is stored by name: a compiler cannot call a function that a constant holds.
    """

    operation: str
    needs: Literal["input", "output"]

    def send(self, grad_output: Tensor, kept: Tensor | None) -> Tensor:
        if self.operation == "silu_backward" and torch.is_grad_enabled():
            return _recorded_silu_backward(grad_output, cast("Tensor", kept))
        return getattr(torch.ops.aten, self.operation).default(grad_output, kept)


def _recorded_silu_backward(grad_output: Tensor, z: Tensor) -> Tensor:
    """Derivative of silu in recorded operations: PyTorch's own operation is the only one that has no derivative."""
    wide = z.to(arithmetic_dtype(z.dtype))
    logistic = torch.sigmoid(wide)
    return (grad_output * (logistic * (1 + wide * (1 - logistic)))).to(grad_output.dtype)


class HasSlope(Protocol):
    """Owner of a slope at a value of ``z`` or of ``y``."""

    def slope_at(self, value: Tensor) -> Tensor: ...

    def is_ours(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class OwnSlope:
    """Slope that its owner, a forward or a rule, computes in PyTorch from ``z`` or from ``y``."""

    owner: HasSlope
    needs: Literal["input", "output"]

    def send(self, grad_output: Tensor, kept: Tensor | None) -> Tensor:
        assert kept is not None
        # A slope rounded to 8 or 11 bits before the product would be off by more than the product's own rounding.
        if grad_output.dtype in (torch.float16, torch.bfloat16):
            return (grad_output.float() * self.owner.slope_at(kept.float())).to(grad_output.dtype)
        return grad_output * self.owner.slope_at(kept)
