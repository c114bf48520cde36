"""Measure what the studies are explained by, into tables that ``tools/findings.py`` draws.

    python tools/mechanisms.py layers runs/explosion runs/saturation runs/signs --out docs/results/mechanism-layers.csv
    python tools/mechanisms.py health --out docs/results/mechanism-health.csv
    python tools/mechanisms.py feedback --out docs/results/mechanism-feedback.csv

``layers`` takes from the stores of studies with a monitor how each layer's gradient of the weights lies beside the tied
one: its cosine, and both norms, by seed and step. What the table has of other studies stays there. ``health`` begins some
runs of these studies again, step for step the same, and looks at the units on the way: which part of ``z`` the derivative
would have shut, which part of the units says the same to every image, and where ``z`` lies. ``feedback`` begins the tied runs of
``beyond/noise`` again, at the rates that were chosen for them, and takes the size of what each activation sends on.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch
from finding_data import runs
from torch import Tensor, nn
from torch.nn import functional as F

from tieless.diagnose.health.vitals import vitals
from tieless.diagnose.watching.sites import sites_of
from tieless.diagnose.watching.untouched import untouched
from tieless.errors import StudyError, TielessError
from tieless.rules import rule
from tieless.study import Result, Store, Trial, load_study
from tieless.study.network import start_of
from tieless.study.running.training import run_trial
from tieless.study.settings.losses import LOSSES

KEY = ("study", "model", "forward", "backward", "optimiser", "learning_rate", "seed")
LAYERS = (*KEY, "step", "layer", "cosine", "norm", "reference_norm")
HEALTH = (*KEY, "step", "activation", "saturated", "constant", "mean", "spread")
FEEDBACK = (*KEY, "step", "activation", "rms")
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
SENT = (0, 100, 1000)
"""The steps before which the feedback is looked at; 1000 is within the second epoch of a perceptron, the fourth of LeNet-5."""


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


def looked_at(
    study: str,
    trial: Trial,
    looks: Sequence[int],
    look: Callable[[nn.Module, tuple[Tensor, Tensor]], Iterable[dict[str, object]]],
) -> tuple[list[dict[str, object]], Result]:
    """Run a trial and look at its network before some steps. It ends behind the last look.

    Args:
        study: Its name, for the rows.
        trial: What to run.
        looks: The steps.
        look: Gets the network and the batch of the step, and gives what the rows of this step have of their own.
    Returns:
        The rows, and the result of the trial.
    """
    rows: list[dict[str, object]] = []

    def on_step(step: int, model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
        if step > max(looks):
            raise Enough
        if step in looks:
            rows.extend({**key_of(study, trial), "step": step, **found} for found in look(model, batch))

    result = run_trial(trial, on_step=on_step)
    if result.status == "failed" and not (result.error or "").startswith(Enough.__name__):
        sys.exit(f"{study}, {trial.backward}, seed {trial.seed}: {result.error}")
    return rows, result


def health_rows(study: str, trial: Trial, looks: Sequence[int]) -> tuple[list[dict[str, object]], Result]:
    """A row for each activation of a trial at each look: its units, as if every rule were ``tied``."""
    _, data = start_of(trial)
    images, labels = data.train_x[:PROBE], data.train_y[:PROBE]

    def loss_of(model: nn.Module) -> Tensor:
        return F.cross_entropy(model(images), labels)

    def look(model: nn.Module, _batch: tuple[Tensor, Tensor]) -> list[dict[str, object]]:
        sites = sites_of(model)
        with torch.no_grad(), untouched(model, *(site.module for site in sites)):
            if not math.isfinite(float(loss_of(model))):
                return []
        # By the derivative: what it would have shut is what an untied rule goes on sending feedback to.
        found = vitals(model, sites, loss_of, {site.name: rule("tied") for site in sites})
        return [
            {
                "activation": number,
                "saturated": short(health.saturated),
                "constant": short(health.constant or 0.0),
                "mean": short(health.mean),
                "spread": short(health.spread),
            }
            for number, health in enumerate(found, start=1)
        ]

    return looked_at(study, trial, looks, look)


def feedback_rows(study: str, trial: Trial, looks: Sequence[int]) -> tuple[list[dict[str, object]], Result]:
    """A row for each activation of a trial at each look: the root mean square of what it sends on, by the batch of the step."""
    loss = LOSSES[trial.loss]

    def look(model: nn.Module, batch: tuple[Tensor, Tensor]) -> list[dict[str, object]]:
        inputs, labels = batch
        taken: list[Tensor] = []
        modules = [site.module for site in sites_of(model)]
        with ExitStack() as stack:
            stack.enter_context(untouched(model))
            for module in modules:
                hook = module.register_forward_pre_hook(lambda _, arguments: taken.append(arguments[0]))
                stack.callback(hook.remove)
            sent = torch.autograd.grad(loss.mean(model(inputs), labels), taken)
        return [
            {"activation": number, "rms": short(float(one.double().square().mean().sqrt()))}
            for number, one in enumerate(sent, start=1)
        ]

    return looked_at(study, trial, looks, look)


def cases() -> list[tuple[str, Trial, tuple[int, ...]]]:
    """The runs that ``health`` looks at, and before which steps."""
    found: list[tuple[str, Trial, tuple[int, ...]]] = []
    for study, (looks, by_model) in CASES.items():
        for trial in load_study(study, check=False).trials:
            plain = trial.learning_rate in {0.1, 0.001} and trial.optimiser in {"sgd", "adam"}
            if plain and trial.seed in SEEDS and trial.backward in by_model.get(trial.model, ()):
                found.append((study, replace(trial, monitor=0), looks))
    return found


def tied_cases(name: str) -> list[Trial]:
    """The tied runs of a committed table that were judged, at their chosen rates."""
    results = runs(name)[1]
    return [
        result.trial
        for result in results
        if result.trial.backward == "tied" and result.trial.test != "never" and result.trial.seed in SEEDS
    ]


def read(file: Path, columns: Sequence[str]) -> list[dict[str, object]]:
    """The rows of a table as they stand in it; none if it is not there.

    Raises:
        StudyError: it cannot be read, or has other columns: it would be written over.
    """
    if not file.exists():
        return []
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            table = csv.DictReader(stream)
            if list(table.fieldnames or ()) != list(columns):
                raise StudyError(
                    f"{file} is another table: it does not have the columns {', '.join(columns)}. Name another file."
                )
            return [dict(row) for row in table]
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"Cannot read {file}: {error}. Name another file.") from None


def others(file: Path, rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """What a table that is there already has of other studies than these rows are of."""
    studies = {row["study"] for row in rows}
    return [row for row in read(file, LAYERS) if row["study"] not in studies]


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
    feedback = commands.add_parser(
        "feedback", help="train the tied runs of beyond/noise again and take the size of what is sent"
    )
    for command in (layers, health, feedback):
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
        if options.command == "health":
            columns, rows_of, again = HEALTH, health_rows, cases()
        else:
            columns, rows_of, again = (
                FEEDBACK,
                feedback_rows,
                [("beyond/noise", one, SENT) for one in tied_cases("noise")],
            )
        rows = []
        for study, trial, looks in again:
            rows += rows_of(study, trial, looks)[0]
            print(f"{study}: {trial.backward}, {trial.model}, {trial.optimiser}, seed {trial.seed}")
        write(options.out, columns, rows)
    except TielessError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
