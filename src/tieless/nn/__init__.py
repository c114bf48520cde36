"""Modules around the one operation."""

from __future__ import annotations

from tieless.nn.activation import Activation
from tieless.nn.inside import CALLS, activations, calls_of

__all__ = ["CALLS", "Activation", "activations", "calls_of"]
