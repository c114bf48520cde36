"""Selection of layers by name, glob, class or function, for all code that changes layers of a model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar, cast

from torch import nn

from tieless.errors import RuleTypeError, RuleValueError
from tieless.grammar import shown
from tieless.nn.weights import inputs_first_class

Selector = str | type[nn.Module] | Callable[[str, nn.Module], bool]
"""Name or glob such as ``"features.*"``, a class of modules, or a function of each name and module."""

Selectors = Selector | Sequence[Selector]
"""One selector or several, any of which may match."""

T = TypeVar("T")

_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def check_module(model: object, who: str) -> nn.Module:
    """Return ``model``, and refuse anything that is no module."""
    if not isinstance(model, nn.Module):
        raise RuleTypeError(f"{who} needs a torch.nn.Module, got {type(model).__name__}.")
    return model


def selectors(given: object) -> list[Selector]:
    """Selectors as a list, from one or several.

    Raises:
        RuleTypeError: a selector is neither a name, a class of modules nor a function of a name and a module.
    """
    several = list(cast("Sequence[object]", given)) if isinstance(given, (list, tuple)) else [given]
    for one in several:
        known = issubclass(one, nn.Module) if isinstance(one, type) else isinstance(one, str) or callable(one)
        if not known or isinstance(one, nn.Module):
            raise RuleTypeError(f"A layer is selected by its name, a module class or a function, got {shown(one)}.")
        if not isinstance(one, (type, str)):
            _check_takes_two(cast("Callable[..., Any]", one))
    return cast("list[Selector]", several)


def _check_takes_two(function: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # written in C
    try:
        signature.bind("", None)
    except TypeError:
        raise RuleTypeError(
            f"A function that selects layers takes a name and a module, got {shown(function)} which takes {signature}."
        ) from None


def fits(selector: Selector, name: str, module: nn.Module) -> bool:
    """True if a selector matches the module of this name."""
    if isinstance(selector, str):
        return fnmatchcase(name, selector)
    return isinstance(module, selector) if isinstance(selector, type) else bool(selector(name, module))


def between_ends(found: Sequence[T], keep_ends: bool) -> Sequence[T]:
    """Found items, without the first and the last if these are to be kept as they are."""
    return found[1:-1] if keep_ends else found


def linear_layers(model: nn.Module) -> Iterator[tuple[tuple[str, ...], nn.Module]]:
    """Linear layers and convolutions of a model with their names, in the model's order; GPT-2's ``Conv1D`` is one."""
    names: dict[int, list[str]] = {}
    modules: dict[int, nn.Module] = {}
    for name, module in cast("Iterator[tuple[str, nn.Module]]", model.named_modules(remove_duplicate=False)):
        if isinstance(module, _LINEAR) or inputs_first_class(module) is not None:
            names.setdefault(id(module), []).append(name)
            modules[id(module)] = module
    return ((tuple(names[number]), module) for number, module in modules.items())


def select_layers(model: nn.Module, layers: Selectors | None = None, *, keep_ends: bool = True) -> dict[str, nn.Module]:
    """Linear layers and convolutions of a model that are to be quantised, by name; GPT-2's ``Conv1D`` is one.

    Args:
        model: Any module.
        layers: One or several selectors: a name or glob, a class, a function ``(name, module) -> bool``. A layer that
            matches one is taken. ``None`` takes all.
        keep_ends: True to leave out the first and the last of all the model's layers, in the order in which it holds
            them.
    Raises:
        RuleTypeError: a selector is neither a name, a class nor a function.
        RuleValueError: a selector matches nothing, or no layer is left; the message lists the existing layers.
    Example:
        >>> from tieless.models import LeNet5
        >>> from tieless.nn import select_layers
        >>> list(select_layers(LeNet5()))
        ['3', '7', '9']
    """
    found = list(linear_layers(check_module(model, "A selection of layers")))
    wanted = [cast("Selector", "*")] if layers is None else selectors(layers)
    chosen: dict[str, nn.Module] = {}
    idle = dict(enumerate(wanted))
    for names, module in between_ends(found, keep_ends):
        fitting = [i for i, one in enumerate(wanted) if any(fits(one, name, module) for name in names)]
        for i in fitting:
            idle.pop(i, None)
        if fitting:
            chosen[names[0]] = module
    if idle or not chosen:
        there = ", ".join(f"{names[0] or 'the model'} ({type(layer).__name__})" for names, layer in found)
        ends = " Its first and last are kept in float: keep_ends=False takes them too." if keep_ends and found else ""
        asked = "" if layers is None else f" that {next(iter(idle.values()), layers)!r} fits"
        raise RuleValueError(f"No layer to quantise{asked}; the model has: {there or 'none'}.{ends}")
    return chosen
