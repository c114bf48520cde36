"""Products with the Jacobian of a function whose activations have a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from tieless.compat.freegrad.context import use
from tieless.compat.freegrad.underneath import RuleFunction
from tieless.errors import RuleTypeError
from tieless.rules import Rule

__all__ = ["jvp", "vjp"]

RuleGiven = str | RuleFunction | Rule | None


@torch.no_grad()
def jvp(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    v: Tensor,
    *,
    rule: RuleGiven = None,
    params: Mapping[str, Any] | None = None,
) -> Tensor:
    """Exact product ``J v``, where the activations of ``f`` have the rule in place of their derivative.

    It is the transpose of ``vjp``: ``<u, jvp(f, x, v)> = <vjp(f, x)(u), v>``, for a random rule under one seed.

    Args:
        f: Function to differentiate.
        x, v: Point and direction; ``v`` is broadcast to ``x``.
        rule: Rule as for ``use``; PyTorch's derivative, or the rule of a ``use`` around the call, if there is none. A
            function of your own is taken to be linear in the feedback (the incoming gradient).
        params: Parameters of the rule.
    Raises:
        TransformError: the rule is not linear in the feedback, such as ``noise``, or ``f`` contains ``tl.Activation``.
        UntrainableError: ``f`` has a step function without a rule.
    Source:
        freegrad 1.0, which takes a difference of values, in which no rule takes part.
    Example:
        >>> from tieless.compat.freegrad import Activation
        >>> x, v = torch.tensor([-2.0, 0.3]), torch.tensor([1.0, 5.0])
        >>> jvp(Activation("Heaviside"), x, v, rule="rectangular")
        tensor([0., 5.])
    """
    with _context(rule, params), forward_ad.dual_level():
        y = f(forward_ad.make_dual(x.detach(), v.detach().to(x.dtype).expand_as(x).clone()))
        primal, tangent = cast("tuple[Tensor, Tensor | None]", forward_ad.unpack_dual(y))
        return torch.zeros_like(primal) if tangent is None else tangent


def vjp(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    rule: RuleGiven = None,
    params: Mapping[str, Any] | None = None,
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Value ``y = f(x)``, and the function that sends feedback (an incoming gradient) back through it: ``u -> J^T u``.

    Args:
        f: Function to differentiate.
        x: Point at which to differentiate.
        rule: Rule as for ``use``; PyTorch's derivative, or the rule of a ``use`` around the call, if there is none.
        params: Parameters of the rule.
    Source:
        freegrad 1.0.
    Example:
        >>> from tieless.compat.freegrad import Activation
        >>> y, pull = vjp(Activation("Heaviside"), torch.tensor([-2.0, 0.3]), rule="rectangular")
        >>> pull(torch.tensor([1.0, 5.0]))
        tensor([0., 5.])
    """
    with _context(rule, params):
        x = x.detach().requires_grad_()
        y = f(x)

    def vjp_fn(v: Tensor) -> Tensor:
        return torch.autograd.grad(y, x, v, retain_graph=True)[0]

    return y, vjp_fn


def _context(rule: RuleGiven, params: Mapping[str, Any] | None) -> AbstractContextManager[object]:
    if rule is not None:
        return use(rule, params)
    if params:
        raise RuleTypeError(f"params are for a rule, and none was given: {dict(params)!r}.")
    return nullcontext()
