"""Foresight of a plan: the differences that its claims can show, before anything runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median, stdev

from tieless.study.claims import Claim
from tieless.study.judging.comparison import compared, differences
from tieless.study.judging.pairing import Pairing, cells_of
from tieless.study.judging.questions import Questions
from tieless.study.judging.statistics import LEAST_PAIRS, LEVEL, POWER, Excess, detectable, share
from tieless.study.settings.metrics import scale_of
from tieless.study.study import Study
from tieless.study.trial import Result, Trial

ACCURACY = 0.9
"""Accuracy of both runs by which a standard deviation is assumed where none is known."""
_LEAST_VALUES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Foresight:
    """Differences that a claim can show with its planned seeds.

    Args:
        claim: Claim.
        cells: Number of its cells.
        seeds: Smallest number of planned seeds among them.
        family: Number of comparisons that share the error rate.
        sd: Standard deviation of the differences, in units of the metric; ``None`` if none is known.
        source: Origin of it, in words.
        distance: Distance of the true median from the margin that is shown with a probability of 80 %, in units of the
            metric; ``None`` if it is not known, or if no difference is ever shown with so few seeds.
        excess: Excess of collapses that is possible where no run collapses.
        needed: Number of seeds that leave less than the claim allows.
        metric: Name of the metric.
    Example:
        >>> from tieless.study import foresee, load_study
        >>> first = foresee(load_study("quickstart"), sd=1.0)[0]
        >>> first.seeds, first.can_hold, round(first.distance, 1)
        (10, True, 2.0)
    """

    claim: Claim
    cells: int
    seeds: int
    family: int
    sd: float | None
    source: str
    distance: float | None
    excess: float
    needed: int
    metric: str

    @property
    def can_hold(self) -> bool:
        """True if so many seeds can show the claim: its difference, and that its better side collapses rarely enough."""
        return self.seeds >= LEAST_PAIRS and self.excess < self.claim.tolerance


def foresee(
    study: Study,
    results: Iterable[Result] = (),
    *,
    sd: float | None = None,
    test_samples: Callable[[str], int | None] = lambda _: None,
) -> list[Foresight]:
    """Differences that the claims of a study can show with its planned seeds, at their first look.

    Args:
        study: Study, as ``load_study`` returns it.
        results: Known results, whose differences tell a standard deviation.
        sd: Standard deviation of the differences, in units of the metric, in the place of any other.
        test_samples: Function from data to the number of its test samples, from which a standard deviation is assumed where
            no other is known: ``sqrt(2 * 0.9 * 0.1 / samples)``, as if test samples alone made two runs of 90 % differ.
    """
    known = {result.trial: result for result in results}
    trials, chooses = study.asked or study.trials, study.choose is not None
    found = [(claim, cells_of(claim, trials, chooses=chooses)) for claim in study.claims]
    family = sum(len(pairings) for _, pairings in found)
    level = LEVEL * share(0) ** 2 / max(1, family)
    return [_foresight(claim, pairings, family, level, known, sd, test_samples) for claim, pairings in found]


def _foresight(
    claim: Claim,
    pairings: list[Pairing],
    family: int,
    level: float,
    known: Mapping[Trial, Result],
    sd: float | None,
    test_samples: Callable[[str], int | None],
) -> Foresight:
    metric = pairings[0].settings["metric"]
    scale = scale_of(metric)
    questions = Questions.of(claim, metric)
    of_differences, of_collapses = questions.levels(level)
    seeds = min(pairing.planned for pairing in pairings)
    spread, source = (None if sd is None else scale.of_units(sd)), "as given"
    if spread is None:
        spread, source = _spread(pairings, known, test_samples)
    # Of two thresholds each may be missed half as often.
    ends = len(questions.differences.for_.above) + len(questions.differences.for_.below)
    end = of_differences[0] if questions.differences.for_.above else of_differences[1]
    found = None if spread is None else detectable(seeds, spread, end, 1 - (1 - POWER) / ends)
    better = of_collapses[1] if questions.collapses.for_.below else of_collapses[0]
    return Foresight(
        claim=claim,
        cells=len(pairings),
        seeds=seeds,
        family=family,
        sd=None if spread is None else scale.in_units(spread),
        source=source,
        distance=None if found is None else scale.in_units(found),
        excess=Excess.of(seeds, 0, 0, better, better).high,
        needed=math.floor(math.log(0.9 * better) / math.log1p(-claim.tolerance)) + 1,
        metric=metric,
    )


def _spread(
    pairings: list[Pairing], known: Mapping[Trial, Result], test_samples: Callable[[str], int | None]
) -> tuple[float | None, str]:
    """Standard deviation of differences, and where it comes from."""
    values = [
        differences(compared((known.get(one.candidate[seed]), known.get(one.baseline[seed])) for seed in one.seeds))
        for one in pairings
    ]
    spreads = [stdev(cell) for cell in values if len(cell) >= _LEAST_VALUES]
    if spreads and (found := median(spreads)):
        pairs = sum(len(cell) for cell in values if len(cell) >= _LEAST_VALUES)
        return found, f"of the {pairs} pairs that have run"
    samples = [test_samples(data) for data in {one.settings["data"] for one in pairings}]
    told = [number for number in samples if number is not None]
    if not told or not scale_of(pairings[0].settings["metric"]).counted:
        return None, "not known: say it with --sd"
    return math.sqrt(2 * ACCURACY * (1 - ACCURACY) / min(told)), (
        f"assumed: that of {min(told):,} test samples at {ACCURACY:.0%} alone, so at least".replace("%", " %")
    )
