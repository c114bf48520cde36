"""Values in a function that visibly have a gradient, and operations, such as ``torch.sign``, that cut it off."""

from __future__ import annotations

import ast
from collections.abc import Callable, Set as AbstractSet
from types import FunctionType
from typing import Any

from torch import Tensor

from tieless.convert.functions import METHODS, function_of, step_of
from tieless.convert.outside import MISSING
from tieless.convert.source import names_in
from tieless.convert.steps import NUMBERS

_KEEPING = frozenset({"clamp", "clip", "clone", "contiguous", "flatten", "reshape", "view"})
"""Calls whose result has a gradient if their argument has one."""

_WITHOUT = frozenset({"argmax", "data", "detach", "inference_mode", "int", "int32", "int64", "long", "no_grad"})
"""Names that mark functions whose step functions may be meant to pass no gradient: there only a run reports them."""


class Flow:
    """Tracker of values through one function, statement by statement.

    A value has a gradient if it comes from a module of ``self`` or from an activation, directly, by arithmetic or by a
    name. The first argument of ``forward`` may be anything: code hardly ever takes the sign of an index, but often
    ``ids > 0``.

    Args:
        function: Function whose definition is visited.
        value: Function that gives the value of an expression, or ``MISSING``.
        is_child: Function that is true if an expression is a module of ``self``.
    """

    def __init__(
        self, function: FunctionType, value: Callable[[ast.expr], Any], is_child: Callable[[ast.expr], bool]
    ) -> None:
        self._value, self._is_child = value, is_child
        self._aside = bool(names_in(function.__code__) & _WITHOUT)
        self._learning: set[str] = set()
        self._given = set(function.__code__.co_varnames[1:2]) if function.__name__ == "forward" else set[str]()

    def assign(self, node: ast.Assign) -> None:
        """Follow an assignment."""
        learns = self._learns(node.value)
        for name in (one.id for one in node.targets if isinstance(one, ast.Name)):
            (self._learning.add if learns else self._learning.discard)(name)
            self._given.discard(name)

    def step(self, node: ast.Call, value: Any) -> str | None:
        """Name of a step function that cuts off a gradient; ``None`` in doubt.

        Args:
            node: Call to examine.
            value: Function that is called, or ``MISSING``.
        """
        if self._aside:
            return None
        callee = node.func
        method = callee if value is MISSING and isinstance(callee, ast.Attribute) else None
        given = method.value if method else next(iter(node.args), None)
        if method and method.attr in NUMBERS and isinstance(given, ast.Compare) and len(given.ops) == 1:
            ordered = isinstance(given.ops[0], (ast.Gt, ast.GtE, ast.Lt, ast.LtE))
            return "comparison" if ordered and any(map(self._learns, (given.left, *given.comparators))) else None
        step = step_of(getattr(Tensor, method.attr, None) if method else value)
        return step if given and self._learns(given, self._given) else None

    def _learns(self, node: ast.expr, given: AbstractSet[str] = frozenset()) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self._learning or node.id in given
        if isinstance(node, (ast.BinOp, ast.UnaryOp)):
            return any(self._learns(one, given) for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr))
        if not isinstance(node, ast.Call):
            return False
        callee, value = node.func, self._value(node.func)
        name = callee.attr if isinstance(callee, ast.Attribute) else ""
        if function_of(value) or (value is MISSING and name in METHODS) or self._is_child(callee):
            return True
        room = [callee.value] if isinstance(callee, ast.Attribute) else []
        return name in _KEEPING and any(self._learns(one, given) for one in (*room, *node.args))
