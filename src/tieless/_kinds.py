"""Tensors that are more than an array: nested, sparse and distributed ones, as arrays, and back again.

Each is taken apart by PyTorch's own differentiable functions, untied as the array of its elements, and put together
again; so gradients come back in the kind that went in. A kind that has no such array is refused in one line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, fx
from torch.nested._internal import nested_tensor
from torch.nn import Parameter

from tieless.errors import RuleTypeError, TransformError

_COMPRESSED = {
    torch.sparse_csr: (Tensor.crow_indices, Tensor.col_indices),
    torch.sparse_bsr: (Tensor.crow_indices, Tensor.col_indices),
    torch.sparse_csc: (Tensor.ccol_indices, Tensor.row_indices),
    torch.sparse_bsc: (Tensor.ccol_indices, Tensor.row_indices),
}


class Halves(NamedTuple):
    """Properties of a forward and a rule that decide which kinds of tensors they can be applied to.

    Args:
        name: Name of the forward and the rule, for messages.
        elementwise: True if each element is sent back by itself, and each ``y`` follows from one ``z``.
        trusted: True if that is known, and not a caller's statement about a function.
        draws: True if one of them draws random numbers.
        value: Function ``z -> y`` of the forward; ``None`` if it is random.
    """

    name: str
    elementwise: bool
    trusted: bool
    draws: bool
    value: Callable[[Tensor], Tensor] | None


def is_array(z: object) -> bool:
    """True if ``z`` is an ordinary tensor: elements at places in memory, of no class that adds to them."""
    kind = type(z)
    return (kind is Tensor or kind is Parameter) and _is_strided(cast("Tensor", z))


def _is_strided(z: Tensor) -> bool:
    return z.layout is torch.strided and not z.is_nested


def through_arrays(z: Tensor, halves: Halves, untie: Callable[[Tensor], Tensor]) -> Tensor | None:
    """Output for a tensor that ``is_array`` refuses, from its elements; ``None`` if PyTorch's dispatcher finds them.

    Args:
        z: Any tensor.
        halves: Properties of the pair that is applied to it.
        untie: Function ``z -> y`` for an ordinary tensor.
    Raises:
        RuleTypeError: ``z`` is no tensor, its elements are no array, or the halves cannot be applied to them.
    """
    refuse_all_but_tensors(z, "untie")
    if _is_distributed(z):
        return _distributed(z, halves, untie)
    if z.is_nested:
        return _nested(z, halves, untie)
    if z.layout is torch.sparse_coo or z.layout in _COMPRESSED:
        return _sparse(z, halves, untie)
    if z.layout is not torch.strided:
        raise RuleTypeError(f"untie knows no tensors of layout {z.layout}. Give z.to_dense().")
    if isinstance(z, torch.masked.MaskedTensor):
        raise RuleTypeError("untie knows no MaskedTensor. Give z.get_data(), and mask the result.")
    return None


def refuse_all_but_tensors(z: object, whose: str) -> None:
    """Refuse what is no tensor, and stands for none in a graph of ``torch.fx``.

    Raises:
        RuleTypeError: it is none.
    """
    if not isinstance(z, (Tensor, fx.Proxy)):
        raise RuleTypeError(f"{whose} needs a tensor, got {type(z).__name__}. Make one of it: torch.as_tensor(...).")


def refuse_all_but_arrays(x: Tensor, whose: str) -> None:
    """Refuse nested, sparse and distributed tensors.

    Args:
        x: Any tensor.
        whose: Name of the layer or function that cannot take them, for the message.
    Raises:
        RuleTypeError: ``x`` is one.
    """
    if _is_distributed(x):
        raise RuleTypeError(f"{whose} cannot take a DTensor. Give its part of this process: x.to_local().")
    if not _is_strided(x):
        what = "a nested tensor" if x.is_nested else f"a tensor of layout {x.layout}"
        raise RuleTypeError(
            f"{whose} cannot take {what}. Give it as an ordinary one, such as x.to_padded_tensor(0) or x.to_dense() make."
        )


@contextmanager
def fake_mode_of(tensor: Tensor) -> Generator[None, None, None]:
    """Context of the mode that a ``FakeTensor`` belongs to, without which no operation takes a number beside it; else nothing.

    Raises:
        TransformError: a function meets a tensor of its own there, which is none that a compiler knows.
    """
    mode: AbstractContextManager[Any] = getattr(tensor, "fake_mode", None) or nullcontext()
    try:
        with mode:
            yield
    except AssertionError as error:
        if "allow_non_fake_inputs" not in str(error):
            raise
        raise TransformError(
            "A compiler would keep a tensor that a function holds, such as a buffer or one that is closed over, as it is now: "
            "a forward or a rule that is registered, or a callable whose derivative a rule follows. Give the function numbers "
            "as its parameters, or leave the activation out of the graph: torch.compiler.disable(activation)."
        ) from None


def _nested(z: Tensor, halves: Halves, untie: Callable[[Tensor], Tensor]) -> Tensor:
    if not halves.elementwise:
        raise RuleTypeError(
            f"{halves.name} looks at more than one element, and z is nested: its samples have different sizes. Untie each "
            "of z.unbind() by itself, or pad: z.to_padded_tensor(0)."
        )
    if z.layout is torch.strided:
        return torch.nested.as_nested_tensor([untie(part) for part in z.unbind()])
    jagged = cast("Any", z)
    # What torch.nested.nested_tensor_from_jagged calls, which refuses to be traced.
    return nested_tensor.nested_view_from_values_offsets_lengths(
        untie(jagged.values()),
        jagged.offsets(),
        jagged.lengths(),
        jagged._ragged_idx,  # noqa: SLF001
        jagged._maybe_min_seqlen,  # noqa: SLF001
        jagged._maybe_max_seqlen,  # noqa: SLF001
    )


def _sparse(z: Tensor, halves: Halves, untie: Callable[[Tensor], Tensor]) -> Tensor:
    dense = "Give z.to_dense(), or z.coalesce().values() alone."
    if not halves.elementwise or halves.value is None:
        why = "draws a y for each element" if halves.elementwise else "looks at more than one element"
        raise RuleTypeError(f"{halves.name} {why}, and z is sparse: most of its elements are not there. {dense}")
    at_zero = halves.value(torch.zeros((1,), dtype=z.dtype, device=z.device)).item()
    if at_zero != 0:
        raise RuleTypeError(f"{halves.name} makes {at_zero:g} of 0, and z is sparse: y would not be. {dense}")
    if z.layout is torch.sparse_coo:
        z = z.coalesce()
        return torch.sparse_coo_tensor(
            z.indices(), untie(z.values()), z.shape, is_coalesced=True, check_invariants=False
        )
    compressed, others = (indices(z) for indices in _COMPRESSED[z.layout])
    return torch.sparse_compressed_tensor(
        compressed, others, untie(z.values()), z.shape, layout=z.layout, check_invariants=False
    )


def _is_distributed(z: Tensor) -> bool:
    # There is none before somebody has imported it, which takes longer than importing torch.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(z, module.DTensor)


def _distributed(z: Tensor, halves: Halves, untie: Callable[[Tensor], Tensor]) -> Tensor:
    from torch.distributed.tensor import DTensor, Replicate  # noqa: PLC0415  (somebody has imported it: z is one)

    if halves.draws:
        raise RuleTypeError(
            f"{halves.name} draws random numbers, and z is a DTensor: each process would draw its own for what is one "
            "tensor. Untie z.to_local(), or take halves that draw nothing."
        )
    distributed = cast("DTensor", z)
    # Sums that are still to be taken are taken first, as for PyTorch's activations. A half that reads other elements
    # has to see them all.
    apart = halves.elementwise and halves.trusted
    placements = tuple(
        placement if apart and not placement.is_partial() else Replicate() for placement in distributed.placements
    )
    if placements != distributed.placements:
        distributed = distributed.redistribute(placements=placements)
    like = torch.empty_like(torch.empty_strided(z.shape, z.stride(), device="meta"))
    return DTensor.from_local(
        untie(distributed.to_local()),
        distributed.device_mesh,
        placements,
        run_check=False,
        shape=z.shape,
        stride=like.stride(),
    )
