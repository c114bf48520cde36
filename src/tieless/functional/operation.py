"""Operation ``untie``, and its twin for halves that are checked already."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, fx

from tieless._tracing import no_script
from tieless.errors import TransformError
from tieless.forwards import ForwardLike
from tieless.functional.apply import apply
from tieless.functional.compiled import compiled, compiled_pair
from tieless.functional.pair import Pair, pair_of
from tieless.rules import RuleLike


def untie(z: Tensor, forward: ForwardLike, backward: RuleLike, *, generator: torch.Generator | None = None) -> Tensor:
    """Activation with a custom gradient (surrogate gradient): ``y = forward(z)``, ``grad_input = backward(...)``.

    ``Activation`` is the module around it, ``convert`` applies it to the activations of a model. Usual pairs are
    ``"heaviside"`` with ``"rectangular(-0.5, 0.5)"`` or ``"atan(0.318, 1)"``, ``"sign"`` with ``"rectangular(-1, 1)"``, and ``"gelu"``
    with ``"regelu2"``; ``rules()`` has all rules.

    Args:
        z: Pre-activation (input of the activation).
        forward: Spec, ``Forward`` or any elementwise callable.
        backward: Spec or ``Rule``.
        generator: Generator on the CPU from which a random rule or forward draws its key; torch's default generator
            unless given.
    Shape:
        ``z``: ``(...)``, float16, bfloat16, float32 or float64, on any device. Result and gradient: the shape, dtype,
        device and memory layout of ``z``. Nested, sparse and distributed tensors give results of their kind.
    Raises:
        SpecError, RuleTypeError, RuleValueError: a spec cannot be read, or a parameter is wrong; or ``z`` is no tensor,
            not floating, or of a kind that the halves cannot be applied to.
        UntrainableError: the rule is ``tied`` and the forward is flat almost everywhere.
        TransformError: a forward-mode derivative is needed (``torch.func.jvp``, ``forward_ad``), which no rule has; a
            half draws numbers and ``torch.func.vmap`` has no ``randomness=``, or a CUDA graph is captured without
            ``GraphKeys``; or ``torch.fx`` met a callable or a generator, which it cannot write into code.
        SecondDerivativeError: a second backward pass meets a rule that is not linear in ``grad_output``.
    Source:
        Troiano et al. 2025, doi:10.1016/j.neucom.2025.131178.
    Example:
        >>> z = torch.tensor([-0.3, 0.3, 2.0], requires_grad=True)
        >>> y = untie(z, "heaviside", "rectangular(-0.5, 0.5)")
        >>> y
        tensor([0., 1., 1.], grad_fn=<_DirectUntieBackward>)
        >>> y.sum().backward(); z.grad
        tensor([1., 1., 0.])
    """
    if torch.compiler.is_compiling():
        return compiled(z, forward, backward, generator)
    return untie_pair(z, pair_of(forward, backward), generator=generator)


def untie_pair(z: Tensor, pair: Pair, *, generator: torch.Generator | None = None) -> Tensor:
    """Apply ``untie`` to halves that ``pair_of`` has checked; modules call this, so that a spec is read once."""
    if not torch.compiler.is_compiling():
        if isinstance(z, fx.Proxy):
            return _in_code(z, pair, generator)
        return apply(z, pair, generator)
    return compiled_pair(z, pair, generator)


untie.__prepare_scriptable__ = untie_pair.__prepare_scriptable__ = no_script  # pyright: ignore[reportFunctionMemberAccess]


def _in_code(z: fx.Proxy, pair: Pair, generator: torch.Generator | None) -> Tensor:
    """Call as ``torch.fx`` writes it into code."""
    if generator is not None:
        raise TransformError("torch.fx cannot write a generator into its code. Trace the network without one.")
    return cast("Tensor", z.tracer.create_proxy("call_function", untie_pair, (z, pair), {}))
