"""What names in code stand for, and whether that is still so: what was read of code is good as long as it is."""

from __future__ import annotations

from types import FunctionType, ModuleType
from typing import Any, cast

from torch import nn

from tieless.convert.outside import MISSING, activation_of, attribute, foreign, inside, outer_value

Scope = FunctionType | type[nn.Module] | ModuleType
"""Where a name is looked up: in what is around a function, in a class, in a module of Python's."""

Question = tuple[Scope, tuple[str, ...], bool]
"""A scope, a name with attributes behind it, and whether a method of a class is meant as the class has it."""

Mark = tuple[object, ...]


def look_up(scope: Scope, names: tuple[str, ...], raw: bool) -> Any:
    """What a name stands for; ``MISSING`` if that is known only when the code runs."""
    if not names:
        return scope
    first, *rest = names
    if isinstance(scope, FunctionType):
        value = outer_value(scope, first)
    elif isinstance(scope, type):
        value = defined(scope, first)
        if not raw:
            value = _of_object(value)
    else:
        value = attribute(scope, first)
    for name in rest:
        value = attribute(value, name)
    return value


def defined(cls: type[nn.Module], name: str) -> Any:
    """What a class has by a name; ``MISSING`` if it is PyTorch's own."""
    for base in cls.__mro__:
        if name in vars(base):
            return MISSING if base is object or foreign(base.__module__) else vars(base)[name]
    return MISSING


def _of_object(value: Any) -> Any:
    """What an attribute of a class is to an object of it, where no code has to run for that; methods are read by
    themselves.
    """
    if isinstance(value, (staticmethod, classmethod)):
        return cast("Any", value).__func__
    return MISSING if isinstance(value, (FunctionType, property)) else value


def mark(value: Any) -> Mark:
    """What tells a value from another, as far as reading goes."""
    kind = cast("type[Any]", type(value))
    if isinstance(value, property):
        return (property, *(part for function in (value.fget, value.fset) for part in mark(function)))
    if isinstance(value, (staticmethod, classmethod)):
        return (kind, *mark(cast("Any", value).__func__))
    if isinstance(value, FunctionType):
        return value, value.__code__, value.__defaults__, value.__kwdefaults__
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        return kind, *inside(cast("object", value))
    if callable(value) or isinstance(value, ModuleType) or value is MISSING:
        return value, repr(activation_of(value))
    return (kind,)


def same_mark(one: Mark, other: Mark) -> bool:
    """Do two marks say that nothing has changed?"""
    return len(one) == len(other) and all(
        a is b or (isinstance(a, str) and a == b) for a, b in zip(one, other, strict=True)
    )
