"""What stands in changed code in the place of calls: each looks up whether its call is converted in this module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import CellType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tieless.convert.converted import Call, FunctionAttribute
from tieless.convert.functions import BY_NAME, Function, function_of

__all__ = ["ROOMS", "call", "cell", "helper", "method", "named", "reference"]

Calls = Mapping[str, Call]

ROOMS = (F, torch, torch.special, Tensor)
"""Where PyTorch keeps its activations."""


def call(
    calls: Calls, key: str, kind: str, inplace: bool, function: Callable[..., Any], /, *given: Any, **named: Any
) -> Any:
    """``function(*given, **named)``, untied if this call is converted."""
    site = calls.get(key)
    return function(*given, **named) if site is None else site.call(kind, inplace, *given, **named)


def named(calls: Calls, key: str, name: str, /, *given: Any, **keywords: Any) -> Any:
    """The call of a function of PyTorch's that is given by its name, untied if this call is converted."""
    function, known = BY_NAME[name]
    return call(calls, key, known.kind, known.inplace, function, *given, **keywords)


def method(calls: Calls, key: str, receiver: Any, name: str, /, *given: Any, **named: Any) -> Any:
    """``receiver.name(*given, **named)``, untied if this call is converted and the receiver is a tensor, or torch."""
    function = getattr(receiver, name)
    if key not in calls:
        return function(*given, **named)
    if isinstance(receiver, Tensor):
        return calls[key].call(name.removesuffix("_"), name.endswith("_"), receiver, *given, **named)
    known = function_of(function)
    if known is None:
        return function(*given, **named)
    return calls[key].call(known.kind, known.inplace, *given, **named)


def reference(calls: Calls, key: str, kind: str, inplace: bool, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` for somebody else to call, untied if this place is converted."""
    site = calls.get(key)
    return function if site is None else FunctionAttribute(site, Function(kind, inplace))


def helper(function: Callable[..., Any], calls: Calls) -> Callable[..., Any]:
    """A function with changed code for somebody else to call."""
    return partial(function, calls)


def cell(value: object) -> CellType:
    """What a closure is made of."""
    return CellType(value)
