"""``Activation``: a forward by freegrad's name, with the rule under which it is called, or one of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from tieless import ops
from tieless.compat.freegrad.context import Chosen
from tieless.compat.freegrad.pushed import pushed
from tieless.compat.freegrad.recall import Recall
from tieless.compat.freegrad.registry import get
from tieless.compat.freegrad.underneath import RuleFunction, Written, bind
from tieless.errors import RuleTypeError, SpecError, UntrainableError
from tieless.forwards import forward as forward_of
from tieless.functional import Pair, untie_pair
from tieless.registry import unknown
from tieless.rules import Random, Rule
from tieless.rules.base import Family

__all__ = ["Activation"]


@dataclass(frozen=True, slots=True)
class _NoRule(Rule):
    """Placeholder for a rule that a step function needs and was not given: the forward pass is allowed."""

    name: ClassVar[str] = "none"
    family: ClassVar[Family] = "transform"

    def feedback(self, grad_output: Tensor, kept: Tensor | None, random: Random | None) -> Tensor:
        raise UntrainableError(
            "Heaviside has no useful derivative, and no rule was in force when it was called. "
            "Call it inside of use('rectangular') or give it a rule of its own: Activation('Heaviside', rule='rectangular')."
        )


_STEP = Pair(forward_of("heaviside"), _NoRule())

_FORWARDS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "ELU": ("elu", F.elu),
    "GELU": ("gelu", F.gelu),
    "Heaviside": ("heaviside", lambda z: untie_pair(z, _STEP)),
    "LeakyReLU": ("leaky_relu", F.leaky_relu),
    "Linear": ("linear", lambda z: z),
    "Logistic": ("logistic", torch.sigmoid),
    "ReLU": ("relu", F.relu),
    "ReLU6": ("relu6", F.relu6),
    "SiLU": ("silu", F.silu),
    "Softplus": ("softplus", F.softplus),
    "Tanh": ("tanh", torch.tanh),
}
"""Our forward and PyTorch's function by freegrad's name; a call without a rule needs only PyTorch's."""


class Activation(nn.Module):
    """Activation whose backward pass is the rule under which it is called; PyTorch's own if there is none.

    Args:
        forward: Name of the forward: ELU, GELU, Heaviside, LeakyReLU, Linear, Logistic, ReLU, ReLU6, SiLU, Softplus or
            Tanh.
        rule: Rule of its own, as for ``use``, which then holds wherever it is called. freegrad has none.
        params: Parameters of its own rule.
    Shape:
        ``(...) -> (...)``, float16, bfloat16, float32 or float64; layout and dtype as they come in.
    Raises:
        SpecError: the forward, the rule or a parameter of it does not exist. A ``ValueError``, as freegrad's is.
        RuleValueError, RuleTypeError: a parameter is of no use to the rule.
    Source:
        freegrad 1.0.
    Example:
        >>> Activation("ReLU", rule="rectangular", params={"a": -1.0, "b": 1.0})
        Activation(ReLU, rule=rectangular(-1.0, 1.0))
        >>> Activation("Tanh")
        Activation(Tanh)
    """

    def __init__(
        self,
        forward: str = "ReLU",
        *,
        rule: str | RuleFunction | Rule | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if forward not in _FORWARDS:
            raise SpecError(
                f"Unsupported forward activation: {forward}. {unknown('activation', str(forward), _FORWARDS)}"
            )
        if rule is None and params:
            raise RuleTypeError(f"params are for a rule, and none was given: {dict(params)!r}.")
        self._name = forward
        self._own = None if rule is None else Chosen(bind(get(rule), params or {}), ("activations",))
        self._recall = Recall()
        self._pair = None if self._own is None else self._own.pair(_FORWARDS[forward][0])
        self._compiles = self._pair is not None and not any(isinstance(part.rule, Written) for part in self._pair.parts)

    def forward(self, x: Tensor) -> Tensor:
        if self._compiles and self._pair is not None:
            return _untie(x, self._pair)
        return self._outside_of_graphs(x)

    # No guard of a compiled graph asks which ``use`` is active, and a user's function is Python that draws at random: a
    # compiler breaks its graph here. The mark is torch.compiler.disable's, which would import the compiler for all.
    def _outside_of_graphs(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            # The compiler tries the functions behind a break one by one, and this one ends here. It must see the very
            # name of `disable`: behind a cast, as of torch 2.13, it looks through it.
            return torch.compiler.disable(self._as_chosen)(x)  # pyright: ignore[reportReturnType, reportUnknownVariableType, reportArgumentType]
        return self._as_chosen(x)

    _outside_of_graphs._torchdynamo_disable = True  # noqa: SLF001  # pyright: ignore[reportFunctionMemberAccess]
    _outside_of_graphs._torchdynamo_disable_msg = (  # noqa: SLF001  # pyright: ignore[reportFunctionMemberAccess]
        "the rule comes from use(...), or is a function of your own; a rule by name, given to the activation, compiles"
    )

    def _as_chosen(self, x: Tensor) -> Tensor:
        spec, native = _FORWARDS[self._name]
        chosen = self._own or self._recall.chosen(training=self.training)
        return native(x) if chosen is None or not chosen.on("activations") else _untie(x, chosen.pair(spec))

    def extra_repr(self) -> str:
        return self._name if self._own is None else f"{self._name}, rule={self._own.bound.rule}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_recall": Recall()}  # a copy has been called under nothing yet


def _untie(x: Tensor, pair: Pair) -> Tensor:
    if not torch.compiler.is_compiling() and ops.forward_mode():
        primal, tangent = cast("tuple[Tensor, Tensor | None]", forward_ad.unpack_dual(x))
        if tangent is not None:
            y = pair.forward.value(primal)
            return forward_ad.make_dual(y, pushed(pair, tangent, primal, y))
    return untie_pair(x, pair)
