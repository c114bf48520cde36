"""``tieless study``: list, run, status, ask, report and export."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tieless import report
from tieless.cli import terminal
from tieless.cli.progress import Labels, show_progress
from tieless.study import Result, Store, Study, export_table, judge, load_study, load_table, parse_claim, run, shipped
from tieless.study.export import Format
from tieless.study.store import FILE as STORE

__all__ = ["study"]

MOST_SEEDS = 40
"""Of a cell, where ``--until-decided`` stands alone."""

_FOLDER = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
_SOURCE = click.argument("source", metavar="DIR_OR_TABLE", type=click.Path(path_type=Path))


@click.group()
def study() -> None:
    """Run studies: grids of trainings that answer a question."""


@study.command("list")
def _list() -> None:
    """List the studies that come with tieless."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("name", no_wrap=True)
    table.add_column("trials", justify="right")
    table.add_column("core-hours", justify="right")
    table.add_column("title")
    table.add_column("table of the paper")
    for name in shipped():
        found = load_study(name, check=False)
        table.add_row(
            Text(name, style="cyan"),
            str(len(found.trials) + found.waiting),
            f"{found.core_hours:g}",
            found.title,
            found.table or "-",
        )
    terminal.console().print(table)


@study.command("run")
@click.argument("name_or_file")
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="Folder of the results [runs/NAME].")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override: epochs=1, seeds=[0,1], blocks=[adam]."
)
@click.option(
    "--from",
    "tables",
    multiple=True,
    metavar="TABLE",
    type=click.Path(path_type=Path),
    help="Take the runs of an exported table instead of making them.",
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Torch threads of each process."
)
@click.option("--until-decided", is_flag=True, help="Add seeds to undecided cells until each claim is settled.")
@click.option(
    "--max-seeds", type=click.IntRange(min=3), help=f"Of a cell, with --until-decided [{MOST_SEEDS}, or as before]."
)
@click.option(
    "--every-cell",
    is_flag=True,
    help="With --until-decided, also add seeds to cells of claims that another cell has settled.",
)
@click.option(
    "--budget",
    metavar="HOURS",
    type=click.FloatRange(min=0, min_open=True),
    help="Begin no further trial after as many hours.",
)
@click.pass_context
def _run(
    context: click.Context,
    name_or_file: str,
    out: Path | None,
    overrides: tuple[str, ...],
    tables: tuple[Path, ...],
    workers: int,
    threads: int,
    *,
    until_decided: bool,
    max_seeds: int | None,
    every_cell: bool,
    budget: float | None,
) -> None:
    """Run a study, or what is missing of it.

    NAME_OR_FILE is a name from 'tieless study list' or a YAML file. Results that DIR has already are kept and
    not run again, so an interrupted study is continued by the same command. So are runs of a TABLE from elsewhere,
    as 'tieless study export' writes it.
    """
    deciding = _deciding(max_seeds, until_decided=until_decided, every_cell=every_cell)
    console = terminal.console()
    found = load_study(name_or_file, overrides)
    taken = {table: load_table(table, check_ids=True) for table in tables}
    folder = out or Path("runs", found.name)
    if found.fallback:
        console.print(
            Text(f"{found.fallback} Running on this study's fallback instead: {_data(found.trials)}.", "yellow")
        )
    with show_progress(console, found.trials) as listen:
        summary = run(
            found,
            folder,
            workers=workers,
            threads=threads,
            most_seeds=max_seeds or _most_before(folder, taken.values()) or MOST_SEEDS if until_decided else None,
            every_cell=every_cell,
            budget=None if budget is None else 3600 * budget,
            taken=taken.values(),
            listen=listen,
        )
    ended = f"{summary.done} done, {summary.diverged} diverged, {summary.failed} failed"
    skipped = f", {summary.skipped} were there before" if summary.skipped else ""
    console.print(Text(f"{ended}{skipped}."))
    _tell_taken(console, folder, taken)
    if summary.added:
        console.print(Text(f"{summary.added} of the trials have seeds that were added to decide claims."))
    where = shlex.quote(str(folder))
    again = f"{found.command} --out {where} --workers {workers}{deciding}"
    if summary.interrupted:
        console.print(Text(f"Stopped, {summary.left} trials are left. To continue: {again}"), soft_wrap=True)
        context.exit(130)
    if summary.spent:
        console.print(Text(f"The budget is spent. To continue: {again}"), soft_wrap=True)
    if found.claims:
        with Store.open(folder) as store:
            verdicts = judge(found.claims, store.study(), store.results())
        for verdict in verdicts:
            console.print(Text(f"{verdict.claim}: {verdict.text}"), soft_wrap=True)
    console.print(Text(f"To see the results: tieless study report {where}"), soft_wrap=True)
    if summary.failed:
        console.print(Text(f"To see why trials failed: tieless study status {where}"), soft_wrap=True)
        context.exit(1)


@study.command("status")
@_FOLDER
def _status(folder: Path) -> None:
    """Show how far the study in DIR is."""
    with Store.open(folder) as store:
        plan = store.study()
        results = store.results()
        others = len(store.results(planned=False)) - len(results)
    counts = Counter(result.status for result in results)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_row(str(len(plan.trials)), "planned")
    if plan.added:
        table.add_row(str(plan.added), "of them added to decide claims")
    for name in ("done", "diverged", "failed"):
        table.add_row(str(counts[name]), name)
    table.add_row(str(len(plan.trials) - len(results)), "left")
    if others:
        table.add_row(str(others), "of other settings, not in the plan")
    console = terminal.console()
    console.print(Text(f"{plan.name}: {plan.title}"))
    console.print(table)
    if plan.choose is not None and all(trial.test == "never" for trial in plan.trials):
        console.print(Text("These choose learning rates; the runs at the rates chosen follow."))
    for verdict in judge(plan.claims, plan, results):
        console.print(Text(f"{verdict.claim}: {verdict.text}"), soft_wrap=True)
    labels = Labels(plan.trials)
    for result in results:
        if result.status == "failed":
            console.print(Text(f"{labels(result.trial)}: {result.error}", "red"), soft_wrap=True)


@study.command("ask")
@_SOURCE
@click.argument("sentence")
def _ask(source: Path, sentence: str) -> None:
    """Say whether a claim holds in the study in DIR, or in a table that was exported from one.

    SENTENCE is a claim, in quotes: "full_jam is non-inferior to tied by 1 point for relu under adam". It is judged by
    itself; the claims of the study's file share one error rate and stand in its report.
    """
    claim = parse_claim(sentence)
    if source.is_file():
        verdicts = judge([claim], *load_table(source))
    else:
        with Store.open(source) as store:
            verdicts = judge([claim], store.study(), store.results())
    terminal.console().print(report.claims(verdicts))


@study.command("report")
@_SOURCE
@click.option("--study", "name", metavar="NAME_OR_FILE", help="Of a table: the study whose claims to judge.")
def _report(source: Path, name: str | None) -> None:
    """Print the tables of the study in DIR and write DIR/report.html.

    Of a table that was exported from a study, as CSV, JSON or parquet, the page is written beside it.
    """
    found = None if name is None else load_study(name, check=False)
    console = terminal.console()
    # The page first: what prints a table may be closed before its end.
    page = report.write(source, found)
    console.print(report.table(report.collect(source, found)))
    console.print(Text(str(page)), soft_wrap=True)


@study.command("export")
@_FOLDER
@click.option("--format", "form", type=click.Choice(["csv", "parquet", "json"]), required=True, help="Of the file.")
@click.option("--epochs", is_flag=True, help="One row an epoch instead of one row a trial.")
@click.option("--alignments", is_flag=True, help="One row for each layer that a monitor has measured.")
@click.option("--all", "everything", is_flag=True, help="Also results that the latest plan does not have.")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The file [DIR/trials.FORMAT, DIR/epochs.FORMAT or DIR/alignments.FORMAT].",
)
def _export(folder: Path, form: Format, epochs: bool, alignments: bool, everything: bool, out: Path | None) -> None:
    """Write the results of the study in DIR as a table."""
    if epochs and alignments:
        raise click.UsageError("--epochs and --alignments are two tables: name one.")
    with Store.open(folder) as store:
        results, plan = store.results(planned=not everything), store.study()
    file = out or folder / f"{'alignments' if alignments else 'epochs' if epochs else 'trials'}.{form}"
    export_table(results, file, form=form, study=plan, per_epoch=epochs, alignments=alignments)
    terminal.console().print(Text(str(file)), soft_wrap=True)


def _data(trials: tuple[object, ...]) -> str:
    return ", ".join(dict.fromkeys(str(getattr(trial, "data", "")) for trial in trials))


def _tell_taken(console: Console, folder: Path, taken: Mapping[Path, tuple[Study, Sequence[Result]]]) -> None:
    if not taken:
        return
    with Store.open(folder) as store:
        planned = {trial.id for trial in store.study().trials}
    for table, (_, results) in taken.items():
        wanted = sum(result.trial.id in planned for result in results)
        console.print(Text(f"{wanted} of the {len(results)} runs of {table} are this study's."), soft_wrap=True)


def _deciding(max_seeds: int | None, *, until_decided: bool, every_cell: bool) -> str:
    """The options that say how seeds are added, as they are to be given again.

    Raises:
        click.UsageError: one of them is given without ``--until-decided``.
    """
    options = [f"--max-seeds {max_seeds}"] if max_seeds else []
    if every_cell:
        options.append("--every-cell")
    if until_decided:
        return " ".join(["", "--until-decided", *options])
    if options:
        raise click.UsageError(f"{options[0].split()[0]} says nothing without --until-decided.")
    return ""


def _most_before(folder: Path, taken: Iterable[tuple[Study, Sequence[Result]]]) -> int | None:
    """What ``--max-seeds`` was where the folder, or a table, is of a run with ``--until-decided``."""
    studies = [source for source, _ in taken]
    if (folder / STORE).is_file():
        with Store.open(folder) as store:
            studies.insert(0, store.study())
    return next((study.most_seeds for study in studies if study.most_seeds is not None), None)
