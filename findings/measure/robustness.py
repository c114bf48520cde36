"""Measurements, early in training, of properties that may predict the accuracy that a rule costs a forward.

The runs of ``beyond/which-forwards`` are repeated, at the rates that were chosen for them. The inputs of their
activations are measured before the first step and before step 100 of the tied run, and before step 100 of each untied
one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from findings.measure.looking import Row, inputs_kept, looked_at, short
from findings.tables import runs
from tieless import alignment, untie
from tieless.forwards import forward
from tieless.study import Trial
from tieless.study.network import start_of

TABLE, PROPERTIES = "which-forwards", "robustness-properties"
RULES = ("constant(1)", "full_jam", "positive_jam", "rectangular_jam(-5, 5)")
LOOKS = ("0", "100", "100 untied")
"""Step before which a look is taken, in the tied run or in the rule's own."""
IMAGES, BATCHES = 250, 4
SHAPE = ("saturated", "masked", "gain", "flatness")
"""Properties that do not depend on the rule; ``flatness`` is the inverse of the Lipschitz constant."""
KEY = ("model", "optimiser", "forward", "seed")
COLUMNS = (*KEY, "look", "rule", *SHAPE, "alignment")
SATURATED = 0.01
"""Share of its greatest slope below which an activation counts as saturated."""


def flatness(name: str) -> float:
    """Inverse of the greatest ``|f(a) - f(b)| / |a - b|`` over neighbours a thousandth apart from -10 to 10."""
    z = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    y = forward(name).value(z)
    return 1 / float(((y[1:] - y[:-1]) / (z[1:] - z[:-1])).abs().max())


def slopes(name: str, z: Tensor) -> Tensor:
    """Derivative at each ``z``."""
    z = z.detach().requires_grad_()
    return torch.autograd.grad(untie(z, name, "tied").sum(), z)[0]


def shape(model: nn.Module, name: str, images: Tensor) -> dict[str, float]:
    """Means over the activations: saturated share, share without slope, root mean square of the slope."""
    with torch.no_grad(), inputs_kept(model) as seen:
        model(images)
    greatest = float(slopes(name, torch.linspace(-10, 10, 20_001)).abs().max())
    found = [slopes(name, z).abs() for z in seen]
    return {
        "saturated": fmean(float((slope < SATURATED * greatest).float().mean()) for slope in found),
        "masked": fmean(float((slope == 0).float().mean()) for slope in found),
        "gain": fmean(math.sqrt(float(slope.square().mean())) for slope in found),
        "flatness": flatness(name),
    }


def robustness_rows(trial: Trial) -> list[Row]:
    """Rows for each look at a run and each rule: all rules for a tied run, its own rule for another run."""
    tied = trial.backward == "tied"
    looks = {0: "0", 100: "100"} if tied else {100: "100 untied"}
    _, data = start_of(trial)
    batches = [
        (data.train_x[start : start + IMAGES], data.train_y[start : start + IMAGES])
        for start in range(0, IMAGES * BATCHES, IMAGES)
    ]

    def look(step: int, model: nn.Module, _batch: tuple[Tensor, Tensor]) -> list[Row]:
        rows: list[Row] = []
        with torch.random.fork_rng():
            found = {name: short(value) for name, value in shape(model, trial.forward, batches[0][0]).items()}
            for rule in RULES if tied else (trial.backward,):
                untied, _ = start_of(replace(trial, backward=rule))
                untied.load_state_dict(model.state_dict())
                aligned = short(alignment(untied, F.cross_entropy, batches).whole.cosine)
                own = {name: getattr(trial, name) for name in KEY}
                rows.append({**own, "look": looks[step], "rule": rule, **found, "alignment": aligned})
        return rows

    return looked_at(trial, looks, look)[0]


def tested() -> list[Trial]:
    """Runs of the study that were tested, each at the rate that was chosen for it."""
    return [one.trial for one in runs(TABLE)[1] if one.trial.test != "never"]


def missing(trials: Iterable[Trial], rows: Iterable[Mapping[str, object]]) -> list[Trial]:
    """Runs without a row."""
    done = {(*(str(row[name]) for name in KEY), row["rule"] if row["look"] == LOOKS[-1] else "tied") for row in rows}
    return [one for one in trials if (*(str(getattr(one, name)) for name in KEY), one.backward) not in done]
