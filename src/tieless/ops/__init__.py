"""The operations of ``kernels`` as torch operators: schemas, fakes for tracing, dispatch. No arithmetic.

They are opaque to a compiler, so what is traced is what runs eagerly. None has a derivative of its own: they are
called inside ``untie``'s autograd function, which is the one place where a backward pass is defined.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from tieless.errors import TransformError
from tieless.ops.dispatch import choose

__all__ = ["NO_VMAP", "draw_key", "gate", "jam", "three_level", "uniform", "window_bits"]

_LIBRARY = torch.library.Library("tieless", "DEF")

_SCHEMAS = (
    "window_bits(Tensor z, float low, float high, bool open_low, bool open_high) -> Tensor",
    "gate(Tensor grad_output, Tensor bits, float inside, float outside) -> Tensor",
    "three_level(Tensor z, float low, float high, float below, float between, float above) -> Tensor",
    "uniform(Tensor like, Tensor key, int stream, int draw) -> Tensor",
    "jam(Tensor grad_output, Tensor key, int stream, float minimum, float maximum, bool magnitude, Tensor? bits) -> Tensor",
)
for _schema in _SCHEMAS:
    _LIBRARY.define(_schema)
# Without the tag, two identical calls of a compiled graph may be merged into one, and two layers share a key.
_LIBRARY.define("draw_key(Tensor z) -> Tensor", tags=(torch.Tag.nondeterministic_seeded,))


@cache
def _rounded(value: float, dtype: torch.dtype) -> float:
    """The nearest number of ``dtype``, so that an element can lie exactly on an edge."""
    return torch.tensor(value, dtype=dtype).item()


def _window_bits(z: Tensor, low: float, high: float, open_low: bool, open_high: bool) -> Tensor:
    return choose(z).window_bits(z, _rounded(low, z.dtype), _rounded(high, z.dtype), open_low, open_high)


def _gate(grad_output: Tensor, bits: Tensor, inside: float, outside: float) -> Tensor:
    return choose(grad_output).gate(grad_output, bits, inside, outside)


def _three_level(z: Tensor, low: float, high: float, below: float, between: float, above: float) -> Tensor:
    return choose(z).three_level(z, _rounded(low, z.dtype), _rounded(high, z.dtype), below, between, above)


def _uniform(like: Tensor, key: Tensor, stream: int, draw: int) -> Tensor:
    return choose(like).uniform(like, key, stream, draw)


def _jam(
    grad_output: Tensor, key: Tensor, stream: int, minimum: float, maximum: float, magnitude: bool, bits: Tensor | None
) -> Tensor:
    return choose(grad_output).jam(grad_output, key, stream, minimum, maximum, magnitude, bits)


def _draw_key(z: Tensor) -> Tensor:
    # Always from the CPU's generator: one seed gives one key on every device, and reading it never waits for a GPU.
    return torch.empty((), dtype=torch.int64).random_(-(2**63), None)


for _name, _function in {
    "window_bits": _window_bits,
    "gate": _gate,
    "three_level": _three_level,
    "uniform": _uniform,
    "jam": _jam,
    "draw_key": _draw_key,
}.items():
    _LIBRARY.impl(_name, _function, "CompositeExplicitAutograd")


def _same_as_first(first: Tensor, *others: object) -> Tensor:
    return torch.empty_like(first)


def _bits_of(z: Tensor, *others: object) -> Tensor:
    return z.new_empty(((z.numel() + 7) // 8,), dtype=torch.uint8)


def _numbers_for(like: Tensor, *others: object) -> Tensor:
    return torch.empty_like(like, dtype=torch.float64 if like.dtype == torch.float64 else torch.float32)


def _key_for(z: Tensor) -> Tensor:
    return torch.empty((), dtype=torch.int64)


for _name, _fake in {
    "window_bits": _bits_of,
    "gate": _same_as_first,
    "three_level": _same_as_first,
    "uniform": _numbers_for,
    "jam": _same_as_first,
    "draw_key": _key_for,
}.items():
    torch.library.register_fake(f"tieless::{_name}", _fake, lib=_LIBRARY)


NO_VMAP = "untie does not go through vmap. It is elementwise: give it the batch as a dimension of z instead."


def _refuse_vmap(*_: object) -> None:
    raise TransformError(NO_VMAP)


torch.library.register_vmap("tieless::draw_key", _refuse_vmap, lib=_LIBRARY)

window_bits = torch.ops.tieless.window_bits.default
gate = torch.ops.tieless.gate.default
three_level = torch.ops.tieless.three_level.default
uniform = torch.ops.tieless.uniform.default
jam = torch.ops.tieless.jam.default
draw_key = torch.ops.tieless.draw_key.default
