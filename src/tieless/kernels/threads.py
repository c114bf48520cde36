"""PyTorch's own OpenMP threads for our loops.

Numba's threading layers start threads of their own beside PyTorch's: on as many cores as there are, both spin and each
waits for the other; and its portable layer ends the process when two Python threads enter it. ``GOMP_parallel`` is what
GCC makes of a parallel region, and LLVM's and Intel's runtimes offer it too. So a kernel runs in the very threads that
ran the operation before it, follows ``torch.set_num_threads``, and may be called from any thread.

In the child of a fork every kernel runs in the thread that calls it. The other threads did not come along, and GNU's
runtime waits for them for ever if the parent had entered a parallel region; PyTorch's own operations do.
"""

from __future__ import annotations

import ctypes
import os
import re
from functools import cache
from pathlib import Path

import torch

_NAMES = re.compile(r"lib(g|i)?omp(5)?[-.\w]*\.(so[.\d]*|dylib)$")


class Runtime:
    """An OpenMP runtime that is loaded already, or none: then everything runs in the calling thread.

    Attributes:
        path: The library, or ``None``.
        parallel: ``GOMP_parallel(function, argument, threads, flags)``; runs ``function(argument)`` in each thread.
        thread_number, thread_count: Addresses of the functions by which a thread learns its place.
    """

    def __init__(self, library: ctypes.CDLL | None, path: str | None) -> None:
        self.path = path
        self._kept: tuple[object, ...] = ()
        if library is None:
            self.parallel = None
            one = ctypes.CFUNCTYPE(ctypes.c_int)
            first, only = one(lambda: 0), one(lambda: 1)
            self._kept = (first, only)
        else:
            self.parallel = library.GOMP_parallel
            self.parallel.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint)
            self.parallel.restype = None
            first, only = library.omp_get_thread_num, library.omp_get_num_threads
        self.thread_number = ctypes.cast(first, ctypes.c_void_p).value or 0
        self.thread_count = ctypes.cast(only, ctypes.c_void_p).value or 0

    def alone(self) -> None:
        """Run everything in the calling thread from now on."""
        self.parallel = None


@cache
def runtime() -> Runtime:
    """The runtime that PyTorch computes with."""
    found = Runtime(None, None)
    for path in _loaded():
        library = ctypes.CDLL(path)
        if all(hasattr(library, name) for name in ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")):
            found = Runtime(library, path)
            break
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=found.alone)
    return found


def _loaded() -> list[str]:
    """OpenMP libraries in this process, PyTorch's own first."""
    try:
        mapped = {line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    except OSError:  # not Linux: look where PyTorch keeps the libraries that it brings
        mapped = {str(path) for path in Path(torch.__file__).parent.glob("lib/*")}
    here = str(Path(torch.__file__).parent.parent)
    return sorted((path for path in mapped if _NAMES.search(path)), key=lambda path: (not path.startswith(here), path))
