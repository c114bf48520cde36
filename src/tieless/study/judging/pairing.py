"""Pairs of runs that a claim is about: cells that have both sides, and their runs paired by seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from tieless.errors import StudyError
from tieless.study.claims import Claim
from tieless.study.settings.metrics import POINT
from tieless.study.trial import Trial

_NAMES = tuple(field.name for field in fields(Trial))


@dataclass(frozen=True, slots=True)
class Pairing:
    """One cell of a claim. Its sides differ in what distinguishes them and in settings chosen for each by itself.

    Args:
        settings: Equal settings, by the name of the field.
        candidate, baseline: Runs of each side by seed.
        seeds: Seeds that both sides have, in the order of the plan.
        planned: Number of these seeds that were planned before any was added.
    """

    settings: Mapping[str, Any]
    candidate: Mapping[int, Trial]
    baseline: Mapping[int, Trial]
    seeds: tuple[int, ...]
    planned: int


def pairings(claim: Claim, trials: Sequence[Trial], added: int = 0) -> list[Pairing]:
    """Cells that a claim picks, in the order of the plan.

    Args:
        claim: Claim whose cells to find.
        trials: Trials of the plan.
        added: Number of trials at its end that were added to those of the study file.
    Raises:
        StudyError: no cell has both sides, or none of a value that the claim names; the message lists those that exist.
    """
    aside = {*claim.sides[0], "seed", *(["learning_rate"] if claim.chosen else [])}
    shared = [name for name in _NAMES if name not in aside]
    late = set(trials[len(trials) - added :])
    # A plan has thousands of trials and a study many claims: what all seeds of a cell share is asked of one.
    given = [cell[0] for cell in by_cell(trials)]
    cells = [trial for trial in given if trial.scale.unit == claim.unit]
    if given and not cells:
        raise StudyError(_other_unit(claim, given))
    found: list[Pairing] = []
    for key, (candidate, baseline) in _arms(claim, trials, cells, attrgetter(*shared)).items():
        seeds = tuple(seed for seed in candidate if seed in baseline)
        if seeds:
            planned = sum(candidate[seed] not in late and baseline[seed] not in late for seed in seeds)
            found.append(Pairing(dict(zip(shared, key, strict=True)), candidate, baseline, seeds, planned))
    if not found:
        raise StudyError(_nothing(claim, cells))
    for field, values in claim.where:
        # A claim for relu and linear must not hold because there is relu alone.
        if lacking := [value for value in values if all(one.settings[field] != value for one in found)]:
            name = field.replace("_", " ")
            raise StudyError(f"The claim {str(claim)!r} finds no cell of both sides with the {name} {lacking[0]}.")
    return found


def _arms(
    claim: Claim, trials: Sequence[Trial], cells: Sequence[Trial], key_of: Callable[[Trial], tuple[Any, ...]]
) -> dict[tuple[Any, ...], tuple[dict[int, Trial], dict[int, Trial]]]:
    """Trials of the two sides of a claim by seed, for each key of what they share; ``cells`` has one trial of each cell."""
    groups: dict[tuple[Any, ...], tuple[dict[int, Trial], dict[int, Trial]]] = {}
    arms: dict[tuple[Any, ...], list[dict[int, Trial]]] = {}
    for trial in cells:
        for number, side in enumerate(claim.sides):
            if _has(trial, side) and all(getattr(trial, field) in values for field, values in claim.where):
                arms.setdefault(trial.cell, []).append(groups.setdefault(key_of(trial), ({}, {}))[number])
    for trial in trials:
        for arm in arms.get(trial.cell, ()):
            arm[trial.seed] = trial
    return groups


def by_cell(trials: Iterable[Trial]) -> list[list[Trial]]:
    """Trials of each cell, which differ in the seed alone, in the order of the first ones."""
    cells: dict[tuple[Any, ...], list[Trial]] = {}
    for trial in trials:
        cells.setdefault(trial.cell, []).append(trial)
    return list(cells.values())


def _has(trial: Trial, values: Mapping[str, Any]) -> bool:
    return all(getattr(trial, name) == value for name, value in values.items())


def _other_unit(claim: Claim, trials: Sequence[Trial]) -> str:
    """Message about a margin in a unit in which no run is judged."""
    scales = {trial.metric: trial.scale for trial in trials}
    judged = " and ".join(
        name if name == scale.unit else f"{name} in {scale.words(0)}" for name, scale in scales.items()
    )
    unit = next(iter(scales.values())).words(0)
    return (
        f"The claim {str(claim)!r} has a margin in {claim.unit}{'s' if claim.unit == POINT else ''}, and this study judges"
        f" its runs by {judged}: write the margin as 'by NUMBER {unit}'."
    )


def _nothing(claim: Claim, trials: Sequence[Trial]) -> str:
    """Reason why no cell matches: the first field that rules all out."""
    problem = f"The claim {str(claim)!r} matches nothing in this study: "
    for side, name in zip(claim.sides, claim.names, strict=True):
        for field, value in side.items():
            there = dict.fromkeys(getattr(trial, field) for trial in trials)
            if value not in there:
                what = "rule" if field == "backward" else field.replace("_", " ")
                return f"{problem}no run has the {what} {value}; there are {', '.join(map(str, there))}."
        if not any(_has(trial, side) for trial in trials):
            return f"{problem}no run has {name}."
    for field, values in claim.where:
        there = list(dict.fromkeys(str(getattr(trial, field)) for trial in trials))
        if not any(getattr(trial, field) in values for trial in trials):
            return f"{problem}no run has the {field.replace('_', ' ')} {values[0]}; there are {', '.join(there)}."
    return f"{problem}no cell has both sides under the same seeds."


def cells_of(claim: Claim, trials: Sequence[Trial], *, chooses: bool, added: int = 0) -> list[Pairing]:
    """Cells of a claim, after a check that it says which learning rate it means.

    Args:
        claim: Claim whose cells to find.
        trials: Trials of a study; at every rate, if the study chooses learning rates.
        chooses: True if the study chooses learning rates.
        added: Number of trials at the end that were added.
    Raises:
        StudyError: the claim matches no cell, or does not say of a study that chooses rates that it means the chosen
            ones.
    """
    if claim.chosen and not chooses:
        raise StudyError(f"The claim {str(claim)!r} names the chosen rate, and this study chooses none.")
    if chooses and not claim.chosen:
        raise StudyError(
            f"This study chooses its learning rates: let the claim {str(claim)!r} say 'at the chosen rate'."
        )
    if not chooses:
        trials = [trial for trial in trials if trial.test != "never"]
        if not trials:
            raise StudyError(
                f"The claim {str(claim)!r} is about the test samples, and no run of this study is ever tested."
            )
    return pairings(claim, trials, added)


def has_cells(claim: Claim, trials: Sequence[Trial], *, chooses: bool) -> bool:
    """True if ``cells_of`` finds cells; False if overrides, or a table, have left none that the claim is about."""
    try:
        cells_of(claim, trials, chooses=chooses)
    except StudyError:
        return False
    return True
