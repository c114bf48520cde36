"""Schedules of a trial's learning rate from its first update to its last."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tieless.registry import Named, Registry, hidden_at_default


class Schedule(Named):
    """Factor of the learning rate over a training."""

    __slots__ = ()

    def factor(self, done: float) -> float:
        """Factor after the fraction ``done`` of all updates, 0 to below 1."""
        raise NotImplementedError


SCHEDULES: Registry[Schedule] = Registry("schedule")


@SCHEDULES.register
@dataclass(frozen=True, slots=True)
class _Constant(Schedule):
    """Factor 1 throughout."""

    name: ClassVar[str] = "constant"

    def factor(self, done: float) -> float:
        return 1.0


class _Warm(Schedule):
    __slots__ = ()
    warmup: float

    def check(self) -> None:
        self.require(0 <= self.warmup < 1, "warmup, a part of all steps, from 0 to below 1")

    def factor(self, done: float) -> float:
        if done < self.warmup:
            return done / self.warmup
        return self._fall((done - self.warmup) / (1 - self.warmup))

    def _fall(self, done: float) -> float:
        raise NotImplementedError


@SCHEDULES.register
@dataclass(frozen=True, slots=True)
class _Cosine(_Warm):
    """Half a cosine, from 1 to 0, after a linear rise over the ``warmup`` fraction of all updates."""

    name: ClassVar[str] = "cosine"
    warmup: float = hidden_at_default(0.0)

    def _fall(self, done: float) -> float:
        return (1 + math.cos(math.pi * done)) / 2


@SCHEDULES.register
@dataclass(frozen=True, slots=True)
class _Linear(_Warm):
    """Straight line from 1 to 0, after a linear rise over the ``warmup`` fraction of all updates."""

    name: ClassVar[str] = "linear"
    warmup: float = hidden_at_default(0.0)

    def _fall(self, done: float) -> float:
        return 1 - done


class Scheduled:
    """Schedule of the learning rates of some optimisers: of ``lr``, or of ``gamma`` if one has no ``lr``.

    Args:
        schedule: Schedule that gives the factor.
        optimisers: Optimisers whose parameter groups it changes.
        steps: Number of updates in all.
    Attributes:
        taken: Number of updates whose rates were set.
    """

    def __init__(self, schedule: Schedule, optimisers: Iterable[torch.optim.Optimizer], steps: int) -> None:
        self._schedule = schedule
        self._optimisers = tuple(optimisers)
        self._rates = [float(group[_rate_of(group)]) for group in self._groups()]
        self._steps = steps
        self.taken = 0

    def _groups(self) -> list[dict[str, Any]]:
        """Groups of the optimisers, which are others after a state was loaded."""
        return [group for optimiser in self._optimisers for group in optimiser.param_groups]

    def step(self) -> None:
        """Set the rates of the next update."""
        factor = self._schedule.factor(self.taken / self._steps)
        for group, rate in zip(self._groups(), self._rates, strict=True):
            key = _rate_of(group)
            if isinstance(group[key], Tensor):  # one that a captured step reads
                group[key].fill_(rate * factor)
            else:
                group[key] = rate * factor
        self.taken += 1


def _rate_of(group: Mapping[str, Any]) -> str:
    return "lr" if "lr" in group else "gamma"
