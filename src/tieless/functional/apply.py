"""Application of a pair to a tensor of any kind, in eager mode and in the graphs of compilers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from tieless import ops
from tieless._kinds import fake_mode_of, is_array, through_arrays
from tieless._underivable import NO_FORWARD_MODE
from tieless.errors import RuleTypeError, TransformError
from tieless.functional import autograd
from tieless.functional.checks import floating, followed, unlearned
from tieless.functional.pair import Pair
from tieless.grammar import shown


def apply(z: Tensor, pair: Pair, generator: torch.Generator | None, traced: Tensor | None = None) -> Tensor:
    """Output ``y`` with its backward rule.

    Args:
        traced: Output ``y`` if a compiler has traced it already.
    """
    if not is_array(z):
        y = _of_another_kind(z, pair, generator)
        if y is not None:
            return y
    floating(z)
    if pair.native:
        y = followed(pair.called(z), z, pair.forward)
        return y if y.requires_grad or not pair.copies else y.clone()
    if ops.written_down():
        # A written program has no place for a rule. With a cut its gradient is missing; the forward's own derivative in
        # the place of the rule would pass unnoticed.
        pair.plan(z.dtype)
        return pair.exported(z) if traced is None else traced
    if generator is not None:
        _check_generator(generator)
    if ops.forward_mode() and forward_ad.unpack_dual(z).tangent is not None:
        raise TransformError(NO_FORWARD_MODE)  # before vmap complains of randomness, in vain
    if ops.kernels_callable(z):
        drawn = ops.draw_key_now(z, generator) if pair.draws else None
        made = _made(z, pair, drawn, traced) if pair.foreign or traced is not None else None
        return autograd.direct(z, drawn, pair, made)
    pair.plan(z.dtype)
    key = ops.draw_key(z.detach(), generator) if pair.draws else None
    with fake_mode_of(z):
        made = _made(z, pair, key, traced) if pair.foreign or traced is not None else None
        return autograd.traced(z, key, pair, made)


def _check_generator(generator: torch.Generator) -> None:
    if not isinstance(generator, torch.Generator):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RuleTypeError(f"untie draws its key by a torch.Generator, got {shown(generator)}.")
    if generator.device.type != "cpu":
        raise RuleTypeError(f"untie draws its key on the CPU, got a generator on {generator.device}.")


def _made(z: Tensor, pair: Pair, key: Tensor | int | None, traced: Tensor | None) -> Tensor:
    """Output ``y`` of a function that is not ours, computed where every transform that follows it is active."""
    pair.plan(z.dtype)
    return pair.asked(z, key) if traced is None else unlearned(traced, pair.forward)


def _of_another_kind(z: Tensor, pair: Pair, generator: torch.Generator | None) -> Tensor | None:
    """Output ``y`` for an input that is no ordinary tensor; ``None`` if the ordinary way applies."""
    if pair.native and isinstance(z, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
        return None
    return through_arrays(z, pair.halves(), lambda array: apply(array, pair, generator))
