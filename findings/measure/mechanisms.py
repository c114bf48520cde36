"""Measurements of the mechanisms: gradients of each layer, health of units, and size of the gradient passed down.

*Layers* come from the stores of studies with a monitor: the cosine of each layer's gradient of the weights with the
tied one, and both norms, by seed and step. *Health* repeats some runs of these studies and measures the units: the
share of ``z`` that the derivative would have blocked, the share of units that are the same for every image, and the
spread of ``z``. *Feedback* repeats the tied runs of ``beyond/noise``, at the rates that were chosen for them, and
measures the size (root mean square) of the gradient that each activation passes down.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from findings.measure.looking import Row, inputs_kept, looked_at, short
from findings.tables import runs
from tieless.diagnose.health.vitals import vitals
from tieless.diagnose.watching.sites import sites_of
from tieless.diagnose.watching.untouched import leaving_unchanged
from tieless.rules import rule
from tieless.study import Result, Trial, load_study
from tieless.study.network import start_of
from tieless.study.settings.losses import LOSSES

KEY = ("study", "model", "forward", "backward", "optimiser", "learning_rate", "seed")
LAYERS = (*KEY, "step", "layer", "cosine", "norm", "reference_norm")
HEALTH = (*KEY, "step", "activation", "saturated", "constant", "mean", "spread")
FEEDBACK = (*KEY, "step", "activation", "rms")
LENET5 = {"0": "conv1", "3": "conv2", "7": "fc1", "9": "fc2"}
"""Names of LeNet-5's layers, by their names in the table of layers."""
PROBE = 200
"""Number of training images by which the units are measured."""
DENSE, SPARSE = 100, 100
"""Step up to which every measurement of a layer is taken over; later, one in so many steps; of the whole, all are."""
HEALTH_CASES: dict[str, tuple[tuple[int, ...], dict[str, tuple[str, ...]]]] = {
    "mechanism/saturation": ((0, 100, 200, 300), {"lenet5": ("constant(1)", "full_jam", "rectangular_jam(-5, 5)")}),
    "mechanism/dead-units": (
        (0, 25, 50, 100),
        {
            "lenet5": ("tied", 'positive_jam(gate="feedback")'),
            'lenet5(norm="batch")': ('positive_jam(gate="feedback")',),
        },
    ),
}
"""Steps before which the runs of a study are measured, and its rules by model."""
SEEDS = (0,)
FEEDBACK_STEPS = (0, 100, 1000)
"""Steps before which the gradient is measured; 1000 is within a perceptron's second epoch, LeNet-5's fourth."""

Case = tuple[str, Trial, tuple[int, ...]]
"""Study, a trial of it, and the steps before which its network is measured."""


def key_of(study: str, trial: Trial) -> Row:
    """Columns that name a run."""
    return {"study": study, **{name: getattr(trial, name) for name in KEY[1:]}}


def layer_rows(study: str, results: Iterable[Result]) -> list[Row]:
    """Gradients of the weights that the monitors of a study have measured; the whole has an empty ``layer``."""
    return [
        {
            **key_of(study, result.trial),
            "step": row.step,
            "layer": row.layer,
            **{name: short(getattr(row, name)) for name in ("cosine", "norm", "reference_norm")},
        }
        for result in results
        if result.trial.optimiser in {"sgd", "adam"}
        for row in result.alignments
        if row.kind == "weights" and (not row.layer or row.step <= DENSE or row.step % SPARSE == 0)
    ]


def health_rows(study: str, trial: Trial, steps: Collection[int]) -> tuple[list[Row], Result]:
    """Rows for each activation of a trial at each step: its units, as if every rule were ``tied``."""
    _, data = start_of(trial)
    images, labels = data.train_x[:PROBE], data.train_y[:PROBE]

    def loss_of(model: nn.Module) -> Tensor:
        return F.cross_entropy(model(images), labels)

    def look(step: int, model: nn.Module, _batch: tuple[Tensor, Tensor]) -> list[Row]:
        sites = sites_of(model)
        with torch.no_grad(), leaving_unchanged(model, *(site.module for site in sites)):
            if not math.isfinite(float(loss_of(model))):
                return []
        # By the derivative: an untied rule passes gradient where the derivative would have blocked it.
        found = vitals(model, sites, loss_of, {site.name: rule("tied") for site in sites})
        return [
            {
                **key_of(study, trial),
                "step": step,
                "activation": number,
                "saturated": short(health.saturated),
                "constant": short(health.constant or 0.0),
                "mean": short(health.mean),
                "spread": short(health.spread),
            }
            for number, health in enumerate(found, start=1)
        ]

    return looked_at(trial, steps, look)


def feedback_rows(study: str, trial: Trial, steps: Collection[int]) -> tuple[list[Row], Result]:
    """Rows for each activation and step of a trial: root mean square of the gradient passed down, for its batch."""
    loss = LOSSES[trial.loss]

    def look(step: int, model: nn.Module, batch: tuple[Tensor, Tensor]) -> list[Row]:
        inputs, labels = batch
        with leaving_unchanged(model), inputs_kept(model) as kept:
            sent = torch.autograd.grad(loss.mean(model(inputs), labels), kept)
        return [
            {
                **key_of(study, trial),
                "step": step,
                "activation": number,
                "rms": short(float(one.double().square().mean().sqrt())),
            }
            for number, one in enumerate(sent, start=1)
        ]

    return looked_at(trial, steps, look)


def health_cases() -> list[Case]:
    """Runs whose units are measured."""
    found: list[Case] = []
    for study, (steps, by_model) in HEALTH_CASES.items():
        for trial in load_study(study, check=False).trials:
            plain = trial.learning_rate in {0.1, 0.001} and trial.optimiser in {"sgd", "adam"}
            if plain and trial.seed in SEEDS and trial.backward in by_model.get(trial.model, ()):
                found.append((study, replace(trial, monitor=0), steps))
    return found


def feedback_cases() -> list[Case]:
    """Tied runs of ``beyond/noise`` that were judged, at their chosen rates."""
    study, results = runs("noise")
    trials = [result.trial for result in results if result.trial.test != "never"]
    return [(study.name, trial, FEEDBACK_STEPS) for trial in trials if trial.backward == "tied" and trial.seed in SEEDS]
