"""The activations of a model that a check-up looks at: ours, and those modules of PyTorch that are elementwise."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

from torch import nn
from torch.nn.parameter import is_lazy

from tieless.errors import RuleTypeError, RuleValueError
from tieless.forwards import Forward
from tieless.functional import join
from tieless.nn import Activation, activations
from tieless.rules import Rule

__all__ = ["Site", "sites_of"]

_OTHERS = (nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin, nn.GLU, nn.PReLU, nn.RReLU)
"""Modules that PyTorch files under activations, but that mix elements, learn or draw."""


@dataclass(frozen=True, slots=True)
class Site:
    """One activation.

    Args:
        name: In the model.
        module: It.
        forward, rule: Its halves; of a module of PyTorch the module as a callable, and ``tied``.
    """

    name: str
    module: nn.Module
    forward: Forward
    rule: Rule


def sites_of(model: object, asker: str = "checkup") -> list[Site]:
    """All of a model: ours, untied calls of functions among them, then PyTorch's.

    Args:
        model: Any module.
        asker: Who asks, for messages.
    Raises:
        RuleTypeError: it is no module.
        RuleValueError: it has none, or a lazy layer that has not seen any input yet.
    """
    if not isinstance(model, nn.Module):
        raise RuleTypeError(f"{asker} needs a torch.nn.Module, got {model!r}.")
    if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        raise RuleValueError(
            f"{asker} needs the shapes of {type(model).__name__}, which has lazy layers. Call it once with a batch."
        )
    found = [Site(name, act, act.forward_fn, act.rule) for name, act in activations(model).items()]
    modules: dict[str, nn.Module] = dict(model.named_modules())  # pyright: ignore[reportUnknownArgumentType]
    found += [site for name, module in modules.items() if (site := _native(name, module)) is not None]
    if not found:
        raise RuleValueError(
            f"{asker} found no activation in {type(model).__name__}: neither a tieless.Activation nor an activation "
            "module of PyTorch. Calls such as torch.relu(x) are seen where tieless.convert has untied them."
        )
    return found


def _native(name: str, module: nn.Module) -> Site | None:
    # A converted module, which is ours, says that it is from where it was.
    if type(module).__module__ != nn.modules.activation.__name__ or isinstance(module, (*_OTHERS, Activation)):
        return None
    joined = join(_twin(module), "tied")
    return Site(name, module, joined.forward, joined.rule)


def _twin(module: nn.Module) -> nn.Module:
    """The same function, apart from the module, whose forward is about to be watched; it leaves its input as it is."""
    twin = copy(module)
    if hasattr(twin, "inplace"):
        vars(twin)["inplace"] = False
    return twin
