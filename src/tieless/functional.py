"""``untie``: where the two halves of an activation meet."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from tieless import ops
from tieless.errors import RuleTypeError, SecondDerivativeError, TransformError
from tieless.forwards import Elementwise, Forward, ForwardLike, forward as forward_of
from tieless.rules import Random, Rule, RuleLike, Tied, rule as rule_of
from tieless.slopes import Window

__all__ = ["Joined", "Part", "join", "untie", "untie_joined"]


def untie(z: Tensor, forward: ForwardLike, backward: RuleLike, *, generator: torch.Generator | None = None) -> Tensor:
    """An activation whose backward pass is a rule of its own: ``y = forward(z)``, ``grad_input = backward(...)``.

    Args:
        z: Pre-activation.
        forward: Spec, ``Forward`` or any elementwise callable.
        backward: Spec or ``Rule``.
        generator: Where a random rule draws its key, on the CPU; torch's default generator unless given.
    Shape:
        ``z``: ``(...)``, float16, bfloat16, float32 or float64, on any device. Result and gradient: like ``z`` in
        shape, dtype, device and memory layout.
    Raises:
        SpecError, RuleTypeError, RuleValueError: a spec cannot be read, or a parameter is wrong.
        UntrainableError: the rule is ``tied`` and the forward is flat almost everywhere.
        TransformError: called under ``torch.func.vmap``.
        SecondDerivativeError: from a second backward pass; a rule is not the derivative of anything.
    Source:
        Troiano et al. 2025, doi:10.1016/j.neucom.2025.131178.
    Example:
        >>> z = torch.tensor([-0.3, 0.3, 2.0], requires_grad=True)
        >>> y = untie(z, "heaviside", "rectangular(-0.5, 0.5)")
        >>> y
        tensor([0., 1., 1.], grad_fn=<_UntieBackward>)
        >>> y.sum().backward(); z.grad
        tensor([1., 1., 0.])
    """
    return untie_joined(z, join(forward, backward), generator=generator)


class Part(NamedTuple):
    """One rule of a chain: which packed bits are its own, whether it needs ``z`` or ``y``, whether it draws numbers."""

    rule: Rule
    bits: int | None
    input: bool
    output: bool
    draws: bool


class Joined:
    """A forward and a rule that go together, with what follows from the two worked out once.

    Attributes:
        forward, rule: The halves.
        parts: The rules of the chain, each with where it finds what it needs.
        windows: The windows whose bits are kept, each once.
        keeps_input, keeps_output, draws: Whether ``z`` or ``y`` is kept, and whether a key is drawn.
        opaque, native: Whether the forward is a callable, and whether PyTorch's own derivative is all it needs.
    """

    def __init__(self, forward: Forward, rule: Rule) -> None:
        rules = rule.parts()
        needs = tuple(part.needs(forward) for part in rules)
        self.forward = forward
        self.rule = rule
        self.windows = tuple(dict.fromkeys(need for need in needs if isinstance(need, Window)))
        self.keeps_input = "input" in needs
        self.keeps_output = "output" in needs
        self.draws = any(part.draws for part in rules)
        self.parts = tuple(
            Part(
                rule=part,
                bits=self.windows.index(need) if isinstance(need, Window) else None,
                input=need == "input",
                output=need == "output",
                draws=part.draws,
            )
            for part, need in zip(rules, needs, strict=True)
        )
        self.native = isinstance(forward, Elementwise) and isinstance(rule, Tied)
        self.opaque = isinstance(forward, Elementwise)


def join(forward: ForwardLike, backward: RuleLike) -> Joined:
    """Both halves as values, checked to fit together.

    Raises:
        SpecError, RuleTypeError, RuleValueError: a spec cannot be read, or a parameter is wrong.
        UntrainableError: the rule is ``tied`` and the forward is flat almost everywhere.
    Example:
        >>> joined = join("relu", "full_jam")
        >>> joined.forward, joined.rule
        (Relu(), FullJam(minimum=0, maximum=1, replace='slope'))
    """
    return _join(forward_of(forward), rule_of(backward))


# A compiler need not read specs: equal halves give equal values. This is torch.compiler.assume_constant_result, which
# would import the compiler to set it, and that takes longer than importing torch.
join._dynamo_marked_constant = True  # noqa: SLF001  # pyright: ignore[reportFunctionMemberAccess]


@lru_cache
def _join(forward: Forward, rule: Rule) -> Joined:
    return Joined(forward, rule)


def untie_joined(z: Tensor, joined: Joined, *, generator: torch.Generator | None = None) -> Tensor:
    """``untie`` for halves that ``join`` has checked: what modules call, so that a spec is read once."""
    if not z.is_floating_point():
        raise RuleTypeError(f"untie needs a floating z, got {z.dtype}. Convert it first.")
    if joined.opaque:
        if joined.native:
            return _checked(joined.forward.value(z), z, joined.forward)
        _refuse_learnable(joined.forward, z)
    key = _key(z, generator) if joined.draws else None
    return cast("tuple[Tensor, ...]", _Untie.apply(z, key, joined))[0]


def _key(z: Tensor, generator: torch.Generator | None) -> Tensor:
    if generator is None:
        return ops.draw_key(z.detach())
    if generator.device.type != "cpu":
        raise RuleTypeError(f"untie draws its key on the CPU, got a generator on {generator.device}.")
    return torch.empty((), dtype=torch.int64).random_(-(2**63), None, generator=generator)


def _checked(y: Tensor, z: Tensor, forward: Forward) -> Tensor:
    if y.shape != z.shape or y.device != z.device:
        raise RuleTypeError(
            f"The forward {forward} is not elementwise: z has shape {tuple(z.shape)}, its output {tuple(y.shape)}."
        )
    # Autocast computes some functions in float32; what was promised is the dtype of z.
    return y.to(z.dtype)


def _refuse_learnable(forward: Forward, z: Tensor) -> None:
    with torch.enable_grad():
        if forward.value(z.detach()[:0] if z.dim() else z.detach()).requires_grad:
            raise RuleTypeError(
                f"The forward {forward} uses tensors that require gradients, and a rule would send them none. "
                "Detach them."
            )


def _strides_order(z: Tensor) -> tuple[int, ...] | None:
    """The dimensions of ``z`` from the outermost in memory to the innermost; ``None`` if they are in order."""
    if z.is_contiguous():
        return None
    order: list[int] = []
    for dim in range(z.dim()):
        place = len(order)
        while place and z.stride(order[place - 1]) < z.stride(dim):
            place -= 1
        order.insert(place, dim)
    return tuple(order)


def _laid_out(tensor: Tensor, order: tuple[int, ...] | None) -> Tensor:
    if order is None:
        return tensor.contiguous()
    inverse = [order.index(dim) for dim in range(len(order))]
    return tensor.permute(order).contiguous().permute(inverse)


class _Untie(torch.autograd.Function):
    """Outputs: ``y``; an empty anchor; then one tensor of packed bits for each window that the rule needs.

    The anchor belongs to ``z``'s graph and to nothing else. It costs no memory, and through it a second derivative
    meets ``_RefuseSecond`` even where the feedback itself does not depend on ``z``: without it the missing term would
    be silently zero.
    """

    @staticmethod
    def forward(z: Tensor, key: Tensor | None, joined: Joined) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        y = _checked(joined.forward.value(z), z, joined.forward)
        if key is not None and torch.compiler.is_compiling():
            # A compiled checkpoint drops a draw that its forward does not use and draws anew in the backward pass,
            # from a later state of the generator. So in a graph y depends on the key, in name only.
            y = torch.where(key == 0, y, y)
        return (y, z.new_empty(0), *[window.bits(z) for window in joined.windows])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        z, key, joined = inputs
        y, anchor, *bits = output
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*bits)
        ctx.save_for_backward(key, anchor, z if joined.keeps_input else None, y if joined.keeps_output else None, *bits)
        ctx.joined = joined
        ctx.order = _strides_order(z)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> None:
        raise TransformError(ops.NO_VMAP)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if grad_output is None:
            return None, None, None
        joined: Joined = ctx.joined
        key, anchor, z, y, *bits = ctx.saved_tensors
        feedback = grad_output
        for stream, part in enumerate(joined.parts):
            kept = bits[part.bits] if part.bits is not None else z if part.input else y if part.output else None
            random = Random(key, stream) if part.draws else None
            feedback = part.rule.feedback(feedback, kept, random, joined.forward)
        feedback = _laid_out(feedback, ctx.order)
        if torch.is_grad_enabled():
            feedback = cast("Tensor", _RefuseSecond.apply(feedback, anchor))
        return feedback, None, None


class _RefuseSecond(torch.autograd.Function):
    """The identity on a gradient, which refuses to be differentiated."""

    @staticmethod
    def forward(feedback: Tensor, anchor: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return feedback.view_as(feedback)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise SecondDerivativeError(
            "An untied gradient has no derivative: a backward rule is not the derivative of anything. "
            "Use a native activation where second derivatives are needed."
        )
