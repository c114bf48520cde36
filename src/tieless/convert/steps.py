"""Step functions that run in a model, such as ``torch.sign``: those that cut off the gradient of their input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

from tieless.convert.functions import step_of

_COMPARISONS = frozenset({"gt", "ge", "lt", "le", "greater", "greater_equal", "less", "less_equal"})

NUMBERS = frozenset({"float", "double", "half", "bfloat16", "to", "type", "type_as"})
"""Methods that turn the result of a comparison into numbers."""

Place = tuple[str, str]
"""Name of a module, and a file with a line."""


@dataclass(frozen=True, slots=True, eq=False)
class _Met:
    kind: str
    place: Place
    given: frozenset[Node]


class Steps:
    """Step functions that a run with gradients calls.

    A step function cuts off a gradient if its input requires one and gets it in no other way: not in
    ``x + (x.round() - x).detach()``, and not if ``x > 0`` is a mask for ``x``.
    """

    def __init__(self) -> None:
        self._met: list[_Met] = []
        self._ends: set[Node] = set()
        self._answers: dict[int, tuple[Tensor, frozenset[Node]]] = {}

    def run(
        self,
        locate: Callable[[str], Place | None],
        func: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Result of ``func(*args, **kwargs)``, which is noted if it is a step function.

        Args:
            locate: Function that gives the place where a step function of this name runs; ``None`` if its gradient is
                taken care of.
            func, args, kwargs: Function to call, with its arguments.
        """
        if not torch.is_grad_enabled():
            return func(*args, **kwargs)
        kind, name = step_of(func), getattr(func, "__name__", "")
        given = [one for one in (*args, *kwargs.values()) if isinstance(one, Tensor)]
        compared = frozenset[Node]().union(*(self._answers[id(one)][1] for one in given if id(one) in self._answers))
        if kind is not None or name in _COMPARISONS:
            compared |= {get_gradient_edge(one).node for one in given if one.requires_grad}
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor):
            return result
        if result.dtype is torch.bool:
            if compared:
                self._answers[id(result)] = result, compared
        elif kind is None and compared and name in {*NUMBERS, "where"} and not result.requires_grad:
            kind = "comparison"
        if kind is not None and (place := locate(kind)) is not None:
            self._met.append(_Met(kind, place, compared))
            if result.grad_fn is not None:
                self._ends.add(result.grad_fn)
        return result

    @property
    def places(self) -> set[Place]:
        """Places where step functions ran."""
        return {one.place for one in self._met}

    def cuts(self, outputs: object) -> dict[Place, str]:
        """Places where step functions cut off a gradient, with their names, after a run that gave ``outputs``."""
        reached: set[Node] = set()
        waiting = [get_gradient_edge(one).node for one in _tensors(outputs, set()) if one.requires_grad]
        while waiting:
            node = waiting.pop()
            if node not in reached and node not in self._ends:
                reached.add(node)
                waiting += [following for following, _ in node.next_functions if following is not None]
        return {one.place: one.kind for one in self._met if one.given and not one.given & reached}


def _tensors(value: Any, seen: set[int]) -> Iterable[Tensor]:
    """Tensors in the output of a model."""
    if isinstance(value, Tensor):
        yield value
    elif id(value) not in seen:
        seen.add(id(value))
        several: Iterable[Any] = getattr(value, "__dict__", {}).values()
        if isinstance(value, (list, tuple, set, frozenset)):
            several = cast("Iterable[Any]", value)
        elif isinstance(value, Mapping):
            several = cast("Mapping[Any, Any]", value).values()
        for one in several:
            yield from _tensors(one, seen)
