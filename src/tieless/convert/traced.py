"""Calls in code without a source, such as a class typed at a prompt: FX reaches them where it is exact.

FX records one run. Values that the record would fix are guarded: there is one record for training mode and one for
evaluation; attributes that are numbers or words are compared at each call; arguments with defaults, attributes that
``forward`` sets, and branches on values are refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from dis import get_instructions
from functools import wraps
from types import FunctionType
from typing import Any

from torch import fx, nn

from tieless.convert import calls
from tieless.convert.code import CallSite
from tieless.convert.converted import derived_class, original_class
from tieless.convert.functions import METHODS, Function, function_of, name_of, operator_name
from tieless.convert.lookup import Mark, mark, same_mark
from tieless.convert.outside import inside, outer_values, reason
from tieless.convert.source import names_in
from tieless.errors import ConversionError
from tieless.nn import UNTIED_CALLS

_TRACED = "_tieless_traced"
"""Attribute in which a traced class has the recipe for making it again."""

_FIXED = (bool, int, float, str, type(None))


@dataclass(frozen=True, slots=True)
class Traced:
    """Record of a ``forward`` that FX has made.

    Args:
        cls: Class that the module gets when calls in it are converted.
        sites: Calls that can be exchanged.
        made_from: Methods, and the values around them, at the time of the record.
        blind: Expressions that were recorded and cannot be exchanged, each with the reason.
    """

    cls: type[nn.Module]
    sites: tuple[CallSite, ...]
    made_from: tuple[Mark, ...]
    blind: tuple[tuple[str, str], ...] = ()


class _UntraceableError(Exception):
    """Error with the reason why FX cannot record a module."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def trace(module: nn.Module) -> Traced | str:
    """Record of the ``forward`` of one module, whose children stay calls; or the reason why there can be none."""
    cls, done = original_class(module), vars(type(module)).get(_TRACED)
    if isinstance(done, Traced) and _same(done.made_from, _made_from(cls)):
        return done
    now = type(module)
    try:
        module.__class__ = cls
        return _trace(module)
    except _UntraceableError as refusal:
        return str(refusal)
    except Exception as error:  # noqa: BLE001  FX fails in as many ways as code can be written
        return f"FX cannot trace it: {' '.join(str(error).split())[:120]}"
    finally:
        module.__class__ = now


def _made_from(cls: type[nn.Module]) -> tuple[Mark, ...]:
    methods = _methods(cls, cls.forward) if isinstance(cls.forward, FunctionType) else []
    return tuple(mark(value) for method in methods for value in (method, *outer_values(method).values()))


def _same(one: tuple[Mark, ...], other: tuple[Mark, ...]) -> bool:
    return len(one) == len(other) and all(same_mark(a, b) for a, b in zip(one, other, strict=True))


def _trace(module: nn.Module) -> Traced:
    cls = type(module)
    guards = _guards(module)
    training = module.training
    runs: dict[bool, tuple[list[CallSite], list[tuple[str, str]], Callable[..., Any]]] = {}
    try:
        for mode in (True, False):
            vars(module)["training"] = mode  # of this module alone: children are not looked into
            runs[mode] = _record(module)
    finally:
        vars(module)["training"] = training
    (sites, blind, train), (others, blind_too, evaluate) = runs[True], runs[False]
    if sites != others:
        raise _UntraceableError("it calls other activations in evaluation than in training")

    @wraps(cls.forward)
    def forward(self: nn.Module, *given: Any) -> Any:
        for name, value in guards:
            if getattr(self, name) != value:
                raise ConversionError(
                    f"{cls.__name__}.{name} was {value!r} when its forward was traced, and now is "
                    f"{getattr(self, name)!r}. Convert the model again."
                )
        return (train if self.training else evaluate)(self, *given)

    made = derived_class(cls, _untraced_class, content={"forward": forward})
    traced = Traced(made, tuple(sites), _made_from(cls), tuple(dict.fromkeys([*blind, *blind_too])))
    setattr(made, _TRACED, traced)
    return traced


def _guards(module: nn.Module) -> tuple[tuple[str, Any], ...]:
    """Attributes that a record fixes, with their values."""
    forward = type(module).forward
    if not isinstance(forward, FunctionType):
        raise _UntraceableError("its forward is no plain function")
    parameters = list(inspect.signature(forward).parameters.values())
    if any(p.kind is not p.POSITIONAL_OR_KEYWORD or p.default is not p.empty for p in parameters):
        raise _UntraceableError("FX would fix the arguments of its forward that need not be given")
    read: set[str] = set()
    for code in [method.__code__ for method in _methods(type(module), forward)]:
        read |= names_in(code)
        if any(i.opname in {"STORE_ATTR", "STORE_GLOBAL", "STORE_SUBSCR"} for i in get_instructions(code)):
            raise _UntraceableError("it changes something when it runs, which FX would leave out")
    # Attributes of every module, such as `training`, are handled above or are none of the code's business.
    own = [name for name in vars(module) if name in read and name not in vars(nn.Module())]
    for name in own:
        if not isinstance(vars(module)[name], _FIXED):
            raise _UntraceableError(f"FX would fix its attribute {name}")
    return tuple((name, vars(module)[name]) for name in own)


def _methods(cls: type[nn.Module], function: FunctionType) -> list[FunctionType]:
    """Method, and all methods of the class that it leads to."""
    methods, waiting = [function], [function]
    while waiting:
        for name in names_in(waiting.pop().__code__):
            method = getattr(cls, name, None)
            if isinstance(method, FunctionType) and not hasattr(nn.Module, name) and method not in methods:
                methods.append(method)
                waiting.append(method)
    return methods


def _record(module: nn.Module) -> tuple[list[CallSite], list[tuple[str, str]], Callable[..., Any]]:
    graph = _Tracer().trace(module)
    sites: list[CallSite] = []
    blind: list[tuple[str, str]] = []
    for node in list(graph.nodes):
        function, method = function_of(node.target), None
        if node.op == "call_method" and node.target in METHODS:
            method = str(node.target)
            function = Function(method.removesuffix("_"), method.endswith("_"))
        if node.op == "call_function" and (function is None or operator_name(node.target)):
            blind += [(what, reason(node.target)) for what in inside(node.target)]
            continue
        if function is None or node.op not in {"call_function", "call_method"}:
            continue
        number = 1 + sum(site.function.kind == function.kind for site in sites)
        key = f"{function.kind}@{number}"
        sites.append(CallSite(key, function, f"traced forward of {type(module).__name__}", called=False))
        with graph.inserting_before(node):
            start: tuple[Any, ...] = (graph.create_node("get_attr", UNTIED_CALLS), key)
            if method is None:
                target, start, given = calls.named, (*start, name_of(node.target)), node.args
            else:
                target, start, given = calls.method, (*start, node.args[0], method), node.args[1:]
            made = graph.call_function(target, (*start, *given), node.kwargs)
        node.replace_all_uses_with(made)
        graph.erase_node(node)
    code = graph.python_code("self")
    names = dict(code.globals)
    # The text is FX's own, of the graph above.
    exec(compile(code.src, f"<traced forward of {type(module).__name__}>", "exec"), names)  # noqa: S102
    return sites, blind, names["forward"]


def _untraced_class(cls: type[nn.Module]) -> type[nn.Module]:
    """Class that a pickle makes first: it is traced again as soon as it has its attributes."""

    def set_state(self: nn.Module, state: dict[str, Any]) -> None:
        cls.__setstate__(self, state)
        self.__class__ = cls
        again = trace(self)
        if isinstance(again, str):
            raise ConversionError(f"The converted {cls.__name__} cannot be traced again: {again}.")
        self.__class__ = again.cls

    return derived_class(cls, _untraced_class, content={"__setstate__": set_state})
