"""Choice in the graphs of compilers: our operators, or PyTorch's operations, which are fused with their neighbours.

``benchmarks/compiled.py --choices`` prints what the table below was made from.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import torch
from torch import Tensor

from tieless.errors import KernelError
from tieless.kernels import fused
from tieless.ops import inductor
from tieless.ops.dispatch import transformed
from tieless.registry import unknown

FORMS = ("fused", "operators")
OPERATIONS = ("bits", "gelu", "silu", "jam")
"""Operations that have both forms: bits of windows and codes, two forwards, and random numbers."""

FUSED: Mapping[tuple[str, str], frozenset[torch.dtype]] = MappingProxyType(
    {("bits", "cpu"): frozenset({torch.float32, torch.bfloat16})}
)
"""Dtypes for which an operation is fused on a type of device, because it was measured to be as fast or faster.

All else, also what was not measured, keeps its operator.
"""


@cache
def forced() -> str | None:
    """Form that ``TIELESS_COMPILED`` names, read once; ``None`` if it is not set.

    Raises:
        KernelError: it names none.
    """
    named = os.environ.get("TIELESS_COMPILED") or None
    if named is not None and named not in FORMS:
        raise KernelError(f"TIELESS_COMPILED: {unknown('form', named, FORMS)}")
    return named


def is_fused(operation: str, dtype: torch.dtype, device: str) -> bool:
    """True if a compiler gets PyTorch's operations in the place of the operator."""
    named = forced()
    return dtype in FUSED.get((operation, device), ()) if named is None else named == "fused"


def fuses(operation: str, tensor: Tensor) -> bool:
    """``is_fused`` in this call: by Inductor, and under no transform of ``torch.func``, which joins bytes to batches."""
    if not torch.compiler.is_compiling() or transformed() or not inductor.is_loaded():
        return False
    if operation == "bits" and not fused.accepts(tensor):
        return False
    return is_fused(operation, tensor.dtype, tensor.device.type)
