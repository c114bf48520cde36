"""Activations inside a model: ours, calls of functions that a conversion has untied, and PyTorch's.

All code that needs to recognise an activation uses this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import cast

from torch import nn

from tieless.nn.activation import Activation
from tieless.nn.learnable import LearnableActivation

UNTIED_CALLS = "_tieless_calls"
"""Attribute that holds the untied calls of a module's own code. Not a child, so no ``state_dict`` has it."""

ACTIVATION_CLASSES: Mapping[type[nn.Module], str] = MappingProxyType(
    {
        nn.CELU: "celu",
        nn.ELU: "elu",
        nn.GELU: "gelu",
        nn.Hardshrink: "hardshrink",
        nn.Hardsigmoid: "hardsigmoid",
        nn.Hardswish: "hardswish",
        nn.Hardtanh: "hardtanh",
        nn.LeakyReLU: "leaky_relu",
        nn.LogSigmoid: "logsigmoid",
        nn.Mish: "mish",
        nn.ReLU: "relu",
        nn.ReLU6: "relu6",
        nn.SELU: "selu",
        nn.Sigmoid: "sigmoid",
        nn.SiLU: "silu",
        nn.Softplus: "softplus",
        nn.Softshrink: "softshrink",
        nn.Softsign: "softsign",
        nn.Tanh: "tanh",
        nn.Tanhshrink: "tanhshrink",
        nn.Threshold: "threshold",
    }
)
"""PyTorch's modules that compute one function of each element, and its name in ``torch.nn.functional``."""


def kind_of_class(cls: type[nn.Module]) -> str | None:
    """Kind of PyTorch activation of a class; ``None`` if the class is none, or a subclass with another ``forward``."""
    bases = (base for base in cls.__mro__ if base in ACTIVATION_CLASSES)
    return next((ACTIVATION_CLASSES[base] for base in bases if cls.forward is base.forward), None)


def calls_of(module: nn.Module) -> Mapping[str, Activation]:
    """Untied calls in a module's own code, by their names there."""
    return cast("Mapping[str, Activation]", vars(module).get(UNTIED_CALLS, {}))


def activations(model: nn.Module) -> dict[str, Activation | LearnableActivation]:
    """All activations that tieless runs in a model, by name, in the model's order.

    Modules have the name that PyTorch gives them; the name of a call that ``convert`` has untied in the code of a
    module begins with that module's name, such as ``"block.relu@1"``.

    Example:
        >>> from tieless.nn import activations
        >>> list(activations(torch.nn.Sequential(torch.nn.Linear(2, 2), Activation("relu", "full_jam"))))
        ['1']
    """
    found: dict[str, Activation | LearnableActivation] = {}
    for name, module in _named_modules(model):
        if isinstance(module, (Activation, LearnableActivation)):
            found[name] = module
        for key, call in calls_of(module).items():
            found[f"{name}.{key}" if name else key] = call
    return found


def native_activations(model: nn.Module) -> dict[str, nn.Module]:
    """Activations of a model whose derivative is PyTorch's own, by name: modules of one function of each element.

    The result has PyTorch's activations, classes derived from them with the same ``forward``, and those of
    transformers. Some modules that PyTorch files under activations are left out: ``Softmax``, ``GLU`` and similar ones
    mix elements, ``PReLU`` learns, ``RReLU`` draws random numbers.

    Example:
        >>> from tieless.nn import native_activations
        >>> list(native_activations(torch.nn.Sequential(torch.nn.Tanh(), torch.nn.PReLU(), Activation("relu", "tied"))))
        ['0']
    """
    return {name: module for name, module in _named_modules(model) if _is_native(module)}


def _is_native(module: nn.Module) -> bool:
    if isinstance(module, (Activation, LearnableActivation)):
        return False
    cls = type(module)
    if cls.__module__ == "transformers.activations":
        own = (*module.parameters(), *module.buffers(), *module.children())
        return cls.__name__ != "LinearActivation" and not own
    return kind_of_class(cls) is not None


def _named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return cast("Iterator[tuple[str, nn.Module]]", model.named_modules())
