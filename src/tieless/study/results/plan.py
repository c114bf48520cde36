"""The plan of a study: what its file asks for, what follows from results, and the seeds that were added."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tieless.study.choose import choices, confirmations, finals
from tieless.study.judging.pairing import cell
from tieless.study.study import Study
from tieless.study.trial import Result, Trial


def planned(study: Study, results: Iterable[Result], added: Sequence[Trial], most_seeds: int | None) -> Study:
    """A study as it stands: with the runs that confirm learning rates, those at the rates chosen, and added seeds.

    Args:
        study: As ``parse_study`` gives it.
        results: All that are known, of this plan or not.
        added: Trials that were added in this folder. Those of cells that the study does not have any more are left out.
        most_seeds: Up to how many seeds a cell may get; ``None`` where none were ever to be added.
    """
    trials = study.trials
    if study.choose is not None:
        results = list(results)
        choosing = [*trials, *confirmations(study.asked, study.choose, trials, results)]
        trials = (*choosing, *finals(study.asked, study.choose, choices(choosing, results, study.choose)))
    known, cells = set(trials), {cell(trial) for trial in trials}
    kept = [trial for trial in added if cell(trial) in cells and trial not in known]
    return replace(study, trials=(*trials, *kept), added=len(kept), most_seeds=most_seeds)
