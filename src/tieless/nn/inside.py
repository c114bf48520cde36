"""Which activations a model has inside: modules, and calls of functions that a conversion has untied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import nn

from tieless.nn.activation import Activation

__all__ = ["CALLS", "activations", "calls_of"]

CALLS = "_tieless_calls"
"""The attribute in which a module has the untied calls of its own code. Not a child, so no ``state_dict`` has it."""


def calls_of(module: nn.Module) -> Mapping[str, Activation]:
    """The untied calls in a module's own code, by what they are called there."""
    return cast("Mapping[str, Activation]", vars(module).get(CALLS, {}))


def activations(model: nn.Module) -> dict[str, Activation]:
    """Every activation that tieless runs in a model, by name, in the model's order.

    Modules have the name that PyTorch gives them; the calls that ``convert`` has untied in the code of a module have
    that module's name before theirs, such as ``"block.relu@1"``.

    Example:
        >>> from tieless.nn import activations
        >>> list(activations(torch.nn.Sequential(torch.nn.Linear(2, 2), Activation("relu", "full_jam"))))
        ['1']
    """
    found: dict[str, Activation] = {}
    modules: dict[str, nn.Module] = dict(model.named_modules())  # pyright: ignore[reportUnknownArgumentType]
    for name, module in modules.items():
        if isinstance(module, Activation):
            found[name] = module
        for key, call in calls_of(module).items():
            found[f"{name}.{key}" if name else key] = call
    return found
