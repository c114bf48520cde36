"""Where the code of a module calls activations as functions, and that code with every such call made exchangeable.

How a call in somebody's ``forward`` can be reached was tried in three ways:

- *FX* records what one run of ``forward`` does. What Python decided on the way is fixed in the record: ``self.training``
  for a dropout, an attribute that training changes, ``if mask is None``; what it did beside computing is lost, and
  ``**kwargs`` or a branch on a value ends the attempt.
- *A mode* (``TorchFunctionMode``) entered around ``forward`` sees all calls. It sees those of the children too, whoever
  they belong to; it costs about as much as an operation, for every operation inside (benchmarks/convert_calls.py); and it is
  over when ``checkpoint`` computes a part of ``forward`` again, so that the rule is lost without a word.
- *The source*, changed at the calls and compiled again. All else stays what it was, down to the line numbers, so
  branches, flags, keyword arguments, checkpoints, threads and compilers see what they saw before. Changed is only what
  can be shown to be the source: compiled unchanged it must give the very bytes that run now.

So the source is changed, and where there is none (code typed at a prompt) FX steps in, in ``traced``, under conditions
that exclude the cases above. What neither reaches is named.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import FunctionType, ModuleType
from typing import cast

from torch import nn

from tieless.convert import calls
from tieless.convert.converted import Changed
from tieless.convert.functions import NAMES, Function, function_of
from tieless.convert.outside import foreign, mentions, outer_values
from tieless.convert.source import SourceError, build, names_in, tree_of
from tieless.convert.visitor import CALLS_NAME, Visitor

__all__ = ["CallSite", "ClassCode", "read_class", "rewired_class"]


@dataclass(frozen=True, slots=True)
class CallSite:
    """One place in the code of a class where an activation is called.

    Args:
        key: The function and a number, such as ``"relu@1"``.
        function: What is called.
        where: File and line.
    """

    key: str
    function: Function
    where: str


@dataclass(frozen=True, slots=True)
class ClassCode:
    """What was found in the methods of a class that its ``forward`` leads to.

    Args:
        sites: The calls that can be exchanged.
        methods: The methods that have such calls, with them made exchangeable.
        blind: What was seen and cannot be exchanged: what and why.
        unreadable: Why the source could not be used, where it has calls; FX may do.
    """

    sites: tuple[CallSite, ...]
    methods: Mapping[str, FunctionType]
    blind: tuple[tuple[str, str], ...]
    unreadable: str | None


@cache
def read_class(cls: type[nn.Module]) -> ClassCode:
    """Read the ``forward`` of a class, and the methods and functions that it leads to."""
    reader = _Reader(cls)
    reader.follow("forward")
    methods: dict[str, FunctionType] = {}
    for name in reader.queue:
        function = _defined(cls, name)
        if function is not None and (changed := reader.change(function, name, method=True)):
            methods[name] = changed
    return ClassCode(
        tuple(reader.sites),
        methods,
        tuple(dict.fromkeys(reader.blind)),
        reader.unreadable[0] if reader.unreadable else None,
    )


@cache
def rewired_class(cls: type[nn.Module]) -> type[nn.Module]:
    """The class that a module gets when calls in its code are converted: it looks like its own."""
    content = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    made = {"original": cls, "make": staticmethod(rewired_class)}
    return type(cls.__name__, (Changed, cls), {**content, **made, **read_class(cls).methods})


def _defined(cls: type[nn.Module], name: str) -> FunctionType | None:
    """The function that a class has as a method; ``None`` if it is PyTorch's own, or something else."""
    for base in cls.__mro__:
        if name in vars(base):
            value = vars(base)[name]
            return value if isinstance(value, FunctionType) and not foreign(base.__module__) else None
    return None


class _Reader:
    def __init__(self, cls: type[nn.Module]) -> None:
        self.cls = cls
        self.queue: list[str] = []
        self.sites: list[CallSite] = []
        self.blind: list[tuple[str, str]] = []
        self.unreadable: list[str] = []
        self.counts: dict[str, int] = {}
        self.helpers: dict[FunctionType, FunctionType | None] = {}

    def follow(self, name: str) -> None:
        """Read a method of the class too."""
        if name not in self.queue:
            self.queue.append(name)

    def site(self, function: Function, where: str) -> str:
        """Note a call; its key."""
        number = self.counts[function.kind] = self.counts.get(function.kind, 0) + 1
        self.sites.append(CallSite(f"{function.kind}@{number}", function, where))
        return self.sites[-1].key

    def helper(self, function: FunctionType) -> FunctionType | None:
        """A function that is no method, with its calls made exchangeable; ``None`` if it has none."""
        if function not in self.helpers:
            self.helpers[function] = None  # a function that calls itself has been seen
            if not foreign(function.__module__):
                self.helpers[function] = self.change(function, function.__name__, method=False)
        return self.helpers[function]

    def change(self, function: FunctionType, name: str, *, method: bool) -> FunctionType | None:
        """A function with its calls of activations made exchangeable, or ``None`` if there are none to be reached."""
        inner = getattr(function, "__wrapped__", None)
        if isinstance(inner, FunctionType):
            changed = self.change(inner, name, method=method)
            return None if changed is None else self._wrap_again(function, inner, changed, name)
        if not self._worthwhile(function):
            return None
        try:
            tree = tree_of(function)
        except SourceError as error:
            if mentioned := mentions(function.__code__, function):
                self.unreadable.append(f"{name}: {error}")
                self.blind += [(f"{what}, in {name}", str(error)) for what in mentioned]
            for called in names_in(function.__code__) if method else ():
                self.follow_if_method(called)
            return None
        visitor = Visitor(self, function, tree, method=method)
        changed = cast("ast.FunctionDef", visitor.generic_visit(tree))
        if not visitor.changed:
            return None
        if not method:
            changed.args.posonlyargs.insert(0, ast.arg(CALLS_NAME))
        return build(changed, function, visitor.values)

    def _wrap_again(
        self, outer: FunctionType, inner: FunctionType, changed: FunctionType, name: str
    ) -> FunctionType | None:
        """What a decorator has made, around another function."""
        cells = outer.__closure__ or ()
        if not any(cell.cell_contents is inner for cell in cells):
            self.blind.append((f"calls in {name}", "it is decorated in a way that cannot be repeated"))
            return None
        closure = tuple(calls.cell(changed) if cell.cell_contents is inner else cell for cell in cells)
        again = FunctionType(outer.__code__, outer.__globals__, outer.__name__, outer.__defaults__, closure)
        again.__kwdefaults__ = outer.__kwdefaults__
        again.__dict__.update(outer.__dict__, __wrapped__=changed)
        again.__doc__, again.__module__, again.__qualname__ = outer.__doc__, outer.__module__, outer.__qualname__
        return again

    def _worthwhile(self, function: FunctionType) -> bool:
        """Can there be anything in it? Reading the source takes milliseconds, its names are there."""
        names = names_in(function.__code__)
        return (
            bool(names & (NAMES | {"getattr"}))
            or any(
                _defined(self.cls, name) or isinstance(function.__globals__.get(name), FunctionType) for name in names
            )
            or any(
                isinstance(value, (FunctionType, dict, ModuleType)) or function_of(value)
                for value in outer_values(function).values()
            )
        )

    def follow_if_method(self, name: str) -> bool:
        """Read a method of the class too, if the name is one."""
        if name != "__init__" and _defined(self.cls, name):
            self.follow(name)
            return True
        return False
