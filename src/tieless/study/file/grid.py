"""Trials from axes: blocks laid over the grid, their product, exclusions, and the order of running."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tieless.study.sources import Imports
from tieless.study.trial import Trial

Axes = Mapping[str, list[Any]]
"""Values by field. The axis ``seeds`` has the values of the field ``seed``."""

REQUIRED = ("data", "model", "forward", "backward", "optimiser", "learning_rate", "batch", "epochs", "seeds")
"""Axes that every block needs; the others have a default in ``Trial``."""


def expand(blocks: Iterable[Axes], imports: Imports | None = None) -> list[Trial]:
    """Trials of every combination of every block, each once, in the order of running.

    All cells of the first seed come first, then all of the second, so that a study which is interrupted has
    about the same number of seeds everywhere. Without ``imports`` their ``sources`` are not read.
    """
    turns: dict[int, list[Trial]] = {}
    sources: Callable[[str], str] = cache(imports.sources) if imports is not None else lambda _: ""
    for axes in blocks:
        cells = {name: values for name, values in axes.items() if name != "seeds"}
        first = axes["seeds"][0]
        products = (dict(zip(cells, values, strict=True)) for values in itertools.product(*cells.values()))
        one_each = [Trial(seed=first, sources=sources(settings["data"]), **settings) for settings in products]
        for turn, seed in enumerate(axes["seeds"]):
            turns.setdefault(turn, []).extend([trial.with_seed(seed) for trial in one_each])
    return list(dict.fromkeys(trial for turn in sorted(turns) for trial in turns[turn]))


def matches(trial: Trial, pattern: Axes) -> bool:
    """True if every field that ``pattern`` names has one of the values it lists."""
    return all(getattr(trial, "seed" if name == "seeds" else name) in values for name, values in pattern.items())


def drop(trials: Iterable[Trial], patterns: Iterable[Axes]) -> list[Trial]:
    """Trials that no pattern matches."""
    patterns = list(patterns)
    return [trial for trial in trials if not any(matches(trial, pattern) for pattern in patterns)]


@dataclass(frozen=True, slots=True)
class Settings:
    """Part of a study that makes its trials: a grid, blocks laid over it, and patterns that drop cells.

    ``imports`` are the modules of the user's own, named on the command line or in Python.
    """

    grid: Axes
    blocks: Mapping[str, Axes]
    exclude: tuple[Axes, ...] = ()
    imports: Imports = field(default_factory=Imports)

    @property
    def all_imports(self) -> Imports:
        """Modules that were named, and those that have registered what the settings name."""
        return self.imports.with_registered(self.merged().values())

    def merged(self) -> dict[str, Axes]:
        """Axes of each block, filled up with those of the grid; without blocks, the grid as the one block."""
        if not self.blocks:
            return {"grid": self.grid}
        return {name: {**self.grid, **block} for name, block in self.blocks.items()}

    def trials(self) -> list[Trial]:
        """Trials to run, in the order of running."""
        return drop(expand(self.merged().values(), self.all_imports), self.exclude)

    def to_dict(self) -> dict[str, Any]:
        """Settings as a study file writes them: a single value is a scalar, and empty parts are left out."""
        written: dict[str, Any] = {"grid": _scalars(self.grid)}
        if self.blocks:
            written["blocks"] = {name: _scalars(block) for name, block in self.blocks.items()}
        if self.exclude:
            written["exclude"] = [_scalars(pattern) for pattern in self.exclude]
        return written


def _scalars(axes: Axes) -> dict[str, Any]:
    return {name: values[0] if len(values) == 1 else values for name, values in axes.items()}
