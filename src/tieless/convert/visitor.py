"""Walks through the definition of a function and makes its calls of activations exchangeable."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable
from types import FunctionType, ModuleType
from typing import Any, Protocol, cast

from torch import nn

from tieless.convert import calls
from tieless.convert.functions import KINDS, NAMES, Function, function_of
from tieless.convert.outside import foreign, mentions, outer_values
from tieless.nn import CALLS

__all__ = ["CALLS_NAME", "Reader", "Visitor"]

_MISSING: Any = object()


class Reader(Protocol):
    """What a visitor tells, and asks, about the class that the function belongs to."""

    cls: type[nn.Module]
    blind: list[tuple[str, str]]

    def site(self, function: Function, where: str) -> str:
        """Note a call; its key."""
        ...

    def helper(self, function: FunctionType) -> FunctionType | None:
        """A function that is called, with its own calls made exchangeable; ``None`` if it has none."""
        ...

    def follow_if_method(self, name: str) -> bool:
        """Read a method of the class too, if the name is one."""
        ...


CALLS_NAME = "_tieless_calls_"


class Visitor(ast.NodeTransformer):
    """Makes the calls in one function exchangeable."""

    def __init__(self, reader: Reader, function: FunctionType, tree: ast.FunctionDef, *, method: bool) -> None:
        self.reader, self.function = reader, function
        arguments = [*tree.args.posonlyargs, *tree.args.args]
        self.this = arguments[0].arg if method and arguments else None
        self.local = frozenset(_bound(tree))
        self.outer = outer_values(function)
        self.values: dict[str, object] = {}
        self.changed = False

    def visit_Call(self, node: ast.Call) -> ast.AST:
        callee, value = node.func, self._value(node.func)
        function = function_of(value)
        if function is not None:
            return self._call_of_function(node, function)
        if isinstance(callee, ast.Attribute):
            if value is _MISSING and callee.attr in NAMES and not self._is_this(callee.value):
                return self._call_of_method(node, callee)
            if isinstance(callee.value, ast.Call) and ast.unparse(callee.value.func) == "super":
                self._call_of_super(callee.attr)
        if value is builtins.getattr and node.args and self._value(node.args[0]) in calls.ROOMS:
            self._cannot(node, "which function it is, is decided when it runs")
        if isinstance(callee, ast.Subscript) and _has_functions(self._value(callee.value)):
            self._cannot(callee, "which function it is, is decided when it runs")
        if isinstance(value, FunctionType) and (helper := self.reader.helper(value)):
            node.args.insert(0, self._calls())
            node.func = self._name(f"_tieless_{helper.__name__}_{id(helper):x}", helper, callee)
            node.args[1:] = [cast("ast.expr", self.visit(argument)) for argument in node.args[1:]]
            node.keywords = [cast("ast.keyword", self.visit(keyword)) for keyword in node.keywords]
            return node
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if self._is_this(node.value):
            self.reader.follow_if_method(node.attr)
        return self._reference(node) or self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self._reference(node) or node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """``f is F.relu`` asks which function it is, and must get the answer that it got before."""
        return (
            node
            if any(function_of(self._value(part)) for part in (node.left, *node.comparators))
            else self.generic_visit(node)
        )

    def _reference(self, node: ast.Attribute | ast.Name) -> ast.AST | None:
        """A function that is not called here but given to somebody, such as ``checkpoint``."""
        if not isinstance(node.ctx, ast.Load):
            return None
        value = self._value(node)
        if function := function_of(value):
            key = self.reader.site(function, self._where(node))
            start = [self._calls(), ast.Constant(key), ast.Constant(function.kind), ast.Constant(function.inplace)]
            return self._made("reference", calls.reference, node, [*start, node])
        if isinstance(value, FunctionType) and (helper := self.reader.helper(value)):
            name = self._name(f"_tieless_{helper.__name__}_{id(helper):x}", helper, node)
            return self._made("helper", calls.helper, node, [name, self._calls()])
        return None

    def _call_of_function(self, node: ast.Call, function: Function) -> ast.AST:
        if any(keyword.arg == "out" for keyword in node.keywords):
            self._cannot(node, "it writes to a tensor that is given as out=")
            node.args = [cast("ast.expr", self.visit(argument)) for argument in node.args]
            return node
        known = Function(function.kind, function.inplace, _literals(function.kind, node.args[1:], node.keywords))
        key = self.reader.site(known, self._where(node))
        start = [
            self._calls(),
            ast.Constant(key),
            ast.Constant(function.kind),
            ast.Constant(function.inplace),
            node.func,
        ]
        given = [cast("ast.expr", self.visit(argument)) for argument in node.args]
        keywords = [cast("ast.keyword", self.visit(keyword)) for keyword in node.keywords]
        return self._made("call", calls.call, node, [*start, *given], keywords)

    def _call_of_method(self, node: ast.Call, callee: ast.Attribute) -> ast.AST:
        kind = callee.attr.removesuffix("_")
        function = Function("sigmoid" if kind == "expit" else kind, callee.attr.endswith("_"))
        key = self.reader.site(function, self._where(node))
        receiver = cast("ast.expr", self.visit(callee.value))
        given = [cast("ast.expr", self.visit(argument)) for argument in node.args]
        keywords = [cast("ast.keyword", self.visit(keyword)) for keyword in node.keywords]
        start = [self._calls(), ast.Constant(key), receiver, ast.Constant(callee.attr)]
        return self._made("method", calls.method, node, [*start, *given], keywords)

    def _call_of_super(self, name: str) -> None:
        for base in self.reader.cls.__mro__:
            function = vars(base).get(name)
            if isinstance(function, FunctionType) and function is not self.function and not foreign(base.__module__):
                self.reader.blind += [
                    (f"{what}, in {function.__qualname__}", "it is called through super()")
                    for what in mentions(function.__code__, function)
                ]

    def _cannot(self, node: ast.expr, why: str) -> None:
        self.reader.blind.append((f"{ast.unparse(node)}, {self._where(node)}", why))

    def _made(
        self, name: str, function: object, node: ast.expr, given: list[ast.expr], keywords: Iterable[ast.keyword] = ()
    ) -> ast.expr:
        self.changed = True
        callee = self._name(f"_tieless_{name}", function, node)
        return ast.copy_location(ast.Call(callee, given, list(keywords)), node)

    def _name(self, name: str, value: object, node: ast.expr) -> ast.Name:
        self.changed = True
        self.values[name] = value
        return ast.copy_location(ast.Name(name, ast.Load()), node)

    def _calls(self) -> ast.expr:
        if self.this is None:
            return ast.Name(CALLS_NAME, ast.Load())
        return ast.Attribute(ast.Name(self.this, ast.Load()), CALLS, ast.Load())

    def _is_this(self, node: ast.expr) -> bool:
        return self.this is not None and isinstance(node, ast.Name) and node.id == self.this

    def _where(self, node: ast.expr) -> str:
        return f"{self.function.__code__.co_filename}:{node.lineno}"

    def _value(self, node: ast.expr) -> Any:
        """What an expression stands for, if it is a name from outside or an attribute of a module that is."""
        if isinstance(node, ast.Name):
            if node.id in self.local:
                return _MISSING
            return self.outer.get(node.id, getattr(builtins, node.id, _MISSING))
        if isinstance(node, ast.Attribute):
            room = self._value(node.value)
            return getattr(room, node.attr, _MISSING) if isinstance(room, (ModuleType, type)) else _MISSING
        return _MISSING


def _bound(tree: ast.FunctionDef) -> Iterable[str]:
    """Every name that a function binds, in itself or in functions inside it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node is not tree:
            yield node.name
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]


def _has_functions(value: Any) -> bool:
    values: Iterable[Any] = cast("dict[Any, Any]", value).values() if isinstance(value, dict) else ()
    return any(function_of(v) for v in values)


def _literals(kind: str, given: list[ast.expr], keywords: list[ast.keyword]) -> tuple[tuple[str, Any], ...]:
    """The parameters of a call that are written out as numbers or strings."""
    named = [*zip(KINDS[kind], given, strict=False), *((keyword.arg, keyword.value) for keyword in keywords)]
    found: list[tuple[str, Any]] = []
    for name, node in named:
        if name in KINDS[kind]:
            try:
                found.append((str(name), ast.literal_eval(node)))
            except ValueError:  # known only when it runs
                continue
    return tuple(found)
