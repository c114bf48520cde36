"""Commands about studies and their results: ``list``, ``status``, ``ask``, ``report``, ``plot``, ``watch``, ``export``,
``backup`` and ``merge``.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tieless import own, report
from tieless._files import is_file, is_same, write_whole
from tieless.cli import terminal
from tieless.cli.options import imported, imports
from tieless.cli.study.group import FOLDER, study
from tieless.errors import SpecError, StudyError, TielessError
from tieless.report import claim_words
from tieless.report.words import Labels
from tieless.study import (
    Result,
    Store,
    Study,
    export_runs,
    export_table,
    judge,
    load_study,
    load_table,
    parse_claim,
    shipped,
)
from tieless.study.anytable import Columns, Runs, ask_table
from tieless.study.choose import choices, summary
from tieless.study.judging.verdicts import comparisons_of
from tieless.study.results.export import Format
from tieless.study.results.store import FILE as STORE
from tieless.study.results.trackers import Tracker
from tieless.study.running.workers import is_running

_SOURCE = click.argument("source", metavar="DIR_OR_TABLE", type=click.Path(path_type=Path))


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


@study.command("status")
@FOLDER
@click.option("--json", "as_json", is_flag=True, help="For a program: one JSON object.")
def _status(folder: Path, *, as_json: bool) -> None:
    """Show the progress of the study in DIR."""
    with Store.open(folder) as store:
        results, plan, others = store.results(), store.study(), store.others()
    if as_json:
        click.echo(json.dumps(_state(folder, plan, results, others), indent=2))
        return
    counts = Counter(result.status for result in results)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_row(str(len(plan.trials)), "planned")
    if plan.added:
        table.add_row(str(plan.added), "of them added after the first results")
    for name in ("done", "diverged", "failed"):
        table.add_row(str(counts[name]), name)
    table.add_row(str(len(plan.trials) - len(results)), "left")
    if others:
        table.add_row(str(others), "of other settings, not in the plan")
    console = terminal.console()
    console.print(Text(f"{plan.name}: {plan.title}"))
    if plan.imports:
        console.print(Text(f"Imported: {', '.join(plan.imports)} ({'; '.join(_sources(plan))})"), soft_wrap=True)
    console.print(table)
    if plan.choose is not None and all(trial.test == "never" for trial in plan.trials):
        console.print(Text("These choose learning rates; the runs at the rates chosen follow."))
    if plan.choose is not None and (made := choices(plan.choosing, results, plan.choose)):
        console.print(Text(summary(made)), soft_wrap=True)
    for claim in plan.emptied:
        console.print(Text(f"Not judged, for --set leaves no run that it is about: {claim}", "yellow"), soft_wrap=True)
    for verdict in judge(plan.claims, plan, results):
        console.print(Text(f"{verdict.claim}: {verdict.text}"), soft_wrap=True)
    _print_failures(console, plan, results)


def _print_failures(console: Console, plan: Study, results: Iterable[Result]) -> None:
    labels = Labels(plan.trials)
    for result in results:
        if result.status == "failed":
            console.print(Text(f"{labels(result.trial)}: {result.error}", "red"), soft_wrap=True)


def _sources(plan: Study) -> list[str]:
    """Versions of the user's own code that the trials of a study are made with."""
    return [sources for sources in dict.fromkeys(trial.sources for trial in plan.trials) if sources]


def _state(folder: Path, plan: Study, results: Sequence[Result], others: int) -> dict[str, Any]:
    """State of a study as ``study status --json`` prints it."""
    counts = Counter(result.status for result in results)
    verdicts = judge(plan.claims, plan, results)
    return {
        "name": plan.name,
        "running": is_running(folder),
        "planned": len(plan.trials),
        "added": plan.added,
        **{status: counts[status] for status in ("done", "diverged", "failed")},
        "left": len(plan.trials) - len(results),
        "others": others,
        "imports": list(plan.imports),
        "sources": _sources(plan),
        "claims": [
            {"says": str(verdict.claim), "label": verdict.claim.label, "verdict": verdict.verdict, "text": verdict.text}
            for verdict in verdicts
        ],
        "not_judged": list(plan.emptied),
        "failures": [
            {"id": result.trial.id, "trial": result.trial.to_dict(), "error": result.error}
            for result in results
            if result.status == "failed"
        ],
    }


_COLUMNS = click.option(
    "--columns",
    metavar="ROLE=COLUMN,...",
    help="Of a table of any origin: rule=backward,value=f1, and seed=COLUMN, cell=COLUMN+COLUMN if it has them.",
)
_CODES = {"holds": 0, "does not hold": 3, "undecided": 4, "identical": 5}
"""Exit code of ``ask`` for each verdict."""


@study.command("ask")
@_SOURCE
@imports
@_COLUMNS
@click.option("--lower", is_flag=True, help="With --columns: lower values are better, as of a loss.")
@click.argument("sentence")
@click.pass_context
def _ask(context: click.Context, source: Path, columns: str | None, sentence: str, *, lower: bool) -> None:
    """Test a claim in a study, or in a table of runs.

    The study is the one in DIR; a table was exported from a study, or is any with --columns.

    SENTENCE is a claim, in quotes: "full_jam is non-inferior to tied by 1 point for relu under adam". The claim is
    judged by itself, and shares its error with no other question; the claims of the study's file share one error rate, and
    one of them is judged among the others.

    With --columns the table is any CSV, JSON or parquet with a row for each run, such as wandb, Optuna and pandas
    write, and the names are those in it: "new is superior to base by 1 point", or "by 0.1" in the values' own unit.
    Runs are paired by seed where both sides have the same seeds.

    Exit code 0: the claim holds; 3: it does not hold; 4: it is undecided; 5: the runs of both sides are identical.
    """
    if columns is not None:
        found = ask_table(Runs.read(source, Columns.parse(columns)), sentence, lower=lower)
        terminal.console().print(report.table_claim(found))
        context.exit(_CODES[found.verdict])
    if lower:
        raise click.UsageError("--lower is for a table with --columns: the metric of a study has its direction.")
    if is_file(source):
        try:
            verdicts, others = judge([parse_claim(sentence)], *load_table(source)), 0
        except StudyError as error:
            raise StudyError(
                f"{_first_sentence(error)} For a table of another origin: --columns rule=COLUMN,value=COLUMN,seed=COLUMN"
            ) from None
    else:
        with _advice(source):
            claim = parse_claim(sentence)
        with Store.open(source) as store:
            results, plan = store.results(), store.study()
        if any(str(claim) == str(own) for own in plan.claims):
            verdicts = [one for one in judge(plan.claims, plan, results) if str(one.claim) == str(claim)]
            others = None
        else:
            verdicts = judge([claim], replace(plan, batches=()), results)
            others = sum(comparisons_of(own, plan) for own in plan.claims)
    terminal.console().print(report.claims(verdicts))
    if others is not None:
        terminal.console().print(Text(claim_words.separate(others), "italic"), soft_wrap=True)
    context.exit(_CODES[verdicts[0].verdict])


def _first_sentence(error: TielessError) -> str:
    """First sentence of an error: the fault, without the advice behind it."""
    return f"{str(error).split('. ')[0].rstrip('.')}."


@contextlib.contextmanager
def _advice(source: Path) -> Generator[None]:
    """Errors about a study that had code of the user's own name the option that brings it."""
    try:
        yield
    except TielessError as error:
        names: tuple[str, ...] = ()
        if is_file(source / STORE):
            with Store.open(source) as store:
                names = store.study().imports
        lacking = [name for name in names if not own.is_named(name)]
        if not lacking:
            raise
        options = " ".join(f"--import {shlex.quote(name)}" for name in lacking)
        raise StudyError(f"{_first_sentence(error)} The study was run with code of its own: {options}") from None


@study.command("report")
@_SOURCE
@imported
@_COLUMNS
@click.option("--study", "name", metavar="NAME_OR_FILE", help="Of a table: the study whose claims to judge.")
@click.option(
    "--out", metavar="FILE", type=click.Path(path_type=Path), help="The page [DIR/report.html, or TABLE.html]."
)
def _report(source: Path, imports: tuple[str, ...], columns: str | None, name: str | None, out: Path | None) -> None:
    """Print the tables, and write DIR/report.html.

    For a table that was exported from a study, as CSV, JSON or parquet, the page is written beside it. Of a table of any
    other origin --columns gives the means and their intervals.
    """
    if columns is not None:
        if name is not None:
            raise click.UsageError("--columns is for a table that no study made: leave --study out.")
        runs = Runs.read(source, Columns.parse(columns))
        page = report.write_table(runs, source, out)
        terminal.console().print(report.table_summary(runs))
        terminal.console().print(Text(str(page)), soft_wrap=True)
        return
    found = None if name is None else load_study(name, imports=imports, check=False)
    console = terminal.console()
    try:
        with _advice(source):
            # The page first: the reader of the table may close it before its end.
            page = report.write(source, found, out)
            console.print(report.table(report.collect(source, found)))
    except SpecError as error:
        raise StudyError(f"{_first_sentence(error)} If code of yours registers it: --import FILE.py") from None
    console.print(Text(str(page)), soft_wrap=True)


@study.command("plot")
@_SOURCE
@imported
@click.option(
    "--kind", type=click.Choice(["curves", "table", "heatmap", "forest"]), required=True, help="Figure of the report."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["svg", "pdf", "png", "tex"]),
    required=True,
    help="Of the file; tex: a table.",
)
@click.option("--study", "name", metavar="NAME_OR_FILE", help="Of a table: the study whose claims to draw.")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="The file [DIR/KIND.FORMAT].")
def _plot(
    source: Path,
    imports: tuple[str, ...],
    kind: report.Kind,
    form: report.FigureFormat,
    name: str | None,
    out: Path | None,
) -> None:
    """Write a figure or a table for a paper.

    It shows the study in DIR, or a table that was exported from one.
    """
    if form == "tex" and kind != "table":
        raise click.UsageError("--format tex is for --kind table: the others are svg, pdf or png.")
    found = None if name is None else load_study(name, imports=imports, check=False)
    with _advice(source):
        file = report.write_figure(source, kind, form, out, found)
    terminal.console().print(Text(str(file)), soft_wrap=True)


@study.command("watch")
@FOLDER
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port of this machine, 127.0.0.1 [one that is free]."
)
def _watch(folder: Path, port: int) -> None:
    """Show a study as a live page.

    It shows the study in DIR, while it runs and after.

    The page is served to this machine alone, under an address with a random token, until Ctrl-C. It tells of progress, the time
    left, running trials with their curves, results as they come and failures, and changes nothing.
    """
    with report.Watch(folder, port) as watch:
        terminal.say(watch.address)
        watch.serve_forever()


@study.command("export")
@FOLDER
@click.option(
    "--format",
    "form",
    type=click.Choice([*get_args(Format), *get_args(Tracker)]),
    required=True,
    help="Of the file, or the tracker whose files to write.",
)
@click.option("--epochs", is_flag=True, help="One row an epoch instead of one row a trial.")
@click.option("--alignments", is_flag=True, help="One row for each layer that a monitor has measured.")
@click.option("--all", "everything", is_flag=True, help="Also results that the latest plan does not have.")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The file [DIR/trials.FORMAT, DIR/epochs.FORMAT or DIR/alignments.FORMAT]; - for the standard output. Of a tracker, the"
    " folder [DIR/FORMAT].",
)
def _export(
    folder: Path, form: Format | Tracker, epochs: bool, alignments: bool, everything: bool, out: Path | None
) -> None:
    """Write the results as a table, or for a tracker.

    The files of tensorboard, mlflow and wandb (offline runs) have the settings of each trial, the figures of each epoch and
    the final metric. Nothing is sent anywhere.
    """
    if epochs and alignments:
        raise click.UsageError("--epochs and --alignments are two tables: name one.")
    if form in ("tensorboard", "mlflow", "wandb"):
        if epochs or alignments:
            raise click.UsageError(f"--format {form} has all epochs, and no alignments: leave the option out.")
        with Store.open(folder) as store:
            results, plan = store.results(planned=not everything), store.study()
        count = export_runs(results, out or folder / form, form, plan.name)
        terminal.console().print(Text(f"{out or folder / form}: {count} runs"), soft_wrap=True)
        return
    named = out.suffix.lower().removeprefix(".") if out else form
    if named != form and named in {"csv", "parquet", "json"}:
        raise click.UsageError(f"--format {form} in a file named {out}: give --format {named}, or another name.")
    with Store.open(folder) as store:
        results, plan = store.results(planned=not everything), store.study()
        if out is not None:
            _check_apart(out, store)
    name = f"{'alignments' if alignments else 'epochs' if epochs else 'trials'}.{form}"
    file = sys.stdout.buffer if str(out) == "-" else out or folder / name
    export_table(results, file, form=form, study=plan, per_epoch=epochs, alignments=alignments)
    if isinstance(file, Path):
        terminal.console().print(Text(str(file)), soft_wrap=True)


def _check_apart(file: Path, store: Store) -> None:
    if is_same(file, store.file):
        raise click.UsageError(f"{file} is the store itself: name another file.")


@study.command("backup")
@FOLDER
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
def _backup(folder: Path, file: Path) -> None:
    """Copy the store into one file, also during a run.

    Beside the store itself a running study keeps a log, so that a copy of one file by other means may lack the latest
    results. In a folder of its own, under the name study.db, FILE is a study to report, export and continue. The folder is
    made if it is not there.
    """
    with Store.open(folder) as store:
        content = store.copy()
        _check_apart(file, store)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)
    except OSError as error:
        raise click.UsageError(f"Cannot write {file}: {error.strerror}. Choose another FILE.") from error
    terminal.console().print(Text(str(file)), soft_wrap=True)


@study.command("merge")
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", metavar="DIR", required=True, type=click.Path(path_type=Path), help="Folder of the joined study."
)
def _merge(folders: tuple[Path, ...], out: Path) -> None:
    """Join the stores of several machines.

    The results of one study are joined in a new folder.

    Trials of any of them are in the plan of the new one. A trial that several have run keeps the first result. What is
    joined stays as it is.
    """
    target, count = Store.merge(folders, out)
    terminal.console().print(Text(f"{target}: {count} results"), soft_wrap=True)
