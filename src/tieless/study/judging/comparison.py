"""Comparison in one cell of a claim: runs of two rules under the same seeds, and tests for and against the claim."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import stdev
from typing import Any, Literal, NamedTuple, Protocol

from tieless._yaml import write_value
from tieless.study.claims import Claim, Relation
from tieless.study.judging.pairing import Pairing
from tieless.study.judging.statistics import LEVEL, Differences, resolution, seeds_needed
from tieless.study.settings.metrics import ACCURACY, scale_of
from tieless.study.trial import Result, Trial, count, mean_outcome, outcome

Verdict = Literal["holds", "does not hold", "undecided"]

LEAST_PAIRS = 3
"""Smallest number of pairs for a test: two differences say nothing about their distribution."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One side of one cell, over the seeds that are compared.

    Args:
        mean: Mean of the metric; ``None`` where no run has one.
        diverged, one_class, failed: Numbers of runs that diverged, that predict a single class, and that raised an
            error.
        learning_rate: Learning rate of its runs.
    """

    mean: float | None
    diverged: int
    one_class: int
    failed: int
    learning_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimCell:
    """Comparison of the two sides in one cell, with its verdict.

    Args:
        settings: Settings in which it differs from the other cells of its claim, in words; empty if it is the only one.
        candidate, baseline: Sides of the comparison.
        pairs: Number of pairs of runs that are compared.
        planned: Number of pairs that are planned.
        differences: Differences of the metric, candidate less baseline; ``None`` below two pairs.
        wins, ties, losses: Numbers of seeds in which the candidate is better, equal, worse.
        p_holds, p_fails: p-values for and against the claim, adjusted for all looks and, by Holm, for the family.
        verdict: Verdict on the claim in this cell.
        more: Approximate number of further seeds that decide it with a probability of 80 % if the pilot's numbers are
            the true ones; ``None`` if it is decided, or no number up to ten thousand decides it.
        reason: Further remark on the verdict.
        metric: Name of the metric.
    """

    settings: str
    candidate: Arm
    baseline: Arm
    pairs: int
    planned: int
    differences: Differences | None
    wins: int
    ties: int
    losses: int
    p_holds: float
    p_fails: float
    verdict: Verdict = "undecided"
    more: int | None = None
    reason: str = ""
    metric: str = ACCURACY

    @property
    def unseen(self) -> float | None:
        """Upper 95 % limit of the candidate's failure rate if no run failed to train: ``1 - 0.05 ** (1 / n)``.

        Source:
            Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404, for 0 of ``n``.
        """
        if self.pairs == 0 or self.candidate.diverged or self.candidate.one_class:
            return None
        return float(1 - (2 * LEVEL) ** (1 / self.pairs))


def paired(runs: Iterable[tuple[Result | None, Result | None]]) -> list[float]:
    """Differences of outcomes, first less second, of the pairs of runs that both have one."""
    values: list[float] = []
    for ours, theirs in runs:
        if ours is not None and theirs is not None:
            candidate, baseline = outcome(ours), outcome(theirs)
            if candidate is not None and baseline is not None:
                values.append(candidate - baseline)
    return values


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
    samples: dict[tuple[str, str], int] = {}
    values: dict[tuple[str, str], list[float]] = {}
    for result in results:
        key = result.trial.data, result.trial.metric
        if result.test_samples is not None and result.trial.scale.counted:
            samples[key] = min(samples.get(key, result.test_samples), result.test_samples)
        if result.status == "done" and (value := outcome(result)) is not None:
            values.setdefault(key, []).append(value)
    seen = {
        key: Step(resolution(found), told=False) if scale_of(key[1]).counted else Step(_rounding(found), told=True)
        for key, found in values.items()
    }
    return seen | {key: Step(1 / count, told=True) for key, count in samples.items()}


def _rounding(values: Sequence[float]) -> float:
    """Smallest change of a metric that is computed from float32 outputs: below it all differences are noise."""
    return 2**-23 * max(map(abs, values))


def look_sizes(planned: int, most: int | None) -> list[int]:
    """Numbers of pairs at the looks: the planned number, then twice as many each time, up to ``most``.

    If seeds may be added, numbers too small for a test are no looks.

    Example:
        >>> look_sizes(5, None), look_sizes(5, 40), look_sizes(5, 24), look_sizes(1, 8)
        ([5], [5, 10, 20, 40], [5, 10, 20, 24], [4, 8])
    """
    # Seeds that were all added, for other claims, are no plan: then the first look is the smallest that tests.
    sizes = [planned or LEAST_PAIRS]
    while most is not None and sizes[-1] < most:
        sizes.append(min(2 * sizes[-1], most))
    return [size for size in sizes if size >= LEAST_PAIRS] or sizes


class Tested(Protocol):
    """Difference that has one-sided tests."""

    def above(self, threshold: float) -> float: ...
    def below(self, threshold: float) -> float: ...


@dataclass(frozen=True, slots=True)
class Tests:
    """One-sided tests of which a relation consists: the thresholds that the difference is ``above`` and ``below``."""

    above: tuple[float, ...] = ()
    below: tuple[float, ...] = ()

    def p_all(self, found: Tested) -> float:
        """p-value that all of them hold: an intersection-union test."""
        return max([*(found.above(t) for t in self.above), *(found.below(t) for t in self.below)])

    def p_any(self, found: Tested) -> float:
        """p-value that one of them holds, by Bonferroni."""
        p_values = [*(found.above(t) for t in self.above), *(found.below(t) for t in self.below)]
        return min(1.0, len(p_values) * min(p_values))

    def distances(self, mean: float) -> list[float]:
        return [*(mean - t for t in self.above), *(t - mean for t in self.below)]


def relation_tests(relation: Relation, margin: float, *, higher: bool) -> tuple[Tests, Tests]:
    """Tests for a relation (all must hold) and against it (any suffices).

    Args:
        relation: Relation that is claimed.
        margin: Margin, in units of the values.
        higher: True if higher values are better.
    """
    # Where lower values are better, superior is what inferior is elsewhere.
    superior = (Tests(above=(margin,)), Tests(below=(margin,)))
    inferior = (Tests(below=(-margin,)), Tests(above=(-margin,)))
    no_less = inferior if higher else superior
    return {
        "non-inferior to": (no_less[1], no_less[0]),
        "superior to": superior if higher else inferior,
        "inferior to": inferior if higher else superior,
        "equivalent to": (Tests(above=(-margin,), below=(margin,)), Tests(above=(margin,), below=(-margin,))),
    }[relation]


class Comparison:
    """Comparison of one cell before its family is known: p-values for and against, adjusted for all looks.

    Args:
        claim: Claim to judge.
        pairing: ClaimCell with its paired runs.
        known: Results by their trial.
        steps: Smallest change of the accuracies on each data set.
        most: Largest number of pairs to which seeds may be added; ``None`` if only the planned ones are run.
        varied: Settings by which the claim's cells differ.
    """

    def __init__(
        self,
        claim: Claim,
        pairing: Pairing,
        known: Mapping[Trial, Result],
        steps: Mapping[tuple[str, str], Step],
        most: int | None,
        varied: Sequence[str],
    ) -> None:
        self.pairing = pairing
        self.sizes = look_sizes(pairing.planned, most)
        self._scale = scale_of(pairing.settings["metric"])
        margin = self._scale.of_units(claim.margin)
        self._for, self._against = relation_tests(claim.relation, margin, higher=self._scale.higher)
        self._step = steps.get((pairing.settings["data"], self._scale.name), UNKNOWN)
        self._words = ", ".join(_in_words(name, pairing.settings[name]) for name in varied)
        runs = [(known.get(pairing.candidate[seed]), known.get(pairing.baseline[seed])) for seed in pairing.seeds]
        self._planned = len(runs)
        self.ended = next((i for i, (ours, theirs) in enumerate(runs) if ours is None or theirs is None), len(runs))
        reached = [size for size in self.sizes if size <= self.ended]
        # Before the first look the numbers are shown and not tested: a test at any moment would be a look more.
        seen = runs[: max(reached, default=self.ended)]
        self._runs = [(ours, theirs) for ours, theirs in seen if ours is not None and theirs is not None]
        self._arms = tuple(_arm([pair[side] for pair in self._runs], rule) for side, rule in enumerate(_rates(pairing)))
        p_values = [self._p_values(runs[:size]) for size in reached]
        self.trained = _trained(self._runs)
        looks = len(self.sizes)
        self.p_holds = min([1.0, *(looks * p for p, _ in p_values)])
        self.p_fails = min([1.0, *(looks * p for _, p in p_values)])

    def _p_values(self, runs: Sequence[tuple[Result | None, Result | None]]) -> tuple[float, float]:
        values = paired(runs)
        if len(values) < LEAST_PAIRS or not _trained(runs):
            return 1.0, 1.0
        found = Differences.of(values, self._step.size)
        return self._for.p_all(found), self._against.p_any(found)

    def judged(self, p_holds: float, p_fails: float, verdict: Verdict, open_ones: int) -> ClaimCell:
        """Cell with p-values adjusted for the family, of which ``open_ones`` are undecided."""
        values = paired(self._runs)
        found = Differences.of(values, self._step.size) if len(values) > 1 else None
        cell = ClaimCell(
            settings=self._words,
            candidate=self._arms[0],
            baseline=self._arms[1],
            pairs=len(values),
            planned=self._planned,
            differences=found,
            wins=sum(self._scale.rank(value) > 0 for value in values),
            ties=sum(value == 0 for value in values),
            losses=sum(self._scale.rank(value) < 0 for value in values),
            p_holds=p_holds,
            p_fails=p_fails,
            verdict=verdict,
            metric=self._scale.name,
        )
        if verdict != "undecided":
            same = f"the difference is {self._amount(values[0])} in every seed" if len(set(values)) == 1 else ""
            return replace(cell, reason=same)
        reason = self._stuck(values)
        if reason or found is None:
            return replace(cell, reason=reason)
        more = self._more(found, open_ones)
        coarse = self._coarse(values, found)
        return replace(cell, more=more, reason=coarse or ("" if more else "the difference lies at the margin"))

    def _amount(self, difference: float) -> str:
        number = format(self._scale.in_units(difference), "+.2f" if self._scale.in_points else "+.4g")
        return f"{number if difference else 0} {self._scale.words(0)}"

    def _coarse(self, values: Sequence[float], found: Differences) -> str:
        """Remark that the test set, and not the seeds, limits the interval."""
        if stdev(values) >= found.sd or not self._scale.counted:
            return ""
        if not self._step.told:
            return "the number of test samples is not stored with these runs"
        return f"{1 / self._step.size:,.0f} test samples show no smaller difference"

    def _stuck(self, values: Sequence[float]) -> str:
        """Reason why no number of seeds can be given."""
        planned = self.pairing.planned
        if self.ended < planned:
            return "not run yet" if self.ended == 0 else f"{self.ended} of {planned} planned seeds have run"
        lost = max(count("failed", [pair[side] for pair in self._runs]) for side in (0, 1))
        if lost and len(values) < LEAST_PAIRS:
            return f"{lost} of {len(self._runs)} runs failed and are left out, and a test needs {LEAST_PAIRS} pairs"
        if not self.trained:
            return "neither rule trains, so there is nothing to compare"
        if len(values) < LEAST_PAIRS:
            return f"{len(values)} pair{'' if len(values) == 1 else 's'}, and a test needs {LEAST_PAIRS}"
        return ""

    def _more(self, found: Differences, open_ones: int) -> int | None:
        level = LEVEL / (len(self.sizes) * open_ones)
        distances = self._for.distances(found.mean)
        if min(distances) <= 0:
            against = self._against.distances(found.mean)
            level /= len(against)
            distances = [max(against)]
        needed = seeds_needed(distances, found.sd, level, least=found.n + 1)
        return None if needed is None else needed - found.n


def _rates(pairing: Pairing) -> tuple[float, float]:
    return tuple(next(iter(arm.values())).learning_rate for arm in (pairing.candidate, pairing.baseline))  # pyright: ignore[reportReturnType]


def _arm(results: Sequence[Result], learning_rate: float) -> Arm:
    return Arm(
        mean=mean_outcome(results),
        diverged=count("diverged", results),
        one_class=sum(result.one_class for result in results),
        failed=count("failed", results),
        learning_rate=learning_rate,
    )


def _trained(runs: Iterable[tuple[Result | None, Result | None]]) -> bool:
    """True if some run of either rule neither diverged nor predicts a single class."""
    return any(r is not None and r.status == "done" and not r.one_class for pair in runs for r in pair)


def _in_words(name: str, value: Any) -> str:
    return (
        value
        if isinstance(value, str)
        else f"{name.replace('_', ' ')} {value if value is None else write_value(value)}"
    )
