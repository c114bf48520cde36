"""Choosing a learning rate on validation samples, in runs that never see the test samples and share no seed with others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from tieless.study.trial import Result, Trial, count, mean_outcome

_CELL = tuple(f.name for f in fields(Trial) if f.name not in {"learning_rate", "seed", "validation", "test"})


@dataclass(frozen=True, slots=True)
class Choose:
    """Settings by which a study chooses a learning rate for each cell, from the rates that its grid gives the cell.

    Args:
        validation: Fraction of the training samples that the choosing runs hold out and are judged by.
        seeds: Seeds of the choosing runs; no final run has one of them.
        epochs: Number of epochs of the choosing runs; ``None`` is as many as the final runs have.
        confirm: True if the rate that those shorter runs chose is confirmed by runs as long as the final ones. It is
            compared with the next smaller rate of the grid, and so on downwards for as long as the smaller one is no
            worse: short runs flatter large rates.
    """

    validation: float
    seeds: tuple[int, ...]
    epochs: int | None = None
    confirm: bool = False

    def key(self, trial: Trial) -> tuple[Any, ...]:
        """Key that the choosing runs of a cell share with the final runs that follow from them."""
        return _cell(self.shortened(trial))

    def shortened(self, trial: Trial) -> Trial:
        """The trial with the epochs of the runs that choose first."""
        return trial if self.epochs is None else replace(trial, epochs=self.epochs)

    def confirms(self, trial: Trial) -> bool:
        """True if a choosing run is one of those that confirm."""
        return self.confirm and trial.epochs != self.epochs


@dataclass(frozen=True, slots=True)
class Tried:
    """One learning rate of one cell.

    ``accuracy`` is the mean of the metric, most often the accuracy, on the validation samples of its seeds, chance for
    one that diverged, as claims count it; ``diverged`` is the number of those that did. ``higher`` is True if higher is
    better.
    """

    learning_rate: float
    accuracy: float | None
    diverged: int
    higher: bool = True

    @property
    def worth(self) -> tuple[int, float]:
        """Rank of a rate: fewer diverged seeds first, then the better mean."""
        worst = -math.inf if self.accuracy is None else self.accuracy if self.higher else -self.accuracy
        return -self.diverged, worst

    @property
    def merit(self) -> tuple[int, float, float]:
        """Rank of a rate in which, of equally good ones, the smallest is first."""
        return *self.worth, -self.learning_rate


@dataclass(frozen=True, slots=True)
class Choice:
    """Choice of the learning rate of one cell: the best of the rates tried.

    Args:
        trial: One of the choosing runs; all but its rate and seed are the cell's.
        tried: Results of all rates, in ascending order of the rate.
        learning_rate: Rate with the fewest seeds diverged, then the best mean of the metric on validation samples after
            the last epoch, then the smallest.
        confirmed: Rates that had runs as long as the final ones, in ascending order, where choices are confirmed.
            ``learning_rate`` is the best of these.
        confirming: Number of epochs of the confirming runs.
    """

    trial: Trial
    tried: tuple[Tried, ...]
    learning_rate: float
    confirmed: tuple[Tried, ...] = ()
    confirming: int | None = None

    @property
    def edge(self) -> int:
        """-1 or 1 if the lowest or the highest of three or more rates was chosen: one beyond it may be better still."""
        judged = self.confirmed or self.tried
        best = max(one.worth for one in judged)
        # Where rates are equally good, none lies beyond the best.
        if len(self.tried) < 3 or sum(one.worth == best for one in judged) > 1:
            return 0
        return (self.learning_rate == self.tried[-1].learning_rate) - (
            self.learning_rate == self.tried[0].learning_rate
        )


def pilots(asked: Iterable[Trial], choose: Choose) -> list[Trial]:
    """Choosing runs that come first: each requested cell, at each of its rates, under the seeds of ``choose``."""
    asked = list(asked)
    return list(dict.fromkeys(choose.shortened(trial) for trial in _choosing(asked, choose)))


def confirmations(
    asked: Sequence[Trial], choose: Choose, pilots: Sequence[Trial], results: Sequence[Result]
) -> list[Trial]:
    """Choosing runs that confirm, as far as the results determine them; empty where nothing is confirmed.

    Args:
        asked: Requested runs, at every learning rate.
        choose: Settings of the choice.
        pilots: Choosing runs that come first.
        results: All known results.
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
    """Choices that can be made: one for each cell whose choosing runs have all ended.

    A failed run says nothing about its rate, so its cell waits until the run is repeated.

    Args:
        pilots: Choosing runs, those that confirm included.
        results: All known results.
        choose: Settings of the choice.
    """
    ended = _ended(results)
    made = (_choice(trials, ended, choose) for trials in _cells(pilots, choose).values())
    return [choice for choice in made if choice is not None]


def finals(asked: Sequence[Trial], choose: Choose, made: Iterable[Choice]) -> list[Trial]:
    """Requested runs at the chosen rates, in the same order. Each looks at the test samples once."""
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
    """Choice for one cell; ``None`` while runs are missing."""
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
    """Rates to confirm: from ``start`` downwards to the first that is worse than the one above it.

    Of the rates that are not ``known``, only the next ones are included.
    """
    wanted = [start]
    for rate in sorted((rate for rate in rates if rate < start), reverse=True):
        above = wanted[-1]
        wanted.append(rate)
        if not {above, rate} <= known.keys() or known[rate].worth < known[above].worth:
            break
    return wanted


def _tried(trials: Iterable[Trial], ended: Mapping[str, Result]) -> dict[float, Tried]:
    """Rates at which all runs have ended, in ascending order."""
    by_rate: dict[float, list[Trial]] = {}
    for trial in trials:
        by_rate.setdefault(trial.learning_rate, []).append(trial)
    return {
        rate: _mean(rate, [ended[trial.id] for trial in by_rate[rate]])
        for rate in sorted(by_rate)
        if all(trial.id in ended for trial in by_rate[rate])
    }


def _mean(rate: float, results: Sequence[Result]) -> Tried:
    higher = all(result.trial.scale.higher for result in results)
    return Tried(rate, mean_outcome(results, "validation"), count("diverged", results), higher)


def _cell(trial: Trial) -> tuple[Any, ...]:
    return tuple(getattr(trial, name) for name in _CELL)
