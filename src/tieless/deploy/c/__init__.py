"""Packed networks as programs in C99."""

from __future__ import annotations

from tieless.deploy.c.program import CProgram, name_in_c, to_c

__all__ = ["CProgram", "name_in_c", "to_c"]
