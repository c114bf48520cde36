"""Forwards that round: to whole numbers in each direction, to multiples of any step, to a count of spikes.

All are flat almost everywhere. Users of these functions pass the gradient with ``constant``, as if nothing had been
rounded (straight-through estimator), or within the range with ``rectangular``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tieless.errors import RuleValueError
from tieless.forwards.advice import Advice
from tieless.forwards.base import Forward, register_forward
from tieless.forwards.flat import ROUNDED, within
from tieless.kernels.reference import arithmetic_dtype
from tieless.registry import whole_number


@register_forward
@dataclass(frozen=True, slots=True)
class Ceil(Forward):
    """Rounding up: the smallest integer that is not below ``z``.

    Example:
        >>> forward("ceil").value(torch.tensor([-1.5, 0.2, 1.0]))
        tensor([-1.,  1.,  1.])
    """

    known_as: ClassVar[tuple[str, ...]] = ("Brevitas ceil_ste", "SpikingJelly quantize.ceil")

    def trained_by(self) -> tuple[Advice, Advice]:
        return ROUNDED

    def value(self, z: Tensor) -> Tensor:
        return torch.ceil(z)


@register_forward
@dataclass(frozen=True, slots=True)
class Floor(Forward):
    """Rounding down: the largest integer that is not above ``z``.

    Example:
        >>> forward("floor").value(torch.tensor([-1.5, 0.2, 1.0]))
        tensor([-2.,  0.,  1.])
    """

    known_as: ClassVar[tuple[str, ...]] = ("Brevitas floor_ste", "SpikingJelly quantize.floor")

    def trained_by(self) -> tuple[Advice, Advice]:
        return ROUNDED

    def value(self, z: Tensor) -> Tensor:
        return torch.floor(z)


@register_forward
@dataclass(frozen=True, slots=True)
class RoundToZero(Forward):
    """Rounding towards 0: ``z`` without its fraction.

    Example:
        >>> forward("round_to_zero").value(torch.tensor([-1.5, 0.2, 1.0]))
        tensor([-1.,  0.,  1.])
    """

    known_as: ClassVar[tuple[str, ...]] = ("Brevitas round_to_zero_ste",)

    def trained_by(self) -> tuple[Advice, Advice]:
        return ROUNDED

    def value(self, z: Tensor) -> Tensor:
        return torch.trunc(z)

    def exported(self, z: Tensor) -> Tensor:
        return torch.sign(z) * z.abs().floor()  # the older exporter to ONNX has no trunc


@register_forward
@dataclass(frozen=True, slots=True)
class Quantize(Forward):
    """Multiple of ``step`` nearest to ``z``: ``y = round(z / step) * step``; halves go to the even multiple.

    Args:
        step: Distance between two values, in units of ``z``; 1e-30 to 1e30. If ``z`` is so large that ``z / step``
            overflows, ``y`` is ``z`` itself.
    Example:
        >>> forward("quantize(0.5)").value(torch.tensor([-1.3, 0.2, 0.8]))
        tensor([-1.5000,  0.0000,  1.0000])
    """

    known_as: ClassVar[tuple[str, ...]] = ("SpikingJelly step_quantize", "SpikingJelly k_bit_quantize")
    step: float = 1

    def check(self) -> None:
        self.require(1e-30 <= self.step <= 1e30, "step > 0 (1e-30 to 1e30)")

    def trained_by(self) -> tuple[Advice, Advice]:
        return ROUNDED

    @classmethod
    def from_bits(cls, k: int) -> Quantize:
        """Forward in the form of SpikingJelly's k_bit_quantize: steps of ``1 / (2^k - 1)``.

        DoReFa's activations are ``staircase(2^k)``.

        Example:
            >>> tl.forwards()["quantize"].from_bits(2)
            Quantize(step=0.3333333333333333)
        """
        k = whole_number("Quantize.from_bits: k", k, 1)
        if k > 32:
            raise RuleValueError(f"Quantize.from_bits needs k from 1 to 32, got k={k}.")
        return cls(1 / (2**k - 1))

    def value(self, z: Tensor) -> Tensor:
        # In half types the quotient would round to another step.
        wide = z.to(arithmetic_dtype(z.dtype))
        steps = wide / self.step
        return torch.where(steps.isinf(), wide, torch.round(steps) * self.step).to(z.dtype)


@register_forward
@dataclass(frozen=True, slots=True)
class SpikeCount(Forward):
    """Spike count, a whole number from 0 to ``maximum``: ``y = round(clip(z, 0, maximum))``; halves go to the even one.

    Args:
        maximum: Largest count, at least 1.
    Example:
        >>> forward("spike_count(2)").value(torch.tensor([-1.0, 0.6, 7.0]))
        tensor([0., 1., 2.])
    """

    known_as: ClassVar[tuple[str, ...]] = ("SpikingJelly MultiLevelSpikeCount",)
    maximum: int = 4

    def check(self) -> None:
        self.require(1 <= self.maximum <= 2**24, "maximum from 1 to 2^24")

    def trained_by(self) -> tuple[Advice, Advice]:
        return within(0, self.maximum)

    def _sizes(self) -> dict[str, float]:
        return {"maximum": float(self.maximum)}

    def value(self, z: Tensor) -> Tensor:
        return torch.round(z.clamp(0, self.maximum))
