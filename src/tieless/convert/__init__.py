"""Give the activations of a model that exists backward rules of their own, and take them back."""

from __future__ import annotations

from tieless.convert.change import Layers, conversion, convert, revert
from tieless.convert.records import Conversion, FoundActivation, Unreached

__all__ = ["Conversion", "FoundActivation", "Layers", "Unreached", "conversion", "convert", "revert"]
