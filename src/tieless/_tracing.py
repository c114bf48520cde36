"""Marks and refusals for compilers and profilers: code that they need not trace, or cannot."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures.thread import ThreadPoolExecutor
from functools import wraps
from typing import Any, Generic, NoReturn, ParamSpec, TypeVar

import torch

from tieless.errors import TransformError

P = ParamSpec("P")
R = TypeVar("R")
Value = TypeVar("Value")


def known_when_traced(function: Callable[P, R]) -> Callable[P, R]:
    """Let a compiler call ``function`` and keep its result instead of tracing it: equal arguments give equal values.

    This is ``torch.compiler.assume_constant_result``, which would import the compiler to set the mark, and that takes
    longer than importing torch.
    """
    function._dynamo_marked_constant = True  # noqa: SLF001  # pyright: ignore[reportFunctionMemberAccess]
    return function


class GraphNames(Generic[Value]):
    """Values that no graph can hold, by names that a graph can: compiled code looks up the values of eager code.

    The functions that do so are taken into a graph as they are, for autograd and the transforms of ``torch.func`` to
    trace. If Dynamo looked into them, it would follow hardly any method of a rule, and under a transform it would take
    the forward of an autograd function for all of it (https://github.com/pytorch/pytorch/issues/193279): the rule lost,
    silently.

    Args:
        functions: Functions of a graph that get a name and look it up here.
    """

    def __init__(self, *functions: Callable[..., Any]) -> None:
        self._functions = functions
        self._values: dict[str, Value] = {}

    def name(self, name: str, value: Value) -> str:
        """Keep ``value`` under ``name``, and give the name back: called while a compiler traces."""
        for function in self._functions:
            torch.compiler.allow_in_graph(function)
        self._values[name] = value
        return name

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __len__(self) -> int:
        return len(self._values)


def unprofiled(function: Callable[P, R]) -> Callable[P, R]:
    """Run ``function`` in a thread of its own where a profiler follows this one.

    PyTorch's profiler keeps, with ``with_stack=True``, addresses of the names of all code that runs, and reads them when it
    ends. Of a module that is imported, and of what Numba makes in order to compile, some code is gone by then: the profile
    is lost (``UnicodeDecodeError``), or has names of something else. A thread that begins later is not followed.
    """

    @wraps(function)
    def elsewhere(*args: P.args, **kwargs: P.kwargs) -> R:
        if sys.getprofile() is None:
            return function(*args, **kwargs)
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(function, *args, **kwargs).result()

    return elsewhere


def no_script(*_: object) -> NoReturn:
    """Refusal of ``torch.jit.script``, which asks ``__prepare_scriptable__`` of the object that it is about to compile.

    Without it TorchScript complains of the first line that it cannot read; or it compiles a converted module from the
    source of its class, in which nothing is untied.
    """
    raise TransformError(
        "torch.jit.script cannot compile what tieless has untied: TorchScript has no place for a backward rule. To take the "
        "forward elsewhere, use torch.export.export(model, example) or torch.jit.trace(model, example)."
    )
