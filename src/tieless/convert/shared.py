"""Modules that other code holds too: such an activation is exchanged in this model alone."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from types import FunctionType, ModuleType
from typing import Any, cast

from torch import nn

from tieless.convert.converted import STANDS_FOR


def outside_owners(model: nn.Module, modules: Sequence[nn.Module]) -> dict[int, str]:
    """Outside owners of modules of a model: the ids of modules that they hold, each with the first such owner.

    An owner is another module, a Python module that has it as a global, a class, or a function that has it as a
    default. Lists and dictionaries do not count as owners: they are made for many reasons.

    Args:
        model: Model to examine.
        modules: Modules of the model.
    """
    several = [module for module in modules if module is not model]
    if not several or not (found := _outside(model, several)):
        return {}
    gc.collect()  # models that are gone, but for the collector, own nothing
    return _outside(model, several) if found else {}


def _outside(model: nn.Module, modules: Sequence[nn.Module]) -> dict[int, str]:
    own = {id(part) for module in model.modules() for part in (module, vars(module), vars(module)["_modules"])}
    wanted = {id(module) for module in modules}
    found: dict[int, str] = {}
    # Each step asks the collector once for all: the time of a query grows with the number of objects.
    holders, said = _keepers(modules, own), dict[int, str]()
    keepers = _keepers(holders, own)
    of_modules: list[dict[str, Any]] = [one for one in keepers if isinstance(one, dict) and "_modules" in one]
    children = {id(attributes["_modules"]): attributes for attributes in of_modules}
    for keeper in (*keepers, *_keepers(of_modules, own)):
        said.update(dict.fromkeys(_held(keeper), _name(keeper)))
    said.update((number, said.get(id(attributes), "another module")) for number, attributes in children.items())
    for holder in holders:
        owner = _name(holder) if isinstance(holder, (nn.Module, type)) else said.get(id(holder))
        if owner is not None:
            found.update((id(value), owner) for value in _values(holder) if id(value) in wanted)
    return found


def _keepers(objects: Sequence[object], own: set[int]) -> list[Any]:
    """Objects that refer to the given ones and may be their owners."""
    kinds = (dict, tuple, nn.Module, type, FunctionType, ModuleType)
    return [one for one in gc.get_referrers(*objects) if isinstance(one, kinds) and id(cast("Any", one)) not in own]


def _values(holder: Any) -> list[object]:
    if isinstance(holder, (nn.Module, type)):
        return [*vars(holder).values()]
    return [*(holder.values() if isinstance(holder, dict) else holder)] if isinstance(holder, (dict, tuple)) else []


def _held(keeper: object) -> list[int]:
    """Ids of a module's attributes and children, of globals, of the attributes of a class, or of defaults."""
    if isinstance(keeper, nn.Module):
        return [id(vars(keeper)), id(vars(keeper)["_modules"])]
    if isinstance(keeper, FunctionType):
        return [id(keeper.__defaults__), id(keeper.__kwdefaults__)]
    if isinstance(keeper, ModuleType) and sys.modules.get(keeper.__name__) is keeper:
        return [id(vars(keeper))]
    # There is no other way to get the dictionary behind a class.
    behind = cast("list[object]", gc.get_referents(keeper) if isinstance(keeper, type) else [])
    return [id(cast("object", one)) for one in behind if isinstance(one, dict)]


def _name(owner: object) -> str:
    if isinstance(owner, nn.Module):
        return type(owner).__name__
    if isinstance(owner, FunctionType):
        return f"the defaults of {owner.__qualname__}"
    return f"the {'globals' if isinstance(owner, ModuleType) else 'attributes'} of {getattr(owner, '__name__', owner)}"


def stand_in(model: nn.Module, module: nn.Module) -> nn.Module:
    """Put a copy of a module, with the same class, attributes and hooks, in all its places in a model."""
    other = type(module).__new__(type(module))
    vars(other).update(vars(module))
    vars(other)[STANDS_FOR] = module
    _exchange(model, module, other)
    return other


def give_back(model: nn.Module, module: nn.Module) -> None:
    """Put a module that other code owns too back in the places of its stand-in."""
    if STANDS_FOR in vars(module):
        _exchange(model, module, vars(module)[STANDS_FOR])


def _exchange(model: nn.Module, one: nn.Module, other: nn.Module) -> None:
    for parent in list(model.modules()):
        children = cast("dict[str, nn.Module | None]", vars(parent)["_modules"])
        for name, child in children.items():
            if child is one:
                children[name] = other
