"""Choosing a learning rate on validation samples, in runs that never see the test samples and share no seed with others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean
from typing import Any

from tieless.study.trial import Result, Trial

_CELL = tuple(f.name for f in fields(Trial) if f.name not in {"learning_rate", "seed", "validation", "test"})


@dataclass(frozen=True, slots=True)
class Choose:
    """How a study chooses the learning rate of each cell, among those that its grid gives the cell.

    Args:
        validation: The part of the training samples that the choosing runs hold out and are judged by.
        seeds: Of the choosing runs; no final run has one of them.
        epochs: Of the choosing runs; ``None`` is as many as the final runs have.
        confirm: Whether the rate that those shorter runs chose is confirmed by runs as long as the final ones, against
            the next smaller rate of the grid, and on downwards for as long as the smaller one is no worse: short runs
            flatter large rates.
    """

    validation: float
    seeds: tuple[int, ...]
    epochs: int | None = None
    confirm: bool = False

    def key(self, trial: Trial) -> tuple[Any, ...]:
        """What the choosing runs of a cell and the final runs that follow from them have in common."""
        return _cell(self.shortened(trial))

    def shortened(self, trial: Trial) -> Trial:
        """The trial with the epochs of the runs that choose first."""
        return trial if self.epochs is None else replace(trial, epochs=self.epochs)

    def confirms(self, trial: Trial) -> bool:
        """Whether a choosing run is one of those that confirm."""
        return self.confirm and trial.epochs != self.epochs


@dataclass(frozen=True, slots=True)
class Tried:
    """One learning rate of one cell: its mean validation accuracy over the seeds that did not diverge, and how many did."""

    learning_rate: float
    accuracy: float | None
    diverged: int

    @property
    def worth(self) -> tuple[int, float]:
        """What makes one rate better than another."""
        return -self.diverged, -1.0 if self.accuracy is None else self.accuracy

    @property
    def merit(self) -> tuple[int, float, float]:
        """The same, of equally good ones the smallest first."""
        return *self.worth, -self.learning_rate


@dataclass(frozen=True, slots=True)
class Choice:
    """The learning rate of one cell: of those tried, in ascending order, the best.

    Args:
        trial: One of the choosing runs; all but its rate and seed are the cell's.
        tried: Every rate.
        learning_rate: The one with the fewest seeds diverged, then the highest mean validation accuracy after the last
            epoch, then the smallest.
        confirmed: Where choices are confirmed: the rates that had runs as long as the final ones, in ascending order.
            It is these that ``learning_rate`` is the best of.
        confirming: The epochs of those runs.
    """

    trial: Trial
    tried: tuple[Tried, ...]
    learning_rate: float
    confirmed: tuple[Tried, ...] = ()
    confirming: int | None = None

    @property
    def edge(self) -> int:
        """-1 or 1 where the lowest or the highest of three or more was chosen: one beyond it may be better still."""
        judged = self.confirmed or self.tried
        best = max(one.worth for one in judged)
        # Where rates are equally good, none lies beyond the best.
        if len(self.tried) < 3 or sum(one.worth == best for one in judged) > 1:
            return 0
        return (self.learning_rate == self.tried[-1].learning_rate) - (
            self.learning_rate == self.tried[0].learning_rate
        )


def pilots(asked: Iterable[Trial], choose: Choose) -> list[Trial]:
    """The choosing runs that come first: each cell that is asked for, at each of its rates, under the seeds of ``choose``."""
    asked = list(asked)
    return list(dict.fromkeys(choose.shortened(trial) for trial in _choosing(asked, choose)))


def confirmations(
    asked: Sequence[Trial], choose: Choose, pilots: Sequence[Trial], results: Sequence[Result]
) -> list[Trial]:
    """The choosing runs that confirm, as far as the results tell which they are; none where nothing is confirmed.

    Args:
        asked: The runs that are asked for, at every learning rate.
        choose: How the study chooses.
        pilots: The choosing runs that come first.
        results: All that are known.
    """
    if not choose.confirm:
        return []
    long = _cells(dict.fromkeys(_choosing(asked, choose)), choose)
    ended = _ended(results)
    wanted: set[Trial] = set()
    for choice in choices(pilots, results, replace(choose, confirm=False)):
        trials = long[choose.key(choice.trial)]
        rates = _descent([one.learning_rate for one in choice.tried], choice.learning_rate, _tried(trials, ended))
        wanted.update(trial for trial in trials if trial.learning_rate in rates)
    return [trial for trials in long.values() for trial in trials if trial in wanted]


def choices(pilots: Iterable[Trial], results: Iterable[Result], choose: Choose) -> list[Choice]:
    """The choices that can be made: for each cell whose choosing runs have all come to an end.

    A run that failed has told nothing of its rate, so its cell waits until it is run again.

    Args:
        pilots: The choosing runs, those that confirm among them.
        results: All that are known.
        choose: How the study chooses.
    """
    ended = _ended(results)
    made = (_choice(trials, ended, choose) for trials in _cells(pilots, choose).values())
    return [choice for choice in made if choice is not None]


def finals(asked: Sequence[Trial], choose: Choose, made: Iterable[Choice]) -> list[Trial]:
    """The runs that are asked for at the rates chosen, in the same order; each looks at the test samples once."""
    rates = {choose.key(choice.trial): choice.learning_rate for choice in made}
    return [replace(trial, test="once") for trial in asked if rates.get(choose.key(trial)) == trial.learning_rate]


def _choosing(asked: Sequence[Trial], choose: Choose) -> Iterator[Trial]:
    for seed in choose.seeds:
        for trial in asked:
            yield replace(trial, seed=seed, validation=choose.validation, test="never")


def _cells(trials: Iterable[Trial], choose: Choose) -> dict[tuple[Any, ...], list[Trial]]:
    cells: dict[tuple[Any, ...], list[Trial]] = {}
    for trial in trials:
        cells.setdefault(choose.key(trial), []).append(trial)
    return cells


def _ended(results: Iterable[Result]) -> dict[str, Result]:
    return {result.trial.id: result for result in results if result.status != "failed"}


def _choice(trials: Sequence[Trial], ended: Mapping[str, Result], choose: Choose) -> Choice | None:
    """That of one cell; ``None`` while runs are wanted."""
    first = [trial for trial in trials if not choose.confirms(trial)]
    long = [trial for trial in trials if choose.confirms(trial)]
    tried = _tried(first, ended)
    if len(tried) < len({trial.learning_rate for trial in first}):
        return None
    best = _best(tried.values())
    if not choose.confirm:
        return Choice(first[0], tuple(tried.values()), best)
    confirmed = _tried(long, ended)
    wanted = _descent(list(tried), best, confirmed)
    if not all(rate in confirmed for rate in wanted):
        return None
    judged = tuple(confirmed[rate] for rate in reversed(wanted))
    return Choice(first[0], tuple(tried.values()), _best(judged), judged, long[0].epochs)


def _best(tried: Iterable[Tried]) -> float:
    return max(tried, key=lambda one: one.merit).learning_rate


def _descent(rates: Sequence[float], start: float, known: Mapping[float, Tried]) -> list[float]:
    """Which rates to confirm: from ``start`` downwards to the first that is worse than the one above it.

    Of those that are not ``known`` only the next ones are told.
    """
    wanted = [start]
    for rate in sorted((rate for rate in rates if rate < start), reverse=True):
        above = wanted[-1]
        wanted.append(rate)
        if not {above, rate} <= known.keys() or known[rate].worth < known[above].worth:
            break
    return wanted


def _tried(trials: Iterable[Trial], ended: Mapping[str, Result]) -> dict[float, Tried]:
    """The rates at which all runs have come to an end, in ascending order."""
    by_rate: dict[float, list[Trial]] = {}
    for trial in trials:
        by_rate.setdefault(trial.learning_rate, []).append(trial)
    return {
        rate: _mean(rate, [ended[trial.id] for trial in by_rate[rate]])
        for rate in sorted(by_rate)
        if all(trial.id in ended for trial in by_rate[rate])
    }


def _mean(rate: float, results: Sequence[Result]) -> Tried:
    lasts = [result.epochs[-1].validation_accuracy for result in results if result.status == "done"]
    accuracies = [accuracy for accuracy in lasts if accuracy is not None]
    diverged = sum(result.status == "diverged" for result in results)
    return Tried(rate, fmean(accuracies) if accuracies else None, diverged)


def _cell(trial: Trial) -> tuple[Any, ...]:
    return tuple(getattr(trial, name) for name in _CELL)
