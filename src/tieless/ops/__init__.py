"""Operations of ``kernels``: called directly if nothing but autograd is active, else as torch operators.

As torch operators, with schemas and fakes, they are opaque to a compiler, so what is traced is what runs eagerly. None
has a derivative of its own: they are called inside ``untie``'s autograd functions, which are the one place where a
backward pass is defined. No arithmetic here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tieless.errors import TransformError
from tieless.kernels import fused, membranes, reference
from tieless.kernels.membranes import Membrane
from tieless.kernels.numbers import rounded
from tieless.ops import examples, inductor, keys, order
from tieless.ops.dispatch import (
    FLOATING,
    choose,
    choose_for,
    forward_mode,
    kernels_callable,
    one_level_down,
    plain,
    transformed,
    unwrapped,
    written_down,
)
from tieless.ops.fusing import fuses

__all__ = [
    "FLOATING",
    "ONE_OPERATION",
    "OWN_VALUES",
    "Membrane",
    "activate",
    "codes",
    "draw_key",
    "draw_key_now",
    "each_example",
    "forward_mode",
    "gate",
    "jam",
    "kernels_callable",
    "kernels_for",
    "levels",
    "one_level_down",
    "plain",
    "potentials",
    "potentials_backward",
    "restore",
    "rounded",
    "slope",
    "transformed",
    "two_values",
    "uniform",
    "unwrapped",
    "window_bits",
    "written_down",
]

kernels_for = choose

_LIBRARY = torch.library.Library("tieless", "DEF")

_MEMBRANE = "str function, float[] parameters, float beta, float gain, float threshold, str reset, bool delayed"
_SCHEMAS = (
    "activate(Tensor z, str function, float[] parameters) -> Tensor",
    "window_bits(Tensor z, float low, float high, bool open_low, bool open_high) -> Tensor",
    "codes(Tensor z, float[] boundaries, bool even) -> Tensor",
    "gate(Tensor grad_output, Tensor bits, float inside, float outside) -> Tensor",
    "levels(Tensor grad_output, Tensor packed, float[] values) -> Tensor",
    "uniform(Tensor like, Tensor key, int stream, int draw) -> Tensor",
    "jam(Tensor grad_output, Tensor key, int stream, float minimum, float maximum, bool magnitude, Tensor? bits) -> Tensor",
    f"potentials(Tensor x, Tensor? state, {_MEMBRANE}) -> (Tensor, Tensor)",
    f"potentials_backward(Tensor grad_z, Tensor grad_state, Tensor? z, Tensor? state, {_MEMBRANE}) -> (Tensor, Tensor)",
)
for _schema in _SCHEMAS:
    _LIBRARY.define(_schema)
# Without the tag, two identical calls of a compiled graph may be merged into one, and two layers share a key.
for _schema in (
    "draw_key(Tensor z, SymInt[] shape, Generator? generator=None) -> Tensor",
    "draw_key_after(Tensor z, SymInt[] shape, Tensor? last, Generator? generator=None) -> Tensor",
):
    _LIBRARY.define(_schema, tags=(torch.Tag.nondeterministic_seeded,))
_LIBRARY.define("each_example(Tensor y) -> Tensor")
inductor.define(_LIBRARY)


def _by_kernels(name: str) -> Callable[..., Tensor]:
    def run(first: Tensor, *others: Any) -> Tensor:
        return getattr(choose(first), name)(first, *others)

    return run


def _activate(z: Tensor, function: str, parameters: Sequence[float]) -> Tensor:
    return choose(z).activate(z, function, tuple(parameters), None)[0]


def _draw_key(z: Tensor, shape: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
    if keys.capturing(z):
        raise TransformError(
            "A compiled or transformed call draws its key on the CPU, and a captured CUDA graph would repeat one key for "
            "ever. Leave it out of the graph, or capture it as it is written, under tieless.GraphKeys()."
        )
    return torch.empty(shape, dtype=torch.int64, device="cpu").random_(-(2**63), None, generator=generator)


def _draw_key_after(
    z: Tensor, shape: Sequence[int], last: Tensor | None, generator: torch.Generator | None = None
) -> Tensor:
    return _draw_key(z, shape, generator)


def _potentials(
    x: Tensor, state: Tensor | None, function: str, parameters: Sequence[float], *others: Any
) -> tuple[Tensor, Tensor]:
    return _over_time("potentials", x)(x, state, Membrane(function, tuple(parameters), *others))


def _potentials_backward(
    grad_z: Tensor,
    grad_state: Tensor,
    z: Tensor | None,
    state: Tensor | None,
    function: str,
    parameters: Sequence[float],
    *others: Any,
) -> tuple[Tensor, Tensor]:
    membrane = Membrane(function, tuple(parameters), *others)
    return _over_time("potentials_backward", grad_z)(grad_z, grad_state, z, state, membrane)


def _over_time(name: str, sequence: Tensor) -> Callable[..., tuple[Tensor, Tensor]]:
    """Kernel over all time steps. Where there is none, as on a GPU and in half types, operations of PyTorch."""
    plain_torch = getattr(membranes, name)
    if sequence.dtype in (torch.float16, torch.bfloat16):  # PyTorch rounds some numbers beside them too
        return plain_torch
    return getattr(choose(sequence), name, plain_torch)


def _each_example(y: Tensor) -> Tensor:
    return torch.ones((), dtype=y.dtype, device=y.device)


for _name in ("window_bits", "codes", "gate", "levels", "uniform", "jam"):
    _LIBRARY.impl(_name, _by_kernels(_name), "CompositeExplicitAutograd")
_LIBRARY.impl("activate", _activate, "CompositeExplicitAutograd")
_LIBRARY.impl("potentials", _potentials, "CompositeExplicitAutograd")
_LIBRARY.impl("potentials_backward", _potentials_backward, "CompositeExplicitAutograd")
_LIBRARY.impl("draw_key", _draw_key, "CompositeExplicitAutograd")
_LIBRARY.impl("draw_key_after", _draw_key_after, "CompositeExplicitAutograd")
_LIBRARY.impl("each_example", _each_example, "CompositeImplicitAutograd")


def _like_first(first: Tensor, *others: object) -> Tensor:
    return torch.empty_like(first)


def _bits_of(z: Tensor, *others: object) -> Tensor:
    return z.new_empty(((z.numel() + 7) // 8,), dtype=torch.uint8)


def _codes_of(z: Tensor, boundaries: Sequence[float], even: bool) -> Tensor:
    return z.new_empty((len(boundaries).bit_length(), (z.numel() + 7) // 8), dtype=torch.uint8)


def _numbers_for(like: Tensor, *others: object) -> Tensor:
    return torch.empty_like(like, dtype=reference.arithmetic_dtype(like.dtype))


def _key_for(z: Tensor, shape: Sequence[int], *others: object) -> Tensor:
    return torch.empty(shape, dtype=torch.int64, device="cpu")


def _potentials_of(x: Tensor, *others: object) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape[1:])


def _gradients_of(grad_z: Tensor, grad_state: Tensor, *others: object) -> tuple[Tensor, Tensor]:
    return grad_z.new_empty(grad_z.shape), grad_state.new_empty(grad_state.shape)


for _name, _fake in {
    "activate": _like_first,
    "window_bits": _bits_of,
    "codes": _codes_of,
    "gate": _like_first,
    "levels": _like_first,
    "uniform": _numbers_for,
    "jam": _like_first,
    "draw_key": _key_for,
    "draw_key_after": _key_for,
    "potentials": _potentials_of,
    "potentials_backward": _gradients_of,
}.items():
    torch.library.register_fake(f"tieless::{_name}", _fake, lib=_LIBRARY)


_operators = torch.ops.tieless
examples.register(_LIBRARY, _operators)
order.keep(_LIBRARY, _operators.draw_key.default, _operators.draw_key_after.default)


ONE_OPERATION = frozenset({"clamp", "hard_sigmoid", "leaky_relu", "linear", "relu", "round"})
"""Forwards that PyTorch has as one operation of its own."""

OWN_VALUES = frozenset({"gelu", "silu"})
"""Forwards whose CPU kernels differ from PyTorch's operations in the last bits."""


def activate(z: Tensor, function: str, parameters: tuple[float, ...]) -> Tensor:
    """Value of a forward by its name in the kernels. A compiler sees PyTorch's own operations, which it can fuse.

    An exception is a forward on the CPU that kernels compute otherwise: there it sees the operator, so that compiled
    and eager code give the same values.
    """
    if function in ONE_OPERATION:
        return reference.FORWARDS[function](z, *parameters)
    if kernels_callable(z):
        return choose(z).activate(z, function, parameters, None)[0]
    if function in OWN_VALUES and z.is_cpu and not written_down() and not fuses(function, z):
        return _operators.activate.default(z, function, parameters)
    return reference.FORWARDS[function](z, *parameters)


def slope(grad_output: Tensor, value: Tensor, function: str, parameters: tuple[float, ...]) -> Tensor:
    """Gradient ``grad_output`` times a slope by its name in the kernels.

    A compiler, and autograd where it records, see PyTorch's own operations.
    """
    kernels = choose(grad_output) if kernels_callable(grad_output, value) and not torch.is_grad_enabled() else reference
    return kernels.slope(grad_output, value, function, parameters)


def window_bits(
    z: Tensor, low: float, high: float, open_low: bool, open_high: bool, *, in_order: bool = True
) -> Tensor:
    """Bits of a window, by the kernels that run for the tensor; ``kernels.reference`` defines them.

    If not ``in_order``, a compiler may see them in the order of ``kernels.fused``, known to all that takes bits here.
    """
    return _packer("window_bits", z, in_order)(z, low, high, open_low, open_high)


def codes(z: Tensor, boundaries: Sequence[float], even: bool, *, in_order: bool = True) -> Tensor:
    """Codes of a step function, by the kernels that run for the tensor; their bits are as those of ``window_bits``."""
    return _packer("codes", z, in_order)(z, boundaries, even)


def _packer(name: str, z: Tensor, in_order: bool) -> Callable[..., Tensor]:
    if kernels_callable(z):
        return getattr(choose(z), name)
    return getattr(_operators, name if in_order or not fuses("bits", z) else f"{name}_in_eighths").default


def gate(grad_output: Tensor, bits: Tensor, inside: float, outside: float) -> Tensor:
    """Gate, by the kernels that run for the tensor; ``kernels.reference`` defines it."""
    if fused.holds(bits):
        return _by_eighths("gate")(grad_output, bits, inside, outside)
    run = choose(grad_output).gate if kernels_callable(grad_output, bits) else _operators.gate.default
    return run(grad_output, bits, inside, outside)


def levels(grad_output: Tensor, packed: Tensor, values: Sequence[float]) -> Tensor:
    """Slope from levels, by the kernels that run for the tensor; ``kernels.reference`` defines it."""
    if fused.holds(packed):
        return _by_eighths("levels")(grad_output, packed, values)
    run = choose(grad_output).levels if kernels_callable(grad_output, packed) else _operators.levels.default
    return run(grad_output, packed, values)


def _by_eighths(name: str) -> Callable[..., Tensor]:
    return getattr(fused, name) if transformed() else getattr(_operators, f"{name}_in_eighths").default


def uniform(like: Tensor, key: Tensor | int, stream: int, draw: int) -> Tensor:
    """Uniform random numbers, by the kernels that run for the tensor; ``kernels.reference`` defines them."""
    if kernels_callable(like, key if isinstance(key, Tensor) else None):
        return choose(like).uniform(like, key, stream, draw)
    if fuses("jam", like):
        return reference.uniform(like, key, stream, draw)
    return _operators.uniform.default(like, _tensor(key), stream, draw)


def jam(
    grad_output: Tensor,
    key: Tensor | int,
    stream: int,
    minimum: float,
    maximum: float,
    magnitude: bool,
    bits: Tensor | None,
) -> Tensor:
    """Gradient times a jam, by the kernels that run for the tensor; ``kernels.reference`` defines it."""
    if kernels_callable(grad_output, bits, key if isinstance(key, Tensor) else None):
        return choose(grad_output).jam(grad_output, key, stream, minimum, maximum, magnitude, bits)
    if bits is not None and fused.holds(bits):
        return gate(jam(grad_output, key, stream, minimum, maximum, magnitude, None), bits, 1.0, 0.0)
    if fuses("jam", grad_output):
        return reference.jam(grad_output, key, stream, minimum, maximum, magnitude, bits)
    return _operators.jam.default(grad_output, _tensor(key), stream, minimum, maximum, magnitude, bits)


def potentials(x: Tensor, state: Tensor | None, membrane: Membrane) -> tuple[Tensor, Tensor]:
    """Potentials over time, by the kernels that run for the tensor; ``kernels.membranes`` defines them."""
    if kernels_callable(x, state):
        return _over_time("potentials", x)(x, state, membrane)
    return _operators.potentials.default(x, state, *membrane)


def potentials_backward(
    grad_z: Tensor, grad_state: Tensor, z: Tensor | None, state: Tensor | None, membrane: Membrane
) -> tuple[Tensor, Tensor]:
    """Gradients of potentials over time, by the kernels that run for the tensor."""
    if kernels_callable(grad_z, grad_state, z, state):
        return _over_time("potentials_backward", grad_z)(grad_z, grad_state, z, state, membrane)
    return _operators.potentials_backward.default(grad_z, grad_state, z, state, *membrane)


def _tensor(key: Tensor | int) -> Tensor:
    return key if isinstance(key, Tensor) else torch.tensor(key, device="cpu")


def draw_key_now(z: Tensor, generator: torch.Generator | None = None) -> Tensor | int:
    """Key of a call: a number, or, during the capture of a graph, the place where each replay finds one."""
    return keys.held_key(z, generator) if keys.capturing(z) else keys.number(generator)


def draw_key(z: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """``draw_key_now`` as a tensor, int64 and 0-dim, that a compiler or a transform can see."""
    if kernels_callable(z) and keys.capturing(z):
        return keys.held_key(z, generator)
    return _operators.draw_key.default(z, (), generator)


def each_example(y: Tensor) -> Tensor:
    """Number 1, once for each example of every ``vmap`` around the call, whatever ``y`` depends on."""
    return _operators.each_example.default(y)


def two_values(elements: Tensor) -> tuple[Tensor | None, int, int]:
    """Two values of a binary tensor, by the kernels that run for it; ``kernels.reference`` defines them."""
    kernels = choose(elements) if elements.is_floating_point() else reference
    return kernels.two_values(elements)


def restore(bits: Tensor, low: int, high: int, count: int, dtype: torch.dtype) -> Tensor:
    """Tensor from its bits, by the kernels that run for the dtype; ``kernels.reference`` defines it."""
    kernels = choose_for(dtype, bits.device.type) if dtype.is_floating_point else reference
    return kernels.restore(bits, low, high, count, dtype)
