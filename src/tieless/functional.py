"""``untie``: where the two halves of an activation meet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from tieless import ops
from tieless._tracing import known_when_traced
from tieless.errors import RuleTypeError, SecondDerivativeError, TransformError
from tieless.forwards import Elementwise, Forward, ForwardLike, forward as forward_of
from tieless.kernels.layout import memory_order, same_layout
from tieless.rules import Random, Rule, RuleLike, Tied, rule as rule_of
from tieless.slopes import Codes, Window

__all__ = ["Joined", "Part", "Plan", "join", "untie", "untie_joined"]


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
    """One rule of a chain: which packed tensor is its own, whether it needs ``z`` or ``y``, whether it draws numbers."""

    rule: Rule
    packed: int | None
    input: bool
    output: bool
    draws: bool


class Plan(NamedTuple):
    """How a forward runs in one dtype: what kernels call it, with the first window if they pack it in the same pass."""

    body: tuple[str, tuple[float, ...]] | None
    window: tuple[float, float, bool, bool] | None


class Joined:
    """A forward and a rule that go together, with what follows from the two worked out once.

    Attributes:
        forward, rule: The halves.
        parts: The rules of the chain, each with where it finds what it needs.
        packed: The windows and codes whose bits are kept, each once.
        keeps_input, keeps_output, draws: Whether ``z`` or ``y`` is kept, and whether a key is drawn.
        opaque, native: Whether the forward is a callable, and whether PyTorch's own derivative is all it needs.
    """

    def __init__(self, forward: Forward, rule: Rule) -> None:
        rules = rule.parts()
        needs = tuple(part.needs(forward) for part in rules)
        self.forward = forward
        self.rule = rule
        self.packed = tuple(dict.fromkeys(need for need in needs if isinstance(need, (Window, Codes))))
        self.keeps_input = "input" in needs
        self.keeps_output = "output" in needs
        self.draws = any(part.draws for part in rules)
        self.parts = tuple(
            Part(
                rule=part,
                packed=self.packed.index(need) if isinstance(need, (Window, Codes)) else None,
                input=need == "input",
                output=need == "output",
                draws=part.draws,
            )
            for part, need in zip(rules, needs, strict=True)
        )
        self.native = isinstance(forward, Elementwise) and isinstance(rule, Tied)
        self.opaque = isinstance(forward, Elementwise)
        self._plans: dict[torch.dtype, Plan] = {}

    def plan(self, dtype: torch.dtype) -> Plan:
        """How the forward runs in ``dtype`` where kernels are called directly."""
        plan = self._plans.get(dtype)
        if plan is None:
            first = self.packed[0] if self.packed else None
            body = self.forward.body(dtype) if isinstance(first, Window) else None
            window = first.edges(dtype) if body is not None and isinstance(first, Window) else None
            plan = self._plans[dtype] = Plan(body, window)
        return plan


@known_when_traced
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
    return _join(forward, backward)


@lru_cache(maxsize=1024)
def _join(forward: ForwardLike, backward: RuleLike) -> Joined:
    return Joined(forward_of(forward), rule_of(backward))


def untie_joined(z: Tensor, joined: Joined, *, generator: torch.Generator | None = None) -> Tensor:
    """``untie`` for halves that ``join`` has checked: what modules call, so that a spec is read once."""
    if not z.is_floating_point():
        raise RuleTypeError(f"untie needs a floating z, got {z.dtype}. Convert it first.")
    if joined.opaque:
        if joined.native:
            return _checked(joined.forward.value(z), z, joined.forward)
        _refuse_learnable(joined.forward, z)
    key = _key(z, generator) if joined.draws else None
    function = _DirectUntie if ops.direct(z) else _TracedUntie
    return cast("tuple[Tensor, ...]", function.apply(z, key, joined))[0]


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


# An untied activation has outputs beside ``y``: an empty anchor, and what is packed where a transform must see it. The
# anchor belongs to z's graph and to nothing else. It costs no memory, and through it a second derivative meets
# ``_RefuseSecond`` even where the feedback itself does not depend on z: without it the missing term would be silently 0.


class _DirectUntie(torch.autograd.Function):
    """Where nothing but autograd looks on: kernels are called directly, forward value and bits in one pass.

    PyTorch runs a function of this older form in half the time of one with ``setup_context``, which ``torch.func``
    needs (1.04 against 1.76 of a native relu at 2^14 elements, doing nothing in the backward pass).
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, key: Tensor | None, joined: Joined) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        body, window = joined.plan(z.dtype)
        if body is None:
            y = _checked(joined.forward.value(z), z, joined.forward)
            packed = [need.pack(z) for need in joined.packed]
        else:
            y, bits = ops.kernels_for(z).activate(z, *body, window)
            packed = [bits, *(need.pack(z) for need in joined.packed[1:])]
        anchor = z.new_empty(0)
        _keep(ctx, z, key, joined, y, anchor, packed)
        return y, anchor

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _feedback(ctx, grad_output), None, None


class _TracedUntie(torch.autograd.Function):
    """Where a compiler traces or a transform of ``torch.func`` wraps: everything is an operator that it can see."""

    @staticmethod
    def forward(z: Tensor, key: Tensor | None, joined: Joined) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        y = _checked(joined.forward.value(z), z, joined.forward)
        if key is not None and torch.compiler.is_compiling():
            # A compiled checkpoint drops a draw that its forward does not use and draws anew in the backward pass,
            # from a later state of the generator. So in a graph y depends on the key, in name only.
            y = torch.where(key == 0, y, y)
        return (y, z.new_empty(0), *[need.pack(z) for need in joined.packed])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        z, key, joined = inputs
        y, anchor, *packed = output
        ctx.mark_non_differentiable(*packed)
        _keep(ctx, z, key, joined, y, anchor, packed)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> None:
        raise TransformError(ops.NO_VMAP)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _feedback(ctx, grad_output), None, None


def _keep(
    ctx: Any, z: Tensor, key: Tensor | None, joined: Joined, y: Tensor, anchor: Tensor, packed: Sequence[Tensor]
) -> None:
    """What the backward pass needs, and no more."""
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(key, anchor, z if joined.keeps_input else None, y if joined.keeps_output else None, *packed)
    ctx.joined = joined
    ctx.order = memory_order(z)


def _feedback(ctx: Any, grad_output: Tensor | None) -> Tensor | None:
    """What is sent on: the feedback, through each rule of the chain in turn."""
    if grad_output is None:
        return None
    key, anchor, z, y, *packed = ctx.saved_tensors
    joined: Joined = ctx.joined
    # Bits follow z in memory, so the feedback has to lie as z does before it meets them.
    feedback = same_layout(grad_output, ctx.order)
    for stream, (rule, place, needs_input, needs_output, draws) in enumerate(joined.parts):
        kept = packed[place] if place is not None else z if needs_input else y if needs_output else None
        random = Random(key, stream) if draws else None
        feedback = same_layout(rule.feedback(feedback, kept, random, joined.forward), ctx.order)
    if torch.is_grad_enabled():
        feedback = cast("Tensor", _RefuseSecond.apply(feedback, anchor, grad_output))
    return feedback


class _RefuseSecond(torch.autograd.Function):
    """The identity on a gradient, which refuses to be differentiated."""

    @staticmethod
    def forward(feedback: Tensor, anchor: Tensor, grad_output: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return feedback.view_as(feedback)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise SecondDerivativeError(
            "An untied gradient has no derivative: a backward rule is not the derivative of anything. "
            "Use a native activation where second derivatives are needed."
        )
