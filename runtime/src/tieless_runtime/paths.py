"""Paths of the kernels that a CPU has."""

from __future__ import annotations

from functools import cache
from typing import Any

from tieless_runtime.errors import PackedInputError

PATHS = ("avx512", "avx2", "plain")


@cache
def runnable() -> tuple[str, ...]:
    """Names of the paths that Numba can compile here, the fastest first.

    ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` count: what they leave out is not used.
    """
    import llvmlite.binding as llvm  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]
    from numba import config  # noqa: PLC0415

    settings: Any = config
    if settings.CPU_FEATURES is not None or settings.CPU_NAME not in (None, "host"):
        found = {each[1:] for each in str(settings.CPU_FEATURES or "").split(",") if each.startswith("+")}
    else:
        features: Any = llvm.get_host_cpu_features()
        found = {name for name, has in features.items() if has}
    wide = ("avx512",) if {"avx512f", "avx512vpopcntdq", "avx512vnni"} <= found else ()
    return (*wide, *(("avx2",) if "avx2" in found else ()), "plain")


def chosen(path: str | None) -> str:
    """Path of that name, or the fastest.

    Raises:
        PackedInputError: there is no such path, or the CPU lacks it.
    """
    if path is None:
        return runnable()[0]
    if path not in runnable():
        raise PackedInputError(f"There is no path {path!r} here; there are {', '.join(runnable())}.")
    return path
