"""Which kernels run: the fastest that accept the tensor, or the ones named by ``TIELESS_KERNELS``.

Kernels named by the user never fall back silently; those chosen for them may.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from tieless.errors import KernelError
from tieless.registry import unknown

__all__ = ["FASTEST_FIRST", "NUMBA", "REFERENCE", "Kernels", "choose"]

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, slots=True)
class Kernels:
    """One implementation of every operation.

    Args:
        name: What ``TIELESS_KERNELS`` calls it.
        module: Where it is; imported at the first call.
        devices: Device types it runs on; empty for any.
    """

    name: str
    module: str
    devices: tuple[str, ...] = ()

    def refusals(self, tensor: Tensor) -> list[str]:
        """Why it does not accept ``tensor``; empty if it does."""
        reasons: list[str] = []
        if tensor.dtype not in FLOATING:
            reasons.append("needs float16, bfloat16, float32 or float64")
        if self.devices and tensor.device.type not in self.devices:
            reasons.append(f"runs on {' or '.join(self.devices)} only")
        return reasons

    def load(self) -> ModuleType:
        return _load(self.module)


@cache
def _load(module: str) -> ModuleType:
    return importlib.import_module(module)


REFERENCE = Kernels("reference", "tieless.kernels.reference")
NUMBA = Kernels("numba", "tieless.kernels.numba_cpu", devices=("cpu",))
FASTEST_FIRST = (NUMBA, REFERENCE)


def choose(tensor: Tensor) -> ModuleType:
    """The kernels that run for ``tensor``.

    Raises:
        KernelError: none accepts it, or the ones that ``TIELESS_KERNELS`` names do not.
    """
    candidates = FASTEST_FIRST
    forced = os.environ.get("TIELESS_KERNELS")
    if forced:
        candidates = tuple(kernels for kernels in FASTEST_FIRST if kernels.name == forced)
        if not candidates:
            raise KernelError(f"TIELESS_KERNELS: {unknown('kernels', forced, [k.name for k in FASTEST_FIRST])}")
    for kernels in candidates:
        if not kernels.refusals(tensor):
            return kernels.load()
    given = f"shape={tuple(tensor.shape)}, dtype={tensor.dtype}, device={tensor.device}"
    reasons = "; ".join(f"{kernels.name}: {', '.join(kernels.refusals(tensor))}" for kernels in candidates)
    raise KernelError(f"No kernel accepts a tensor of {given}. {reasons}.")
