"""Cost of each rule on each forward, and its prediction from properties of a network early in training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findings.measure.robustness import LOOKS, PROPERTIES, RULES, SHAPE, TABLE
from findings.tables import measurements, runs
from tieless.study.trial import outcome

TWINS = {
    "leaky_relu(0.01)": "relu",
    "relu6": "relu",
    "gelu": "silu",
    "hard_tanh": "tanh",
    "hard_sigmoid": "logistic",
}
"""Forwards that differ by a bend or in their tails from another: a regression on the one has nearly seen the other."""
EVERY = (*SHAPE, "alignment")
ELSEWHERE = "lost elsewhere"
"""Property: cost of the rule on another network with the same forward and optimiser."""
TRAINED = 0.5
"""Least accuracy of a tied network for which the cost of a rule is meaningful."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cell:
    """Rule on a forward: its cost, and the measurements before.

    Args:
        group: Names of the model, the optimiser and the rule.
        forward: Name of the forward.
        tied: Accuracy of the tied network, the mean over seeds.
        lost: Percentage points of accuracy that the rule loses against the tied network.
        properties: Means over seeds by ``name @ look``; ``alignment`` is the cosine of the rule's gradient of all
            weights with the tied one. ``lost elsewhere``, if there is another network, is the loss of its cell, in
            points.
    """

    group: tuple[str, str, str]
    forward: str
    tied: float
    lost: float
    properties: Mapping[str, float]


def here_and_elsewhere(model: str) -> tuple[list[Cell], list[Cell]]:
    """Cells of a network, and cells of all others."""
    every = cells()
    return [cell for cell in every if cell.group[0] == model], [cell for cell in every if cell.group[0] != model]


def _reached() -> dict[tuple[str, str, str, str], list[float]]:
    """Accuracy of each seed, by network, optimiser, rule and forward."""
    accuracies: dict[tuple[str, str, str, str], list[float]] = {}
    for result in runs(TABLE)[1]:
        trial, accuracy = result.trial, outcome(result)
        if trial.test != "never" and accuracy is not None:
            accuracies.setdefault((trial.model, trial.optimiser, trial.backward, trial.forward), []).append(accuracy)
    return accuracies


def cells() -> list[Cell]:
    """Cells of the committed tables."""
    accuracies = _reached()
    looked_at: dict[tuple[str, str, str, str], dict[str, list[dict[str, Any]]]] = {}
    for row in measurements(PROPERTIES):
        # The name of a look is a number if it can be one.
        look = f"{row['look']:g}" if isinstance(row["look"], float) else row["look"]
        by_look = looked_at.setdefault((row["model"], row["optimiser"], row["rule"], row["forward"]), {})
        by_look.setdefault(look, []).append(row)
    found: list[Cell] = []
    for key, reached in accuracies.items():
        model, optimiser, rule, forward = key
        tied = fmean(accuracies[model, optimiser, "tied", forward])
        if rule not in RULES or tied < TRAINED or not (rows := looked_at.get(key)):
            continue
        properties: dict[str, float] = {}
        for look in LOOKS:
            # A run that diverged before its look has the properties of its start, and no direction.
            at = rows.get(look) or [row | {"alignment": 0.0} for row in rows[LOOKS[0]]]
            properties |= {f"{what} @ {look}": fmean(row[what] for row in at) for what in EVERY}
        found.append(Cell((model, optimiser, rule), forward, tied, 100 * (tied - fmean(reached)), properties))
    return [_with_others(cell, found) for cell in found]


def _with_others(cell: Cell, found: Iterable[Cell]) -> Cell:
    """Cell with the cost of the same rule on the same forward in other networks under the same optimiser."""
    same = (cell.group[1:], cell.forward)
    lost = [one.lost for one in found if one.group[0] != cell.group[0] and (one.group[1:], one.forward) == same]
    return replace(cell, properties={**cell.properties, ELSEWHERE: fmean(lost)}) if lost else cell


@dataclass(frozen=True, slots=True)
class Prediction:
    """Accuracy of the losses predicted from some properties, for forwards that the regression has not seen.

    Args:
        properties: Names of the properties; none for the mean of the other forwards.
        error: Mean distance from the loss, in points.
        explained: Share ``1 - SSE / SSE of the mean``: 1 is all, below 0 is worse than no knowledge.
        without_twins: Share that is explained if the twins of the forwards have not been seen either.
        order: Spearman's rank correlation with the loss, a mean over groups, of a single property.
        carried: Share that is explained if the regression has seen another network's cells in place of this one's, and
            of this one the mean of each group; if there are such cells.
    """

    properties: tuple[str, ...]
    error: float
    explained: float
    without_twins: float
    order: float | None
    carried: float | None


def _values(found: Sequence[Cell], names: Sequence[str]) -> tuple[Array, Array]:
    """Properties, one row per cell, and losses."""
    values = np.array([[cell.properties[name] for name in names] for cell in found]).reshape(len(found), len(names))
    return values, np.array([cell.lost for cell in found])


def _ridge(known: Array, lost: Array, asked: Array) -> Array:
    """Ridge regression through the origin, of strength 1 for columns in units of their standard deviation."""
    scale = np.std(known, axis=0)
    scale[scale < 1e-12] = 1  # constant but for rounding
    # Least squares with one more row for each column, which draws its weight to 0.
    rows, wanted = np.vstack([known / scale, np.eye(len(scale))]), np.append(lost, np.zeros(len(scale)))
    return asked / scale @ np.linalg.lstsq(rows, wanted, rcond=None)[0]


def predicted(found: Sequence[Cell], names: Sequence[str], held_out: Sequence[str]) -> Array:
    """Loss of each cell, predicted by a ridge regression on all others but those that are held out with it.

    Each group has a level of its own. Without properties the prediction is the mean of the group.

    Args:
        found: Cells to predict.
        names: Names of the properties.
        held_out: Labels of the cells; cells of one label are held out together.
    """
    groups = sorted({cell.group for cell in found})
    levels = np.array([[float(cell.group == group) for group in groups] for cell in found])
    values, lost = _values(found, names)
    columns = np.hstack([levels, values])
    guess = np.zeros_like(lost)
    for label in set(held_out):
        asked = np.array([one == label for one in held_out])
        if not names:
            guess[asked] = levels[asked] @ np.linalg.lstsq(levels[~asked], lost[~asked], rcond=None)[0]
            continue
        middle, mean = columns[~asked].mean(axis=0), lost[~asked].mean()
        guess[asked] = mean + _ridge(columns[~asked] - middle, lost[~asked] - mean, columns[asked] - middle)
    return guess


def _ranks(values: Sequence[float]) -> Array:
    """Ranks from 0 on; equal values share the mean rank. Not by ``scipy.stats``, which takes a second to import."""
    column = np.array(values)
    return np.array([(np.sum(column < value) + np.sum(column <= value) - 1) / 2 for value in column])


def order(found: Sequence[Cell], name: str) -> float:
    """Spearman's rank correlation of a property with the loss, the mean over groups in which the property varies."""
    each: list[float] = []
    for group in sorted({cell.group for cell in found}):
        own = [cell for cell in found if cell.group == group]
        values = [cell.properties[name] for cell in own]
        if len(set(values)) > 1:
            each.append(float(np.corrcoef(_ranks(values), _ranks([cell.lost for cell in own]))[0, 1]))
    return fmean(each) if each else math.nan


def _centred(found: Sequence[Cell], names: Sequence[str]) -> tuple[Array, Array]:
    """Properties and losses, each less the mean of its group."""
    groups = np.array([str(cell.group) for cell in found])
    values, lost = _values(found, names)
    for group in set(groups):
        own = groups == group
        values[own] -= values[own].mean(axis=0)
        lost[own] -= lost[own].mean()
    return values, lost


def carried(found: Sequence[Cell], seen: Sequence[Cell], names: Sequence[str]) -> float:
    """Share of the loss that a regression on the cells of another network explains, beyond the mean of each group.

    The predicted forward is held out of the other network as well; its twins are not.
    """
    values, lost = _centred(found, names)
    known, known_lost = _centred(seen, names)
    guess = np.zeros_like(lost)
    for name in {cell.forward for cell in found}:
        others = np.array([cell.forward != name for cell in seen])
        asked = np.array([cell.forward == name for cell in found])
        guess[asked] = _ridge(known[others], known_lost[others], values[asked])
    return _explained(lost, guess, np.zeros_like(lost))


def _explained(lost: Array, guess: Array, mean: Array) -> float:
    """Share by which the squared errors are less than those of the mean of the others."""
    return 1 - float(((guess - lost) ** 2).sum() / ((mean - lost) ** 2).sum())


def predictions(found: Sequence[Cell], seen: Sequence[Cell] = ()) -> list[Prediction]:
    """Predictions from nothing, each property alone, all of a look together, and the loss of another network if known.

    Args:
        found: Cells to predict.
        seen: Cells of another network, from which the same may be learned.
    """
    lost = np.array([cell.lost for cell in found])
    forwards = [cell.forward for cell in found]
    held_out = (forwards, [TWINS.get(name, name) for name in forwards])
    means = [predicted(found, (), labels) for labels in held_out]
    sets: list[tuple[str, ...]] = [()]
    sets += [(f"{name} @ {look}",) for look in LOOKS for name in EVERY if name != "flatness" or look == LOOKS[0]]
    sets += [tuple(f"{name} @ {look}" for name in EVERY) for look in LOOKS]
    if all(ELSEWHERE in cell.properties for cell in found):
        sets.append((ELSEWHERE,))
    rows: list[Prediction] = []
    for names in sets:
        guesses = [predicted(found, names, labels) for labels in held_out] if names else means
        error = float(np.abs(guesses[0] - lost).mean())
        of_all, of_strangers = (_explained(lost, guess, mean) for guess, mean in zip(guesses, means, strict=True))
        ranked = order(found, names[0]) if len(names) == 1 else None
        brought = carried(found, seen, names) if seen and names and names != (ELSEWHERE,) else None
        rows.append(Prediction(names, error, of_all, of_strangers, ranked, brought))
    return rows
