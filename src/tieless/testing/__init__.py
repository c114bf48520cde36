"""Checks for rules that users write."""

from __future__ import annotations

from tieless.registry import temporary_names
from tieless.testing.check import check_rule
from tieless.testing.report import Check, RuleReport

__all__ = ["Check", "RuleReport", "check_rule", "temporary_names"]
