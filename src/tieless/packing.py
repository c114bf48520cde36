"""``packed_activations``: storage of a binary tensor for the backward pass as one bit per element."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from contextlib import ContextDecorator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from tieless import ops
from tieless.errors import RuleTypeError, RuleValueError, TransformError
from tieless.kernels.reference import PATTERNS

_MODIFIED = (
    "one of the variables needed for gradient computation has been modified by an inplace operation: a {dtype} tensor "
    "of shape {shape} is at version {now}, saved was version {then}. Change a copy of it, not the tensor itself."
)


def packed_activations(*, min_elements: int = 1024) -> _Context:
    """Store saved binary tensors as 1 bit per element (context manager or decorator). Gradients are unchanged.

    Inside, every tensor that an operation saves for its backward pass is examined. If its elements have at most two
    different values (0 and 1, -1 and 1, 0 and 1.25 after a dropout) it is stored as bits and the two values, and
    restored when the backward pass needs it: gradients are the same bit for bit. Anything else is stored as it is. The
    backward pass may run outside, and in any thread.

    A tensor that several operations save is packed once. Bits are a copy: if a packed tensor is changed in place before
    the backward pass, gradients are those of the values it had, where PyTorch alone would raise. If a tensor that is
    stored as it is gets changed, PyTorch raises as usual. No promise is made about writes that PyTorch does not count
    (through ``.data`` or NumPy).

    - Memory is saved only where nothing else keeps the tensor alive. One that the program holds on to, such as a
      batch of inputs, costs its bits on top.
    - Operations still keep their other tensors: batch norm its float input, max pooling its indices.
    - PyTorch applies only the innermost saved-tensor hooks. Entered inside, ``save_on_cpu`` packs nothing and a
      ``checkpoint`` its inputs alone. Entered around, they neither move nor recompute tensors that are saved in here.
    - A compiled function packs what its graph saves if the context is around the call. ``torch.func.grad`` refuses
      to run among saved-tensor hooks, whosever they are.
    - Threads started inside are outside. On a GPU, the program waits for each tensor that is examined, and none is
      while a CUDA graph is captured.

    Args:
        min_elements: Number of elements below which tensors are stored as they are: their record is larger than the
            saving.
    Returns:
        Context that gives a ``PackedStatistics``, which counts the tensors packed in it.
    Raises:
        RuleTypeError, RuleValueError: ``min_elements`` is no whole number, or below 1.
        TransformError: entered in a function that is being compiled.
    Example:
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Linear(64, 64), tl.Activation("sign", "rectangular"), torch.nn.Linear(64, 1))
        >>> with packed_activations() as packed:
        ...     loss = net(torch.randn(512, 64)).sum()
        >>> print(packed)
        1 tensor packed: 131072 bytes into 4096
        >>> loss.backward()
    """
    if not isinstance(min_elements, int) or isinstance(min_elements, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RuleTypeError(f"packed_activations needs a whole number as min_elements, got {min_elements!r}.")
    if min_elements < 1:
        raise RuleValueError(f"packed_activations needs min_elements of 1 or more, got {min_elements}.")
    return _Context(min_elements)


class _Context(ContextDecorator):
    """Context in which each entry, nested or in another thread, has a packer of its own."""

    def __init__(self, min_elements: int) -> None:
        self._min_elements = min_elements
        self._entered: list[saved_tensors_hooks | None] = []

    def __enter__(self) -> PackedStatistics:
        if ops.written_down():
            # A recording stores nothing for a backward pass.
            self._entered.append(None)
            return PackedStatistics(_Totals())
        if torch.compiler.is_compiling():
            raise TransformError("packed_activations cannot be compiled. Put it around the call of what is compiled.")
        packer = _Packer(self._min_elements)
        pack, unpack = _untraced_hooks()
        hooks = saved_tensors_hooks(partial(pack, packer), unpack)
        hooks.__enter__()
        self._entered.append(hooks)
        return packer.statistics

    def __exit__(self, *error: object) -> None:
        # Hooks are on a stack of each thread, so it does not matter through which of the entries that is popped.
        hooks = self._entered.pop()
        if hooks is not None:
            hooks.__exit__(*error)


Pack = Callable[["_Packer", Tensor], "_Packed | _Kept"]
Unpack = Callable[["_Packed | _Kept"], Tensor]


@cache
def _untraced_hooks() -> tuple[Pack, Unpack]:
    """Hooks that a compiler does not trace. It would compile code between a function's graphs, with ids of storages.

    They are made at the first entry, not at the import: the compiler takes a second to load, as it does at the first
    optimiser.
    """
    return cast("Pack", torch.compiler.disable(_Packer.pack)), cast("Unpack", torch.compiler.disable(_unpack))


@dataclass(slots=True)
class _Totals:
    tensors: int = 0
    before: int = 0
    packed: int = 0


class PackedStatistics:
    """Statistics of one ``packed_activations`` context so far. A tensor that several operations save counts once.

    Attributes:
        tensors: Number of packed tensors.
        bytes_before, bytes_packed: Bytes in memory before packing, and as bits.
    Example:
        >>> weight = torch.ones(8, requires_grad=True)
        >>> with packed_activations(min_elements=8) as packed:
        ...     y = weight * torch.tensor([0., 1.]).repeat(4)
        >>> packed
        PackedStatistics(tensors=1, bytes_before=32, bytes_packed=1)
    """

    __slots__ = ("_totals",)

    def __init__(self, totals: _Totals) -> None:
        self._totals = totals

    @property
    def tensors(self) -> int:
        return self._totals.tensors

    @property
    def bytes_before(self) -> int:
        return self._totals.before

    @property
    def bytes_packed(self) -> int:
        return self._totals.packed

    def __str__(self) -> str:
        plural = "" if self.tensors == 1 else "s"
        return f"{self.tensors} tensor{plural} packed: {self.bytes_before} bytes into {self.bytes_packed}"

    def __repr__(self) -> str:
        return (
            f"PackedStatistics(tensors={self.tensors}, bytes_before={self.bytes_before}, "
            f"bytes_packed={self.bytes_packed})"
        )


Layout = tuple[tuple[int, int], ...]
"""Sizes and strides of the distinct elements in memory, outermost first, merged where they can be."""


@dataclass(frozen=True, eq=False)
class _Bits:
    """Elements of one piece of memory. Shared by all tensors saved from it, and freed with the last of them."""

    bits: Tensor
    low: int
    high: int
    layout: Layout
    dtype: torch.dtype
    source: weakref.ref[torch.UntypedStorage]

    def restore(self) -> Tensor:
        """Elements, with their strides, in memory of their own."""
        count = math.prod(size for size, _ in self.layout)
        elements = ops.restore(self.bits, self.low, self.high, count, self.dtype)
        if _is_dense(self.layout):
            return elements
        sizes, strides = [size for size, _ in self.layout], [stride for _, stride in self.layout]
        spread = torch.empty_strided(sizes, strides, dtype=self.dtype, device=elements.device)
        return spread.copy_(elements.view(sizes))


@dataclass(frozen=True, slots=True)
class _Packed:
    """Saved tensor as a view of shared bits."""

    memory: _Bits
    shape: torch.Size
    strides: tuple[int, ...]

    def unpack(self) -> Tensor:
        return self.memory.restore().as_strided(self.shape, self.strides)


@dataclass(frozen=True, slots=True)
class _Kept:
    """Saved tensor as it is. PyTorch compares versions only where there are no hooks, so it is done here."""

    tensor: Tensor
    version: int

    def unpack(self) -> Tensor:
        now = self.tensor._version  # noqa: SLF001  (PyTorch documents it, underscore and all)
        if now != self.version:
            shape = tuple(self.tensor.shape)
            raise RuntimeError(
                _MODIFIED.format(dtype=self.tensor.dtype, shape=shape, now=now, then=self.version),
            )
        return self.tensor


class _Packer:
    """Hooks of one context, and the tensors that they have packed."""

    def __init__(self, min_elements: int) -> None:
        self._min_elements = min_elements
        self._totals = _Totals()
        self.statistics = PackedStatistics(self._totals)
        # Only saved tensors hold on to bits: with the last graph that needs them the entry is gone.
        self._known: weakref.WeakValueDictionary[tuple[Any, ...], _Bits] = weakref.WeakValueDictionary()

    def pack(self, tensor: Tensor) -> _Packed | _Kept:
        memory = self._memory_of(tensor)
        if memory is not None:
            return _Packed(memory, tensor.shape, tensor.stride())
        # An output that its own node saves would hold the node, and the node it. A parameter stays the object that it
        # is, so that a new `.data` is seen as it is without hooks.
        kept = tensor if _is_parameter(tensor) else tensor.detach()
        return _Kept(kept, tensor._version)  # noqa: SLF001

    def _memory_of(self, tensor: Tensor) -> _Bits | None:
        layout = _layout(tensor) if _is_packable(tensor) else None
        if layout is None or math.prod(size for size, _ in layout) < self._min_elements:
            return None
        storage = tensor.untyped_storage()
        key = (id(storage), tensor.storage_offset(), layout, tensor.dtype, tensor._version)  # noqa: SLF001
        known = self._known.get(key)
        # The id of a storage that is gone may be another's by now; its weak reference never is.
        if known is None or known.source() is not storage:
            known = _pack(tensor.detach(), layout, weakref.ref(storage))
            if known is not None:
                self._known[key] = known
                self._totals.tensors += 1
                self._totals.before += math.prod(size for size, _ in layout) * tensor.element_size()
                self._totals.packed += known.bits.nbytes
        return known


def _unpack(saved: _Packed | _Kept) -> Tensor:
    return saved.unpack()


def _is_parameter(tensor: Tensor) -> bool:
    return tensor.is_leaf and tensor.requires_grad


def _is_packable(tensor: Tensor) -> bool:
    """True if bits can represent a tensor: values in plain memory, which its owner does not keep for longer anyway."""
    return (
        type(tensor) is Tensor
        and tensor.dtype in PATTERNS
        and ops.plain(tensor)
        and not tensor.is_meta
        and not _is_parameter(tensor)
        # Values cannot be looked at while a CUDA graph is captured.
        and not (tensor.is_cuda and torch.cuda.is_current_stream_capturing())
    )


def _layout(tensor: Tensor) -> Layout | None:
    """Distinct elements of ``tensor`` in memory; ``None`` if they overlap in other ways than by ``expand``."""
    if tensor.is_contiguous():
        return ((tensor.numel(), 1),)
    merged: list[tuple[int, int]] = []
    reach = 0
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size == 1 or stride == 0:
            continue
        if stride <= reach:
            return None
        reach += (size - 1) * stride
        if merged and stride == merged[-1][0] * merged[-1][1]:
            merged[-1] = (merged[-1][0] * size, merged[-1][1])
        else:
            merged.append((size, stride))
    return tuple(reversed(merged))


def _is_dense(layout: Layout) -> bool:
    return not layout or (len(layout) == 1 and layout[0][1] == 1)


def _pack(tensor: Tensor, layout: Layout, source: weakref.ref[torch.UntypedStorage]) -> _Bits | None:
    elements = tensor.as_strided([size for size, _ in layout], [stride for _, stride in layout])
    if not _is_dense(layout):
        # One row first: a tensor with gaps must be copied to be packed, and most are not binary.
        row = elements[(0,) * (elements.dim() - 1)]
        if ops.two_values(row.contiguous())[0] is None:
            return None
    bits, low, high = ops.two_values(elements.reshape(-1).contiguous())
    return None if bits is None else _Bits(bits, low, high, layout, tensor.dtype, source)
