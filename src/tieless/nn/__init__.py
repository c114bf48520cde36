"""Modules around the one operation."""

from __future__ import annotations

from tieless.nn.activation import Activation

__all__ = ["Activation"]
