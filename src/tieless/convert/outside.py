"""Values that code takes from outside, by its names, and the activations that such a value is or contains."""

from __future__ import annotations

import builtins
import dis
import inspect
from collections.abc import Iterable
from functools import partial
from operator import methodcaller
from types import BuiltinMethodType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch._ops import OpOverloadPacket

from tieless.convert.functions import (
    KINDS,
    LEFT,
    NAMES,
    Function,
    function_of,
    kind_of_class,
    left_of,
    operator_name,
)
from tieless.convert.source import names_in
from tieless.nn.inside import ACTIVATION_CLASSES

MISSING: Any = object()
"""Value of a name that is unknown before the code runs."""

AUTOGRAD = "an autograd.Function has a backward pass of its own; select the module that calls it by its class"
"""Reason why the activations in such a function are left."""

_FOREIGN = frozenset({"torch", "numpy", "tieless", "functools", "typing", "math", "einops"})

_MOST = 10_000  # a larger container is data


def foreign(module: str | None) -> bool:
    """True for a library whose functions are not read.

    Code that ``torch.fx`` generates counts as the user's, and so does code without a module.
    """
    name = module or ""
    return name.partition(".")[0] in _FOREIGN and name != fx.GraphModule.__module__


def outer_values(function: FunctionType) -> dict[str, Any]:
    """Values of the names that a function takes from around it: globals that it uses, and its closure."""
    named = {name: function.__globals__[name] for name in names_in(function.__code__) if name in function.__globals__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            named[name] = cell.cell_contents
        except ValueError:  # noqa: PERF203  not filled yet
            continue
    return named


def outer_value(function: FunctionType, name: str) -> Any:
    """Value of one such name, or of a built-in one; ``MISSING`` if there is none."""
    if name in function.__code__.co_freevars:
        return outer_values(function).get(name, MISSING)
    return function.__globals__.get(name, getattr(builtins, name, MISSING))


def attribute(value: Any, name: str) -> Any:
    """Attribute of a value from outside, without running any of the value's code.

    It is ``MISSING`` if it cannot be known.
    """
    if isinstance(value, (ModuleType, type, OpOverloadPacket)):
        return getattr(cast("Any", value), name, MISSING)
    if isinstance(value, nn.Module) and name in vars(value)["_modules"]:
        return vars(value)["_modules"][name]
    room = cast("type[Any]", type(value)).__module__
    if value is MISSING or isinstance(value, Tensor) or room == "builtins" or foreign(room):
        return MISSING
    found = inspect.getattr_static(value, name, MISSING)
    if isinstance(found, FunctionType) and name not in getattr(value, "__dict__", ()):
        return MethodType(found, value)
    return cast("Any", found).__func__ if isinstance(found, staticmethod) else _plain(found)


def _plain(found: object) -> Any:
    return MISSING if isinstance(found, (property, classmethod)) else found


def activation_of(value: object) -> Function | None:
    """Activation that a value is by itself: a function, or a PyTorch module without hooks."""
    if not isinstance(value, nn.Module):
        return function_of(value)
    kind = kind_of_class(type(value))
    if kind is None or "forward" in vars(value) or value._forward_hooks or value._forward_pre_hooks:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return None
    parameters = tuple((name, getattr(value, name)) for name in KINDS[kind])
    return Function(kind, bool(getattr(value, "inplace", False)), parameters)


def inside(value: object, seen: set[int] | None = None) -> tuple[str, ...]:
    """Names of the activations that a value computes when it, or a part of it, is called.

    Args:
        value: Function, module, container or anything else.
        seen: Ids of objects that are not read again.
    """
    return tuple(dict.fromkeys(_inside(value, set() if seen is None else set(seen))))


def _inside(value: Any, seen: set[int]) -> Iterable[str]:
    if id(value) in seen:
        return ()
    seen.add(id(value))
    if isinstance(value, nn.Module):
        several = [module for module in value.modules() if module is value or id(module) not in seen]
        return [name for module in several for name in _of(module, seen)]
    known = activation_of(value)
    name = known.kind if known else left_of(value) or _operator(value) or _method(value) or _forward_of(value)
    if name is not None:
        return (name,)
    if isinstance(value, torch.jit.ScriptFunction):
        return _scripted(value)
    if isinstance(value, type):
        return _of_class(value, seen)
    parts = _parts(value)
    return (*(_named(value.__code__) if _own(value) else ()), *(n for v in parts for n in _inside(v, seen)))


def mentions(function: FunctionType) -> tuple[str, ...]:
    """Names of the activations that a function's own code uses, without those in the functions that it calls."""
    if not _own(function):
        return ()
    called = (activation_of(value) for value in outer_values(function).values())
    return tuple(dict.fromkeys([*_named(function.__code__), *(known.kind for known in called if known)]))


def _own(value: object) -> bool:
    return isinstance(value, FunctionType) and not foreign(value.__globals__.get("__name__"))


def _parts(value: Any) -> Iterable[Any]:
    """Values that a value leads to."""
    if isinstance(value, (partial, dict, list, tuple, set, frozenset)):
        return _members(value)
    if isinstance(value, ModuleType):
        return ()
    if function := _applied(value):
        return (function,)
    if isinstance(value, MethodType):
        return (value.__func__,)
    own = getattr(value, "__dict__", {})
    wrapped = [own[name] for name in ("_torchdynamo_orig_callable", "__wrapped__", "func") if name in own]
    if _own(value):
        names, around = names_in(value.__code__), outer_values(cast("FunctionType", value)).values()
        rooms = [vars(one) for one in around if isinstance(one, ModuleType) and not foreign(one.__name__)]
        around = [*around, *(room[name] for room in rooms for name in names & room.keys())]
        # A class is mentioned for many reasons; its behaviour is read from an instance, if there is one.
        return [*wrapped, *(v for v in around if not isinstance(v, type) or issubclass(v, torch.autograd.Function))]
    called = inspect.getattr_static(cast("Any", type(value)), "__call__", None)
    return [*wrapped, called] if _own(called) else wrapped


def _applied(value: object) -> type[torch.autograd.Function] | None:
    """Class whose ``apply`` a value is: a method, and from PyTorch 2.15 on a built-in one."""
    owner = value.__self__ if isinstance(value, (MethodType, BuiltinMethodType)) else None
    return owner if isinstance(owner, type) and issubclass(owner, torch.autograd.Function) else None


def _members(value: Any) -> Iterable[Any]:
    """Members of a container, or of a partial call."""
    if isinstance(value, partial):
        return [cast("Any", value).func, *cast("Any", value).args]
    # Mappings that load their values on access, as those of transformers do, are not accessed.
    several: list[Any] = [*(dict.values(cast("dict[Any, Any]", value)) if isinstance(value, dict) else value)]
    return [one for one in several if not _takes_several(one)] if len(several) <= _MOST else ()


def _takes_several(value: object) -> bool:
    """True if a function needs more than one argument, as losses do and no activation does."""
    if not isinstance(value, FunctionType) or function_of(value):
        return False
    return value.__code__.co_argcount - len(value.__defaults__ or ()) > 1


def _of(module: nn.Module, seen: set[int]) -> Iterable[str]:
    kind = kind_of_class(type(module))
    if kind is not None or type(module).__name__.lower() in LEFT:
        return (kind or type(module).__name__,)
    return _inside(type(module).forward, seen)


def _of_class(cls: type, seen: set[int]) -> Iterable[str]:
    if issubclass(cls, torch.autograd.Function):
        return () if foreign(cls.__module__) else (f"{cls.__name__}.apply",)
    if issubclass(cls, nn.Module) and cls is not nn.Module:
        kind = kind_of_class(cls)
        return (kind,) if kind else _inside(cls.forward, seen)
    return ()


_FORWARDS: dict[object, str] = {
    cls.forward: kind for cls, kind in {nn.PReLU: "prelu", nn.RReLU: "rrelu", **ACTIVATION_CLASSES}.items()
}


def _forward_of(value: object) -> str | None:
    """Activation whose PyTorch module has this function as its ``forward``."""
    return _FORWARDS.get(value) if isinstance(value, FunctionType) else None


def _operator(value: object) -> str | None:
    name = operator_name(value)
    return name if name is not None and name.removesuffix("_") in {*KINDS, "erf"} else None


def _method(value: object) -> str | None:
    """Activation that ``operator.methodcaller`` calls on a tensor."""
    if not isinstance(value, methodcaller):
        return None
    make, given = cast("tuple[Any, tuple[Any, ...]]", value.__reduce__())
    name = make.args[0] if isinstance(make, partial) else given[0]
    return name if name in NAMES or name in _BY_CODE else None


def _scripted(value: Any) -> list[str]:
    kinds = [str(node.kind()).removeprefix("aten::") for node in _nodes(value.inlined_graph)]
    return [kind for kind in kinds if kind in NAMES or kind in _BY_CODE]


def _nodes(block: Any) -> Iterable[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


_BY_CODE = frozenset({*LEFT, "erf"})


def _named(code: CodeType) -> list[str]:
    """Names of activations that compiled code uses, except those that it takes from ``self``."""
    found: list[str] = []
    this = code.co_varnames[:1]
    before: Any = None
    for instruction in dis.get_instructions(code):
        name = instruction.argval
        if (
            isinstance(name, str)
            and (name in NAMES or name in _BY_CODE)
            and instruction.opname.startswith(("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"))
        ):
            loaded = before.argval if before is not None and before.opname.startswith("LOAD_FAST") else None
            if (loaded[-1:] if isinstance(loaded, tuple) else (loaded,)) != this:
                found.append(name)
        before = instruction
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    return found + [name for c in inner for name in _named(c)]


def reason(value: object) -> str:
    """Reason why the activations inside a value cannot be exchanged."""
    if isinstance(value, torch.jit.ScriptFunction):
        return "TorchScript has compiled its code"
    if _applied(value):
        return AUTOGRAD
    if hasattr(value, "_torchdynamo_orig_callable"):
        return "torch.compile has compiled it"
    if left := left_of(value):
        return LEFT[left]
    if _forward_of(value.__func__ if isinstance(value, MethodType) else value):
        return "it is the forward of a module, taken from its class; call the module itself"
    several = isinstance(value, (dict, list, tuple, set, frozenset))
    return "which function it is, is decided when it runs" if several else "only a function by itself can be exchanged"
