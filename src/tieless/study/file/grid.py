"""From axes to trials: blocks laid over the grid, their product, what is excluded, and the order of running."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tieless.study.trial import Trial

Axes = Mapping[str, list[Any]]
"""Values by field. ``seeds`` stands for the field ``seed``."""

REQUIRED = ("data", "model", "forward", "backward", "optimiser", "learning_rate", "batch", "epochs", "seeds")
"""Axes that every block needs; the others have a default in ``Trial``."""


def expand(blocks: Iterable[Axes]) -> list[Trial]:
    """Every combination of every block, once, in the order of running.

    All cells of the first seed come first, then all of the second, so that a study which is interrupted has
    about the same number of seeds everywhere.
    """
    trials: dict[tuple[int, Trial], None] = {}
    for axes in blocks:
        cells = {name: values for name, values in axes.items() if name != "seeds"}
        for turn, seed in enumerate(axes["seeds"]):
            for values in itertools.product(*cells.values()):
                trials[turn, Trial(seed=seed, **dict(zip(cells, values, strict=True)))] = None
    return list(dict.fromkeys(trial for _, trial in sorted(trials, key=lambda pair: pair[0])))


def matches(trial: Trial, pattern: Axes) -> bool:
    """Every field that ``pattern`` names has one of the values it lists."""
    return all(getattr(trial, "seed" if name == "seeds" else name) in values for name, values in pattern.items())


def drop(trials: Iterable[Trial], patterns: Iterable[Axes]) -> list[Trial]:
    """The trials that no pattern matches."""
    patterns = list(patterns)
    return [trial for trial in trials if not any(matches(trial, pattern) for pattern in patterns)]


@dataclass(frozen=True, slots=True)
class Settings:
    """The part of a study that makes its trials: a grid, blocks laid over it, and patterns that drop cells."""

    grid: Axes
    blocks: Mapping[str, Axes]
    exclude: tuple[Axes, ...] = ()

    def merged(self) -> dict[str, Axes]:
        """Each block with the grid's axes where it has none of its own; without blocks, the grid as the one block."""
        if not self.blocks:
            return {"grid": self.grid}
        return {name: {**self.grid, **block} for name, block in self.blocks.items()}

    def trials(self) -> list[Trial]:
        """What is to be run, in that order."""
        return drop(expand(self.merged().values()), self.exclude)

    def to_dict(self) -> dict[str, Any]:
        """As a study file says it: one value is a scalar, and what is empty is left out."""
        written: dict[str, Any] = {"grid": _scalars(self.grid)}
        if self.blocks:
            written["blocks"] = {name: _scalars(block) for name, block in self.blocks.items()}
        if self.exclude:
            written["exclude"] = [_scalars(pattern) for pattern in self.exclude]
        return written


def _scalars(axes: Axes) -> dict[str, Any]:
    return {name: values[0] if len(values) == 1 else values for name, values in axes.items()}
