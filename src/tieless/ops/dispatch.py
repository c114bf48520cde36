"""Choice of kernels: the fastest that accept the tensor, or those named by ``TIELESS_KERNELS``.

Kernels named by the user never fall back silently; those chosen for them may.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, reduce
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack
from torch.autograd import forward_ad
from torch.nn import Parameter

from tieless._tracing import unprofiled
from tieless.errors import KernelError
from tieless.registry import unknown

# PyTorch tells these only through its private module; they exist, with this meaning, from 2.6 to 2.13.
_inner: Any = torch._C  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
_transforms_active: Callable[[], bool] = _inner._are_functorch_transforms_active  # noqa: SLF001
_watching_modes: Callable[[], int] = _inner._len_torch_dispatch_stack  # noqa: SLF001
_tracing_state: Callable[[], object] = _inner._get_tracing_state  # noqa: SLF001
_exporting: Callable[[], bool] = getattr(
    torch.compiler, "is_exporting", lambda: False
)  # before 2.7 PyTorch did not say
_functorch: Any = _inner._functorch  # noqa: SLF001
_dispatch_keys: Callable[[Tensor], Any] = _inner._dispatch_keys  # noqa: SLF001


def _plain_keys() -> int:
    """Dispatch keys, as one number, of tensors whose elements lie at their address, on any device."""
    devices = ("CPU", "CUDA", "HPU", "IPU", "Lazy", "Meta", "MPS", "MTIA", "PrivateUse1", "XLA", "XPU")
    names = [f"{prefix}{device}" for prefix in ("", "Autograd", "Autocast") for device in devices]
    keys = [getattr(_inner.DispatchKey, name, None) for name in (*names, "ADInplaceOrView")]
    return reduce(int.__or__, (_inner.DispatchKeySet(key).raw_repr() for key in keys if key is not None))


_NOT_PLAIN = ~_plain_keys()
"""Keys that a plain tensor does not have. Whatever else PyTorch's dispatcher knows of a tensor stands here: that it is
negated or conjugated when it is read, all zeros without memory, a wrapper of a transform, also of one that has ended, of a
batch, of a subclass, sparse, nested or quantized."""

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, slots=True)
class Kernels:
    """One implementation of every operation.

    Args:
        name: Name in ``TIELESS_KERNELS``.
        module: Name of the module; imported at the first call.
        devices: Device types it runs on; empty for any.
        interpreter: Environment variable by which, set to 1, it runs on the CPU too, but only when named: slowly.
    """

    name: str
    module: str
    devices: tuple[str, ...] = ()
    interpreter: str | None = None

    def refusals(self, dtype: torch.dtype, device: str) -> list[str]:
        """Reasons why it does not accept tensors of a dtype on a type of device; empty if it does."""
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
@unprofiled
def _load(module: str) -> ModuleType:
    return importlib.import_module(module)


REFERENCE = Kernels("reference", "tieless.kernels.reference")
NUMBA = Kernels("numba", "tieless.kernels.numba_cpu", devices=("cpu",))
TRITON = Kernels("triton", "tieless.kernels.triton_cuda", devices=("cuda",), interpreter="TRITON_INTERPRET")
FASTEST_FIRST = (TRITON, NUMBA, REFERENCE)


@cache
def candidates() -> tuple[Kernels, ...]:
    """Kernels that may run, the fastest first: those of ``TIELESS_KERNELS``, read once, or all.

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
    """Kernels that run for ``tensor``.

    Raises:
        KernelError: none accepts it, or the ones that ``TIELESS_KERNELS`` names do not.
    """
    return choose_for(tensor.dtype, "cpu" if tensor.is_cpu else tensor.device.type)


@cache
def choose_for(dtype: torch.dtype, device: str) -> ModuleType:
    """Kernels that run for tensors of a dtype on a type of device."""
    for kernels in candidates():
        if not kernels.refusals(dtype, device):
            return kernels.load()
    reasons = "; ".join(f"{kernels.name}: {', '.join(kernels.refusals(dtype, device))}" for kernels in candidates())
    raise KernelError(f"No kernel accepts a tensor of dtype={dtype}, device={device}. {reasons}.")


def transformed() -> bool:
    """True during a transform of ``torch.func``."""
    return _transforms_active()


def one_level_down(tensor: Tensor, question: Callable[[Tensor], bool]) -> bool:
    """``question`` about what the innermost transform of ``torch.func`` has wrapped, asked where that is not at work."""
    here = _functorch.maybe_get_level(tensor) == _functorch.maybe_current_level()
    with temporarily_pop_interpreter_stack():
        return question(_functorch.get_unwrapped(tensor) if here else tensor)


def unwrapped(tensor: Tensor) -> Tensor:
    """Tensor inside the wrappers of all transforms of ``torch.func``."""
    while _functorch.is_functorch_wrapped_tensor(tensor):
        tensor = _functorch.get_unwrapped(tensor)
    return tensor


def written_down() -> bool:
    """True during a recording for another runtime: by ``torch.export``, an exporter to ONNX or ``torch.jit.trace``.

    That runtime has no operator of ours and no place for a rule.
    """
    return _exporting() or bool(_tracing_state())


def forward_mode() -> bool:
    """True while any forward-mode derivative is being taken."""
    return cast("int", forward_ad._current_level) >= 0  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def plain(tensor: Tensor) -> bool:
    """True if the elements of ``tensor`` lie at its address: kernels may read them there."""
    kind = type(tensor)
    return (kind is Tensor or kind is Parameter) and not _dispatch_keys(tensor).raw_repr() & _NOT_PLAIN


def kernels_callable(*operands: Tensor | None) -> bool:
    """True if kernels may be called on ``operands`` without PyTorch's dispatcher: nobody traces, wraps or watches them.

    Args:
        operands: Tensors that the kernel reads; ``None`` for one that does not exist.
    """
    if torch.compiler.is_compiling() or _transforms_active() or _watching_modes() or _tracing_state():
        return False
    for operand in operands:  # noqa: SIM110  (the generator of `all` costs as much as a look at three tensors)
        if operand is not None and not plain(operand):
            return False
    return True
