"""Steps that run in a model, such as ``torch.sign``: those that cut off the gradient of what they are given."""

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
"""Methods that make numbers of the answers of a comparison."""

Place = tuple[str, str]
"""The name of a module, and a file with a line."""


@dataclass(frozen=True, slots=True, eq=False)
class _Met:
    kind: str
    place: Place
    given: frozenset[Node]


class Steps:
    """What a run, with gradients, comes by.

    A step cuts off a gradient where what it is given requires one and gets it in no other way: not in
    ``x + (x.round() - x).detach()``, and not where ``x > 0`` is a mask for ``x``.
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
        """``func(*args, **kwargs)``, noted if it is a step.

        Args:
            locate: Where a step of this name runs; ``None`` if it is somebody's who sees to its gradient.
            func, args, kwargs: What is called.
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
        """Where steps ran."""
        return {one.place for one in self._met}

    def cuts(self, outputs: object) -> dict[Place, str]:
        """Where steps cut off a gradient, and which, after a run that gave ``outputs``."""
        reached: set[Node] = set()
        waiting = [get_gradient_edge(one).node for one in _tensors(outputs, set()) if one.requires_grad]
        while waiting:
            node = waiting.pop()
            if node not in reached and node not in self._ends:
                reached.add(node)
                waiting += [following for following, _ in node.next_functions if following is not None]
        return {one.place: one.kind for one in self._met if one.given and not one.given & reached}


def _tensors(value: Any, seen: set[int]) -> Iterable[Tensor]:
    """The tensors in what a model gives."""
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
