"""Context ``use``: the rule of activations that are called, and of parameters whose gradients arrive, inside it.

A context variable holds the ``use`` blocks around a call. A thread that has entered none is inside those of the main
thread: that is where a program that starts threads inside of a block wants its rule.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import Any, Literal
from weakref import WeakSet

from tieless.compat.freegrad.registry import RuleError, get
from tieless.compat.freegrad.underneath import Bound, RuleFunction, bind
from tieless.errors import RuleTypeError, RuleValueError
from tieless.forwards import forward
from tieless.functional import Pair
from tieless.rules import Rule

__all__ = ["Chosen", "ScopeLike", "active", "use"]

ScopeLike = str | Iterable[str]

_SCOPES = ("all", "activations", "params")


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rule and its scope.

    Args:
        bound: Rule with its parameters.
        scope: Names of the scope, any of "all", "activations" and "params".
    Example:
        >>> with use("rectangular", params={"a": -1.0, "b": 1.0}, scope="activations"):
        ...     chosen = active()
        >>> str(chosen.bound.rule), chosen.on("activations"), chosen.on("params")
        ('rectangular(-1.0, 1.0)', True, False)
    """

    bound: Bound
    scope: tuple[str, ...]
    _pair: dict[str, Pair] = field(default_factory=dict[str, Pair], init=False, repr=False, compare=False)

    def on(self, what: Literal["activations", "params"]) -> bool:
        """True if the rule holds in a scope."""
        return what in self.scope or "all" in self.scope

    def pair(self, spec: str) -> Pair:
        """Rule joined with one of our forwards; made once."""
        pair = self._pair.get(spec)
        if pair is None:
            pair = self._pair[spec] = Pair(forward(spec), self.bound.rule)
        return pair


class use:  # noqa: N801 - freegrad's name
    """Context in which activations, or the gradients of parameters, have a rule.

    An activation keeps the rule under which its forward pass was called; where and when the backward pass runs does not
    matter. A block can be entered again, inside of itself too, and ends where it ends.

    Args:
        rule: Rule: a name, a function ``(ctx, grad_out, tin, **params)``, a result of ``compose``, or a rule of ours.
        params: Parameters of the rule, by name. The dictionary is copied.
        scope: Name of the scope, "activations", "params" (see ``hook.attach_param_hooks``) or "all", or several names.
    Raises:
        RuleError: when entered: the name does not exist.
        SpecError: when entered: the rule has no such parameter.
        RuleValueError, RuleTypeError: a scope does not exist; when entered: a parameter is of no use to the rule.
    Source:
        freegrad 1.0.
    Example:
        >>> from tieless.compat.freegrad import Activation
        >>> x = torch.tensor([-2.0, 0.3, 2.0], requires_grad=True)
        >>> with use("rectangular", params={"a": -1.0, "b": 1.0}):
        ...     y = Activation("ReLU")(x)
        >>> y.sum().backward(); x.grad
        tensor([0., 1., 0.])
        >>> use("rectangular", {"a": -1.0}, scope="activations")
        use(rule='rectangular', params={'a': -1.0}, scope=('activations',))
    """

    def __init__(
        self,
        rule: str | RuleFunction | Rule,
        params: Mapping[str, Any] | None = None,
        scope: ScopeLike = "all",
    ) -> None:
        self.rule = rule
        self.params: Mapping[str, Any] = MappingProxyType(dict(params or {}))
        self.scope = _checked_scope(scope)
        self._chosen: Chosen | None = None

    def __enter__(self) -> use:
        # Not before: a rule may be registered after the context for it was made.
        if self._chosen is None:
            self._chosen = Chosen(bind(get(self.rule), self.params), self.scope)
        _INSIDE.set(_Block(self, self._chosen, _INSIDE.get()))
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> Literal[False]:
        _INSIDE.set(_without(_INSIDE.get(), self))
        return False

    def __reduce__(self) -> tuple[Any, ...]:
        return use, (self.rule, dict(self.params), self.scope)

    def __repr__(self) -> str:
        return f"use(rule={self.rule!r}, params={dict(self.params)!r}, scope={self.scope!r})"


def _checked_scope(scope: ScopeLike) -> tuple[str, ...]:
    try:
        scopes = (scope,) if isinstance(scope, str) else tuple(scope)
    except TypeError:
        raise RuleTypeError(f"A scope is a name or several, got {scope!r}. There are: {', '.join(_SCOPES)}.") from None
    for name in scopes:
        if name not in _SCOPES:
            raise RuleValueError(f"Unknown scope {name!r}. There are: {', '.join(_SCOPES)}.")
    return scopes


class _Block:
    """Entered ``use``, within the blocks around it. Only the context of a thread or a task holds it."""

    __slots__ = ("__weakref__", "chosen", "context", "outer", "thread")

    def __init__(self, context: use, chosen: Chosen, outer: _Block | None) -> None:
        self.context, self.chosen, self.outer = context, chosen, outer
        self.thread = threading.current_thread()
        _ENTERED.add(self)


_INSIDE: ContextVar[_Block | None] = ContextVar("tieless_freegrad_use", default=None)
_ENTERED: WeakSet[_Block] = WeakSet()


def _without(block: _Block | None, context: use) -> _Block | None:
    """Blocks that remain when the innermost of ``context`` ends. It need not be the innermost of all."""
    if block is None or block.context is context:
        if block is not None:
            _ENTERED.discard(block)
        return None if block is None else block.outer
    left = _without(block.outer, context)
    if left is block.outer:
        return block
    _ENTERED.discard(block)
    return _Block(block.context, block.chosen, left)


def active() -> Chosen | None:
    """Rule in force here: the innermost block of this thread or task, else that of the main thread.

    Raises:
        RuleError: the blocks of the main thread do not lie inside each other, because tasks of asyncio have entered
            them.
    """
    block = _INSIDE.get()
    if block is not None:
        return block.chosen
    thread = threading.current_thread()
    if thread is threading.main_thread() or not _ENTERED:
        return None
    # PyTorch's own threads, which run the backward pass for a GPU, may work for any thread of the program.
    of_any = isinstance(thread, threading._DummyThread)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    return _of_others(lambda owner: of_any or owner is threading.main_thread())


def _of_others(counts: Callable[[threading.Thread], bool]) -> Chosen | None:
    blocks = [block for block in list(_ENTERED) if counts(block.thread)]
    around = {id(block.outer) for block in blocks}
    innermost = [block for block in blocks if id(block) not in around]
    if not innermost:
        return None
    first = innermost[0].chosen
    if any(block.chosen != first for block in innermost):
        raise RuleError(
            f"This thread has entered no use(...), and others are inside of {len(innermost)} that differ. "
            "Enter one here, or give the rule to the activation: Activation('ReLU', rule=..., params=...)."
        )
    return first
