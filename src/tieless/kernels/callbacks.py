"""Compiled loops as C functions, from disk if they are there, without imports that only compiling needs."""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportPrivateImportUsage=false
# (numba has no types)

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from numba import types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.ccallback import CFunc
from numba.core.runtime import rtsys

from tieless._tracing import unprofiled


@unprofiled
def address_of(loop: Callable[[Any], None], arguments: Any) -> int:
    """Address in memory of ``loop`` as a C function, which takes a pointer and returns nothing.

    Args:
        loop: Function that Numba can compile.
        arguments: Numba type of its argument.
    """
    callback = _Callback(loop, ((arguments,), types.void), {}, {})
    callback.enable_caching()
    callback.compile()
    return cast("int", callback.address)


class _Callback(CFunc):
    """Callback of ``numba.cfunc``, with another cache."""

    def enable_caching(self) -> None:
        with suppress(RuntimeError):  # no folder can be written: each process compiles anew, and ``doctor`` says so
            self._cache = _Cache(self._pyfunc)


class _Cache(FunctionCache):
    """Cache of Numba with other files, and without its first step: it imports all that it knows of NumPy and SciPy.

    That takes 0.3 s, more than half of a first call. If nothing is found on disk, the compiler does it all the same.
    """

    def __init__(self, loop: Callable[[Any], None]) -> None:
        super().__init__(loop)
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        rtsys.initialize(target_context)  # loaded code calls into it, and crashes without
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):  # a full disk, or a folder that has gone: the kernel itself is there
            super().save_overload(sig, data)


class _Files(IndexDataCacheFile):
    """File for each kernel, named by the sources of its compilation, which begins with the digest of the rest.

    A file that cannot be read, or was changed, counts as missing: the kernel is compiled and written anew. Numba's own
    files are trusted as they are, and an index numbers them: a truncated index ends every process that reads it, and
    two processes that compile at the same time may give two kernels the same number.
    """

    def load(self, key: Any) -> Any:
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        size = sha256().digest_size
        digest, data = content[:size], content[size:]
        return pickle.loads(data) if sha256(data).digest() == digest else None  # noqa: S301  as numba does

    def save(self, key: Any, data: Any) -> None:
        pickled = self._dump(data)
        with self._open_for_write(str(self._path(key))) as file:
            file.write(sha256(pickled).digest() + pickled)

    def _path(self, key: Any) -> Path:
        made_from = sha256(repr((self._version, self._source_stamp, key)).encode()).hexdigest()
        return Path(self._cache_path) / self._data_name_pattern.replace("{number:d}", made_from[:32])
