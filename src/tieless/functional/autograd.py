"""Functions of autograd that untie: a forward pass that saves little, and a rule as the backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from tieless import ops
from tieless._kinds import fake_mode_of
from tieless._underivable import NO_FORWARD_MODE, NO_PUSHED, underivable
from tieless.draws import Random
from tieless.errors import RuleTypeError, TransformError
from tieless.functional.pair import ANCHOR, Pair, Part
from tieless.kernels.layout import memory_order, same_layout
from tieless.signature import same_shape

# An untied activation has outputs beside ``y``: an empty anchor, and packed bits if a transform must see them. The
# anchor belongs to z's graph and to nothing else. It costs no memory, and through it a second derivative that is
# refused meets ``underivable`` even if the gradient itself does not depend on z: the missing term would silently be 0.


def direct(z: Tensor, key: Tensor | int | None, pair: Pair, made: Tensor | None) -> Tensor:
    """Output ``y`` by kernels that are called directly; ``made`` is the output if a function not ours has made it."""
    return cast("tuple[Tensor, Tensor]", _DirectUntie.apply(z, key, pair, None if made is None else (made,)))[0]


def traced(z: Tensor, key: Tensor | None, pair: Pair, made: Tensor | None) -> Tensor:
    """Output ``y`` by operators that compilers and transforms see."""
    return cast("tuple[Tensor, ...]", _TracedUntie.apply(z, key, pair, made))[0]


class _DirectUntie(torch.autograd.Function):
    """Untied activation for plain autograd: kernels are called directly, forward value and bits in one pass.

    PyTorch runs a function of this older form in half the time of one with ``setup_context``, which ``torch.func``
    needs (1.04 against 1.76 of a native relu at 2^14 elements, with an empty backward pass).
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, key: Tensor | int | None, pair: Pair, made: tuple[Tensor] | None
    ) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        value, kernel, arguments = pair.plan(z.dtype)
        if made is not None:
            (y,) = made
            if pair.copies or y.data_ptr() == z.data_ptr():
                y = y.clone()  # the result may be a view, or a tensor that the function owns
            packed = [need.pack(z) for need in pair.packed]
        elif kernel is None:
            y = pair.sample(z, key) if pair.forward_is_random else value(z)
            packed = [need.pack(z) for need in pair.packed]
        else:
            y, first = getattr(ops.kernels_for(z), kernel)(z, *arguments)
            packed = [first, *[need.pack(z) for need in pair.packed[1:]]]
        anchor = z.new_empty(0)
        ctx.key = key
        _keep(ctx, z, pair, y, anchor, packed)
        return y, anchor

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, *others: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if grad_output is None:
            return _zeros(ctx, others[0]), None, None, None
        unread = ctx.pair.keeps_nothing and not torch.is_grad_enabled()
        feedback = _feedback(ctx, grad_output, ctx.key, () if unread else ctx.saved_tensors)
        return _without_derivative(ctx, feedback, grad_output), None, None, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> None:
        raise TransformError(NO_FORWARD_MODE)


class _TracedUntie(torch.autograd.Function):
    """Untied activation under a compiler or a transform of ``torch.func``: all is done by visible operators."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, key: Tensor | None, pair: Pair, made: Tensor | None) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        y = pair.traced_value(z, key) if made is None else made.clone()
        if key is not None and torch.compiler.is_compiling():
            # A compiled checkpoint drops a draw that its forward does not use and draws anew in the backward pass, from
            # a later state of the generator. So in a graph y depends on the key, in name only.
            y = y * ((key & 0) + 1)
        if ops.transformed():
            # Under vmap y belongs to each example even where z does not, so that each passes its own gradient through
            # the rule: a rule of a sum is not the sum of the rule.
            y = y * ops.each_example(y)
        return (y, z.new_empty(0), *[need.pack(z, in_order=need in pair.read) for need in pair.packed])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        z, key, pair, _ = inputs
        y, anchor, *packed = output
        ctx.mark_non_differentiable(*packed)
        _keep(ctx, z, pair, y, anchor, [*packed, *([] if key is None else [key])])

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, *others: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if grad_output is None:
            return _zeros(ctx, others[0]), None, None, None
        saved = ctx.saved_tensors
        with fake_mode_of(grad_output):
            feedback = _feedback(ctx, grad_output, saved[-1] if ctx.pair.draws else None, saved)
        return _without_derivative(ctx, feedback, grad_output), None, None, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> None:
        raise TransformError(NO_FORWARD_MODE)


def _keep(ctx: Any, z: Tensor, pair: Pair, y: Tensor, anchor: Tensor, others: Sequence[Tensor]) -> None:
    """Save the tensors that the backward pass needs, and no more."""
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(anchor, z if pair.keeps_input else None, y if pair.keeps_output else None, *others)
    ctx.pair = pair
    ctx.shape = z.shape
    ctx.order = None if z.is_contiguous() else memory_order(z)


def _zeros(ctx: Any, anchor: Tensor | None) -> Tensor | None:
    """Zero gradient, if only the derivative of bits has arrived; else ``None``."""
    return None if anchor is None else anchor.new_zeros(ctx.shape)


def _feedback(ctx: Any, grad_output: Tensor, key: Tensor | int | None, saved: tuple[Tensor | None, ...]) -> Tensor:
    """Gradient passed down: the incoming gradient, through each rule of the chain in turn."""
    order = ctx.order
    if grad_output.layout is not torch.strided:
        grad_output = grad_output.to_dense()
    # Bits follow z in memory, so the gradient must have the layout of z before it meets them.
    feedback = grad_output
    if order is not None or not feedback.is_contiguous():
        feedback = same_layout(feedback, order)
    pair: Pair = ctx.pair
    # Autograd records the result: it does not know kernels as operations.
    recorded = pair.linear and torch.is_grad_enabled()
    if recorded:
        feedback = cast("Tensor", _Anchored.apply(feedback, saved[ANCHOR]))
    for stream, part in enumerate(pair.parts):
        kept = None if part.saved is None else saved[part.saved]
        drawn = key if part.draws else None
        if recorded and part.constant:
            feedback = cast("Tensor", _ConstantSlope.apply(feedback, kept, drawn, pair, stream))
        else:
            feedback = _send(part, feedback, kept, drawn, stream)
        if order is not None or not feedback.is_contiguous():
            feedback = same_layout(feedback, order)
    return feedback


def _send(part: Part, feedback: Tensor, kept: Tensor | None, key: Tensor | int | None, stream: int) -> Tensor:
    """Gradient that one rule of a chain passes down."""
    if part.foreign:
        return _sent_by_foreign(part, feedback, kept, key, stream)
    if part.slope is not None:
        return part.slope.send(feedback, kept)
    return part.rule.feedback(feedback, kept, None if key is None else Random(key, stream))


def _sent_by_foreign(
    part: Part, feedback: Tensor, kept: Tensor | None, key: Tensor | int | None, stream: int
) -> Tensor:
    """Gradient that a rule passes down whose function is not ours. It gets copies of its inputs, and nothing that learns."""
    recorded = torch.is_grad_enabled()  # a derivative of the feedback is taken, through what the function does
    with torch.enable_grad():
        given, at = (None if one is None else (one if recorded else one.detach()).clone() for one in (feedback, kept))
        if part.slope is not None:
            sent = part.slope.send(cast("Tensor", given), at)
        else:
            sent = part.rule.feedback(cast("Tensor", given), at, None if key is None else Random(key, stream))
    sent = same_shape(sent, feedback, part.rule)
    if not recorded and sent.requires_grad:
        raise RuleTypeError(
            f"The rule {part.rule} uses tensors that require gradients, and would send them none. Detach them."
        )
    return sent


class _Anchored(torch.autograd.Function):
    """Identity on the gradient, whose derivative by ``z`` is 0 and not missing, as that of PyTorch's relu is."""

    generate_vmap_rule = True

    @staticmethod
    def forward(feedback: Tensor, anchor: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return feedback.view_as(feedback)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return grad_output, torch.zeros_like(ctx.saved_tensors[0])

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> None:
        raise TransformError(NO_FORWARD_MODE)


class _ConstantSlope(torch.autograd.Function):
    """Rule that multiplies each element with a constant: its derivative by the gradient is the same product."""

    generate_vmap_rule = True

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        feedback: Tensor,
        kept: Tensor | None,
        key: Tensor | int | None,
        pair: Pair,
        stream: int,
    ) -> Tensor:
        sent = _send(pair.parts[stream], feedback, kept, key, stream)
        return sent.view_as(sent) if sent is feedback else sent

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        feedback, kept, key, ctx.pair, ctx.stream = inputs
        ctx.number = None if isinstance(key, Tensor) else key
        ctx.order = None if feedback.is_contiguous() else memory_order(feedback)
        ctx.save_for_backward(kept, key if isinstance(key, Tensor) else None)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        kept, key = ctx.saved_tensors
        feedback = same_layout(grad_output, ctx.order)
        key = ctx.number if key is None else key
        sent = cast("Tensor", _ConstantSlope.apply(feedback, kept, key, ctx.pair, ctx.stream))
        return sent, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> None:
        raise TransformError(NO_FORWARD_MODE)


def _without_derivative(ctx: Any, feedback: Tensor, grad_output: Tensor) -> Tensor:
    """Return ``feedback``, and refuse its derivative, which a caller may be about to take, unless it has one."""
    if not ctx.pair.linear and (torch.is_grad_enabled() or ops.forward_mode()):
        return underivable(feedback, ctx.saved_tensors[ANCHOR], grad_output)
    if ops.forward_mode():
        return underivable(feedback, ctx.saved_tensors[ANCHOR], grad_output, NO_PUSHED)
    return feedback
