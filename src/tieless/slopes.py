"""How a slope is written down: what must be kept of the forward pass for it, and what it does to the feedback.

The derivative of a forward and the slope of a rule are the same kind of thing, so both are built from the four
forms here. A form says what it keeps (``needs``) before anything runs; ``untie`` keeps that and no more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from tieless import ops

__all__ = ["FixedSlope", "InputSlope", "Need", "OutputSlope", "SlopeForm", "TwoValuedSlope", "Window"]


@dataclass(frozen=True, slots=True)
class Window:
    """The region ``low <= z <= high``, kept as one bit an element. An edge in ``open`` is outside.

    The edges are rounded to the dtype of ``z``, so that an element equal to the edge in that dtype is on it.
    NaN is outside every window.
    """

    low: float
    high: float
    open: Literal["", "low", "high", "low high"] = ""

    def bits(self, z: Tensor) -> Tensor:
        """One bit an element of ``z`` in logical order, 8 to a byte, the first in the lowest: is it inside?"""
        return ops.window_bits(z, self.low, self.high, "low" in self.open, "high" in self.open)


Need = Window | Literal["input", "output"] | None
"""What is kept an element: a bit, the forward's input, its output (shared with the next layer), nothing."""


class SlopeForm(Protocol):
    """Any of the forms below: what it keeps, and how it turns feedback into what is sent on."""

    @property
    def needs(self) -> Need: ...

    def __call__(self, grad_output: Tensor, kept: Tensor | None) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class FixedSlope:
    """One number everywhere; 0 sends exact zeros, whatever arrives."""

    value: float
    needs: None = None

    def __call__(self, grad_output: Tensor, kept: Tensor | None) -> Tensor:
        if self.value == 0:
            return torch.zeros_like(grad_output)
        return grad_output if self.value == 1 else grad_output * self.value


@dataclass(frozen=True, slots=True)
class TwoValuedSlope:
    """``inside`` within a window and ``outside`` elsewhere; a slope of 0 sends exact zeros, whatever arrives."""

    needs: Window
    inside: float = 1.0
    outside: float = 0.0

    def __call__(self, grad_output: Tensor, kept: Tensor | None) -> Tensor:
        assert kept is not None
        return ops.gate(grad_output, kept, self.inside, self.outside)


def _multiply(grad_output: Tensor, value: Tensor, slope: Callable[[Tensor], Tensor]) -> Tensor:
    # A slope rounded to 8 or 11 bits before the product would be off by more than the product's own rounding.
    if grad_output.dtype in (torch.float16, torch.bfloat16):
        return (grad_output.float() * slope(value.float())).to(grad_output.dtype)
    return grad_output * slope(value)


@dataclass(frozen=True, slots=True)
class InputSlope:
    """A slope that needs the value of ``z``."""

    slope: Callable[[Tensor], Tensor]
    needs: Literal["input"] = "input"

    def __call__(self, grad_output: Tensor, kept: Tensor | None) -> Tensor:
        assert kept is not None
        return _multiply(grad_output, kept, self.slope)


@dataclass(frozen=True, slots=True)
class OutputSlope:
    """A slope that can be had from ``y``, which the next linear layer keeps anyway."""

    slope: Callable[[Tensor], Tensor]
    needs: Literal["output"] = "output"

    def __call__(self, grad_output: Tensor, kept: Tensor | None) -> Tensor:
        assert kept is not None
        return _multiply(grad_output, kept, self.slope)
