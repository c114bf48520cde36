"""Conversion of existing models: backward rules for activations, feedback weights for linear layers, and undoing."""

from __future__ import annotations

from tieless.convert.change import Layers, conversion, convert, revert
from tieless.convert.feedback import convert_feedback, revert_feedback
from tieless.convert.records import Conversion, FoundActivation, Unreached

__all__ = [
    "Conversion",
    "FoundActivation",
    "Layers",
    "Unreached",
    "conversion",
    "convert",
    "convert_feedback",
    "revert",
    "revert_feedback",
]
