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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from types import FunctionType
from typing import Any, cast

from torch import nn

from tieless.convert import calls
from tieless.convert.converted import derived_class
from tieless.convert.functions import Function
from tieless.convert.lookup import Mark, Question, Scope, defined, look_up, mark, same_mark
from tieless.convert.outside import MISSING, foreign, inside, mentions
from tieless.convert.source import SourceError, build, names_in, tree_of
from tieless.convert.visitor import CALLS_NAME, Visitor


@dataclass(frozen=True, slots=True)
class CallSite:
    """One place in the code of a class where an activation is called.

    Args:
        key: The function and a number, such as ``"relu@1"``.
        function: What is called.
        where: File and line.
        why_not: Why it cannot be exchanged.
        called: Whether it is called there; else it is given on, and may be called anywhere.
    """

    key: str
    function: Function
    where: str
    why_not: str | None = None
    called: bool = True


@dataclass(frozen=True, eq=False)
class ClassCode:
    """What was found in the methods of a class that its ``forward``, or the code of another class, leads to.

    Args:
        cls: The class.
        entries: The methods that other classes call.
        sites: The calls that were found.
        methods: The methods that have such calls, with them made exchangeable.
        blind: What was seen and cannot be exchanged: what and why.
        unreadable: Why the source could not be used, where it has calls; FX may do.
        asked: Names that are asked for of objects that are not known before the code runs.
        answers: Every value that was looked up, to be compared with what it is later.
    """

    cls: type[nn.Module]
    entries: frozenset[str]
    sites: tuple[CallSite, ...]
    methods: Mapping[str, FunctionType | property]
    blind: tuple[tuple[str, str], ...]
    unreadable: str | None
    asked: frozenset[str]
    answers: Mapping[Question, Mark]

    @cached_property
    def rewired(self) -> type[nn.Module]:
        """The class that a module gets when calls in its code are converted: it looks like its own."""
        make = partial(rewired_class, entries=self.entries)
        return derived_class(self.cls, make, content=self.methods)

    def holds(self) -> bool:
        """Is all that it was made from as it was?"""
        return all(same_mark(mark(look_up(*question)), before) for question, before in self.answers.items())


class _Read(dict[frozenset[str], ClassCode]):
    """What was read of a class, by the entries. The class has it, so that nothing of the class is kept alive by it, and
    where the class is pickled by value it is left out.
    """

    def __reduce__(self) -> Any:
        return _Read, ()


_READ = "_tieless_read"


def read_class(cls: type[nn.Module], entries: frozenset[str] = frozenset()) -> ClassCode:
    """Read the ``forward`` of a class, and the methods and functions that it leads to, as they are now.

    Args:
        cls: The class.
        entries: Its methods that other classes call.
    """
    known = vars(cls).get(_READ)
    code = known.get(entries) if isinstance(known, _Read) else None
    if code is None or not code.holds():
        code = _Reader(cls).read(entries)
        if not foreign(cls.__module__):
            if not isinstance(known, _Read):
                known = _Read()
                type.__setattr__(cls, _READ, known)
            known[entries] = code
    return code


def read_classes(classes: Iterable[type[nn.Module]]) -> dict[type[nn.Module], ClassCode]:
    """Read several classes, whose code may call each other's methods."""
    entries: dict[type[nn.Module], frozenset[str]] = dict.fromkeys(classes, frozenset())
    codes: dict[type[nn.Module], ClassCode] = {}
    while waiting := [cls for cls in entries if cls not in codes or codes[cls].entries != entries[cls]]:
        codes.update((cls, read_class(cls, entries[cls])) for cls in waiting)
        asked = frozenset[str]().union(*(code.asked for code in codes.values()))
        for cls in entries:
            entries[cls] = frozenset(name for name in asked if _is_entry(cls, name))
    return codes


def rewired_class(cls: type[nn.Module], entries: frozenset[str] = frozenset()) -> type[nn.Module]:
    """The class that a module gets when calls in its code are converted."""
    return read_class(cls, entries).rewired


def _is_entry(cls: type[nn.Module], name: str) -> bool:
    return name != "forward" and not hasattr(nn.Module, name) and defined(cls, name) is not MISSING


class _Reader:
    def __init__(self, cls: type[nn.Module]) -> None:
        self.cls = cls
        self.queue: list[str] = []
        self.sites: list[CallSite] = []
        self.blind: list[tuple[str, str]] = []
        self.unreadable: list[str] = []
        self.counts: dict[str, int] = {}
        self.helpers: dict[FunctionType, FunctionType | None] = {}
        self.asked: set[str] = set()
        self.answers: dict[Question, Mark] = {}

    def read(self, entries: frozenset[str]) -> ClassCode:
        """Read everything that ``forward`` and other entries lead to."""
        self.queue = ["forward", *sorted(entries)]
        if self.cls.forward is nn.Module.forward:
            self.follow_all()  # such a class is not called, but its methods are
        methods: dict[str, FunctionType | property] = {}
        for name in self.queue:
            method = self.look_up(self.cls, (name,), raw=True)
            function = cast("Any", method.fget) if isinstance(method, property) else method
            if isinstance(function, FunctionType):
                changed = self.change(function, name, of_class=True, carries=True)
                if changed is not None:
                    methods[name] = (
                        property(changed, method.fset, method.fdel) if isinstance(method, property) else changed
                    )
            elif method is not MISSING:
                behind = () if isinstance(method, type) else getattr(method, "__dict__", {}).values()
                mentioned = inside([method, *behind]) or (("calls",) if name == "forward" else ())
                self.blind += [(f"{what}, in {name}", "it is no plain method") for what in mentioned]
        return ClassCode(
            self.cls,
            entries,
            tuple(self.sites),
            methods,
            tuple(dict.fromkeys(self.blind)),
            self.unreadable[0] if self.unreadable else None,
            frozenset(self.asked),
            self.answers,
        )

    def look_up(self, scope: Scope, names: tuple[str, ...], *, raw: bool = False) -> Any:
        """What a name stands for; it is noted, so that a change is seen."""
        question = (scope, names, raw)
        value = look_up(*question)
        self.answers[question] = mark(value)
        return value

    def follow_all(self) -> None:
        """Read all methods of the class."""
        for base in self.cls.__mro__:
            for name in vars(base):
                if not name.startswith("__") and not hasattr(nn.Module, name):
                    self.follow_if_method(name)

    def site(self, function: Function, where: str, why_not: str | None = None, *, called: bool = True) -> str:
        """Note a call; its key."""
        number = self.counts[function.kind] = self.counts.get(function.kind, 0) + 1
        self.sites.append(CallSite(f"{function.kind}@{number}", function, where, why_not, called))
        return self.sites[-1].key

    def helper(self, function: FunctionType, *, of_class: bool) -> FunctionType | None:
        """A function that is no method of objects, with its calls made exchangeable; ``None`` if it has none."""
        if function not in self.helpers:
            self.helpers[function] = None  # a function that calls itself has been seen
            if not foreign(function.__module__):
                self.helpers[function] = self.change(function, function.__name__, of_class=of_class, carries=False)
        return self.helpers[function]

    def change(self, function: FunctionType, name: str, *, of_class: bool, carries: bool) -> FunctionType | None:
        """A function with its calls of activations made exchangeable, or ``None`` if there are none to be reached.

        Args:
            function: The function.
            name: What it is called, for messages.
            of_class: Whether its first argument is the object, or the class, that it belongs to.
            carries: Whether that is an object, which has the converted calls; else they are an argument more.
        """
        inner = getattr(function, "__wrapped__", None)
        if isinstance(inner, FunctionType):
            changed = self.change(inner, name, of_class=of_class, carries=carries)
            self.blind += [(f"{what}, in {name}", "it is in a decorator") for what in mentions(function)]
            return None if changed is None else self._wrap_again(function, inner, changed, name)
        try:
            tree = tree_of(function)
        except SourceError as error:
            if mentioned := inside(function):
                self.unreadable.append(f"{name}: {error}")
                self.blind += [(f"{what}, in {name}", str(error)) for what in mentioned]
            for called in names_in(function.__code__):
                self.ask(called)
                self.follow_if_method(called)
            return None
        this = _first_argument(function) if of_class else None
        visitor = Visitor(self, function, tree, this=this, carries=carries)
        changed = cast("ast.FunctionDef", visitor.generic_visit(tree))
        if not visitor.changed:
            return None
        if not carries:
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

    def ask(self, name: str) -> None:
        """Note a name that is asked for of an object that is not known."""
        self.asked.add(name)

    def follow_if_method(self, name: str) -> None:
        """Read a method of the class too, if the name is one."""
        if name == "__init__" or name in self.queue:
            return
        if isinstance(self.look_up(self.cls, (name,), raw=True), (FunctionType, property)):
            self.queue.append(name)


def _first_argument(function: FunctionType) -> str | None:
    return function.__code__.co_varnames[0] if function.__code__.co_argcount else None
