"""Command line of the findings.

python -m findings                  write the pages and figures of docs/findings
python -m findings check            compare them with the tables, and change nothing
python -m findings predict          print losses predicted from properties of a forward
python -m findings measure WHAT     write a table of measurements
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import torch

from findings import losses, pages, tables
from findings.blocks import block
from findings.figures import FIGURES
from findings.measure import looking, mechanisms, robustness
from tieless.cli.app import OneLineGroup
from tieless.study import Store


@click.group(cls=OneLineGroup, invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Write the findings, pages and figures, from the committed tables."""
    if context.invoked_subcommand is None:
        context.invoke(write)


@main.command(name="pages")
def write() -> None:
    """Write all pages and figures, the default command."""
    texts, own = pages.pages()
    changed = pages.differing(texts)
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8")
    pages.draw_figures(own, pages.PAGES)
    click.echo(f"Wrote {len(texts)} pages, of which {len(changed)} have changed, and {len(FIGURES)} figures.")


@main.command()
def check() -> None:
    """Compare all pages and figures with the tables. Change nothing; fail if one differs."""
    texts, own = pages.pages()
    if changed := [*pages.differing(texts), *pages.differing_figures(own)]:
        sys.exit(f"Not what the data say: {', '.join(changed)}. Run 'make findings'.")
    click.echo(f"{len(texts)} pages and {len(FIGURES)} figures are what the data say.")


@main.command()
def predict() -> None:
    """Print the accuracy that each rule costs, as predicted from properties of a network early in training."""
    for model in sorted({cell.group[0] for cell in losses.cells()}):
        click.echo(f"{model}:\n")
        click.echo(block(f'predictions "{model}"', {}) + "\n")


@main.group()
def measure() -> None:
    """Run trials of the studies again, and write measurements of them as a table."""
    torch.set_num_threads(1)


def _out(table: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        "--out",
        type=click.Path(dir_okay=False, path_type=Path),
        default=tables.RESULTS / f"{table}.csv",
        show_default=True,
        help="The table, as CSV.",
    )


@measure.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR...")
@_out("mechanism-layers")
def layers(folders: Iterable[Path], out: Path) -> None:
    """Take the measurements of the monitors of finished studies. Rows of other studies stay in the table."""
    before = _there(out, mechanisms.LAYERS)
    rows: list[dict[str, Any]] = []
    for folder in folders:
        with Store.open(folder) as store:
            rows += mechanisms.layer_rows(store.study().name, store.results())
    studies = {row["study"] for row in rows}
    _write(out, mechanisms.LAYERS, [*(row for row in before if row["study"] not in studies), *rows])


@measure.command()
@_out("mechanism-health")
def health(out: Path) -> None:
    """Train some runs again and measure their units."""
    _again(out, mechanisms.HEALTH, mechanisms.health_rows, mechanisms.health_cases())


@measure.command()
@_out("mechanism-feedback")
def feedback(out: Path) -> None:
    """Train the tied runs of beyond/noise again and measure the size of the gradient passed down."""
    _again(out, mechanisms.FEEDBACK, mechanisms.feedback_rows, mechanisms.feedback_cases())


@measure.command(name="robustness")
@_out(robustness.PROPERTIES)
def properties(out: Path) -> None:
    """Train the runs of beyond/which-forwards again and measure their activations.

    Rows of the table are kept, so the same command continues after an interruption.
    """
    rows: list[dict[str, Any]] = [*_there(out, robustness.COLUMNS)]
    try:
        for trial in robustness.missing(robustness.tested(), rows):
            rows += robustness.robustness_rows(trial)
            click.echo(looking.named(trial))
    except KeyboardInterrupt:
        click.echo("Interrupted: the same command goes on from here.")
    finally:
        _write(out, robustness.COLUMNS, rows)


def _there(file: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    return tables.read(file, columns) if file.exists() else []


def _again(out: Path, columns: tuple[str, ...], rows_of: Callable[..., Any], cases: Iterable[mechanisms.Case]) -> None:
    rows: list[dict[str, Any]] = []
    for study, trial, steps in cases:
        rows += rows_of(study, trial, steps)[0]
        click.echo(f"{study}: {looking.named(trial)}")
    _write(out, columns, rows)


def _write(file: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    tables.write(file, columns, rows)
    click.echo(file)


if __name__ == "__main__":
    main(prog_name="python -m findings")
