"""The activations of a model that diagnoses look at, ours and PyTorch's, each with its halves."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tieless.errors import RuleTypeError, RuleValueError
from tieless.forwards import Elementwise, Forward
from tieless.functional import Joined
from tieless.nn import Activation, activations, native_activations
from tieless.rules import Rule, Tied


@dataclass(frozen=True, slots=True)
class Place:
    """Where a forward meets a rule.

    Args:
        name: In the model.
        module: An activation, ours or PyTorch's, or what quantises a weight.
        joined: Its halves; of a module of PyTorch itself as a callable, and ``tied``.
        native: True if it is PyTorch's.
        weight: True if it makes a weight.
    """

    name: str
    module: nn.Module
    joined: Joined
    native: bool = False
    weight: bool = False

    @property
    def forward(self) -> Forward:
        """The forward half."""
        return self.joined.forward

    @property
    def rule(self) -> Rule:
        """The backward half."""
        return self.joined.rule


def inside(model: object, asker: str) -> list[Place]:
    """All activations of a model: ours, untied calls of functions among them, then PyTorch's; empty if it has none.

    Args:
        model: Any module.
        asker: Who asks, for messages.
    Raises:
        RuleTypeError: it is no module.
        RuleValueError: it has a lazy layer that has not seen any input yet.
    """
    if not isinstance(model, nn.Module):
        raise RuleTypeError(f"{asker} needs a torch.nn.Module, got {model!r}.")
    if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        raise RuleValueError(
            f"{asker} needs the shapes of {type(model).__name__}, which has lazy layers. Call it once with a batch."
        )
    ours = [
        Place(name, one, one.joined if isinstance(one, Activation) else Joined(one.forward_fn, one.rule))
        for name, one in activations(model).items()
    ]
    return ours + [
        Place(name, module, Joined(Elementwise(_Native(module)), Tied()), native=True)
        for name, module in native_activations(model).items()
    ]


def sites_of(model: object, asker: str = "checkup") -> list[Place]:
    """``inside``, of a model that has activations.

    Raises:
        RuleTypeError: it is no module.
        RuleValueError: it has none, or a lazy layer.
    """
    found = inside(model, asker)
    if not found:
        raise RuleValueError(
            f"{asker} found no activation in {type(model).__name__}: neither a tieless.Activation nor an activation "
            "module of PyTorch. Calls such as torch.relu(x) are seen where tieless.convert has untied them."
        )
    return found


class _Native:
    """What a module of PyTorch computes, apart from the module, whose forward is about to be watched: without its hooks, and
    never in place.
    """

    def __init__(self, module: nn.Module) -> None:
        self._twin = copy(module)
        if hasattr(module, "inplace"):
            vars(self._twin)["inplace"] = False

    def __call__(self, z: Tensor) -> Tensor:
        return self._twin.forward(z)

    def __repr__(self) -> str:
        return repr(self._twin)
