"""Pairs of runs that a claim is about: cells that have both sides, and their runs paired by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


cell: Callable[[Trial], tuple[Any, ...]] = attrgetter(*(name for name in _NAMES if name != "seed"))
"""Key of a trial's cell, equal for the trials that repeat it under other seeds."""


def pairings(claim: Claim, trials: Sequence[Trial], added: int = 0) -> list[Pairing]:
    """Cells that a claim picks, in the order of the plan.

    Args:
        claim: Claim whose cells to find.
        trials: Trials of the plan.
        added: Number of trials at its end that were added to those of the study file.
    Raises:
        StudyError: no cell has both sides, or none of a value that the claim names; the message lists those that exist.
    """
    sides = claim.sides
    aside = {*sides[0], "seed", *(["learning_rate"] if claim.chosen else [])}
    shared = [name for name in _NAMES if name not in aside]
    key_of = attrgetter(*shared)
    groups: dict[tuple[Any, ...], tuple[dict[int, Trial], dict[int, Trial]]] = {}
    late = set(trials[len(trials) - added :])
    asked = [_having(side) for side in sides]
    trials, given = [trial for trial in trials if trial.scale.unit == claim.unit], trials
    if given and not trials:
        raise StudyError(_other_unit(claim, given))
    for trial in trials:
        for number, has in enumerate(asked):
            if has(trial) and all(getattr(trial, field) in values for field, values in claim.where):
                groups.setdefault(key_of(trial), ({}, {}))[number][trial.seed] = trial
    found: list[Pairing] = []
    for key, (candidate, baseline) in groups.items():
        seeds = tuple(seed for seed in candidate if seed in baseline)
        if seeds:
            planned = sum(candidate[seed] not in late and baseline[seed] not in late for seed in seeds)
            found.append(Pairing(dict(zip(shared, key, strict=True)), candidate, baseline, seeds, planned))
    if not found:
        raise StudyError(_nothing(claim, trials))
    for field, values in claim.where:
        # A claim for relu and linear must not hold because there is relu alone.
        if lacking := [value for value in values if all(one.settings[field] != value for one in found)]:
            name = field.replace("_", " ")
            raise StudyError(f"The claim {str(claim)!r} finds no cell of both sides with the {name} {lacking[0]}.")
    return found


def _having(values: Mapping[str, Any]) -> Callable[[Trial], bool]:
    """Fast test for trials with these values: a plan has thousands of trials, and a study asks about many sides."""
    # With one name attrgetter gives a value, with several a tuple of them.
    of, wanted = attrgetter("seed", *values), tuple(values.values())
    return lambda trial: of(trial)[1:] == wanted


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
        if not any(map(_having(side), trials)):
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
