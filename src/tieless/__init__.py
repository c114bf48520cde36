"""Train PyTorch networks whose backward pass is not tied to their forward pass."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tieless.convert import Conversion, conversion, convert, convert_feedback, revert, revert_feedback
from tieless.feedback import feedbacks
from tieless.forwards import Forward, register_forward
from tieless.functional import untie
from tieless.nn import Activation
from tieless.ops.keys import GraphKeys
from tieless.packing import PackedStatistics, packed_activations
from tieless.rules import (
    S2NN,
    ATan,
    Centralize,
    Chain,
    Circ,
    Clip,
    ClipNorm,
    Constant,
    Drop,
    Erf,
    FakeNumericalGradient,
    FastSigmoid,
    FewBit,
    Flip,
    Frozen,
    FullJam,
    Gated,
    LeakyReLU,
    LogTailedReLU,
    MagnitudeAware,
    Noise,
    Normalize,
    PiecewiseExp,
    PiecewiseLeakyReLU,
    PositiveJam,
    QPseudoSpike,
    Quantize,
    Rectangular,
    RectangularJam,
    ReGELU2,
    ReSiLU2,
    Rotate,
    Rule,
    Scale,
    Sigmoid,
    Sign,
    SignLogAbs,
    SparseFastSigmoid,
    SquareWaveSeries,
    StochasticSpike,
    SwishSign,
    Tied,
    Triangular,
    alternate,
    anneal,
    register_rule,
    rule,
)

if TYPE_CHECKING:
    from tieless.registry import CataloguePackage

    rules: CataloguePackage[Rule]
    forwards: CataloguePackage[Forward]
    from tieless.diagnose import AlignmentReport, Checkup, Explanation, alignment, checkup, explain
else:  # a type checker that saw the function would accept any name as one of the package
    _DIAGNOSE = {"AlignmentReport", "Checkup", "Explanation", "alignment", "checkup", "diagnose", "explain"}

    def __getattr__(name: str) -> object:
        """Import ``tieless.diagnose``, a third of the package, when it or one of its names is first used."""
        if name not in _DIAGNOSE | {"Alignment"}:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        diagnose = importlib.import_module("tieless.diagnose")
        return diagnose if name == "diagnose" else getattr(diagnose, name)

    def __dir__() -> list[str]:
        """Names of the package, imported or not."""
        return sorted({*globals(), *_DIAGNOSE})


__version__ = "0.1.0"

__all__ = [
    "S2NN",
    "ATan",
    "Activation",
    "AlignmentReport",
    "Centralize",
    "Chain",
    "Checkup",
    "Circ",
    "Clip",
    "ClipNorm",
    "Constant",
    "Conversion",
    "Drop",
    "Erf",
    "Explanation",
    "FakeNumericalGradient",
    "FastSigmoid",
    "FewBit",
    "Flip",
    "Forward",
    "Frozen",
    "FullJam",
    "Gated",
    "GraphKeys",
    "LeakyReLU",
    "LogTailedReLU",
    "MagnitudeAware",
    "Noise",
    "Normalize",
    "PackedStatistics",
    "PiecewiseExp",
    "PiecewiseLeakyReLU",
    "PositiveJam",
    "QPseudoSpike",
    "Quantize",
    "ReGELU2",
    "ReSiLU2",
    "Rectangular",
    "RectangularJam",
    "Rotate",
    "Rule",
    "Scale",
    "Sigmoid",
    "Sign",
    "SignLogAbs",
    "SparseFastSigmoid",
    "SquareWaveSeries",
    "StochasticSpike",
    "SwishSign",
    "Tied",
    "Triangular",
    "alignment",
    "alternate",
    "anneal",
    "checkup",
    "conversion",
    "convert",
    "convert_feedback",
    "explain",
    "feedbacks",
    "forwards",
    "packed_activations",
    "register_forward",
    "register_rule",
    "revert",
    "revert_feedback",
    "rule",
    "rules",
    "untie",
]
