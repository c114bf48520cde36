"""Calls in code whose source is not there, such as a class typed at a prompt: reached through FX where that is exact.

FX records one run. What the record would fix is made sure of: there is one for training mode and one for evaluation;
attributes that are numbers or words are compared at each call; arguments with defaults, attributes that ``forward``
sets, and branches on values are refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from dis import get_instructions
from functools import cache, wraps
from types import CodeType, FunctionType
from typing import Any, cast

from torch import fx, nn

from tieless.convert import calls
from tieless.convert.code import CallSite
from tieless.convert.converted import Changed
from tieless.convert.functions import METHODS, Function, function_of, name_of
from tieless.convert.source import names_in
from tieless.errors import ConversionError
from tieless.nn import CALLS

__all__ = ["Traced", "trace"]

_TRACED = "_tieless_traced"
"""The attribute in which a class that was made by tracing has how it was made."""

_FIXED = (bool, int, float, str, type(None))


@dataclass(frozen=True, slots=True)
class Traced:
    """A ``forward`` that FX has recorded.

    Args:
        cls: The class that the module gets when calls in it are converted.
        sites: The calls that can be exchanged.
    """

    cls: type[nn.Module]
    sites: tuple[CallSite, ...]


class _UntraceableError(Exception):
    """Why FX cannot stand in."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def trace(module: nn.Module) -> Traced | str:
    """Record the ``forward`` of one module; its children stay calls of modules. Else, why that cannot be done."""
    done = vars(type(module)).get(_TRACED)
    if isinstance(done, Traced):
        return done
    try:
        return _trace(module)
    except _UntraceableError as refusal:
        return str(refusal)
    except Exception as error:  # noqa: BLE001  FX fails in as many ways as code can be written
        return f"FX cannot trace it: {' '.join(str(error).split())[:120]}"


def _trace(module: nn.Module) -> Traced:
    cls = type(module)
    guards = _guards(module)
    training = module.training
    runs: dict[bool, tuple[list[CallSite], Callable[..., Any]]] = {}
    try:
        for mode in (True, False):
            vars(module)["training"] = mode  # of this module alone: children are not looked into
            runs[mode] = _record(module)
    finally:
        vars(module)["training"] = training
    (sites, train), (others, evaluate) = runs[True], runs[False]
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

    content = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    made = type(
        cls.__name__,
        (Changed, cls),
        {**content, "original": cls, "make": staticmethod(_untraced_class), "forward": forward},
    )
    traced = Traced(cast("type[nn.Module]", made), tuple(sites))
    setattr(made, _TRACED, traced)
    return traced


def _guards(module: nn.Module) -> tuple[tuple[str, Any], ...]:
    """The attributes that a record fixes, and their values."""
    forward = type(module).forward
    if not isinstance(forward, FunctionType):
        raise _UntraceableError("its forward is no plain function")
    parameters = list(inspect.signature(forward).parameters.values())
    if any(p.kind is not p.POSITIONAL_OR_KEYWORD or p.default is not p.empty for p in parameters):
        raise _UntraceableError("FX would fix the arguments of its forward that need not be given")
    read: set[str] = set()
    for code in _codes(type(module), forward):
        read |= names_in(code)
        if any(i.opname in {"STORE_ATTR", "STORE_GLOBAL", "STORE_SUBSCR"} for i in get_instructions(code)):
            raise _UntraceableError("it changes something when it runs, which FX would leave out")
    # Attributes of every module, such as `training`, are handled above or are none of the code's business.
    own = [name for name in vars(module) if name in read and name not in vars(nn.Module())]
    for name in own:
        if not isinstance(vars(module)[name], _FIXED):
            raise _UntraceableError(f"FX would fix its attribute {name}")
    return tuple((name, vars(module)[name]) for name in own)


def _codes(cls: type[nn.Module], function: FunctionType) -> list[CodeType]:
    """The code of a method, and of all methods of the class that it leads to."""
    codes, waiting = [function.__code__], [function]
    while waiting:
        for name in names_in(waiting.pop().__code__):
            method = getattr(cls, name, None)
            if isinstance(method, FunctionType) and not hasattr(nn.Module, name) and method.__code__ not in codes:
                codes.append(method.__code__)
                waiting.append(method)
    return codes


def _record(module: nn.Module) -> tuple[list[CallSite], Callable[..., Any]]:
    graph = _Tracer().trace(module)
    sites: list[CallSite] = []
    for node in list(graph.nodes):
        function, method = function_of(node.target), None
        if node.op == "call_method" and node.target in METHODS:
            method = str(node.target)
            function = Function(method.removesuffix("_"), method.endswith("_"))
        if function is None or node.op not in {"call_function", "call_method"}:
            continue
        number = 1 + sum(site.function.kind == function.kind for site in sites)
        key = f"{function.kind}@{number}"
        sites.append(CallSite(key, function, f"traced forward of {type(module).__name__}"))
        with graph.inserting_before(node):
            start: tuple[Any, ...] = (graph.create_node("get_attr", CALLS), key)
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
    return sites, names["forward"]


@cache
def _untraced_class(cls: type[nn.Module]) -> type[nn.Module]:
    """What a pickle makes first: traced again as soon as it has its attributes."""

    def set_state(self: nn.Module, state: dict[str, Any]) -> None:
        cls.__setstate__(self, state)
        self.__class__ = cls
        again = trace(self)
        if isinstance(again, str):
            raise ConversionError(f"The converted {cls.__name__} cannot be traced again: {again}.")
        self.__class__ = again.cls

    made = {"original": cls, "make": staticmethod(_untraced_class), "__setstate__": set_state}
    return cast("type[nn.Module]", type(cls.__name__, (Changed, cls), {"__module__": cls.__module__, **made}))
