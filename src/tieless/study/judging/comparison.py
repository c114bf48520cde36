"""Comparison in one cell of a claim: how two rules differ under the same seeds, and how often each collapses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import count as integers
from statistics import fmean, median, stdev
from typing import Any, NamedTuple

from tieless._yaml import write_value
from tieless.study.claims import Claim
from tieless.study.judging.pairing import Pairing
from tieless.study.judging.questions import Questions, Tests, Verdict, together
from tieless.study.judging.statistics import (
    LEAST_PAIRS,
    POWER,
    Differences,
    Excess,
    power,
    resolution,
    share,
    special_functions,
)
from tieless.study.settings.metrics import ACCURACY, Scale, scale_of
from tieless.study.trial import EpochRecord, Result, Trial, count, outcome

_MOST_SEEDS = 10_000
_FIGURES = tuple(field.name for field in fields(EpochRecord) if field.name != "seconds")


@dataclass(frozen=True, slots=True)
class Arm:
    """One side of one cell, over the seeds that are compared.

    Args:
        mean: Mean of the metric; ``None`` where no run has one.
        diverged, one_class, failed: Numbers of runs that diverged, that predict a single class, and that raised an
            error.
        collapsed: Number of runs that collapsed: those that diverged, predict a single class, or end near chance.
        learning_rate: Learning rate of its runs.
    """

    mean: float | None
    diverged: int
    one_class: int
    failed: int
    collapsed: int
    learning_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimCell:
    """Comparison of the two sides in one cell, with its verdict.

    Args:
        settings: Settings in which it differs from the other cells of its claim, in words; empty if it is the only one.
        candidate, baseline: Sides of the comparison.
        pairs: Number of pairs of runs that are compared.
        planned: Number of pairs that are planned.
        differences: Differences of the metric, candidate less baseline, of the pairs of which one run at least did not
            collapse; ``None`` without any.
        excess: Difference of the rates of collapse; ``None`` without a pair.
        tolerance: Excess of collapses that the claim allows.
        wins, ties, losses: Numbers of seeds in which the candidate is better, equal, worse.
        of_differences, of_collapses: Verdicts on the two questions.
        verdict: Verdict on the claim in this cell: it holds if both hold, and does not hold if one does not.
            ``identical`` if the runs of both sides are the same in every seed, which is no evidence.
        more: Approximate number of further seeds that decide it with a probability of 80 % if the pilot's numbers are
            the true ones; ``None`` if it is decided, or no number up to ten thousand decides it.
        reason: Further remark on the verdict.
        metric: Name of the metric.
    Example:
        >>> from tieless.study import EpochRecord, Result, judge, load_study
        >>> study = load_study("quickstart")
        >>> def result(trial):
        ...     epoch = EpochRecord(0.4, 0.8, 0.5, 0.6 if trial.backward == "frozen" else 0.8, 1.0)
        ...     return Result(trial=trial, status="done", epochs=(epoch,), classes=10)
        >>> cell = judge(study.claims, study, map(result, study.trials))[0].cells[0]
        >>> cell.candidate.mean, cell.baseline.mean, cell.wins, cell.verdict
        (0.8, 0.6, 10, 'holds')
    """

    settings: str
    candidate: Arm
    baseline: Arm
    pairs: int
    planned: int
    differences: Differences | None
    excess: Excess | None
    tolerance: float
    wins: int
    ties: int
    losses: int
    of_differences: Verdict = "undecided"
    of_collapses: Verdict = "undecided"
    verdict: Verdict = "undecided"
    more: int | None = None
    reason: str = ""
    metric: str = ACCURACY


class Ended(NamedTuple):
    """Run that has ended.

    Args:
        result: Result.
        value: Outcome; ``None`` if it has none.
        collapsed: True if it did not train: it diverged, predicts a single class, or ends near chance.
    """

    result: Result
    value: float | None
    collapsed: bool

    @classmethod
    def of(cls, result: Result) -> Ended:
        value = outcome(result)
        return cls(result, value, _collapsed(result, value))


Runs = Sequence[tuple[Ended, Ended]]
"""Pairs of runs under the same seeds, candidate and baseline."""


def _collapsed(result: Result, value: float | None) -> bool:
    """True for a run that did not train.

    Near chance is below twice the accuracy of chance and less than a tenth of the way from there to 1; with another metric,
    no better than its chance level. The rule is the same for every study and looks at no other run.
    """
    if result.status != "done" or result.one_class:
        return True
    if result.trial.metric == ACCURACY:
        chance = 1 / result.classes if result.classes else 0.0
        return value is not None and value < min(2 * chance, chance + (1 - chance) / 10)
    rank = result.trial.scale.rank
    return value is not None and result.chance is not None and rank(value) <= rank(result.chance)


def compared(runs: Iterable[tuple[Result | None, Result | None]]) -> list[tuple[Ended, Ended]]:
    """Pairs of runs that both have an outcome."""
    return _with_outcomes(_ended(runs))


def _ended(runs: Iterable[tuple[Result | None, Result | None]]) -> list[tuple[Ended, Ended]]:
    return [(Ended.of(ours), Ended.of(theirs)) for ours, theirs in runs if ours is not None and theirs is not None]


def _with_outcomes(runs: Runs) -> list[tuple[Ended, Ended]]:
    return [(ours, theirs) for ours, theirs in runs if ours.value is not None and theirs.value is not None]


def differences(runs: Runs) -> list[float]:
    """Differences of outcomes, first less second, of the pairs of which one run at least did not collapse."""
    trained = ((ours.value, theirs.value) for ours, theirs in runs if not (ours.collapsed and theirs.collapsed))
    return [_difference(ours, theirs) for ours, theirs in trained if ours is not None and theirs is not None]


def _difference(ours: float, theirs: float) -> float:
    # What is computed from float32 has noise of its spacing, and a difference of two fractions is one but for rounding.
    equal = abs(ours - theirs) <= 2**-23 * max(abs(ours), abs(theirs))
    return 0.0 if equal else round(ours - theirs, 12)


def identical(runs: Runs) -> bool:
    """True if both runs of every pair end with the same numbers to the last bit: losses, accuracies, classes."""
    return bool(runs) and all(_ending(ours.result) == _ending(theirs.result) for ours, theirs in runs)


def _ending(result: Result) -> tuple[object, ...]:
    last = [getattr(result.epochs[-1], name) for name in _FIGURES] if result.epochs else []
    return result.status, result.predicted_classes, *map(str, last)


class Step(NamedTuple):
    """Smallest change of a metric.

    Args:
        size: Change: 1 over the number of test samples for an accuracy, the spacing of float32 numbers for other metrics.
        told: False if the number of test samples is not stored with the results, so that the change is the smallest one
            between their accuracies.
    """

    size: float
    told: bool


UNKNOWN = Step(0.0, told=False)
"""Step of a data set that no run was tested on."""


def steps(results: Iterable[Result]) -> dict[tuple[str, str], Step]:
    """Smallest change of each metric on each data set: ``(data, metric)``."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.trial.data, result.trial.metric), []).append(result)
    found = {key: _step(alike, scale_of(key[1])) for key, alike in groups.items()}
    return {key: step for key, step in found.items() if step is not None}


def _step(results: Sequence[Result], scale: Scale) -> Step | None:
    """Smallest change of a metric on a data set; ``None`` if no result tells of one."""
    if scale.counted:
        samples = [result.test_samples for result in results if result.test_samples is not None]
        if samples:
            return Step(1 / min(samples), told=True)
    values = [value for result in results if result.status == "done" and (value := outcome(result)) is not None]
    if not values:
        return None
    return Step(resolution(values), told=False) if scale.counted else Step(_rounding(values), told=True)


def _rounding(values: Sequence[float]) -> float:
    """Smallest change of a metric that is computed from float32 outputs: below it all differences are noise."""
    return 2**-23 * max(map(abs, values))


def looks(planned: int) -> Iterable[int]:
    """Numbers of pairs at which a cell is judged: the planned number, and each time twice as many.

    Numbers too small for any verdict are no looks.

    Example:
        >>> from itertools import islice
        >>> list(islice(looks(10), 3)), list(islice(looks(5), 3))
        ([10, 20, 40], [5, 10, 20])
    """
    # Seeds that were all added, for other claims, are no plan.
    return (size for i in integers() if (size := (planned or LEAST_PAIRS) * 2**i) >= LEAST_PAIRS)


class Found(NamedTuple):
    """Two intervals."""

    differences: Differences | None
    excess: Excess


def _measure(questions: Questions, runs: Runs, values: Sequence[float], level: float) -> Found:
    """Intervals of the differences and of the excess of collapses, over pairs of runs."""
    of_differences, of_collapses = questions.levels(level)
    alone = [(ours.collapsed, theirs.collapsed) for ours, theirs in runs]
    return Found(
        Differences.of(values, *of_differences) if values else None,
        Excess.of(len(runs), alone.count((True, False)), alone.count((False, True)), *of_collapses),
    )


class Comparison:
    """Comparison of one cell, judged at the last look that its runs have reached.

    Args:
        claim: Claim to judge.
        pairing: Cell with its paired runs.
        known: Results by their trial.
        varied: Settings by which the claim's cells differ.
        level: Part of the level that this comparison has, over all its looks.
    """

    def __init__(
        self,
        claim: Claim,
        pairing: Pairing,
        known: Mapping[Trial, Result],
        varied: Sequence[str],
        level: float,
    ) -> None:
        self.pairing = pairing
        self._level = level
        self._claim = claim
        self._scale = scale_of(pairing.settings["metric"])
        self._questions = Questions.of(claim, self._scale.name)
        self._words = ", ".join(_in_words(name, pairing.settings[name]) for name in varied)
        runs = [(known.get(pairing.candidate[seed]), known.get(pairing.baseline[seed])) for seed in pairing.seeds]
        self._planned = len(runs)
        self.ended = next((i for i, pair in enumerate(runs) if None in pair), len(runs))
        self.look, seen = -1, self.ended
        for self.next_look in looks(pairing.planned):
            if self.next_look > self.ended:
                break
            self.look, seen = self.look + 1, self.next_look
        # Before the first look the numbers are shown and not judged: a verdict at any moment would be a look more.
        self._ran = _ended(runs[:seen])
        self._runs = _with_outcomes(self._ran)
        self._values = differences(self._runs)
        self.trained = bool(self._values)
        self.cell = self._judged()

    def _judged(self) -> ClaimCell:
        level = self._level * share(self.look) if self.look >= 0 else 0.0
        values = self._values
        found = _measure(self._questions, self._runs, values, level)
        arms = [_arm([pair[side] for pair in self._ran], rate) for side, rate in enumerate(_rates(self.pairing))]
        cell = ClaimCell(
            settings=self._words,
            candidate=arms[0],
            baseline=arms[1],
            pairs=len(self._runs),
            planned=self._planned,
            differences=found.differences and possible(found.differences, self._scale),
            excess=found.excess if self._runs else None,
            tolerance=self._claim.tolerance,
            wins=sum(self._scale.rank(value) > 0 for value in values),
            ties=sum(value == 0 for value in values),
            losses=sum(self._scale.rank(value) < 0 for value in values),
            metric=self._scale.name,
        )
        if found.differences is None:
            return replace(cell, reason=self._stuck())
        if self.ended >= self.pairing.planned and identical(self._runs):
            return replace(cell, verdict="identical", reason="the runs of both sides are the same in every seed")
        of_differences = self._questions.differences.answer(*found.differences.interval)
        of_collapses = self._questions.collapses.answer(found.excess.low, found.excess.high)
        cell = replace(
            cell,
            of_differences=of_differences,
            of_collapses=of_collapses,
            verdict=together([of_differences, of_collapses]),
        )
        if cell.verdict != "undecided":
            same = f"the difference is {self._amount(values[0])} in every seed" if len(set(values)) == 1 else ""
            return replace(cell, reason=same)
        if stuck := self._stuck():
            return replace(cell, reason=stuck)
        more = self._more(values, found.excess)
        return replace(cell, more=more, reason="" if more else "the difference lies at the margin")

    def _amount(self, difference: float) -> str:
        number = format(self._scale.in_units(difference), "+.2f" if self._scale.in_points else "+.4g")
        return f"{number if difference else 0} {self._scale.words(0)}"

    def _stuck(self) -> str:
        """Reason why no number of seeds can be given."""
        planned = self.pairing.planned
        if self.ended < planned:
            return "not run yet" if self.ended == 0 else f"{self.ended} of {planned} planned seeds have run"
        lost = max(count("failed", [pair[side].result for pair in self._ran]) for side in (0, 1))
        if lost and len(self._runs) < LEAST_PAIRS:
            return f"{lost} of {len(self._ran)} runs failed and are left out, and a verdict needs {LEAST_PAIRS} pairs"
        if not self.trained:
            return "neither rule trains, so there is nothing to compare"
        pairs = len(self._runs)
        few = f"{pairs} pair{'' if pairs == 1 else 's'}, and a verdict needs {LEAST_PAIRS}"
        return few if pairs < LEAST_PAIRS else ""

    def _more(self, values: Sequence[float], excess: Excess) -> int | None:
        """Number of seeds up to the first look that decides with a probability of 80 %, if what was seen is the truth."""
        for look, size in enumerate(looks(self.pairing.planned)):
            if size > _MOST_SEEDS:
                return None
            if look > self.look and self._decides(size, look, values, excess):
                return max(1, size - self._planned)
        return None

    def _decides(self, size: int, look: int, values: Sequence[float], excess: Excess) -> bool:
        """True if a look at so many pairs decides with a probability of 80 %, where what was seen is the truth."""
        (low, high), of_collapses = self._questions.levels(self._level * share(look))
        grown = size / excess.n
        counts = (round(grown * excess.candidate), round(grown * excess.baseline))
        collapses = Excess.of(size, *counts, *of_collapses)
        of_collapses = self._questions.collapses.answer(collapses.low, collapses.high)
        pairs = max(1, round(grown * len(values)))

        def cleared(tests: Tests) -> list[float]:
            above = [(low, [v - t for v in values]) for t in tests.above]
            below = [(high, [t - v for v in values]) for t in tests.below]
            return [_power(pairs, level, distances) for level, distances in (*above, *below)]

        against = of_collapses == "does not hold" or max(cleared(self._questions.differences.against)) >= POWER
        holds = of_collapses == "holds" and sum(1 - p for p in cleared(self._questions.differences.for_)) <= 1 - POWER
        return against or holds


def possible(found: Differences, scale: Scale) -> Differences:
    """Differences, whose interval goes no further than from -1 to 1 where they are of fractions."""
    if not scale.in_points or math.isinf(found.low):
        return found
    return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0))


def _power(n: int, level: float, distances: Sequence[float]) -> float:
    """Probability that the interval of ``n`` values clears a threshold from which those seen have these distances.

    Values are taken to be normal: with the median and the spread of those seen, or with their share beyond the threshold,
    ``(k + 1/2) / (m + 1)`` of ``k`` of ``m``, where that says more, for single values far away blow up the spread.
    """
    odds = (sum(distance > 0 for distance in distances) + 0.5) / (len(distances) + 1)
    size = float(special_functions().ndtri(odds))
    if len(distances) > 1:
        size = max(size, median(distances) / max(stdev(distances), 1e-12))
    return power(n, size, 1.0, level)


def _rates(pairing: Pairing) -> tuple[float, float]:
    return tuple(next(iter(arm.values())).learning_rate for arm in (pairing.candidate, pairing.baseline))  # pyright: ignore[reportReturnType]


def _arm(runs: Sequence[Ended], learning_rate: float) -> Arm:
    results = [run.result for run in runs]
    outcomes = [run.value for run in runs if run.value is not None]
    return Arm(
        mean=fmean(outcomes) if outcomes else None,
        diverged=count("diverged", results),
        one_class=sum(result.one_class for result in results),
        failed=count("failed", results),
        collapsed=sum(run.collapsed and run.result.status != "failed" for run in runs),
        learning_rate=learning_rate,
    )


def _in_words(name: str, value: Any) -> str:
    return (
        value
        if isinstance(value, str)
        else f"{name.replace('_', ' ')} {value if value is None else write_value(value)}"
    )
