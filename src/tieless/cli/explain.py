"""Command ``tieless explain``: the activations of a shipped model, their memory, and how often they fire."""

from __future__ import annotations

import click
import torch
from rich.table import Table
from rich.text import Text

from tieless._table import aligned
from tieless.cli import terminal
from tieless.cli.options import imports
from tieless.data import datasets, load
from tieless.diagnose import Explanation, explain
from tieless.diagnose.explaining.printed import cells, notes, titles
from tieless.models import build_model, model_spec
from tieless.study.network import check_fit, fitting, with_halves

FEATURES = 28 * 28
"""Number of values in a sample if no data are named: the convolutional models need it, the others take any."""

BATCH = 64


@click.command("explain")
@click.argument("model")
@imports
@click.option("--forward", default="relu", show_default=True, metavar="SPEC", help="Forward of every activation.")
@click.option(
    "--backward", default="tied", show_default=True, metavar="SPEC", help="Backward rule of every activation."
)
@click.option("--data", metavar="NAME", help="Run it on samples of this data set: bytes, and how often each fired.")
@click.option("--batch", type=click.IntRange(min=1), metavar="N", help=f"How many samples; needs --data  [{BATCH}].")
def explain_model(model: str, forward: str, backward: str, data: str | None, batch: int | None) -> None:
    """Measure the activation memory of MODEL.

    MODEL is the spec of a network of the studies: lenet5, mlp(64, 2), bnn_mlp, suc; or, with --import mynet.py, one of
    your own: mynet.py:Net. Its weights are random, from seed 0, and it is in training mode.
    """
    if batch is not None and data is None:
        raise click.UsageError("--batch needs samples to take: name a data set with --data.")
    found, about = _explained(model, forward, backward, data, batch or BATCH)
    lines = [*notes(found.activations, found.run, found.others), about]
    console = terminal.console()
    if console.is_terminal:
        console.print(_table(found))
        console.print(Text("\n".join(["", *lines]), style="dim"))
    else:
        terminal.say("\n".join([*aligned([titles(found.run), *map(cells, found.activations)]), "", *lines]))


def _explained(model: str, forward: str, backward: str, data: str | None, batch: int) -> tuple[Explanation, str]:
    """Explanation, and a description of the run that made it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if data is None:
            classes = 2 if model_spec(model).name == "suc" else 10
            network = build_model(model, forward, backward, features=FEATURES, classes=classes)
            network = with_halves(network, model, forward, backward)
            return explain(network), f"Bytes and how often each fired: --data NAME, one of {', '.join(datasets())}."
        samples = load(data, seed=0)
        batch = min(batch, len(samples.train_x))
        network = fitting(model, forward, backward, samples)
        check_fit(model, network, samples)
        return explain(network, samples.train_x[:batch]), f"Random weights; {batch} samples of {samples.name}."


def _table(found: Explanation) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for title in titles(found.run):
        table.add_column(title, overflow="fold")
    for activation in found.activations:
        name, *others = cells(activation)
        # Text, not str: rich would read brackets in a spec as markup.
        table.add_row(Text(name, style="cyan"), *map(Text, others))
    return table
