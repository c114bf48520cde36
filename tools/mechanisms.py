"""Measure what the studies of mechanisms are explained by, into tables that ``tools/findings.py`` draws.

    python tools/mechanisms.py layers runs/explosion runs/saturation runs/signs --out docs/results/mechanism-layers.csv
    python tools/mechanisms.py health --out docs/results/mechanism-health.csv

``layers`` takes from the stores of studies with a monitor how each layer's gradient of the weights lies beside the tied
one: its cosine, and both norms, by seed and step. What the table has of other studies stays there. ``health`` begins some
runs of these studies again, step for step the same, and looks at the units on the way: which part of ``z`` the derivative
would have shut, which part of the units says the same to every image, and where ``z`` lies.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tieless.diagnose.sites import sites_of
from tieless.diagnose.untouched import untouched
from tieless.diagnose.vitals import vitals
from tieless.errors import TielessError
from tieless.rules import rule
from tieless.study import Result, Store, Trial, load_study
from tieless.study.training import run_trial, start_of

KEY = ("study", "model", "forward", "backward", "optimiser", "learning_rate", "seed")
LAYERS = (*KEY, "step", "layer", "cosine", "norm", "reference_norm")
HEALTH = (*KEY, "step", "activation", "saturated", "constant", "mean", "spread")
PROBE = 200
"""Training images that the units are looked at with."""
DENSE, SPARSE = 100, 100
"""Up to here every measurement of a layer is taken over, from there on one in so many steps; of the whole, all are."""
CASES: dict[str, tuple[tuple[int, ...], dict[str, tuple[str, ...]]]] = {
    # Study: the steps before which its runs are looked at, and by model the rules.
    "mechanism/saturation": ((0, 100, 200, 300), {"lenet5": ("constant(1)", "full_jam", "rectangular_jam(-5, 5)")}),
    "mechanism/dead-units": (
        (0, 25, 50, 100),
        {
            "lenet5": ("tied", 'positive_jam(gate="feedback")'),
            'lenet5(norm="batch")': ('positive_jam(gate="feedback")',),
        },
    ),
}
SEEDS = (0,)


def key_of(study: str, trial: Trial) -> dict[str, object]:
    """What a row says of the run it is of."""
    return {"study": study, **{name: getattr(trial, name) for name in KEY[1:]}}


def short(value: float) -> str:
    """Four digits, which is more than two seeds have in common."""
    return f"{value:.4g}"


def layer_rows(study: str, results: Iterable[Result]) -> list[dict[str, object]]:
    """The gradients of the weights that the monitors of a study have measured; the whole has an empty ``layer``."""
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


class Enough(Exception):  # noqa: N818 - it is no error
    """All looks have been taken."""


def health_rows(study: str, trial: Trial, looks: Sequence[int]) -> tuple[list[dict[str, object]], Result]:
    """Run a trial and look at its units before some steps, as if every rule were ``tied``. It ends behind the last look.

    Args:
        study: Its name, for the rows.
        trial: What to run.
        looks: The steps.
    Returns:
        A row for each activation and look, and the result of the trial.
    """
    _, data = start_of(trial)
    images, labels = data.train_x[:PROBE], data.train_y[:PROBE]
    rows: list[dict[str, object]] = []

    def loss_of(model: nn.Module) -> Tensor:
        return F.cross_entropy(model(images), labels)

    def look(step: int, model: nn.Module, _batch: tuple[Tensor, Tensor]) -> None:
        if step > max(looks):
            raise Enough
        if step not in looks:
            return
        sites = sites_of(model)
        with torch.no_grad(), untouched(model, *(site.module for site in sites)):
            if not math.isfinite(float(loss_of(model))):
                return
        # By the derivative: what it would have shut is what an untied rule goes on sending feedback to.
        found = vitals(model, sites, loss_of, {site.name: rule("tied") for site in sites})
        rows.extend(
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
        )

    result = run_trial(trial, on_step=look)
    if result.status == "failed" and not (result.error or "").startswith(Enough.__name__):
        sys.exit(f"{study}, {trial.backward}, seed {trial.seed}: {result.error}")
    return rows, result


def cases() -> list[tuple[str, Trial, tuple[int, ...]]]:
    """The runs that ``health`` looks at, and before which steps."""
    found: list[tuple[str, Trial, tuple[int, ...]]] = []
    for study, (looks, by_model) in CASES.items():
        for trial in load_study(study, check=False).trials:
            plain = trial.learning_rate in {0.1, 0.001} and trial.optimiser in {"sgd", "adam"}
            if plain and trial.seed in SEEDS and trial.backward in by_model.get(trial.model, ()):
                found.append((study, replace(trial, monitor=0), looks))
    return found


def others(file: Path, rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """What a table that is there already has of other studies than these rows are of."""
    if not file.exists():
        return []
    studies = {row["study"] for row in rows}
    with file.open(encoding="utf-8", newline="") as stream:
        return [dict(row) for row in csv.DictReader(stream) if row["study"] not in studies]


def write(file: Path, columns: Sequence[str], rows: Iterable[dict[str, object]]) -> None:
    """Write a table."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(file)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    layers = commands.add_parser("layers", help="what the monitors of finished studies have measured")
    layers.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="of studies that were run with a monitor")
    health = commands.add_parser("health", help="train some cells again and look at their units")
    for command in (layers, health):
        command.add_argument("--out", type=Path, required=True, metavar="FILE", help="the table, as CSV")
    options = parser.parse_args()
    try:
        if options.command == "layers":
            rows: list[dict[str, object]] = []
            for folder in options.folders:
                with Store.open(folder) as store:
                    rows += layer_rows(store.study().name, store.results())
            write(options.out, LAYERS, [*others(options.out, rows), *rows])
            return
        torch.set_num_threads(1)
        rows = []
        for study, trial, looks in cases():
            rows += health_rows(study, trial, looks)[0]
            print(f"{study}: {trial.backward}, {trial.model}, seed {trial.seed}")
        write(options.out, HEALTH, rows)
    except TielessError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
