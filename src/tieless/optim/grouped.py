"""Base class of the optimisers: groups that are checked when they are given, and an update of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from tieless.errors import RuleTypeError
from tieless.kernels.reference import arithmetic_dtype

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
"""Parameters as PyTorch's optimisers take them."""


class Grouped(torch.optim.Optimizer):
    """Base of the optimisers here: ``step`` is ``_update`` of each group, without gradients.

    Averages of the past are float32 where weights are half types, and float64 where they are: an average in bfloat16
    would neither forget nor see anything smaller than itself by a factor of 256. PyTorch casts it to the dtype of the
    weights when a state is loaded; here it keeps its dtype.
    """

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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state from ``state_dict``; the averages keep their precision."""
        loaded: list[Mapping[str, Any]] = []

        def look(_: torch.optim.Optimizer, state: Any) -> None:
            loaded.append(state)

        def widen(_: torch.optim.Optimizer) -> None:
            self._widen(loaded[0])

        # Run behind every hook that may change the state, and before every hook that sees the result.
        hooks = (
            self.register_load_state_dict_pre_hook(look),
            self.register_load_state_dict_post_hook(widen, prepend=True),
        )
        try:
            super().load_state_dict(state_dict)
        finally:
            for hook in hooks:
                hook.remove()

    def _widen(self, loaded: Mapping[str, Any]) -> None:
        numbers = [number for group in loaded["param_groups"] for number in group["params"]]
        weights = [weight for group in self.param_groups for weight in group["params"]]
        for number, weight in zip(numbers, weights, strict=True):
            if (average := loaded["state"].get(number, {}).get("average")) is not None:
                self.state[weight]["average"] = average.to(weight.device, arithmetic_dtype(weight.dtype))

    def _check_numbers(self, group: Mapping[str, Any]) -> None:
        for name in self.defaults:
            if isinstance(group[name], bool) or not isinstance(group[name], (int, float)):
                raise RuleTypeError(f"{type(self).__name__}: {name} must be a number, got {group[name]!r}.")

    def _check(self, group: Mapping[str, Any]) -> None:
        """Refuse a group, whose settings are numbers, with a value out of range or a parameter of the wrong kind."""
        raise NotImplementedError

    def _update(self, group: Mapping[str, Any]) -> None:
        """Change the weights of a group that have gradients."""
        raise NotImplementedError

    def _average(self, weight: Tensor) -> Tensor:
        """Average of a weight's past; 0 at first."""
        state = self.state[weight]
        if not state:
            dtype = arithmetic_dtype(weight.dtype)
            with torch.inference_mode(mode=False):  # tensors made inside of it can never be written to outside
                state["average"] = torch.zeros_like(weight, dtype=dtype, memory_format=torch.preserve_format)
        return state["average"]
