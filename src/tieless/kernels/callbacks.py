"""Compiled loops as C functions, from disk where they are there, without what only compiling needs."""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportPrivateImportUsage=false
# (numba has no types)

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from numba import types
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc
from numba.core.runtime import rtsys

__all__ = ["address_of"]


def address_of(loop: Callable[[Any], None], arguments: Any) -> int:
    """Where in memory ``loop`` is as a C function, which takes a pointer and gives nothing.

    Args:
        loop: A function that Numba can compile.
        arguments: The Numba type of what it takes.
    """
    callback = _Callback(loop, ((arguments,), types.void), {}, {})
    callback.enable_caching()
    callback.compile()
    return cast("int", callback.address)


class _Callback(CFunc):
    """What ``numba.cfunc`` makes, with another cache."""

    def enable_caching(self) -> None:
        self._cache = _Cache(self._pyfunc)


class _Cache(FunctionCache):
    """Numba's, without what it does first: it imports all that it knows of NumPy and SciPy.

    That takes 0.3 s, more than half of a first call. Where nothing is found on disk, the compiler does it all the same.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        rtsys.initialize(target_context)  # what is loaded calls into it, and crashes without
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)
