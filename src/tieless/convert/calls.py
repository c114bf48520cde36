"""Functions that changed code calls in place of activations: each looks up if its call is converted in this module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import CellType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tieless.convert.converted import ConvertedCall, change_class, converted_class
from tieless.convert.functions import function_of
from tieless.convert.outside import activation_of

Calls = Mapping[str, ConvertedCall]

ROOMS = (F, torch, torch.special, Tensor)
"""Modules in which PyTorch keeps its activations."""


def call(
    calls: Calls, key: str, kind: str, inplace: bool, function: Callable[..., Any], /, *given: Any, **named: Any
) -> Any:
    """Result of ``function(*given, **named)``, untied if this call is converted."""
    site = calls.get(key)
    return function(*given, **named) if site is None else site.call(kind, inplace, *given, **named)


def method(calls: Calls, key: str, receiver: Any, name: str, /, *given: Any, **named: Any) -> Any:
    """Result of ``receiver.name(*given, **named)``, untied if converted and the receiver is a tensor or torch."""
    function = getattr(receiver, name)
    if key not in calls:
        return function(*given, **named)
    if isinstance(receiver, Tensor):
        return calls[key].call(name.removesuffix("_"), name.endswith("_"), receiver, *given, **named)
    known = function_of(function)
    if known is None:
        return function(*given, **named)
    return calls[key].call(known.kind, known.inplace, *given, **named)


def reference(
    calls: Calls, key: str, kind: str, inplace: bool, function: Callable[..., Any], found: Callable[..., Any], /
) -> Callable[..., Any]:
    """Return ``found`` as a value that other code calls or stores: untied if this is ``function``, while it is converted."""
    return partial(call, calls, key, kind, inplace, function) if key in calls and found is function else found


def helper(
    calls: Calls, function: Callable[..., Any], changed: Callable[..., Any], found: Callable[..., Any], /
) -> Any:
    """Return ``found``, with changed code if it is ``function`` or a method that has it."""
    if isinstance(found, MethodType):  # first, as to a compiler a class method is its function
        return partial(changed, calls, found.__self__) if found.__func__ is function else found
    return partial(changed, calls) if found is function else found


def made(calls: Calls, key: str, module: nn.Module, /) -> nn.Module:
    """Return a new module, converted if this place is."""
    site, known = calls.get(key), activation_of(module)
    if site is not None and known is not None:
        change_class(module, converted_class(type(module)), tieless_pair=site.with_parameters(known.parameters))
    return module


def cell(value: object) -> CellType:
    """Cell of a closure that holds a value."""
    return CellType(value)
