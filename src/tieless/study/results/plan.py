"""Plan of a study: the trials of its file, those that follow from results, and the seeds that were added."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tieless.study.choose import choices, confirmations, extensions, finals
from tieless.study.judging.pairing import cell
from tieless.study.study import Study
from tieless.study.trial import Result, Trial


def planned(study: Study, results: Iterable[Result], added: Sequence[Trial], most_seeds: int | None) -> Study:
    """Study with its current plan, which includes runs beyond the grid, confirming runs, runs at the chosen rates, and added seeds.

    Args:
        study: Study as ``parse_study`` returns it.
        results: All known results, of this plan or not.
        added: Trials that were added in this folder. Trials of cells that the study no longer has are left out.
        most_seeds: Largest number of seeds that a cell may get; ``None`` if none are ever added.
    """
    trials = study.trials
    if study.choose is not None:
        results = list(results)
        first = [*trials, *extensions(study.asked, study.choose, results)]
        choosing = [*first, *confirmations(study.asked, study.choose, first, results)]
        trials = (*choosing, *finals(study.asked, study.choose, choices(choosing, results, study.choose)))
    known, cells = set(trials), {cell(trial) for trial in trials}
    kept = [trial for trial in added if cell(trial) in cells and trial not in known]
    return replace(study, trials=(*trials, *kept), added=len(kept), most_seeds=most_seeds)
