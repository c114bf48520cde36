"""``tieless diagnose``: the feedback in a network that ships, what is wrong with it, and which rules cure it."""

from __future__ import annotations

import math

import click
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tieless.data import load
from tieless.diagnose import Checkup, checkup
from tieless.diagnose.prognosis import CELLS, cells_of, paragraphs
from tieless.models import build_model

__all__ = ["diagnose"]

BATCH = 256


@click.command("diagnose")
@click.argument("model")
@click.option("--forward", default="relu", show_default=True, metavar="SPEC", help="Forward of every activation.")
@click.option(
    "--backward", default="tied", show_default=True, metavar="SPEC", help="Backward rule of every activation."
)
@click.option("--data", default="digits", show_default=True, metavar="NAME", help="The data set to take a batch of.")
@click.option("--batch", type=click.IntRange(min=2), default=BATCH, show_default=True, metavar="N", help="Samples.")
def diagnose(model: str, forward: str, backward: str, data: str, batch: int) -> None:
    """Show what becomes of the feedback in MODEL, name what is wrong, and propose rules that cure it.

    MODEL is the spec of a network of the studies: lenet5, mlp(64, 2), bnn_mlp, suc. Its weights are random, from seed
    0; the loss is the cross entropy. For a model of your own: tieless.checkup(model, batch).
    """
    samples = load(data, seed=0)
    count = min(batch, len(samples.train_x))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        features = math.prod(samples.train_x.shape[1:])
        network = build_model(model, forward, backward, features=features, classes=samples.classes)
        found = checkup(network, (samples.train_x[:count], samples.train_y[:count]))
    about = f"Random weights; {count} samples of {samples.name}."
    console = Console()
    if console.is_terminal:
        console.print(_table(found))
        console.print(Text("\n".join(["", *paragraphs(found.findings, found.uncalled), about])))
    else:
        click.echo(f"{found}\n{about}")


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
