"""Visitor of the definition of a function that makes its calls of activations exchangeable."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Mapping
from functools import partial
from importlib import import_module
from types import FunctionType, MethodType, ModuleType
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch._ops import OpOverloadPacket

from tieless.convert import calls
from tieless.convert.byhand import written_out
from tieless.convert.flow import Flow
from tieless.convert.functions import (
    KINDS,
    LEFT,
    METHODS,
    NAMES,
    STEP,
    Function,
    function_of,
    kind_of_class,
    left_of,
)
from tieless.convert.lookup import Scope, defined
from tieless.convert.outside import AUTOGRAD, MISSING, activation_of, foreign, inside, outer_value, reason
from tieless.convert.records import Unreached
from tieless.nn import UNTIED_CALLS


class Reader(Protocol):
    """Interface between a visitor and the record of the class that the function belongs to."""

    cls: type[nn.Module]
    blind: list[Unreached]

    def site(self, function: Function, where: str, why_not: str | None = None, *, called: bool = True) -> str:
        """Note a call and return its key."""
        ...

    def helper(self, function: FunctionType, *, of_class: bool) -> FunctionType | None:
        """Copy of a function that is called, with its own calls made exchangeable; ``None`` if it has none."""
        ...

    def look_up(self, scope: Scope, names: tuple[str, ...], *, raw: bool = False) -> Any:
        """Value of a name."""
        ...

    def ask(self, name: str) -> None:
        """Note the name of an attribute that is read from an unknown object."""
        ...

    def follow_if_method(self, name: str) -> None:
        """Also read a method of the class, if the name is one."""
        ...

    def follow_all(self) -> None:
        """Read all methods of the class."""
        ...


CALLS_NAME = "_tieless_calls_"

_NOT_CALLED: Mapping[str, Any] = {}
"""Stand-in for the converted calls of a reverted module, for code of it that somebody has kept."""

_DECIDED_LATER = "which function it is, is decided when it runs"


class Visitor(ast.NodeTransformer):
    """Visitor that makes the calls in one function exchangeable.

    Args:
        reader: Record of the class.
        function: Function whose definition is visited.
        tree: Definition of the function.
        this: Name of the argument that is the object, or the class, that the function belongs to.
        carries: True if that argument is an object, which has the converted calls.
    """

    def __init__(
        self, reader: Reader, function: FunctionType, tree: ast.FunctionDef, *, this: str | None, carries: bool
    ) -> None:
        self.reader, self.function, self.this, self.carries = reader, function, this, carries
        self.local = frozenset(_bound(tree))
        self.imports = _imports(tree, function, self.local)
        self.defaults = _defaults(function)
        self.flow = Flow(function, self._value, self._is_child)
        self.values: dict[str, object] = {}
        self.changed = False

    def visit_Call(self, node: ast.Call) -> ast.AST:
        callee, value = node.func, self._value(node.func)
        function = function_of(value)
        if function is not None and self._is_fixed(callee):
            return self._call_of_function(node, function)
        if (left := left_of(value)) or (left := self._left_method(callee, value)):
            self.reader.site(Function(left), self._where(node), LEFT[left])
            if isinstance(callee, ast.Attribute):
                callee.value = cast("ast.expr", self.visit(callee.value))
            return self._visit_given(node)
        if isinstance(value, type):
            return self._call_of_class(node, value)
        if named := self._named(node, value):
            self._cannot(node, *named)
        if isinstance(callee, ast.Attribute) and callee.attr in NAMES:  # noqa: SIM102  two questions
            if value is MISSING and not self._is_this(callee.value):
                return self._call_of_method(node, callee)
        if value is builtins.getattr and len(node.args) > 1:
            self._getattr(node)
        if value is isinstance or value is issubclass:
            node.args[:1] = [cast("ast.expr", self.visit(argument)) for argument in node.args[:1]]
            return node
        return self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        self.flow.assign(node)
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        for base in map(self._value, node.bases):
            if isinstance(base, type) and issubclass(base, torch.autograd.Function):
                self._cannot(ast.copy_location(ast.Name(node.name, ast.Load()), node), AUTOGRAD)
                return node
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        if written := written_out(node):
            self._cannot(node, f"a rule needs a function, and this is {written}", written)
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "super":
            return self._of_super(node)
        if self._is_this(node.value) or self._is_class(node.value):
            self.reader.follow_if_method(node.attr)
        elif self._value(node) is MISSING:
            self.reader.ask(node.attr)
            if node.attr in METHODS and isinstance(node.ctx, ast.Load) and _root(node) != self.this:
                self._cannot(node, _DECIDED_LATER, node.attr)
        return self._reference(node) or self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self._reference(node) or node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """Keep ``f is F.relu`` as it is: it compares functions, and must give the same answer as before."""
        return (
            node
            if any(function_of(self._value(part)) for part in (node.left, *node.comparators))
            else self.generic_visit(node)
        )

    def _reference(self, node: ast.Attribute | ast.Name) -> ast.AST | None:
        """Change a function or module that is passed on, for example to ``checkpoint``, and not called here by name."""
        if not isinstance(node.ctx, ast.Load):
            return None
        value = self._value(node)
        if function := activation_of(value):
            key = self.reader.site(function, self._where(node), called=False)
            start = [self._calls(), ast.Constant(key), ast.Constant(function.kind), ast.Constant(function.inplace)]
            return self._made("reference", calls.reference, node, [*start, self._bind(value, node), node])
        code = value.__func__ if isinstance(value, MethodType) else value
        if isinstance(code, FunctionType) and not hasattr(code, "_torchdynamo_orig_callable"):
            if helper := self.reader.helper(code, of_class=self._is_of_class(node, value)):
                start = [self._calls(), self._bind(code, node), self._bind(helper, node)]
                return self._made("helper", calls.helper, node, [*start, node])
            if not foreign(code.__module__):
                return None  # it has been read
        if isinstance(value, type):
            mentioned = [kind] if issubclass(value, nn.Module) and (kind := kind_of_class(value)) else []
        else:
            mentioned = inside(value)
        if mentioned:
            self._cannot(node, reason(cast("object", value)), ", ".join(mentioned[:6]))
            return node
        return None

    def _call_of_function(self, node: ast.Call, function: Function) -> ast.AST:
        if any(keyword.arg == "out" for keyword in node.keywords):
            self._cannot(node, "it writes to a tensor that is given as out=")
            return self._visit_given(node)
        literals = _literals(function.kind, node.args[1:], node.keywords)
        known = Function(function.kind, function.inplace, (*function.parameters, *literals))
        key = self.reader.site(known, self._where(node))
        start = [
            self._calls(),
            ast.Constant(key),
            ast.Constant(function.kind),
            ast.Constant(function.inplace),
            node.func,
        ]
        self._visit_given(node)
        return self._made("call", calls.call, node, [*start, *node.args], node.keywords)

    def _call_of_method(self, node: ast.Call, callee: ast.Attribute) -> ast.AST:
        kind = callee.attr.removesuffix("_")
        function = Function("sigmoid" if kind == "expit" else kind, callee.attr.endswith("_"))
        key = self.reader.site(function, self._where(node))
        receiver = cast("ast.expr", self.visit(callee.value))
        self._visit_given(node)
        start = [self._calls(), ast.Constant(key), receiver, ast.Constant(callee.attr)]
        return self._made("method", calls.method, node, [*start, *node.args], node.keywords)

    def _call_of_class(self, node: ast.Call, cls: type) -> ast.AST:
        """Change a call that makes a module when the code runs."""
        kind = kind_of_class(cls) if issubclass(cls, nn.Module) else None
        if kind is not None:
            function = Function(kind, parameters=_literals(kind, node.args, node.keywords))
            key = self.reader.site(function, self._where(node), called=False)
            self._visit_given(node)
            return self._made("made", calls.made, node, [self._calls(), ast.Constant(key), node])
        if issubclass(cls, nn.Module) and (mentioned := inside(cls)):
            self._cannot(node, "it is in a module that is made when it runs", ", ".join(mentioned[:6]))
        return self.generic_visit(node)

    def _of_super(self, node: ast.Attribute) -> ast.AST:
        """Change a method of a base class that is called through ``super()``."""
        line = self.reader.cls.__mro__
        own = outer_value(self.function, "__class__")
        bases = line[line.index(own) + 1 :] if own in line else ()
        base = next((base for base in bases if node.attr in vars(base)), None)
        method = MISSING if base is None else self.reader.look_up(base, (node.attr,), raw=True)
        if isinstance(method, FunctionType) and self.this is not None:
            if helper := self.reader.helper(method, of_class=True):
                # An object cannot replace a method of a base class; and compilers cannot trace the result of super().
                this = ast.copy_location(ast.Name(self.this, ast.Load()), node)
                return self._made("partial", partial, node, [self._bind(helper, node), self._calls(), this])
        elif base is not None and (mentioned := inside(vars(base)[node.attr])):
            why = "it is called through super(); select the class, and it is converted as a whole"
            self._cannot(node, why, ", ".join(mentioned[:6]))
        return node

    def _named(self, node: ast.Call, value: Any) -> tuple[str, str] | None:
        """Name of a call in the form of an activation or a step function, with the reason why it stays."""
        if step := self.flow.step(node, value):
            return STEP, step
        written = written_out(node)
        return (f"a rule needs a function, and this is written out as {written}", written) if written else None

    def _is_child(self, callee: ast.expr) -> bool:
        """True if the callee is ``self.name`` or ``self.name[...]`` of an object, and nothing that the class has."""
        room = callee.value if isinstance(callee, ast.Subscript) else callee
        if not isinstance(room, ast.Attribute) or not self._is_this(room.value):
            return False
        return not hasattr(nn.Module, room.attr) and defined(self.reader.cls, room.attr) is MISSING

    def _getattr(self, node: ast.Call) -> None:
        receiver, name = node.args[0], node.args[1]
        if any(self._value(receiver) is room for room in calls.ROOMS):
            self._cannot(node, _DECIDED_LATER)
        elif isinstance(name, ast.Constant) and isinstance(name.value, str):
            if self._is_this(receiver):
                self.reader.follow_if_method(name.value)
            elif name.value in METHODS:
                self._cannot(node, _DECIDED_LATER)
        elif self._is_this(receiver):
            self.reader.follow_all()

    def _left_method(self, callee: ast.expr, value: Any) -> str | None:
        """Name of a tensor method that stays as it is."""
        if value is MISSING and isinstance(callee, ast.Attribute) and _root(callee) != self.this:
            return left_of(getattr(Tensor, callee.attr, None))
        return None

    def _visit_given(self, node: ast.Call) -> ast.Call:
        """Visit the arguments of a call, but not its callee."""
        node.args = [cast("ast.expr", self.visit(argument)) for argument in node.args]
        node.keywords = [cast("ast.keyword", self.visit(keyword)) for keyword in node.keywords]
        return node

    def _cannot(self, node: ast.expr, why: str, what: str = "") -> None:
        text = ast.unparse(node)
        said = f"{what} in {text}" if what not in {"", text} else text
        self.reader.blind.append(Unreached("", said, why, self._where(node)))

    def _made(
        self, name: str, function: object, node: ast.expr, given: list[ast.expr], keywords: Iterable[ast.keyword] = ()
    ) -> ast.expr:
        callee = self._name(f"_tieless_{name}", function, node)
        made = ast.copy_location(ast.Call(callee, given, list(keywords)), node)
        if (line := _line(node)) != node.lineno:
            made.lineno, made.col_offset = line, 0
        return made

    def _bind(self, value: object, node: ast.expr) -> ast.Name:
        """Name for a value that the code does not have by itself."""
        return self._name(f"_tieless_{id(value):x}", value, node)

    def _name(self, name: str, value: object, node: ast.expr) -> ast.Name:
        self.changed = True
        self.values[name] = value
        return ast.copy_location(ast.Name(name, ast.Load()), node)

    def _calls(self) -> ast.expr:
        if not self.carries or self.this is None:
            return ast.Name(CALLS_NAME, ast.Load())
        self.values["_tieless_getattr"], self.values["_tieless_none"] = getattr, _NOT_CALLED
        given: list[ast.expr] = [
            ast.Name(self.this, ast.Load()),
            ast.Constant(UNTIED_CALLS),
            ast.Name("_tieless_none", ast.Load()),
        ]
        return ast.Call(ast.Name("_tieless_getattr", ast.Load()), given, [])

    def _is_fixed(self, callee: ast.expr) -> bool:
        """True if a function is called by its own name, not by one that objects may use for another function."""
        if isinstance(callee, ast.Attribute):
            room = self._value(callee.value)
            return isinstance(room, (ModuleType, OpOverloadPacket)) or room is Tensor
        return self._place(callee) is not None

    def _is_this(self, node: ast.expr) -> bool:
        return self.this is not None and isinstance(node, ast.Name) and node.id == self.this

    def _is_class(self, node: ast.expr) -> bool:
        """True for ``type(self)`` and ``self.__class__``."""
        if isinstance(node, ast.Call):
            return ast.unparse(node.func) == "type" and len(node.args) == 1 and self._is_this(node.args[0])
        return isinstance(node, ast.Attribute) and node.attr == "__class__" and self._is_this(node.value)

    def _is_of_class(self, node: ast.Attribute | ast.Name, value: Any) -> bool:
        """True for a class method of the class that is read."""
        if isinstance(value, MethodType):
            return isinstance(value.__self__, type) and issubclass(self.reader.cls, value.__self__)
        return isinstance(node, ast.Attribute) and isinstance(defined(self.reader.cls, node.attr), classmethod)

    def _where(self, node: ast.expr) -> str:
        return f"{self.function.__code__.co_filename}:{_line(node)}"

    def _value(self, node: ast.expr) -> Any:
        """Value of an expression, if it is a name from outside, an argument's default, or an attribute."""
        if isinstance(node, ast.Name) and node.id in self.defaults:
            return self.defaults[node.id]
        place = self._place(node)
        return MISSING if place is None else self.reader.look_up(*place)

    def _place(self, node: ast.expr) -> tuple[Scope, tuple[str, ...]] | None:
        """Scope and names in which an expression is looked up."""
        if isinstance(node, ast.Name):
            if node.id in self.imports:
                return self.imports[node.id]
            return None if node.id in self.local else (self.function, (node.id,))
        if not isinstance(node, ast.Attribute):
            return None
        if self._is_this(node.value) or self._is_class(node.value):
            return self.reader.cls, (node.attr,)
        room = self._place(node.value)
        return None if room is None else (room[0], (*room[1], node.attr))


def _line(node: ast.expr) -> int:
    """Line that a frame reports while a call runs: for a method, the line of its name."""
    callee = node.func if isinstance(node, ast.Call) else None
    return (callee.end_lineno or callee.lineno) if isinstance(callee, ast.Attribute) else node.lineno


def _root(node: ast.expr) -> str | None:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _bound(tree: ast.FunctionDef) -> Iterable[str]:
    """Names that a function binds, in itself or in functions inside it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node is not tree:
            yield node.name
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]


def _imports(
    tree: ast.FunctionDef, function: FunctionType, local: frozenset[str]
) -> Mapping[str, tuple[Scope, tuple[str, ...]]]:
    """Imports of a function when it runs, by the names that it binds in no other way."""
    found: dict[str, set[tuple[Scope, tuple[str, ...]]]] = {name: set() for name in local}
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        for alias in node.names:
            dotted = isinstance(node, ast.Import) and alias.asname is None
            name = (alias.asname or alias.name).partition(".")[0]
            from_ = f"{'.' * node.level}{node.module or ''}" if isinstance(node, ast.ImportFrom) else alias.name
            try:
                module = import_module(
                    from_.partition(".")[0] if dotted else from_, function.__globals__.get("__package__")
                )
            except Exception:  # noqa: BLE001, S112  what cannot be imported will not run either
                continue
            path = (alias.name,) if isinstance(node, ast.ImportFrom) else ()
            found[name].add((module, path))
    stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    stored |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return {name: next(iter(places)) for name, places in found.items() if len(places) == 1 and name not in stored}


def _defaults(function: FunctionType) -> Mapping[str, Any]:
    """Values of arguments that may be left out."""
    code, values = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount]
    return {**dict(zip(names[len(names) - len(values) :], values, strict=True)), **(function.__kwdefaults__ or {})}


def _literals(kind: str, given: list[ast.expr], keywords: list[ast.keyword]) -> tuple[tuple[str, Any], ...]:
    """Parameters of a call that are written out as numbers or strings."""
    named = [*zip(KINDS[kind], given, strict=False), *((keyword.arg, keyword.value) for keyword in keywords)]
    found: list[tuple[str, Any]] = []
    for name, node in named:
        if name in KINDS[kind]:
            try:
                found.append((str(name), ast.literal_eval(node)))
            except ValueError:  # known only when it runs
                continue
    return tuple(found)
