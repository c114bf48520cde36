"""Findings of ``tieless doctor``: the kernels that run, the check of their results, and their environment."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor

import tieless
from tieless.data import datasets, is_available, locate
from tieless.errors import DataError, KernelError
from tieless.kernels import reference
from tieless.kernels.threads import runtime
from tieless.ops import fusing
from tieless.ops.dispatch import FASTEST_FIRST, FLOATING, REFERENCE, Kernels, candidates
from tieless.study.running.training import processor_name

VECTORS = ("avx", "f16c", "fma", "amx", "neon", "sve", "dotprod")
"""Beginnings of the names of vector features."""


@dataclass(frozen=True, slots=True)
class KernelChoice:
    """Kernels that run for one dtype on one type of device.

    Args:
        device, dtype: Names in PyTorch.
        used: Name of the kernels; ``None`` if none accepts such a tensor.
        verdict: Result on a small tensor: ``"agrees"``, or a description of the error.
        healthy: True if there is no error.
        others: Other kernels, each with the reason why it does not run.
    """

    device: str
    dtype: str
    used: str | None
    verdict: str
    healthy: bool
    others: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Installation:
    """All findings.

    Args:
        kernels: Choices, one for each type of device and dtype.
        facts: Titles and values that describe the machine and the installation.
    """

    kernels: tuple[KernelChoice, ...]
    facts: tuple[tuple[str, str], ...]

    @property
    def healthy(self) -> bool:
        """True if every tensor has kernels, and all agree with the reference."""
        return all(choice.healthy for choice in self.kernels)


def check_up() -> Installation:
    """Check everything. Compiles kernels that are not in the cache yet, which takes a second each."""
    devices = ["cpu"]
    if torch.accelerator.is_available():
        devices.append(torch.accelerator.current_accelerator().type)  # pyright: ignore[reportOptionalMemberAccess]
    choices = [_choice(dtype, device) for device in devices for dtype in FLOATING]
    facts = [*_software(), *_machine(), *_compiled(), *_data()]
    return Installation(tuple(choices), tuple(facts))


def _choice(dtype: torch.dtype, device: str) -> KernelChoice:
    named = str(dtype).removeprefix("torch.")
    forced = os.environ.get("TIELESS_KERNELS")
    try:
        allowed = candidates()
    except KernelError as error:
        return KernelChoice(device, named, None, str(error), healthy=False, others=())
    refusals = {kernels.name: _refusals(kernels, dtype, device) for kernels in FASTEST_FIRST}
    used = next((kernels for kernels in allowed if not refusals[kernels.name]), None)
    others: list[tuple[str, str]] = []
    for kernels in FASTEST_FIRST:
        if kernels is used:
            continue
        slower = f"slower than {used.name}" if used and kernels in allowed else f"TIELESS_KERNELS is {forced}"
        others.append((kernels.name, ", ".join(refusals[kernels.name]) or slower))
    if used is None:
        return KernelChoice(device, named, None, "nothing runs", healthy=False, others=tuple(others))
    wrong = [] if used is REFERENCE else differences(used.load(), dtype, device)
    verdict = "is the reference" if used is REFERENCE else "; ".join(wrong) or "agrees"
    return KernelChoice(device, named, used.name, verdict, healthy=not wrong, others=tuple(others))


def _refusals(kernels: Kernels, dtype: torch.dtype, device: str) -> list[str]:
    try:
        return kernels.refusals(dtype, device)
    except ImportError as error:
        return [f"cannot be imported ({error})"]


Operands = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Operands of every operation below: z, feedback, a key, the bits of a window and codes, by the reference."""

Operation = Callable[[Any, Operands], Any]

OPERATIONS: dict[str, Operation] = {
    "activate": lambda k, o: k.activate(o[0], "three_level", (0.0, 0.0, -1.0, 1.0, 1.0), (-0.5, 0.5, False, True)),
    "window_bits": lambda k, o: k.window_bits(o[0], -0.5, 0.5, False, False),
    "codes": lambda k, o: k.codes(o[0], [-1.0, 0.0, 1.0], False),
    "gate": lambda k, o: k.gate(o[1], o[3], 1.0, 0.0),
    "levels": lambda k, o: k.levels(o[1], o[4], (0.0, 0.25, 1.0, -1.0)),
    "slope": lambda k, o: k.slope(o[1], o[0], "triangular", (1.0, 1.0)),
    "uniform": lambda k, o: k.uniform(o[1], o[2], 1, 2),
    "jam": lambda k, o: k.jam(o[1], o[2], 0, 0.0, 1.0, False, o[3]),
}


def differences(kernels: ModuleType, dtype: torch.dtype, device: str) -> list[str]:
    """Differences between kernels and the reference, on 37 elements: special values, edges, and a tail.

    Args:
        kernels: Module with the functions of ``tieless.kernels.reference``.
        dtype, device: Type and device of the elements.
    Returns:
        Descriptions of the operations that differ or fail.
    """
    z = torch.linspace(-2, 2, 37, dtype=torch.float64)
    z[:8] = torch.tensor([0.0, -0.0, 0.5, -0.5, torch.inf, -torch.inf, torch.nan, 1.0])
    z = z.to(device, dtype)
    bits, codes = reference.window_bits(z, -0.5, 0.5, False, False), reference.codes(z, [-1.0, 0.0, 1.0], False)
    operands = (z, z.flip(0).contiguous(), torch.tensor(0x0123_4567_89AB_CDEF), bits, codes)
    found = (_difference(name, run, kernels, operands) for name, run in OPERATIONS.items())
    return [difference for difference in found if difference]


def _difference(name: str, run: Operation, kernels: ModuleType, operands: Operands) -> str | None:
    expected = run(reference, operands)
    try:
        torch.testing.assert_close(run(kernels, operands), expected, rtol=0, atol=0, equal_nan=True)
    except AssertionError:
        return f"{name} differs"
    except Exception as error:  # noqa: BLE001  a compiler can fail in many ways, and all are to be told
        return f"{name} fails ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    return None


def _software() -> list[tuple[str, str]]:
    cuda = torch.version.cuda
    built = f"built for CUDA {cuda}" if cuda else "built without CUDA"
    return [
        ("tieless", tieless.__version__),
        ("Python", platform.python_version()),
        ("torch", f"{torch.__version__}, {built}"),
        *((package, _version(package)) for package in ("numba", "triton")),
    ]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _machine() -> list[tuple[str, str]]:
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return [
        ("CPU", f"{processor_name()}, {os.cpu_count()} cores"),
        ("vectors", f"{' '.join(_vector_features()) or 'none known'}; PyTorch uses {_capability()}"),
        ("CUDA devices", ", ".join(names) or "none"),
        ("torch threads", str(torch.get_num_threads())),
        ("OpenMP", runtime().path or "none is loaded: kernels run in one thread"),
    ]


def _vector_features() -> list[str]:
    """Vector features for which Numba compiles."""
    binding: Any = importlib.import_module("llvmlite.binding")
    features = cast("dict[str, bool]", binding.get_host_cpu_features())
    return sorted(name for name, there in features.items() if there and name.startswith(VECTORS))


def _capability() -> str:
    return torch.backends.cpu.get_cpu_capability()


def _compiled() -> list[tuple[str, str]]:
    """Folder of Numba's compiled code: Numba is asked, for it looks in several places. And what ``torch.compile`` fuses."""
    forced = os.environ.get("TIELESS_KERNELS")
    caching: Any = importlib.import_module("numba.core.caching")
    loops = importlib.import_module("tieless.kernels.loops")
    loop = next(f for f in vars(loops).values() if inspect.isfunction(f) and f.__module__ == loops.__name__)
    try:
        folder = Path(caching.FunctionCache(loop).cache_path)
    except RuntimeError:  # numba found none that it may write to
        where = "nowhere: each process compiles anew. Set NUMBA_CACHE_DIR to a folder that can be written"
    else:
        count = len(list(folder.glob(f"{Path(loops.__file__ or '').stem}.*.nbc")))
        where = f"{folder}, {'writable' if os.access(folder, os.W_OK) else 'read-only'}, {count} kernels"
    return [
        ("TIELESS_KERNELS", forced or "not set: the fastest that accept the tensor"),
        ("NUMBA_CACHE_DIR", os.environ.get("NUMBA_CACHE_DIR") or "not set"),
        ("compiled kernels", where),
        ("TIELESS_COMPILED", os.environ.get("TIELESS_COMPILED") or "not set: what was measured to be faster"),
        *((f"torch.compile: {name}", _fused(name)) for name in fusing.OPERATIONS),
    ]


def _fused(operation: str) -> str:
    """Dtypes, by type of device, in which compiled code has PyTorch's operations in the place of our operator."""
    try:
        found = {
            device: [
                str(dtype).removeprefix("torch.") for dtype in FLOATING if fusing.is_fused(operation, dtype, device)
            ]
            for device in ("cpu", "cuda")
        }
    except KernelError as error:
        return str(error)
    fused = " and ".join(f"on {device} in {', '.join(dtypes)}" for device, dtypes in found.items() if dtypes)
    return f"fused {fused}" if fused else "an operator"


def _data() -> list[tuple[str, str]]:
    return [(f"data: {name}", _where(name)) for name in datasets()]


def _where(name: str) -> str:
    source = datasets()[name]
    if source.publication is None:
        return source.origin
    try:
        return str(locate(name)) if is_available(name) else f"not here: tieless data get {name}"
    except DataError as error:
        return str(error)
