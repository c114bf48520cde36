"""Further seeds until claims are decided: added only to undecided cells, to both sides, up to the next look."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tieless.errors import StudyError
from tieless.study.judging.comparison import LEAST_PAIRS
from tieless.study.judging.verdicts import undecided
from tieless.study.study import Study
from tieless.study.trial import Result, Trial


def check_most_seeds(study: Study, most: int) -> None:
    """Check that seeds can be added.

    Raises:
        StudyError: the study has no claims, or no cell could get more seeds than it has.
    """
    if not study.claims:
        raise StudyError(f"{study.name} has no claims to decide: give it some, as 'claims:' in its file.")
    if most < LEAST_PAIRS:
        raise StudyError(f"At most {most} seeds decide nothing: a test needs {LEAST_PAIRS} pairs of runs.")


def more_seeds(study: Study, results: Iterable[Result], *, every_cell: bool = False) -> list[Trial]:
    """Trials to add next; empty if every claim is decided, has all its seeds, or cannot be decided by more.

    Args:
        study: Plan, with ``most_seeds``.
        results: Results of the plan.
        every_cell: True to decide also cells of a claim that another cell has settled.
    """
    chosen = () if study.choose is None else study.choose.seeds
    wanted: dict[Trial, None] = {}
    for comparison in undecided(study, results, every_cell=every_cell):
        size = next((size for size in comparison.sizes if size > comparison.ended), None)
        if size is None:
            continue
        seeds = list(comparison.pairing.seeds)
        number = max(seeds) + 1
        while len(seeds) < size:
            if number not in chosen:
                seeds.append(number)
            number += 1
        for arm in (comparison.pairing.candidate, comparison.pairing.baseline):
            known = next(iter(arm.values()))
            wanted.update(dict.fromkeys(replace(known, seed=seed) for seed in seeds if seed not in arm))
    there = set(study.trials)
    return sorted((trial for trial in wanted if trial not in there), key=lambda trial: trial.seed)
