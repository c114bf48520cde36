"""The frame of an optimiser: groups that are checked when they are given, and a step of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from tieless.errors import RuleTypeError

__all__ = ["Grouped", "Parameters"]

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
"""What PyTorch's optimisers take."""


class Grouped(torch.optim.Optimizer):
    """Base of the optimisers here: ``step`` is ``_update`` of each group, without gradients."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            self._check_numbers(group)
            self._check(group)
        except Exception:
            self.param_groups.pop()
            raise

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update(group)
        return loss

    def _check_numbers(self, group: Mapping[str, Any]) -> None:
        for name in self.defaults:
            if isinstance(group[name], bool) or not isinstance(group[name], (int, float)):
                raise RuleTypeError(f"{type(self).__name__}: {name} must be a number, got {group[name]!r}.")

    def _check(self, group: Mapping[str, Any]) -> None:
        """Raise where a group, whose settings are numbers, has a value out of range or a parameter that does not fit."""
        raise NotImplementedError

    def _update(self, group: Mapping[str, Any]) -> None:
        """Change the weights of a group that have gradients."""
        raise NotImplementedError

    def _average(self, weight: Tensor) -> Tensor:
        """What is kept of a weight's past; 0 at first."""
        state = self.state[weight]
        if not state:
            state["average"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
        return state["average"]
