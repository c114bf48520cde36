"""Values of names in code, and checks that they are unchanged: a reading of code is valid only as long as they are."""

from __future__ import annotations

from types import FunctionType, ModuleType
from typing import Any, cast

from torch import nn

from tieless.convert.outside import MISSING, activation_of, attribute, foreign, inside, outer_value

Scope = FunctionType | type[nn.Module] | ModuleType
"""Scope of a name: the surroundings of a function, a class, or a Python module."""

Question = tuple[Scope, tuple[str, ...], bool]
"""A scope, a name with the attributes after it, and True if a method of a class is taken as the class stores it."""

Mark = tuple[object, ...]


def look_up(scope: Scope, names: tuple[str, ...], raw: bool) -> Any:
    """Value of a name; ``MISSING`` if it is known only when the code runs."""
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
    """Attribute of a class by its name; ``MISSING`` if it is PyTorch's own."""
    for base in cls.__mro__:
        if name in vars(base):
            return MISSING if base is object or foreign(base.__module__) else vars(base)[name]
    return MISSING


def _of_object(value: Any) -> Any:
    """Value of a class attribute as an object of the class sees it, without running any code.

    Methods are read separately.
    """
    if isinstance(value, (staticmethod, classmethod)):
        return cast("Any", value).__func__
    return MISSING if isinstance(value, (FunctionType, property)) else value


def mark(value: Any) -> Mark:
    """Mark that tells one value from another, as far as reading goes."""
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
    """True if two marks show that nothing has changed."""
    return len(one) == len(other) and all(
        a is b or (isinstance(a, str) and a == b) for a, b in zip(one, other, strict=True)
    )
