"""Activations of a model that diagnoses examine, ours and PyTorch's, each with its halves."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tieless.errors import RuleTypeError, RuleValueError
from tieless.forwards import Elementwise, Forward
from tieless.functional import Pair
from tieless.nn import Activation, activations, native_activations
from tieless.rules import Rule, Tied


@dataclass(frozen=True, slots=True)
class Place:
    """Place where a forward meets a rule.

    Args:
        name: Name in the model.
        module: Activation, ours or PyTorch's, or the parametrization that quantises a weight.
        pair: Halves; for a PyTorch module, itself as a callable, and ``tied``.
        native: True if it is PyTorch's.
        weight: True if it computes a weight.
    """

    name: str
    module: nn.Module
    pair: Pair
    native: bool = False
    weight: bool = False

    @property
    def forward(self) -> Forward:
        """Forward half."""
        return self.pair.forward

    @property
    def rule(self) -> Rule:
        """Backward half."""
        return self.pair.rule


def inside(model: object, asker: str) -> list[Place]:
    """Activations of a model: ours, untied calls of functions among them, then PyTorch's; empty if it has none.

    Args:
        model: Module to search.
        asker: Name of the caller, for messages.
    Raises:
        RuleTypeError: the model is no module.
        RuleValueError: the model has a lazy layer that has not seen any input yet.
    """
    if not isinstance(model, nn.Module):
        raise RuleTypeError(f"{asker} needs a torch.nn.Module, got {model!r}.")
    if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        raise RuleValueError(
            f"{asker} needs the shapes of {type(model).__name__}, which has lazy layers. Call it once with a batch."
        )
    ours = [
        Place(name, one, one.tieless_pair if isinstance(one, Activation) else Pair(one.forward_fn, one.rule))
        for name, one in activations(model).items()
    ]
    return ours + [
        Place(name, module, Pair(Elementwise(_Native(module)), Tied()), native=True)
        for name, module in native_activations(model).items()
    ]


def sites_of(model: object, asker: str = "checkup") -> list[Place]:
    """Activations as ``inside`` finds them, of a model that must have some.

    Raises:
        RuleTypeError: the model is no module.
        RuleValueError: the model has none, or has a lazy layer.
    """
    found = inside(model, asker)
    if not found:
        raise RuleValueError(
            f"{asker} found no activation in {type(model).__name__}: neither a tieless.Activation nor an activation "
            "module of PyTorch. Calls such as torch.relu(x) are seen where tieless.convert has untied them."
        )
    return found


class _Native:
    """Function of a PyTorch module whose forward is about to be observed, without its hooks.

    The function never works in place.
    """

    def __init__(self, module: nn.Module) -> None:
        self._twin = copy(module)
        if hasattr(module, "inplace"):
            vars(self._twin)["inplace"] = False

    def __call__(self, z: Tensor) -> Tensor:
        return self._twin.forward(z)

    def __repr__(self) -> str:
        return repr(self._twin)
