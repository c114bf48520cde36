"""Operators on bits in eighths, which Inductor writes as operations that it can fuse.

They stay operators until a graph is split into its forward and its backward pass, so that the split sees what bits weigh:
an eighth of a byte. Then each becomes operations of PyTorch, and where a gate stands in one graph with the tensor that
its bits are of, because that can be computed again from what is stored anyway, nothing is packed at all.

Inductor's cache on disk knows an operator by its name and schema alone: one whose operations change takes another name.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tieless.kernels import fused

_PATTERNS = "torch._inductor.fx_passes.post_grad"
_taught = False

_Call = tuple[Callable[..., Tensor], Sequence[Any], Sequence[Any]]
"""Function, the nodes of a graph that it gets, and its other arguments."""

_SCHEMAS = (
    "window_bits_in_eighths(Tensor z, float low, float high, bool open_low, bool open_high) -> Tensor",
    "codes_in_eighths(Tensor z, float[] boundaries, bool even) -> Tensor",
    "gate_in_eighths(Tensor grad_output, Tensor packed, float inside, float outside) -> Tensor",
    "levels_in_eighths(Tensor grad_output, Tensor packed, float[] values) -> Tensor",
)


def define(library: torch.library.Library) -> None:
    """Define the operators. By themselves they do as ``kernels.fused`` does, which is their meaning."""
    for schema in _SCHEMAS:
        library.define(schema)
        name = schema.partition("(")[0]
        library.impl(name, getattr(fused, name.removesuffix("_in_eighths")), "CompositeExplicitAutograd")
    for name, fake in {
        "window_bits_in_eighths": _bits_of,
        "codes_in_eighths": _codes_of,
        "gate_in_eighths": _like_first,
        "levels_in_eighths": _like_first,
    }.items():
        torch.library.register_fake(f"tieless::{name}", fake, lib=library)


def _bits_of(z: Tensor, *others: object) -> Tensor:
    return z.new_empty((1, 1, z.numel() // 8), dtype=torch.uint8)


def _codes_of(z: Tensor, boundaries: Sequence[float], even: bool) -> Tensor:
    return z.new_empty((len(boundaries).bit_length(), 1, z.numel() // 8), dtype=torch.uint8)


def _like_first(first: Tensor, *others: object) -> Tensor:
    return torch.empty_like(first)


def is_loaded() -> bool:
    """True if Inductor is there, and knows the operators from now on: it is not loaded for other compilers."""
    global _taught  # noqa: PLW0603
    passes: Any = sys.modules.get(_PATTERNS)
    if passes is None or not hasattr(passes, "pass_patterns"):
        return False
    if not _taught:
        _teach(passes.pass_patterns[0])
        _taught = True
    return True


def _teach(patterns: Any) -> None:
    matcher: Any = importlib.import_module("torch._inductor.pattern_matcher")

    def replace(operator: Any, arguments: int, written: Callable[..., _Call]) -> None:
        def write(match: Any, *given: Any) -> None:
            function, tensors, others = written(*given)

            def call(*tensors: Tensor) -> Tensor:
                return function(*tensors, *others)

            match.replace_by_example(call, tensors)

        pattern = matcher.CallFunction(operator, *[matcher.Arg() for _ in range(arguments)])
        matcher.register_graph_pattern(pattern, pass_dict=patterns)(write)

    operators: Any = torch.ops.tieless
    # Later nodes are met first: a gate looks for its bits before they become something else.
    replace(operators.gate_in_eighths.default, 4, _gate)
    replace(operators.levels_in_eighths.default, 3, _levels)
    replace(operators.window_bits_in_eighths.default, 5, partial(_packed, fused.window_bits))
    replace(operators.codes_in_eighths.default, 3, partial(_packed, fused.codes))


def _packed(pack: Callable[..., Tensor], z: Any, *how: Any) -> _Call:
    return pack, [z], how


def _gate(grad_output: Any, packed: Any, inside: float, outside: float) -> _Call:
    if packed.target is torch.ops.tieless.window_bits_in_eighths.default:
        z, *window = packed.args
        return fused.gate_at, [grad_output, z], (tuple(window), (inside, outside))
    return fused.gate, [grad_output, packed], (inside, outside)


def _levels(grad_output: Any, packed: Any, values: Sequence[float]) -> _Call:
    if packed.target is torch.ops.tieless.codes_in_eighths.default:
        z, *steps = packed.args
        return fused.levels_at, [grad_output, z], (tuple(steps), values)
    return fused.levels, [grad_output, packed], (values,)
