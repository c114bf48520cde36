"""Rules of freegrad by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from tieless.compat.freegrad.underneath import DRAWING, Composed, RuleFunction, Transform
from tieless.errors import RuleTypeError, SpecError
from tieless.registry import unknown
from tieless.rules import Rule

__all__ = ["RuleError", "compose", "get", "register"]


class RuleError(SpecError, KeyError):
    """Name that no rule has, or that another rule has already. A ``KeyError``, as freegrad's is."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the message in quotes


FunctionT = TypeVar("FunctionT", bound=RuleFunction)

_RULES: dict[str, RuleFunction] = {}


def register(name: str, *, draws: bool = False) -> Callable[[FunctionT], FunctionT]:
    """Make a function a rule: ``function(ctx, grad_out, tin, **params) -> grad_in``.

    It is called in the backward pass with ``ctx=None`` and those parameters of ``use`` that it names.

    Args:
        name: Name for ``use``, ``get`` and ``compose``.
        draws: True if the function draws random numbers. Then the forward pass draws a key, torch's generator starts
            from it where the function is called, and is as it was afterwards: two backward passes through one graph
            agree. As in freegrad, a function draws from the generator as it finds it in the backward pass unless it
            says so.
    Raises:
        RuleError: the name is taken.
        RuleTypeError: the function does not take the three arguments.
    Source:
        freegrad 1.0.
    Example:
        >>> @register("halve")
        ... def halve(ctx, grad_out, tin, **_):
        ...     return grad_out / 2
        >>> get("halve")(None, torch.tensor(3.0), None)
        tensor(1.5000)
    """

    def deco(function: FunctionT) -> FunctionT:
        if name in _RULES:
            raise RuleError(f"Rule already registered: {name}. Give yours another name.")
        try:
            inspect.signature(function).bind(None, None, None)
        except TypeError as error:
            raise RuleTypeError(
                f"The rule {name!r} must take (ctx, grad_out, tin, **params): {error}. Give its parameters defaults."
            ) from None
        _RULES[name] = function
        if draws:
            DRAWING.add(function)
        return function

    return deco


def transform(
    name: str, *, without_input: Callable[..., Rule] | Literal["same"] | None = None
) -> Callable[[Callable[..., Rule]], Transform]:
    """Register one of freegrad's own rules: a function from its parameters to our rule, under freegrad's signature.

    Args:
        name: Name in freegrad.
        without_input: Function for a gradient without ``tin``, as in the hook of a parameter; ``"same"`` for the same
            function, ``None`` if the rule needs an input.
    """

    def deco(make: Callable[..., Rule]) -> Transform:
        return register(name)(Transform(name, make, make if without_input == "same" else without_input))

    return deco


def get(rule: str | RuleFunction | Rule) -> Any:
    """Rule of a name. A callable, or a rule of ours such as ``tl.ATan()``, stands for itself.

    Raises:
        RuleError: no rule has this name; the message lists those that exist.
    Source:
        freegrad 1.0.
    Example:
        >>> get("rectangular")(None, torch.ones(3), torch.tensor([-1.0, 0.0, 1.0]), a=-0.5, b=2.0)
        tensor([0., 1., 1.])
    """
    if isinstance(rule, Rule) or callable(rule):
        return rule
    try:
        return _RULES[rule]
    except (KeyError, TypeError):
        raise RuleError(f"Rule not found: {rule}. {unknown('rule', str(rule), _RULES)}") from None


def compose(*rules: str | RuleFunction | Rule) -> Composed:
    """Chain of rules: the feedback passes the first, then the next. Each takes the parameters that it names.

    Raises:
        RuleError: a name does not exist.
    Source:
        freegrad 1.0.
    Example:
        >>> both = compose("rectangular", "scale")
        >>> both(None, torch.ones(2), torch.tensor([0.0, 1.0]), s=3.0)
        tensor([3., 0.])
        >>> both
        compose(rectangular, scale)
    """
    return Composed(tuple(get(rule) for rule in rules))
