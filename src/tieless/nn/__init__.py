"""Modules built on ``untie``: activations, slopes (multipliers) that learn, quantised layers, a spiking cell."""

from __future__ import annotations

from tieless._imports import renamed
from tieless.nn.activation import Activation
from tieless.nn.binary import BinaryConv1d, BinaryConv2d, BinaryLinear
from tieless.nn.feedback import FeedbackLayer, feedback_of, tied_feedback
from tieless.nn.inside import UNTIED_CALLS, activations, calls_of, native_activations
from tieless.nn.learnable import LearnableActivation
from tieless.nn.lif import LIF, Reset
from tieless.nn.objectives import Objective, SmoothedTarget, Spread
from tieless.nn.quant import QuantConv1d, QuantConv2d, QuantLinear
from tieless.nn.quantize import (
    clip_latent_weights,
    freeze,
    latent_weights,
    load_float,
    quantize_weights,
    restore_weights,
)
from tieless.nn.scheduler import RuleScheduler
from tieless.nn.select import Selector, Selectors, select_layers
from tieless.nn.ternary import TernaryConv1d, TernaryConv2d, TernaryLinear
from tieless.nn.weights import QuantizedLayer, QuantizedWeight, WeightScale

__all__ = [
    "LIF",
    "UNTIED_CALLS",
    "Activation",
    "BinaryConv1d",
    "BinaryConv2d",
    "BinaryLinear",
    "FeedbackLayer",
    "LearnableActivation",
    "Objective",
    "QuantConv1d",
    "QuantConv2d",
    "QuantLinear",
    "QuantizedLayer",
    "QuantizedWeight",
    "Reset",
    "RuleScheduler",
    "Selector",
    "Selectors",
    "SmoothedTarget",
    "Spread",
    "TernaryConv1d",
    "TernaryConv2d",
    "TernaryLinear",
    "WeightScale",
    "activations",
    "calls_of",
    "clip_latent_weights",
    "feedback_of",
    "freeze",
    "latent_weights",
    "load_float",
    "native_activations",
    "quantize_weights",
    "restore_weights",
    "select_layers",
    "tied_feedback",
]

__getattr__ = renamed(__name__, Alignment="SmoothedTarget", CALLS="UNTIED_CALLS", Layers="Selectors")
