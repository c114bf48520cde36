"""Way of a pair into the graphs of compilers, by its name."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tieless import registry
from tieless._kinds import refuse_all_but_arrays
from tieless._tracing import GraphNames, known_when_traced
from tieless.errors import TransformError
from tieless.forwards import Elementwise, FixedFunction, Forward, ForwardLike, forward as forward_of
from tieless.functional.apply import apply
from tieless.functional.checks import checked, followed, unlearned
from tieless.functional.pair import Pair, pair_called, pair_of
from tieless.rules import RuleLike, Tied, rule as rule_of

_NATIVE, _FOLLOWS = "native", "follows"
"""Names of no pair: a callable's own derivative is enough, or the rule follows that derivative."""

# Dynamo traces the next functions, up to those that are marked to be taken as they are. It guards everything that it
# reads, and compares it at each later call: the attributes of a callable forward, and the state of the registries.


def compiled(z: Tensor, forward: ForwardLike, backward: RuleLike, generator: torch.Generator | None) -> Tensor:
    """Call of ``untie`` in the code that a compiler traces."""
    function = forward.function if isinstance(forward, Elementwise) else forward
    if isinstance(function, (str, Forward, FixedFunction)):
        return _in_graph(z, _name(forward, backward, registry.generation), generator)
    name = _name_around(backward, registry.generation)
    if name == _NATIVE:
        y = followed(checked(function(z.clone()), z, function), z, function)
        return y if y.requires_grad else y.clone()
    # A copy, which is fused away: a function that writes to its input writes to the copy.
    y = unlearned(checked(function(z.detach().clone()), z, function), function)
    if name == _FOLLOWS:
        return _in_graph(z, _name(forward, backward, registry.generation), generator)
    return _around_in_graph(z, y, name, generator)


def compiled_pair(z: Tensor, pair: Pair, generator: torch.Generator | None) -> Tensor:
    """Call of ``untie_pair`` in the code that a compiler traces."""
    if pair.opaque:
        return compiled(z, pair.forward, pair.rule, generator)
    return _in_graph(z, _known(pair.name), generator)


@known_when_traced
def _known(name: str) -> str:
    return _met(pair_called(name))


@known_when_traced
def _name(forward: ForwardLike, backward: RuleLike, generation: str) -> str:
    forward = forward_of(forward)
    if isinstance(forward, Elementwise) and forward.changes:
        forward = Elementwise(_Weakly(forward.function))
    return _met(pair_of(forward, backward))


class _Weakly:
    """Callable that compiled code does not keep alive: once it is gone, the graph is not run any more."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = weakref.ref(function)
        self.__name__ = str(Elementwise(function))

    def __call__(self, z: Tensor) -> Tensor:
        function = self._function()
        if function is None:
            raise TransformError(f"The forward {self.__name__} is gone, and what was compiled of it with it. Keep it.")
        return function(z)


@known_when_traced
def _name_around(backward: RuleLike, generation: str) -> str:
    """Name of a rule around a callable whose value the compiler has traced."""
    rule = rule_of(backward)
    if isinstance(rule, Tied):
        return _NATIVE
    try:
        return _met(Pair(_Traced(), rule))
    except _AskedForFunctionError:
        return _FOLLOWS


def _met(pair: Pair) -> str:
    return MET.name(pair.name, pair)


class _AskedForFunctionError(Exception):
    """Error of a rule that needs the forward's function or derivative."""


@dataclass(frozen=True, slots=True)
class _Traced(Forward):
    """Callable whose value a compiler has traced already."""

    def value(self, z: Tensor) -> Tensor:
        raise _AskedForFunctionError

    def derivative(self) -> None:
        raise _AskedForFunctionError

    def __str__(self) -> str:
        return "a callable"


def _in_graph(z: Tensor, name: str, generator: torch.Generator | None) -> Tensor:
    return apply(z, MET[name], generator)


def _around_in_graph(z: Tensor, y: Tensor, name: str, generator: torch.Generator | None) -> Tensor:
    """``_in_graph`` for a ``y`` that exists already."""
    refuse_all_but_arrays(z, "A compiled callable forward")
    return apply(z, MET[name], generator, y)


MET: GraphNames[Pair] = GraphNames(_in_graph, _around_in_graph)
"""Pairs that compilers have met."""
