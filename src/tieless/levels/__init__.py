"""Slopes of a few bits: step functions in place of a derivative, the nearest one found or a published one."""

from __future__ import annotations

from tieless.levels.optimal import error_of, optimal_levels
from tieless.levels.value import REGELU2, RESILU2, Levels

__all__ = ["REGELU2", "RESILU2", "Levels", "error_of", "optimal_levels"]
