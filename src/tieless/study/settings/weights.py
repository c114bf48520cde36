"""Kinds of weights that a trial can give a model: float, binary, ternary, of a few bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from tieless.errors import RuleValueError
from tieless.nn import QuantizedWeight, WeightScale, quantize_weights
from tieless.nn.select import linear_layers
from tieless.registry import Named, Registry, hidden_at_default
from tieless.rules import rule as rule_of


class Weights(Named):
    """Kind of weights."""

    __slots__ = ()

    def apply(self, model: nn.Module) -> None:
        """Quantise a model in place."""
        raise NotImplementedError


WEIGHTS: Registry[Weights] = Registry("kind of weights")


@WEIGHTS.register
@dataclass(frozen=True, slots=True)
class _Float(Weights):
    """Weights as the model has them."""

    name: ClassVar[str] = "float"

    def apply(self, model: nn.Module) -> None:
        pass


class _Quantized(Weights):
    __slots__ = ()
    backward: str
    keep_ends: bool

    def check(self) -> None:
        # One spelling of the rule, so that equal trials have equal ids.
        object.__setattr__(self, "backward", str(rule_of(self.backward)))
        self.quantizer()

    def quantizer(self) -> QuantizedWeight:
        raise NotImplementedError

    def apply(self, model: nn.Module) -> None:
        layers = sum(1 for _ in linear_layers(model))
        if self.keep_ends and layers < 3:
            raise RuleValueError(
                f"{self.name} keeps the first and the last layer in float, and the model has {layers}. Take a deeper one, or "
                f"{self.name}(keep_ends=false)."
            )
        quantize_weights(model, self.quantizer(), keep_ends=self.keep_ends)


@WEIGHTS.register
@dataclass(frozen=True, slots=True)
class _Binary(_Quantized):
    """Weights that are signs, in all layers but the ends."""

    name: ClassVar[str] = "binary"
    scale: WeightScale = hidden_at_default("none")
    backward: str = hidden_at_default("rectangular(-1, 1)")
    keep_ends: bool = hidden_at_default(default=True)

    def quantizer(self) -> QuantizedWeight:
        return QuantizedWeight("sign", self.backward, scale=self.scale)


@WEIGHTS.register
@dataclass(frozen=True, slots=True)
class _Ternary(_Quantized):
    """Weights -s, 0 and s, in all layers but the ends."""

    name: ClassVar[str] = "ternary"
    threshold: float = hidden_at_default(0.7)
    scale: WeightScale = hidden_at_default("mean")
    backward: str = hidden_at_default("constant(1)")
    keep_ends: bool = hidden_at_default(default=True)

    def quantizer(self) -> QuantizedWeight:
        return QuantizedWeight(f"ternary({self.threshold})", self.backward, scale=self.scale, unit=1)


@WEIGHTS.register
@dataclass(frozen=True, slots=True)
class _KBit(_Quantized):
    """Weights that are signed integers of a few bits times a scale, in all layers but the ends."""

    name: ClassVar[str] = "k_bit"
    bits: int
    scale: WeightScale = hidden_at_default("mean")
    backward: str = hidden_at_default("constant(1)")
    keep_ends: bool = hidden_at_default(default=True)

    def quantizer(self) -> QuantizedWeight:
        return QuantizedWeight.from_bits(self.bits, self.backward, scale=self.scale)
