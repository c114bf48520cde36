"""Calls of activations in the code of a module, and that code with every such call made exchangeable.

We tried three ways to reach a call in a user's ``forward``:

- *FX* records one run of ``forward``. Decisions of Python are fixed in the record: ``self.training`` for a dropout, an
  attribute that training changes, ``if mask is None``. Side effects are lost, and ``**kwargs`` or a branch on a value
  ends the attempt.
- *A mode* (``TorchFunctionMode``) entered around ``forward`` sees all calls. It sees the calls of all children too. It
  costs about as much as an operation, for every operation inside (benchmarks/convert_calls.py); and it has ended when
  ``checkpoint`` computes a part of ``forward`` again, so that the rule is lost silently.
- *The source* is changed at the calls and compiled again. Everything else stays the same, down to the line numbers, so
  branches, flags, keyword arguments, checkpoints, threads and compilers see the same code as before. A text is changed
  only if it can be shown to be the source: compiled unchanged, it must give exactly the bytes that run now.

So the source is changed. Calls in code without a source, such as code typed at a prompt, are reported.
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
from tieless.convert.records import Unreached
from tieless.convert.source import SourceError, build, names_in, tree_of
from tieless.convert.visitor import CALLS_NAME, Visitor


@dataclass(frozen=True, slots=True)
class CallSite:
    """One place in the code of a class where an activation is called.

    Args:
        key: Name of the function and a number, such as ``"relu@1"``.
        function: Function that is called.
        where: File and line.
        why_not: Reason why it cannot be exchanged.
        called: True if the function is called there; otherwise it is passed on, and other code may call it anywhere.
    """

    key: str
    function: Function
    where: str
    why_not: str | None = None
    called: bool = True


@dataclass(frozen=True, eq=False)
class ClassCode:
    """Calls found in the methods of a class that its ``forward``, or the code of another class, leads to.

    Args:
        cls: Class that was read.
        entries: Methods that other classes call.
        sites: Calls that were found.
        methods: Methods that have such calls, with the calls made exchangeable.
        blind: Expressions that were seen and cannot be exchanged, without the name of a module.
        asked: Names of attributes that are read from objects that are not known before the code runs.
        answers: Values that were looked up, for comparison with the values found later.
    """

    cls: type[nn.Module]
    entries: frozenset[str]
    sites: tuple[CallSite, ...]
    methods: Mapping[str, FunctionType | property]
    blind: tuple[Unreached, ...]
    asked: frozenset[str]
    answers: Mapping[Question, Mark]

    @cached_property
    def rewired(self) -> type[nn.Module]:
        """Class that a module gets when calls in its code are converted: it looks like the original class."""
        make = partial(rewired_class, entries=self.entries)
        return derived_class(self.cls, make, content=self.methods)

    def holds(self) -> bool:
        """True if everything that this was made from is unchanged."""
        return all(same_mark(mark(look_up(*question)), before) for question, before in self.answers.items())


class _Read(dict[frozenset[str], ClassCode]):
    """Results of reading a class, by its entries.

    The class holds the results, so that they keep nothing of the class alive. A class that is pickled by value leaves
    them out.
    """

    def __reduce__(self) -> Any:
        return _Read, ()


_READ = "_tieless_read"


def read_class(cls: type[nn.Module], entries: frozenset[str] = frozenset()) -> ClassCode:
    """Read the ``forward`` of a class, and the methods and functions that it leads to, as they are now.

    Args:
        cls: Class to read.
        entries: Methods of the class that other classes call.
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
    """Class that a module gets when calls in its code are converted."""
    return read_class(cls, entries).rewired


def _is_entry(cls: type[nn.Module], name: str) -> bool:
    return name != "forward" and not hasattr(nn.Module, name) and defined(cls, name) is not MISSING


class _Reader:
    def __init__(self, cls: type[nn.Module]) -> None:
        self.cls = cls
        self.queue: list[str] = []
        self.sites: list[CallSite] = []
        self.blind: list[Unreached] = []
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
                self.blind += [Unreached("", what, "it is no plain method", f"in {name}") for what in mentioned]
        return ClassCode(
            self.cls,
            entries,
            tuple(self.sites),
            methods,
            tuple(dict.fromkeys(self.blind)),
            frozenset(self.asked),
            self.answers,
        )

    def look_up(self, scope: Scope, names: tuple[str, ...], *, raw: bool = False) -> Any:
        """Look up the value of a name, and note it so that a change is seen."""
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
        """Note a call and return its key."""
        number = self.counts[function.kind] = self.counts.get(function.kind, 0) + 1
        self.sites.append(CallSite(f"{function.kind}@{number}", function, where, why_not, called))
        return self.sites[-1].key

    def helper(self, function: FunctionType, *, of_class: bool) -> FunctionType | None:
        """Copy of a function that is no method of objects, with exchangeable calls; ``None`` if it has none."""
        if function not in self.helpers:
            self.helpers[function] = None  # a function that calls itself has been seen
            if not foreign(function.__module__):
                self.helpers[function] = self.change(function, function.__name__, of_class=of_class, carries=False)
        return self.helpers[function]

    def change(self, function: FunctionType, name: str, *, of_class: bool, carries: bool) -> FunctionType | None:
        """Copy of a function with its calls of activations made exchangeable; ``None`` if none can be reached.

        Args:
            function: Function to change.
            name: Name of the function, for messages.
            of_class: True if the first argument is the object, or the class, that the function belongs to.
            carries: True if the first argument is an object, which holds the converted calls; otherwise they are one
                more argument.
        """
        inner = getattr(function, "__wrapped__", None)
        if isinstance(inner, FunctionType):
            changed = self.change(inner, name, of_class=of_class, carries=carries)
            self.blind += [Unreached("", what, "it is in a decorator", f"in {name}") for what in mentions(function)]
            return None if changed is None else self._wrap_again(function, inner, changed, name)
        try:
            tree = tree_of(function)
        except SourceError as error:
            self.blind += [Unreached("", what, str(error), f"in {name}") for what in inside(function)]
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
        """Result of a decorator, made again around another function."""
        cells = outer.__closure__ or ()
        if not any(cell.cell_contents is inner for cell in cells):
            why = "it is decorated in a way that cannot be repeated"
            self.blind.append(Unreached("", "calls", why, f"in {name}"))
            return None
        closure = tuple(calls.cell(changed) if cell.cell_contents is inner else cell for cell in cells)
        again = FunctionType(outer.__code__, outer.__globals__, outer.__name__, outer.__defaults__, closure)
        again.__kwdefaults__ = outer.__kwdefaults__
        again.__dict__.update(outer.__dict__, __wrapped__=changed)
        again.__doc__, again.__module__, again.__qualname__ = outer.__doc__, outer.__module__, outer.__qualname__
        return again

    def ask(self, name: str) -> None:
        """Note the name of an attribute that is read from an unknown object."""
        self.asked.add(name)

    def follow_if_method(self, name: str) -> None:
        """Also read a method of the class, if the name is one."""
        if name == "__init__" or name in self.queue:
            return
        if isinstance(self.look_up(self.cls, (name,), raw=True), (FunctionType, property)):
            self.queue.append(name)


def _first_argument(function: FunctionType) -> str | None:
    return function.__code__.co_varnames[0] if function.__code__.co_argcount else None
