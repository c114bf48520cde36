"""Choosing a learning rate on validation samples, in runs that never see the test samples and share no seed with others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean, stdev
from typing import Any

from tieless.study.trial import Result, Trial, count, outcome

_SEEDS_FOR_AN_ERROR = 2
_ERRORS = 2
"""Number of standard errors within which two rates are not told apart."""
_DIGITS = 6
"""Significant digits of a rate beyond the grid: 0.03, and not 0.030000000000000002, follows 0.003 and 0.01."""

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
        extend: Lowest and highest rate to which a cell's grid goes on while its best rate lies at an end, a step of its
            own ratio at a time; ``None`` if it never does.
    """

    validation: float
    seeds: tuple[int, ...]
    epochs: int | None = None
    confirm: bool = False
    extend: tuple[float, float] | None = None

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

    Args:
        learning_rate: Rate.
        values: Metric, most often the accuracy, of each seed on the validation samples, chance for one that diverged, as
            claims count it; by seed.
        diverged: Number of seeds that diverged.
        higher: True if higher is better.
    Example:
        >>> from tieless.study import Tried
        >>> tried = Tried(0.1, values=((100, 0.8), (101, 0.6)), diverged=0)
        >>> round(tried.value, 2), round(tried.worth[1], 2)
        (0.7, 0.65)
    """

    learning_rate: float
    values: tuple[tuple[int, float], ...]
    diverged: int
    higher: bool = True

    @property
    def value(self) -> float | None:
        """Mean over the seeds; ``None`` if no seed has a value."""
        return fmean(value for _, value in self.values) if self.values else None

    @property
    def worth(self) -> tuple[int, float]:
        """Rank of a rate: fewer diverged seeds first, then the better middle between mean and worst seed.

        The mean alone lets two lucky seeds hide one that fails; the worst seed alone is the noise of one run. Of one
        seed both are its value.
        """
        values = [value if self.higher else -value for _, value in self.values]
        return -self.diverged, (fmean(values) + min(values)) / 2 if values else -math.inf

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
        learning_rate: Rate with the fewest seeds diverged, then the best middle between mean and worst seed of the metric
            on validation samples after the last epoch, then the smallest.
        confirmed: Rates that had runs as long as the final ones, in ascending order, where choices are confirmed.
            ``learning_rate`` is the best of these.
        confirming: Number of epochs of the confirming runs.
    Example:
        >>> from tieless.study import Choice, Tried, load_study
        >>> tried = tuple(Tried(rate, ((100, 0.5 + rate), (101, 0.5 + rate)), diverged=0) for rate in (0.1, 0.2, 0.3))
        >>> choice = Choice(load_study("quickstart").trials[0], tried, learning_rate=0.3)
        >>> choice.runner_up.learning_rate, choice.within_noise, choice.edge
        (0.2, False, 1)
    """

    trial: Trial
    tried: tuple[Tried, ...]
    learning_rate: float
    confirmed: tuple[Tried, ...] = ()
    confirming: int | None = None

    @property
    def edge(self) -> int:
        """-1 or 1 if the lowest or the highest of three or more rates was chosen: one beyond it may be better still."""
        rates = {one.learning_rate for one in (*self.tried, *self.confirmed)}
        if len(self.tried) < 3 or not _has_one_best(self._judged):
            return 0
        return (self.learning_rate == max(rates)) - (self.learning_rate == min(rates))

    @property
    def runner_up(self) -> Tried | None:
        """Second best of the rates; ``None`` if only one was tried."""
        others = [one for one in self._judged if one.learning_rate != self.learning_rate]
        return max(others, key=lambda one: one.merit, default=None)

    @property
    def within_noise(self) -> bool | None:
        """True if the runner-up is within two standard errors of the chosen rate, so that other seeds may choose it.

        The error is that of the mean difference over the seeds that both rates have; ``None`` if those are fewer than
        two. A rate at which more seeds diverged is never within noise.
        """
        second = self.runner_up
        if second is None:
            return None
        chosen = next(one for one in self._judged if one.learning_rate == self.learning_rate)
        ours, theirs = dict(chosen.values), dict(second.values)
        differences = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
        if len(differences) < _SEEDS_FOR_AN_ERROR:
            return None
        error = stdev(differences) / math.sqrt(len(differences))
        return chosen.diverged == second.diverged and abs(fmean(differences)) <= _ERRORS * error

    @property
    def _judged(self) -> tuple[Tried, ...]:
        """Rates among which the last choice was made."""
        return self.confirmed or self.tried


def summary(made: Sequence[Choice]) -> str:
    """Sentence about choices: their number, and of how many another rate may be as good or better."""
    remarks = {
        "at an end of their grid": sum(choice.edge != 0 for choice in made),
        "with a runner-up within two standard errors": sum(choice.within_noise is True for choice in made),
        "by too few seeds to tell": sum(
            choice.runner_up is not None and choice.within_noise is None for choice in made
        ),
    }
    told = ", ".join(f"{number} {words}" for words, number in remarks.items() if number)
    return f"{len(made)} learning rate{'' if len(made) == 1 else 's'} chosen{told and ': '}{told}."


def way(choose: Choose, runs: int) -> str:
    """Sentences about how learning rates will be chosen.

    Args:
        choose: Settings of the choice.
        runs: Number of the choosing runs that come first.
    Example:
        >>> way(Choose(0.1, (100,), epochs=2), 12)
        'Learning rates are chosen first: 12 runs, under seed 100, 2 epochs each, by 10 % of the training samples.'
    """
    seeds = f"seed{'' if len(choose.seeds) == 1 else 's'} {', '.join(map(str, choose.seeds))}"
    length = "" if choose.epochs is None else f", {choose.epochs} epoch{'' if choose.epochs == 1 else 's'} each"
    told = (
        f"Learning rates are chosen first: {runs} runs, under {seeds}{length},"
        f" by {100 * choose.validation:g} % of the training samples."
    )
    if choose.extend is not None:
        low, high = choose.extend
        told += f" Where the best rate is at an end of a cell's rates, more are tried, from {low:g} to {high:g}."
    if choose.confirm:
        told += " What was chosen is confirmed by runs as long as the final ones."
    return told


def pilots(asked: Iterable[Trial], choose: Choose) -> list[Trial]:
    """Choosing runs that come first: each requested cell, at each of its rates, under the seeds of ``choose``."""
    asked = list(asked)
    return list(dict.fromkeys(choose.shortened(trial) for trial in _choosing(asked, choose)))


def extensions(asked: Iterable[Trial], choose: Choose, results: Iterable[Result]) -> list[Trial]:
    """Choosing runs beyond the grid, as far as the results determine them; empty where grids do not extend.

    A cell gets one more rate, a step of its grid's own ratio beyond an end, for as long as the rate there is the one best.

    Args:
        asked: Requested runs, at every learning rate of the grid.
        choose: Settings of the choice.
        results: All known results.
    """
    if choose.extend is None:
        return []
    ended = _ended(results)
    found: list[Trial] = []
    for trials in _cells(pilots(asked, choose), choose).values():
        known = list(trials)
        while (tried := _tried(known, ended)).keys() == {trial.learning_rate for trial in known}:
            rate = _beyond(list(tried.values()), choose)
            if rate is None:
                break
            known += _at_rates(trials, [rate])
        found += known[len(trials) :]
    return found


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
    wanted: list[Trial] = []
    for choice in choices(pilots, results, replace(choose, confirm=False)):
        rates = _downwards([one.learning_rate for one in choice.tried], choose)
        trials = _at_rates(long[choose.key(choice.trial)], rates)
        following = _descent(rates, choice.learning_rate, _tried(trials, ended))
        wanted += [trial for trial in trials if trial.learning_rate in following]
    return wanted


def choices(pilots: Iterable[Trial], results: Iterable[Result], choose: Choose) -> list[Choice]:
    """Choices that can be made: one for each cell whose choosing runs have all ended.

    A failed run says nothing about its rate, so its cell waits until the run is repeated.

    Args:
        pilots: Choosing runs, those that confirm included.
        results: All known results.
        choose: Settings of the choice.
    Example:
        >>> from tieless.study import EpochRecord, Result, choices, parse_study
        >>> study = parse_study('''
        ... title: A constant, at its own rate
        ... question: Which one?
        ... grid: {data: digits, model: mlp, forward: relu, backward: constant, optimiser: sgd, learning_rate: [0.01, 0.1],
        ...        batch: 64, epochs: 1, seeds: 0..4}
        ... choose: {validation: 0.1, seeds: [100]}
        ... ''', name="own-rate")
        >>> def result(trial):
        ...     epoch = EpochRecord(0.4, 0.8, None, None, 1.0, 0.5, trial.learning_rate + 0.7)
        ...     return Result(trial=trial, status="done", epochs=(epoch,))
        >>> [choice.learning_rate for choice in choices(study.trials, map(result, study.trials), study.choose)]
        [0.1]
    """
    ended = _ended(results)
    made = (_choice(trials, ended, choose) for trials in _cells(pilots, choose).values())
    return [choice for choice in made if choice is not None]


def finals(asked: Sequence[Trial], choose: Choose, made: Iterable[Choice]) -> list[Trial]:
    """Requested runs at the chosen rates, in the same order. Each looks at the test samples once."""
    rates = {choose.key(choice.trial): choice.learning_rate for choice in made}
    found: dict[Trial, None] = {}
    for key, trials in _cells(asked, choose).items():
        if key in rates:
            found.update(dict.fromkeys(_at_rates(trials, [rates[key]])))
    order = {(choose.key(trial), trial.seed): place for place, trial in enumerate(asked)}
    following = sorted(found, key=lambda trial: order[choose.key(trial), trial.seed])
    return [replace(trial, test="once") for trial in following]


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
    if len(tried) < len({trial.learning_rate for trial in first}) or _beyond(list(tried.values()), choose) is not None:
        return None
    best = _best(tried.values())
    if not choose.confirm:
        return Choice(first[0], tuple(tried.values()), best)
    confirmed = _tried(long, ended)
    wanted = _descent(_downwards(list(tried), choose), best, confirmed)
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


def _beyond(tried: Sequence[Tried], choose: Choose) -> float | None:
    """Next rate beyond the end of a cell's rates at which the one best lies; ``None`` if none is to be tried."""
    if choose.extend is None or not _has_one_best(tried):
        return None
    rates, best = [one.learning_rate for one in tried], _best(tried)
    if best == rates[-1]:
        return _next(rates, choose.extend)
    return _next(rates[::-1], choose.extend) if best == rates[0] else None


def _has_one_best(tried: Sequence[Tried]) -> bool:
    """True unless the best rates are equally good, so that none lies beyond the best."""
    best = max(one.worth for one in tried)
    return sum(one.worth == best for one in tried) == 1


def _next(rates: Sequence[float], limits: tuple[float, float]) -> float | None:
    """Rate that continues a row of rates within limits: 0.03 after 0.001, 0.003 and 0.01."""
    if len(rates) < 2:
        return None
    # By two steps at a time, so that a row of two ratios in turn goes on as it is.
    following = rates[-2] * (rates[-1] / rates[-3]) if len(rates) > 2 else rates[-1] * (rates[-1] / rates[-2])
    following = float(f"{following:.{_DIGITS}g}")
    return following if limits[0] <= following <= limits[1] else None


def _downwards(rates: Sequence[float], choose: Choose) -> list[float]:
    """Ascending rates of a cell, and those below them to which its grid may go on."""
    falling = list(rates)[::-1]
    while choose.extend is not None and (below := _next(falling, choose.extend)) is not None:
        falling.append(below)
    return falling[::-1]


def _at_rates(trials: Iterable[Trial], rates: Iterable[float]) -> list[Trial]:
    """Trials of one cell, those of each of their seeds once, at other rates."""
    by_seed = {trial.seed: trial for trial in trials}
    return [replace(trial, learning_rate=rate) for trial in by_seed.values() for rate in rates]


def _tried(trials: Iterable[Trial], ended: Mapping[str, Result]) -> dict[float, Tried]:
    """Rates at which all runs have ended, in ascending order."""
    by_rate: dict[float, list[Trial]] = {}
    for trial in trials:
        by_rate.setdefault(trial.learning_rate, []).append(trial)
    return {
        rate: _judge(rate, [ended[trial.id] for trial in by_rate[rate]])
        for rate in sorted(by_rate)
        if all(trial.id in ended for trial in by_rate[rate])
    }


def _judge(rate: float, results: Sequence[Result]) -> Tried:
    higher = all(result.trial.scale.higher for result in results)
    outcomes = ((result.trial.seed, outcome(result, "validation")) for result in results)
    values = tuple((seed, value) for seed, value in outcomes if value is not None)
    return Tried(rate, values, count("diverged", results), higher)


def _cell(trial: Trial) -> tuple[Any, ...]:
    return tuple(getattr(trial, name) for name in _CELL)
