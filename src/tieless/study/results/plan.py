"""Plan of a study: the trials of its file, those that follow from results, and the seeds that were added."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from tieless.study.choose import choices, confirmations, extensions, finals
from tieless.study.judging.statistics import LEAST_PAIRS
from tieless.study.study import Study
from tieless.study.trial import Result, Trial


def planned(study: Study, results: Iterable[Result], added: Sequence[Trial], most_seeds: int | None) -> Study:
    """Study with its current plan, which includes runs beyond the grid, confirming runs, runs at the chosen rates, and added seeds.

    Args:
        study: Study as ``parse_study`` returns it.
        results: All known results, of this plan or not.
        added: Trials that were added in this folder, to decide claims or by a wider file after the first results. Trials of
            cells that the study no longer has are left out.
        most_seeds: Largest number of seeds that a cell may get; ``None`` if none are ever added.
    """
    trials = study.trials
    if study.choose is not None:
        results = list(results)
        first = [*trials, *extensions(study.asked, study.choose, results)]
        choosing = [*first, *confirmations(study.asked, study.choose, first, results)]
        trials = (*choosing, *finals(study.asked, study.choose, choices(choosing, results, study.choose)))
    kept, first = [], trials
    if added:
        late, cells = set(added), {trial.cell for trial in trials}
        kept = [trial for trial in added if trial.cell in cells]
        first = [trial for trial in trials if trial not in late]
    return replace(study, trials=(*first, *kept), added=len(kept), most_seeds=most_seeds)


def widened(study: Study, before: Study, finished: Container[str]) -> list[Trial]:
    """Trials of cells that were large enough for a verdict and had results before these seeds were asked for.

    Args:
        study: Study with its new plan.
        before: Study with the plan before.
        finished: Ids of the trials that have a result.
    """
    if study.trials == before.trials:
        return []
    there = set(before.trials)
    fresh = [trial for trial in study.trials if trial not in there]
    if not fresh:
        return []
    seen = Counter(trial.cell for trial in there)
    ran = {trial.cell for trial in there if trial.test != "never" and trial.id in finished}
    return [trial for trial in fresh if trial.cell in ran and seen[trial.cell] >= LEAST_PAIRS]
