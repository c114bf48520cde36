"""Activation whose slope (multiplier) has a width and a height that learn."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, fx, nn

from tieless import ops
from tieless._kinds import refuse_all_but_arrays, refuse_all_but_tensors
from tieless._tracing import GraphNames, known_when_traced, no_script
from tieless._underivable import NO_FORWARD_MODE, underivable
from tieless.errors import RuleTypeError, RuleValueError, TransformError
from tieless.forwards import Elementwise, Forward, ForwardLike, forward as forward_of
from tieless.functional import pair_of, untie_pair
from tieless.kernels.layout import memory_order, same_layout
from tieless.kernels.reference import SLOPES, arithmetic_dtype
from tieless.nn.activation import Activation
from tieless.nn.objectives import Objective, objective as objective_of
from tieless.rules import Bump, RuleLike, rule as rule_of
from tieless.slopes import NamedSlope, OwnSlope

_NO_SECOND = (
    "The gradient of a LearnableActivation has no derivative: its objective's gradients are made for one backward pass. Where "
    "second derivatives are needed, use settled()."
)


@dataclass(frozen=True, slots=True)
class _Setting:
    """Settings that do not learn."""

    forward: Forward
    rule: Bump
    objective: Objective

    def slope(self, z: Tensor, log_width: Tensor, log_height: Tensor) -> Tensor:
        width, height = log_width.exp(), log_height.exp()
        form = self.rule.slope(self.forward)
        if isinstance(form, NamedSlope):
            return SLOPES[form.function](z, 1 / width, height, *form.parameters[2:])
        unit = cast("OwnSlope", replace(self.rule, width=1, height=1).slope(self.forward))
        return height * unit.owner.slope_at(z / width)


class LearnableActivation(nn.Module):
    """Activation whose slope (multiplier, or surrogate gradient) has a width and a height that learn with the network.

    The forward and the backward pass are those of ``Activation``: ``y = forward(z)``, ``grad_input = grad_output *
    height * shape(z / width)``, with ``width = exp(log_width)`` and ``height = exp(log_height)``, so that an optimiser
    keeps both positive.

    The loss has no gradient for the two parameters: ``y`` does not depend on them. They minimise ``objective``, a
    function of this layer's ``z``, of the incoming gradient and of the slope, whose exact gradient arrives at the two
    parameters in the same backward pass (``Spread`` and ``SmoothedTarget`` state both). The objective is no part of the
    loss, so it is not scaled with it: with a ``GradScaler``, give these parameters an optimiser of their own, which the
    scaler does not step. Weight decay draws width and height to 1. Turn one off by
    ``act.log_height.requires_grad_(False)``.

    The backward pass needs ``z``, which is stored, and a key if the forward draws. Several backward passes add their
    gradients up, as for any parameter.

    Args:
        forward: Spec or ``Forward``.
        backward: Spec or ``Rule`` with a width and a height, symmetric about 0; both parameters start at its values:
            ``atan``, ``circ``, ``erf``, ``fake_numerical_gradient``, ``fast_sigmoid``, ``piecewise_exp``,
            ``q_pseudo_spike``, ``sigmoid``, ``sign_log_abs``, ``swish_sign`` or ``triangular``.
        objective: ``"spread"``, ``"alignment"``, or one of them with its parameter: ``Spread(0.5)``.
    Shape:
        ``(...) -> (...)``, float16, bfloat16, float32 or float64; layout and dtype are those of the input. Each
        parameter is one number, of PyTorch's default dtype.
    Raises:
        SpecError, RuleTypeError, RuleValueError: a spec cannot be read, the rule has no width that could learn, or the
            objective does not know the forward.
        TransformError, SecondDerivativeError: the reasons of ``untie``; ``torch.fx`` cannot write this activation into
            its code.
    Source:
        Ours; for the width, which matters more than the shape: Zenke and Vogels 2021, doi:10.1162/neco_a_01367.
    Example:
        >>> from tieless.nn import LearnableActivation
        >>> act = LearnableActivation("heaviside", "atan(2, 1)")
        >>> optimiser = torch.optim.SGD(act.parameters(), lr=0.1)
        >>> z = torch.linspace(-1, 1, 101)
        >>> for _ in range(100):
        ...     optimiser.zero_grad(); act(z).sum().backward(); optimiser.step()
        >>> round(float(z.square().mean().sqrt()), 2), round(act.rule.width, 2)
        (0.58, 0.58)
    """

    def __init__(
        self,
        forward: ForwardLike = "heaviside",
        backward: RuleLike = "atan",
        objective: Objective | Literal["spread", "alignment"] = "spread",
    ) -> None:
        super().__init__()
        half, rule = forward_of(forward), rule_of(backward)
        if isinstance(half, Elementwise):
            raise RuleTypeError(f"LearnableActivation needs a forward that has a name, got the callable {half}.")
        if not isinstance(rule, Bump):
            raise RuleValueError(f"{rule} has no width and height that could learn. Take atan, erf or their like.")
        self.setting = _Setting(half, rule, objective_of(objective))
        self.setting.objective.check(half)
        self._value = pair_of(half, "frozen")
        self.log_width = nn.Parameter(torch.tensor(math.log(rule.width), dtype=torch.get_default_dtype()))
        self.log_height = nn.Parameter(torch.tensor(math.log(rule.height), dtype=torch.get_default_dtype()))

    __prepare_scriptable__ = no_script

    @property
    def forward_fn(self) -> Forward:
        """Forward half of the activation."""
        return self.setting.forward

    @property
    def width(self) -> Tensor:
        """Current width, 0-dim."""
        return self.log_width.exp()

    @property
    def height(self) -> Tensor:
        """Current height, 0-dim."""
        return self.log_height.exp()

    @property
    def rule(self) -> Bump:
        """Backward rule with the current width and height."""
        if self.log_width.is_meta:
            raise RuleValueError("A slope that learns has no rule on the meta device. Load its width and height first.")
        return replace(self.setting.rule, width=self.width.item(), height=self.height.item())

    def settled(self) -> Activation:
        """Activation with the current rule, which learns no more.

        Example:
            >>> from tieless.nn import LearnableActivation
            >>> settled = LearnableActivation("sign", "erf(2)").settled()
            >>> type(settled).__name__, round(settled.rule.width, 6)
            ('Activation', 2.0)
        """
        return Activation(self.setting.forward, self.rule)

    def forward(self, z: Tensor) -> Tensor:
        if isinstance(z, fx.Proxy):
            raise TransformError("torch.fx cannot write a slope that learns into its code. Take settled() first.")
        refuse_all_but_tensors(z, "LearnableActivation")
        y = untie_pair(z.detach(), self._value)
        if torch.compiler.is_compiling():
            name = _name(self.setting.forward, self.setting.rule, self.setting.objective)
            return _in_graph(y, z, self.log_width, self.log_height, name)
        return _learn(y, z, self.log_width, self.log_height, self.setting)

    def extra_repr(self) -> str:
        return f"{self.setting.forward}, {self.setting.rule} at the start, {self.setting.objective}"


@known_when_traced
def _name(forward: Forward, rule: Bump, objective: Objective) -> str:
    return _MET.name(f"{forward} with {rule} by {objective}", _Setting(forward, rule, objective))


def _in_graph(y: Tensor, z: Tensor, log_width: Tensor, log_height: Tensor, name: str) -> Tensor:
    return _learn(y, z, log_width, log_height, _MET[name])


_MET: GraphNames[_Setting] = GraphNames(_in_graph)
"""Settings that compilers have met, by name."""


def _learn(y: Tensor, z: Tensor, log_width: Tensor, log_height: Tensor, setting: _Setting) -> Tensor:
    if ops.written_down():
        return y
    refuse_all_but_arrays(z, "A slope that learns")
    return cast("tuple[Tensor, Tensor]", _Learn.apply(y, z, log_width, log_height, setting))[0]


class _Learn(torch.autograd.Function):
    """Forward ``y``; backward the slope's product for ``z``, and the objective's gradient for the parameters."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        y: Tensor, z: Tensor, log_width: Tensor, log_height: Tensor, setting: _Setting
    ) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return y.clone(), z.new_empty(
            0
        )  # in place to a view that an autograd function has made, PyTorch lets nobody write

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        _, z, log_width, log_height, setting = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output[1], z, log_width, log_height)
        ctx.setting = setting
        ctx.order = None if z.is_contiguous() else memory_order(z)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if grad_output is None:
            return None, None, None, None, None
        anchor, z, log_width, log_height = ctx.saved_tensors
        setting, dtype = cast("_Setting", ctx.setting), arithmetic_dtype(grad_output.dtype)
        wide, feedback = z.to(dtype), grad_output.to(dtype)
        logs = (log_width.to(dtype), log_height.to(dtype))
        sent = (feedback * setting.slope(wide, *logs)).to(grad_output.dtype)
        grads = setting.objective.gradients(partial(setting.slope, wide), logs, wide, feedback, setting.forward)
        results = (same_layout(sent, ctx.order), *(grad.to(log_width.dtype) for grad in grads))
        if torch.is_grad_enabled() or ops.forward_mode():
            results = tuple(underivable(result, anchor, grad_output, _NO_SECOND) for result in results)
        return None, *results, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> None:
        raise TransformError(NO_FORWARD_MODE)
