"""What a compiler need not look into."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["known_when_traced"]

P = ParamSpec("P")
R = TypeVar("R")


def known_when_traced(function: Callable[P, R]) -> Callable[P, R]:
    """Let a compiler call ``function`` and keep its result instead of tracing it: equal arguments give equal values.

    This is ``torch.compiler.assume_constant_result``, which would import the compiler to set the mark, and that takes
    longer than importing torch.
    """
    function._dynamo_marked_constant = True  # noqa: SLF001  # pyright: ignore[reportFunctionMemberAccess]
    return function
