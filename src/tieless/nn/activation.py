"""Activation with a gradient of your choice, as a module."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from tieless._tracing import no_script
from tieless.forwards import Forward, ForwardLike, forward as forward_of
from tieless.functional import Pair, pair_of, untie_pair
from tieless.rules import Rule, RuleLike, rule as rule_of


class Activation(nn.Module):
    """Activation module with a custom gradient (module form of ``untie``), without parameters: its ``state_dict`` is empty.

    Args:
        forward: Spec, ``Forward`` or any elementwise callable.
        backward: Spec or ``Rule``.
    Shape:
        ``(...) -> (...)``, float16, bfloat16, float32 or float64; layout and dtype are those of the input.
    Raises:
        SpecError, RuleTypeError, RuleValueError: a spec cannot be read, or a parameter is wrong.
        UntrainableError: the rule is ``tied`` and the forward is flat almost everywhere.
    Example:
        >>> Activation("heaviside", "rectangular(-1, 1)")
        Activation(heaviside, rectangular(-1, 1))
        >>> _ = torch.manual_seed(0)
        >>> network = torch.nn.Sequential(
        ...     torch.nn.Linear(4, 8), Activation("heaviside", "rectangular(-0.5, 0.5)"), torch.nn.Linear(8, 2))
        >>> network(torch.rand(3, 4)).sum().backward()
        >>> bool(network[0].weight.grad.any())  # the layer below a step function learns
        True
    """

    def __init__(self, forward: ForwardLike, backward: RuleLike) -> None:
        super().__init__()
        self.tieless_pair = pair_of(forward_of(forward), rule_of(backward))

    __prepare_scriptable__ = no_script

    @property
    def forward_fn(self) -> Forward:
        """Forward half of the activation; to change a half, make another ``Activation``."""
        return self.tieless_pair.forward

    @property
    def rule(self) -> Rule:
        """Backward rule of the activation."""
        return self.tieless_pair.rule

    def with_parameters(self, parameters: tuple[tuple[str, Any], ...]) -> Pair:
        """Pair of forward and rule for a call that gives its function parameters; this module takes none."""
        return self.tieless_pair

    def forward(self, z: Tensor) -> Tensor:
        return untie_pair(z, self.tieless_pair)

    def extra_repr(self) -> str:
        return f"{self.forward_fn}, {self.rule}"
