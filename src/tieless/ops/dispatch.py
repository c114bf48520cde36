"""Which kernels run: the fastest that accept the tensor, or the ones named by ``TIELESS_KERNELS``.

Kernels named by the user never fall back silently; those chosen for them may.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter
from torch.utils._python_dispatch import TorchDispatchMode

from tieless.errors import KernelError
from tieless.registry import unknown

__all__ = [
    "FASTEST_FIRST",
    "NUMBA",
    "REFERENCE",
    "TRITON",
    "Kernels",
    "Watched",
    "candidates",
    "choose",
    "choose_for",
    "direct",
    "forward_mode",
    "jit_traced",
    "mapped_by_autograd",
    "transformed",
]

# PyTorch tells these only through its private module; they exist, with this meaning, from 2.6 to 2.13.
_inner: Any = torch._C  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
_transforms_active: Callable[[], bool] = _inner._are_functorch_transforms_active  # noqa: SLF001
mapped_by_autograd: Callable[[Tensor], bool] = _inner._functorch.is_legacy_batchedtensor  # noqa: SLF001
"""Is it a batch of feedback, of ``torch.autograd.grad(..., is_grads_batched=True)``? That is not torch.func's vmap."""
_watching_modes: Callable[[], int] = _inner._len_torch_dispatch_stack  # noqa: SLF001
_tracing_state: Callable[[], object] = _inner._get_tracing_state  # noqa: SLF001

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, slots=True)
class Kernels:
    """One implementation of every operation.

    Args:
        name: What ``TIELESS_KERNELS`` calls it.
        module: Where it is; imported at the first call.
        devices: Device types it runs on; empty for any.
        interpreter: The environment variable by which, set to 1, it runs on the CPU too, but only when named: slowly.
    """

    name: str
    module: str
    devices: tuple[str, ...] = ()
    interpreter: str | None = None

    def refusals(self, dtype: torch.dtype, device: str) -> list[str]:
        """Why it does not accept tensors of a dtype on a type of device; empty if it does."""
        reasons: list[str] = []
        if dtype not in FLOATING:
            reasons.append("needs float16, bfloat16, float32 or float64")
        interpreted = (
            device == "cpu"
            and self.interpreter is not None
            and os.environ.get(self.interpreter) == "1"
            and os.environ.get("TIELESS_KERNELS") == self.name
        )
        if self.devices and device not in self.devices and not interpreted:
            reasons.append(f"runs on {' or '.join(self.devices)} only")
        if not reasons:
            refusal = getattr(self.load(), "refusal", None)
            if refusal is not None and (reason := refusal(dtype, device)):
                reasons.append(reason)
        return reasons

    def load(self) -> ModuleType:
        return _load(self.module)


@cache
def _load(module: str) -> ModuleType:
    return importlib.import_module(module)


REFERENCE = Kernels("reference", "tieless.kernels.reference")
NUMBA = Kernels("numba", "tieless.kernels.numba_cpu", devices=("cpu",))
TRITON = Kernels("triton", "tieless.kernels.triton_cuda", devices=("cuda",), interpreter="TRITON_INTERPRET")
FASTEST_FIRST = (TRITON, NUMBA, REFERENCE)


@cache
def candidates() -> tuple[Kernels, ...]:
    """The kernels that may run, the fastest first: those of ``TIELESS_KERNELS``, read once, or all.

    Raises:
        KernelError: ``TIELESS_KERNELS`` names none.
    """
    forced = os.environ.get("TIELESS_KERNELS")
    if not forced:
        return FASTEST_FIRST
    named = tuple(kernels for kernels in FASTEST_FIRST if kernels.name == forced)
    if not named:
        raise KernelError(f"TIELESS_KERNELS: {unknown('kernels', forced, [k.name for k in FASTEST_FIRST])}")
    return named


def choose(tensor: Tensor) -> ModuleType:
    """The kernels that run for ``tensor``.

    Raises:
        KernelError: none accepts it, or the ones that ``TIELESS_KERNELS`` names do not.
    """
    return choose_for(tensor.dtype, "cpu" if tensor.is_cpu else tensor.device.type)


@cache
def choose_for(dtype: torch.dtype, device: str) -> ModuleType:
    """``choose`` for tensors of a dtype on a type of device."""
    for kernels in candidates():
        if not kernels.refusals(dtype, device):
            return kernels.load()
    reasons = "; ".join(f"{kernels.name}: {', '.join(kernels.refusals(dtype, device))}" for kernels in candidates())
    raise KernelError(f"No kernel accepts a tensor of dtype={dtype}, device={device}. {reasons}.")


def transformed() -> bool:
    """Whether a transform of ``torch.func`` is at work."""
    return _transforms_active()


def jit_traced() -> bool:
    """Whether ``torch.jit.trace``, or the older exporter to ONNX, writes down what runs."""
    return bool(_tracing_state())


def forward_mode() -> bool:
    """Whether a forward-mode derivative is being taken, of something or other."""
    return cast("int", forward_ad._current_level) >= 0  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


class Watched(TorchDispatchMode):
    """Inside, nothing is ``direct``: for tensors that only PyTorch's dispatcher knows to be special."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def direct(tensor: Tensor) -> bool:
    """Whether kernels may be called on ``tensor`` without PyTorch's dispatcher: nobody traces, wraps or watches it."""
    if torch.compiler.is_compiling():
        return False
    kind = type(tensor)
    return (
        (kind is Tensor or kind is Parameter)
        and not _transforms_active()
        and not _watching_modes()
        and not _tracing_state()
    )
