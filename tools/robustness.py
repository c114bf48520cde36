"""Which property of a forward says how much accuracy a rule costs it? Measured early in training, and regressed, forwards held out.

    python tools/robustness.py measure --out docs/results/robustness-properties.csv
    python tools/robustness.py predict

``measure`` begins the runs of ``beyond/which-forwards`` again, step for step the same and at the rate that was chosen for
them, and looks at what lies at their activations: in the tied run before the first step and before step 100, in each untied
one before step 100. What the table has already is kept, so the same command goes on after an interruption. ``predict`` sets
that beside what each rule cost in the end, in ``docs/results/which-forwards.csv``.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from finding_data import RESULTS, measurements, runs
from mechanisms import Enough, read, short, write
from scipy.stats import spearmanr
from sklearn import config_context
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from tieless import Activation, alignment, untie
from tieless.errors import StudyError, TielessError
from tieless.forwards import forward
from tieless.study import Trial
from tieless.study.judging.comparison import outcome
from tieless.study.network import start_of
from tieless.study.running.training import run_trial

TABLE, PROPERTIES = "which-forwards", "robustness-properties"
RULES = ("constant(1)", "full_jam", "positive_jam", "rectangular_jam(-5, 5)")
LOOKS = ("0", "100", "100 untied")
"""Before which step, and whether in the tied run or in the rule's own."""
TWINS = {
    "leaky_relu(0.01)": "relu",
    "relu6": "relu",
    "gelu": "silu",
    "hard_tanh": "tanh",
    "hard_sigmoid": "logistic",
}
"""Forwards that differ by a bend or in their tails from another: who has seen the one has nearly seen the other."""
ELSEWHERE = "lost elsewhere"
"""What the rule cost another network with the same forward and optimiser."""
IMAGES, BATCHES = 250, 4
SHAPE = ("saturated", "masked", "gain", "flatness")
"""What does not depend on the rule; ``flatness`` is the inverse of the Lipschitz constant."""
KEY = ("model", "optimiser", "forward", "seed")
COLUMNS = (*KEY, "look", "rule", *SHAPE, "alignment")
SATURATED = 0.01
"""Of its greatest slope: what has less counts as saturated."""
TRAINED = 0.5
"""The least accuracy of a tied network of whose forward it makes sense to ask what a rule costs."""


def said(look: object) -> str:
    """The name of a look: tables have a number where it is one."""
    return f"{look:g}" if isinstance(look, float) else str(look)


def flatness(name: str) -> float:
    """The inverse of the greatest ``|f(a) - f(b)| / |a - b|`` over neighbours a thousandth apart from -10 to 10."""
    z = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    y = forward(name).value(z)
    return 1 / float(((y[1:] - y[:-1]) / (z[1:] - z[:-1])).abs().max())


def slopes(name: str, z: Tensor) -> Tensor:
    """The derivative at each ``z``."""
    z = z.detach().requires_grad_()
    return torch.autograd.grad(untie(z, name, "tied").sum(), z)[0]


def shape(model: nn.Module, name: str, images: Tensor) -> dict[str, float]:
    """Means over the activations: of the share that is saturated, of the share without slope, of the slope's root mean square."""
    seen: list[Tensor] = []
    handles = [
        module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for module in model.modules()
        if isinstance(module, Activation)
    ]
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    greatest = float(slopes(name, torch.linspace(-10, 10, 20_001)).abs().max())
    found = [slopes(name, z).abs() for z in seen]
    return {
        "saturated": fmean(float((slope < SATURATED * greatest).float().mean()) for slope in found),
        "masked": fmean(float((slope == 0).float().mean()) for slope in found),
        "gain": fmean(math.sqrt(float(slope.square().mean())) for slope in found),
        "flatness": flatness(name),
    }


def rows_of(trial: Trial) -> list[dict[str, object]]:
    """A row for each look at a run and each rule that it is asked about: all for a tied one, its own for another."""
    tied = trial.backward == "tied"
    looks = {0: "0", 100: "100"} if tied else {100: "100 untied"}
    _, data = start_of(trial)
    batches = [
        (data.train_x[start : start + IMAGES], data.train_y[start : start + IMAGES])
        for start in range(0, IMAGES * BATCHES, IMAGES)
    ]
    rows: list[dict[str, object]] = []

    def look(step: int, model: nn.Module, _batch: tuple[Tensor, Tensor]) -> None:
        if step > max(looks):
            raise Enough
        if step not in looks:
            return
        with torch.random.fork_rng():
            found = {name: short(value) for name, value in shape(model, trial.forward, batches[0][0]).items()}
            for rule in RULES if tied else (trial.backward,):
                untied, _ = start_of(replace(trial, backward=rule))
                untied.load_state_dict(model.state_dict())
                aligned = short(alignment(untied, F.cross_entropy, batches).whole.cosine)
                own = {name: getattr(trial, name) for name in KEY}
                rows.append({**own, "look": looks[step], "rule": rule, **found, "alignment": aligned})

    result = run_trial(trial, on_step=look)
    if not rows and result.status != "diverged":
        raise StudyError(f"{trial.forward}, {trial.backward}, seed {trial.seed}: {result.status}, {result.error}")
    return rows


def tested() -> list[Trial]:
    """The runs of the study that were tested, each at the rate that was chosen for it."""
    return [one.trial for one in runs(TABLE)[1] if one.trial.test != "never"]


def missing(trials: Iterable[Trial], rows: Iterable[Mapping[str, object]]) -> list[Trial]:
    """The runs that no row is of."""
    done = {(*(str(row[name]) for name in KEY), row["rule"] if row["look"] == LOOKS[-1] else "tied") for row in rows}
    return [one for one in trials if (*(str(getattr(one, name)) for name in KEY), one.backward) not in done]


@dataclass(frozen=True, slots=True)
class Cell:
    """A rule on a forward: what it cost, and what was measured before.

    Args:
        group: Model, optimiser and rule.
        forward: The forward.
        tied: Accuracy of the tied network, the mean over seeds.
        lost: Points of accuracy less than that.
        properties: ``name @ look`` to the mean over seeds; ``alignment`` is the cosine of the rule's gradient of all
            weights with the tied one. ``lost elsewhere``, where there is another network: what its cell lost, in points.
    """

    group: tuple[str, str, str]
    forward: str
    tied: float
    lost: float
    properties: Mapping[str, float]


def here_and_elsewhere(model: str) -> tuple[list[Cell], list[Cell]]:
    """The cells of a network, and those of all others."""
    every = cells()
    return [cell for cell in every if cell.group[0] == model], [cell for cell in every if cell.group[0] != model]


def _reached() -> dict[tuple[str, str, str, str], list[float]]:
    """What each seed counts with, by network, optimiser, rule and forward."""
    accuracies: dict[tuple[str, str, str, str], list[float]] = {}
    for result in runs(TABLE)[1]:
        trial, accuracy = result.trial, outcome(result)
        if trial.test != "never" and accuracy is not None:
            accuracies.setdefault((trial.model, trial.optimiser, trial.backward, trial.forward), []).append(accuracy)
    return accuracies


def cells() -> list[Cell]:
    """The cells of the committed tables."""
    accuracies = _reached()
    looked_at: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for row in measurements(PROPERTIES):
        looked_at.setdefault((row["model"], row["optimiser"], row["rule"], row["forward"]), []).append(row)
    found: list[Cell] = []
    for (kind, optimiser, rule, name), reached in accuracies.items():
        if rule not in RULES:
            continue
        tied = accuracies[kind, optimiser, "tied", name]
        if fmean(tied) < TRAINED:
            continue
        if not (rows := looked_at.get((kind, optimiser, rule, name), [])):
            continue
        properties: dict[str, float] = {}
        for look in LOOKS:
            # Of a run that has diverged before it was looked at, what lay there at the start, and no direction.
            seen = [row for row in rows if said(row["look"]) == look]
            at = seen or [row | {"alignment": 0.0} for row in rows if said(row["look"]) == LOOKS[0]]
            for what in (*SHAPE, "alignment"):
                properties[f"{what} @ {look}"] = fmean(float(row[what]) for row in at)
        reference = fmean(tied)
        lost = 100 * (reference - fmean(reached))
        found.append(Cell((kind, optimiser, rule), name, reference, lost, properties))
    return [_with_others(cell, found) for cell in found]


def _with_others(cell: Cell, found: Iterable[Cell]) -> Cell:
    """The cell, with what the same rule on the same forward cost other networks under the same optimiser."""
    same = (cell.group[1:], cell.forward)
    lost = [one.lost for one in found if one.group[0] != cell.group[0] and (one.group[1:], one.forward) == same]
    return replace(cell, properties={**cell.properties, ELSEWHERE: fmean(lost)}) if lost else cell


@dataclass(frozen=True, slots=True)
class Prediction:
    """How well some properties say what is lost, for forwards that the regression has not seen.

    Args:
        properties: Their names; none for the mean of the other forwards.
        error: Mean distance to what was lost, in points.
        explained: ``1 - SSE / SSE of the mean``: 1 is all, below 0 is worse than to know nothing.
        without_twins: The same if their twins have not been seen either.
        order: Spearman's rank correlation with the loss, a mean over groups, of a single property.
        carried: What is explained if the regression has seen another network's cells in place of this one's, and of this
            one the mean of each group; where there are such cells.
    """

    properties: tuple[str, ...]
    error: float
    explained: float
    without_twins: float
    order: float | None
    carried: float | None


def predicted(found: Sequence[Cell], names: Sequence[str], held_out: Sequence[str]) -> np.ndarray:
    """What each cell would lose, by a ridge regression on all others but those that are held out with it.

    Each group has a level of its own.
    """
    groups = sorted({cell.group for cell in found})
    levels = np.array([[float(cell.group == group) for group in groups] for cell in found])
    values = np.array([[cell.properties[name] for name in names] for cell in found]).reshape(len(found), len(names))
    lost = np.array([cell.lost for cell in found])
    model: Any = make_pipeline(StandardScaler(), Ridge(alpha=1.0)) if names else Ridge(alpha=1e-9, fit_intercept=False)
    # So small, and so many of them, that checking what is passed on takes longer than fitting.
    with config_context(assume_finite=True, skip_parameter_validation=True):
        return cross_val_predict(model, np.hstack([levels, values]), lost, groups=held_out, cv=LeaveOneGroupOut())


def order(found: Sequence[Cell], name: str) -> float:
    """Spearman's rank correlation of a property with what is lost, the mean over the groups in which it varies."""
    each: list[float] = []
    for group in sorted({cell.group for cell in found}):
        own = [cell for cell in found if cell.group == group]
        values = [cell.properties[name] for cell in own]
        if len(set(values)) > 1:
            each.append(float(spearmanr(values, [cell.lost for cell in own]).statistic))
    return fmean(each) if each else math.nan


def centred(found: Sequence[Cell], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Properties and losses, each less the mean of its group."""
    groups = np.array([str(cell.group) for cell in found])
    values = np.array([[cell.properties[name] for name in names] for cell in found])
    lost = np.array([cell.lost for cell in found])
    for group in set(groups):
        own = groups == group
        values[own] -= values[own].mean(axis=0)
        lost[own] -= lost[own].mean()
    return values, lost


def carried(found: Sequence[Cell], seen: Sequence[Cell], names: Sequence[str]) -> float:
    """What a regression on the cells of another network explains of what is lost, beyond the mean of each group.

    The forward that it is asked about is held out of the other network as well; its twins are not.
    """
    values, lost = centred(found, names)
    known, known_lost = centred(seen, names)
    guess, mean = np.zeros_like(lost), np.zeros_like(lost)
    for name in {cell.forward for cell in found}:
        others = np.array([cell.forward != name for cell in seen])
        asked = np.array([cell.forward == name for cell in found])
        model: Any = make_pipeline(StandardScaler(with_mean=False), Ridge(alpha=1.0, fit_intercept=False))
        guess[asked] = model.fit(known[others], known_lost[others]).predict(values[asked])
    return explained(lost, guess, mean)


def explained(lost: np.ndarray, guess: np.ndarray, mean: np.ndarray) -> float:
    """By how much the squared errors are less than those of the mean of the others, as a share of them."""
    return 1 - float(((guess - lost) ** 2).sum() / ((mean - lost) ** 2).sum())


def predictions(found: Sequence[Cell], seen: Sequence[Cell] = ()) -> list[Prediction]:
    """Nothing, each property alone, all of a look together, and what another network lost where each cell has one.

    Args:
        found: The cells that are asked about.
        seen: The cells of another network, from which the same may be learned.
    """
    lost = np.array([cell.lost for cell in found])
    forwards = [cell.forward for cell in found]
    held_out = (forwards, [TWINS.get(name, name) for name in forwards])
    means = [predicted(found, (), labels) for labels in held_out]
    every = [*SHAPE, "alignment"]
    sets = [(), *((f"{name} @ {look}",) for look in LOOKS for name in every if name != "flatness" or look == LOOKS[0])]
    sets += [tuple(f"{name} @ {look}" for name in every) for look in LOOKS]
    if all(ELSEWHERE in cell.properties for cell in found):
        sets.append((ELSEWHERE,))
    rows: list[Prediction] = []
    for names in sets:
        guesses = [predicted(found, names, labels) for labels in held_out] if names else means
        error = float(np.abs(guesses[0] - lost).mean())
        of_all = (explained(lost, guess, mean) for guess, mean in zip(guesses, means, strict=True))
        ranked = order(found, names[0]) if len(names) == 1 else None
        brought = carried(found, seen, names) if seen and names and names != (ELSEWHERE,) else None
        rows.append(Prediction(names, error, *of_all, ranked, brought))
    return rows


def lines(model: str) -> Iterator[str]:
    """The predictions of a network as a table of text."""
    found, elsewhere = here_and_elsewhere(model)
    yield f"{'properties':<60}{'error':>8}{'explained':>11}{'without twins':>14}{'order':>8}{'carried':>9}"
    for one in predictions(found, elsewhere):
        ranked, brought = ("" if value is None else f"{value:+.2f}" for value in (one.order, one.carried))
        named = ", ".join(one.properties) or "none: the mean"
        yield f"{named:<60}{one.error:>8.2f}{one.explained:>11.2f}{one.without_twins:>14.2f}{ranked:>8}{brought:>9}"


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure", help="begin the runs again and look at their activations")
    measure.add_argument("--out", type=Path, default=RESULTS / f"{PROPERTIES}.csv", metavar="FILE")
    commands.add_parser("predict", help="print what the properties say of the losses")
    options = parser.parse_args()
    try:
        if options.command == "predict":
            for model in sorted({cell.group[0] for cell in cells()}):
                print(f"{model}:", *lines(model), sep="\n")
            return
        torch.set_num_threads(1)
        rows = read(options.out, COLUMNS)
        try:
            for trial in missing(tested(), rows):
                rows += rows_of(trial)
                print(f"{trial.model}, {trial.optimiser}, {trial.forward}, {trial.backward}, {trial.seed}", flush=True)
        except KeyboardInterrupt:
            print("Interrupted: the same command goes on from here.")
        finally:
            write(options.out, COLUMNS, rows)
    except TielessError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
