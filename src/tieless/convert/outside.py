"""What a function takes from outside: the values of its names, and the activations that its compiled code asks for."""

from __future__ import annotations

import dis
from types import CodeType, FunctionType
from typing import Any

from tieless.convert.functions import NAMES, function_of
from tieless.convert.source import names_in

__all__ = ["foreign", "mentions", "outer_values"]

_FOREIGN = frozenset({"torch", "numpy", "tieless", "builtins", "functools", "typing", "math", "einops"})


def foreign(module: str | None) -> bool:
    """Is it a library whose functions are not looked into?"""
    return (module or "builtins").partition(".")[0] in _FOREIGN


def outer_values(function: FunctionType) -> dict[str, Any]:
    """The values of the names that a function has from around it: globals that it uses, and its closure."""
    named = {name: function.__globals__[name] for name in names_in(function.__code__) if name in function.__globals__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            named[name] = cell.cell_contents
        except ValueError:  # noqa: PERF203  not filled yet
            continue
    return named


def mentions(code: CodeType, function: FunctionType) -> list[str]:
    """Names of activations that compiled code asks for, except those that it takes from ``self``."""
    found: list[str] = []
    this = code.co_varnames[:1]
    before: Any = None
    for instruction in dis.get_instructions(code):
        name = instruction.argval
        if isinstance(name, str) and name in NAMES and instruction.opname.startswith(("LOAD_ATTR", "LOAD_METHOD")):
            loaded = before.argval if before is not None and before.opname.startswith("LOAD_FAST") else None
            if (loaded[-1:] if isinstance(loaded, tuple) else (loaded,)) != this:
                found.append(name)
        elif instruction.opname.startswith("LOAD_GLOBAL") and function_of(function.__globals__.get(name)):
            found.append(name)
        before = instruction
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    return found + [name for c in inner for name in mentions(c, function)]
