"""Choosing a learning rate on validation samples, in runs that never see the test samples and share no seed with others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean
from typing import Any

from tieless.study.trial import Result, Trial

__all__ = ["Choice", "Choose", "Tried", "choices", "finals", "pilots"]

_CELL = tuple(f.name for f in fields(Trial) if f.name not in {"learning_rate", "seed", "validation", "test"})


@dataclass(frozen=True, slots=True)
class Choose:
    """How a study chooses the learning rate of each cell, among those that its grid gives the cell.

    Args:
        validation: The part of the training samples that the choosing runs hold out and are judged by.
        seeds: Of the choosing runs; no final run has one of them.
        epochs: Of the choosing runs; ``None`` is as many as the final runs have.
    """

    validation: float
    seeds: tuple[int, ...]
    epochs: int | None = None

    def key(self, trial: Trial) -> tuple[Any, ...]:
        """What a choosing run and the final runs that follow from it have in common."""
        return _cell(self.shortened(trial))

    def shortened(self, trial: Trial) -> Trial:
        """The trial with the epochs of a choosing run."""
        return trial if self.epochs is None else replace(trial, epochs=self.epochs)


@dataclass(frozen=True, slots=True)
class Tried:
    """One learning rate of one cell: its mean validation accuracy over the seeds that did not diverge, and how many did."""

    learning_rate: float
    accuracy: float | None
    diverged: int

    @property
    def merit(self) -> tuple[int, float, float]:
        return -self.diverged, -1.0 if self.accuracy is None else self.accuracy, -self.learning_rate


@dataclass(frozen=True, slots=True)
class Choice:
    """The learning rate of one cell: of those tried, in ascending order, the best.

    Args:
        trial: One of the choosing runs; all but its rate and seed are the cell's.
        tried: Every rate.
        learning_rate: The one with the fewest seeds diverged, then the highest mean validation accuracy after the last
            epoch, then the smallest.
    """

    trial: Trial
    tried: tuple[Tried, ...]
    learning_rate: float

    @property
    def edge(self) -> int:
        """-1 or 1 where the lowest or the highest of three or more was chosen: one beyond it may be better still."""
        best = max(one.merit[:2] for one in self.tried)
        # Where rates are equally good, none lies beyond the best.
        if len(self.tried) < 3 or sum(one.merit[:2] == best for one in self.tried) > 1:
            return 0
        return (self.learning_rate == self.tried[-1].learning_rate) - (
            self.learning_rate == self.tried[0].learning_rate
        )


def pilots(asked: Iterable[Trial], choose: Choose) -> list[Trial]:
    """The choosing runs: each cell that is asked for, at each of its rates, under the seeds of ``choose``."""
    asked = list(asked)
    return list(
        dict.fromkeys(
            replace(choose.shortened(trial), seed=seed, validation=choose.validation, test="never")
            for seed in choose.seeds
            for trial in asked
        )
    )


def choices(pilots: Iterable[Trial], results: Iterable[Result]) -> list[Choice]:
    """The choices that can be made: for each cell whose choosing runs have all come to an end.

    A run that failed has told nothing of its rate, so its cell waits until it is run again.
    """
    ended = {result.trial.id: result for result in results if result.status != "failed"}
    cells: dict[tuple[Any, ...], list[Trial]] = {}
    for trial in pilots:
        cells.setdefault(_cell(trial), []).append(trial)
    return [
        _choice([ended[trial.id] for trial in trials])
        for trials in cells.values()
        if all(trial.id in ended for trial in trials)
    ]


def finals(asked: Sequence[Trial], choose: Choose, made: Iterable[Choice]) -> list[Trial]:
    """The runs that are asked for at the rates chosen, in the same order; each looks at the test samples once."""
    rates = {choose.key(choice.trial): choice.learning_rate for choice in made}
    return [replace(trial, test="once") for trial in asked if rates.get(choose.key(trial)) == trial.learning_rate]


def _cell(trial: Trial) -> tuple[Any, ...]:
    return tuple(getattr(trial, name) for name in _CELL)


def _choice(results: Sequence[Result]) -> Choice:
    by_rate: dict[float, list[Result]] = {}
    for result in results:
        by_rate.setdefault(result.trial.learning_rate, []).append(result)
    tried = tuple(_tried(rate, by_rate[rate]) for rate in sorted(by_rate))
    return Choice(results[0].trial, tried, max(tried, key=lambda one: one.merit).learning_rate)


def _tried(rate: float, results: Sequence[Result]) -> Tried:
    lasts = [result.epochs[-1].validation_accuracy for result in results if result.status == "done"]
    accuracies = [accuracy for accuracy in lasts if accuracy is not None]
    diverged = sum(result.status == "diverged" for result in results)
    return Tried(rate, fmean(accuracies) if accuracies else None, diverged)
