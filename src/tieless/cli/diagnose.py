"""Command ``tieless diagnose``: faults of the feedback, and the deviation of gradients from tied ones."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path

import click
import torch
from rich.table import Table
from rich.text import Text

from tieless._files import write_whole
from tieless._table import aligned
from tieless.cli import terminal
from tieless.cli.options import imports
from tieless.cli.target import Subject, is_study, of_spec, of_trial
from tieless.diagnose import AlignmentRow, Checkup, Measurement, alignment, checkup, descent, slope_profiles
from tieless.diagnose.health.printed import CELLS, cells_of, paragraphs
from tieless.own import split
from tieless.report import plot_alignment, plot_history, plot_norms, plot_slopes

BATCH = 256
BATCHES = 4

_OF_SPEC = {"forward": "relu", "backward": "tied", "data": "digits"}
"""Options of a network that is given by its spec; a trial has its own."""


@click.command("diagnose")
@click.argument("target", metavar="MODEL_OR_STUDY")
@imports
@click.option("--forward", metavar="SPEC", help="Forward of every activation  [relu].")
@click.option("--backward", metavar="SPEC", help="Backward rule of every activation  [tied].")
@click.option("--data", metavar="NAME", help="The data set to take batches of  [digits].")
@click.option(
    "--weights",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A state_dict that torch.save has written; only its tensors are read, nothing in it is run.",
)
@click.option("--trial", metavar="ID", help="Of a study: the trial's id, or how it begins.")
@click.option("--batch", type=click.IntRange(min=2), default=BATCH, show_default=True, metavar="N", help="Samples.")
@click.option(
    "--batches", type=click.IntRange(min=1), default=BATCHES, show_default=True, metavar="N", help="For the intervals."
)
@click.option("--plots", metavar="DIR", type=click.Path(path_type=Path), help="Draw slopes, alignment and norms there.")
def diagnose(
    target: str,
    forward: str | None,
    backward: str | None,
    data: str | None,
    weights: Path | None,
    trial: str | None,
    batch: int,
    batches: int,
    plots: Path | None,
) -> None:
    """Find faulty gradients, and rules that cure them.

    The report has the faults, the cures that were tried, and the deviation of gradients from tied ones.

    MODEL_OR_STUDY is the spec of a network of the studies, such as lenet5, mlp(64, 2), bnn_mlp or suc, with random
    weights from seed 0 unless --weights names a file; or the folder of a study, of which --trial names a trial, looked
    at as it was before its first step, with what its monitor has measured since. A network of your own is mynet.py:Net,
    with --import mynet.py.
    """
    given = {"forward": forward, "backward": backward, "data": data}
    with torch.random.fork_rng(devices=[]):
        # No spec has a slash in it, but for one that names a file.
        if is_study(target) or (split(target) is None and ("/" in target or os.sep in target)):
            wrong = [f"--{name}" for name, value in {**given, "weights": weights}.items() if value is not None]
            if wrong:
                raise click.UsageError(f"{', '.join(wrong)}: a trial has its own. Leave it out.")
            subject = of_trial(target, trial)
        else:
            if trial is not None:
                raise click.UsageError(f"--trial needs the folder of a study, and {target} is none.")
            spec = {name: value or _OF_SPEC[name] for name, value in given.items()}
            subject = of_spec(target, spec["forward"], spec["backward"], spec["data"], weights)
        _tell(subject, subject.batches(batch, batches), plots)


def _tell(subject: Subject, batches: list[tuple[torch.Tensor, torch.Tensor]], plots: Path | None) -> None:
    network, loss = subject.network, subject.loss
    found = checkup(network, batches[0], loss)
    turned = alignment(network, loss, batches)
    samples = len(batches[0][0])
    about = f"{subject.about}; {len(batches)} x {samples} samples of {subject.data.name}."
    console = terminal.console()
    if console.is_terminal:
        console.print(_table(found))
        console.print(Text("\n".join(["", *paragraphs(found.layers, found.findings, found.uncalled)])))
    else:
        terminal.say(str(found))
    if turned.whole.deviation:
        terminal.say(f"\n{turned}\n\n{descent(network, loss, batches)}\n\n{about}")
    else:
        terminal.say(f"\nEach gradient is the tied one. To compare another rule with it: --backward SPEC.\n\n{about}")
    if subject.measured:
        terminal.say(f"\n{_measured(subject.measured)}")
    if plots is not None:
        rows = subject.measured or tuple(Measurement(0, turned).rows())
        for file in _draw(subject, rows, batches[0][0], plots):
            terminal.say(str(file))


def _measured(rows: tuple[AlignmentRow, ...]) -> str:
    """Cosines of the weights at each measured update; at eight of them if there are many."""
    steps = sorted({row.step for row in rows})
    shown = [steps[round(place * (len(steps) - 1) / 7)] for place in range(8)] if len(steps) > 8 else steps
    layers = list(dict.fromkeys(row.layer for row in rows if row.kind == "weights"))
    cosines = {(row.layer, row.step): row.cosine for row in rows if row.kind == "weights"}
    table = [["cosine at step", *map(str, shown)]]
    table += [
        [layer or "(all)", *(f"{cosines.get((layer, step), math.nan):.3f}" for step in shown)]
        for layer in [*layers[1:], *layers[:1]]
    ]
    return "\n".join([*aligned(table), "", f"Measured while it trained, {len(steps)} times."])


def _draw(subject: Subject, rows: tuple[AlignmentRow, ...], inputs: torch.Tensor, folder: Path) -> list[Path]:
    figures = {
        "slopes": plot_slopes(slope_profiles(subject.network, inputs)),
        "alignment": plot_alignment(rows),
        "norms": plot_norms(rows),
    }
    if len({row.step for row in rows}) > 1:
        figures["history"] = plot_history(rows)
    files = {name: folder / f"{name}.png" for name in figures}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, file in files.items():
            image = io.BytesIO()
            figures[name].savefig(image, format="png", dpi=150)
            write_whole(file, image.getvalue())
    except OSError as error:
        raise click.ClickException(f"Cannot write to {folder}: {error.strerror}. Choose another --plots.") from error
    return list(files.values())


def _table(found: Checkup) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for title in CELLS:
        table.add_column(title, overflow="fold")
    ill = {finding.name for finding in found.findings}
    for layer in found.layers:
        name, *others = cells_of(layer)
        # Text, not str: rich would read brackets in a spec as markup.
        table.add_row(Text(name, style="yellow" if layer.name in ill else "cyan"), *map(Text, others))
    return table
