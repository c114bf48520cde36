"""Command ``tieless study``: list, run, status, plot, watch, ask, report and export."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import click
from click.core import ParameterSource
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tieless import own, report
from tieless._files import is_file, write_whole
from tieless.cli import terminal
from tieless.cli.options import imported, imports
from tieless.cli.progress import show_progress
from tieless.data import load
from tieless.errors import SpecError, StudyError, TielessError
from tieless.report import claim_words
from tieless.report.words import Labels
from tieless.study import (
    DaskPool,
    Event,
    Result,
    Started,
    Store,
    Study,
    Summary,
    export_runs,
    export_table,
    foresee,
    judge,
    load_study,
    load_table,
    parse_claim,
    run,
    shipped,
)
from tieless.study.choose import choices, summary
from tieless.study.judging.anytable import Columns, Runs, ask_table
from tieless.study.judging.verdicts import comparisons_of
from tieless.study.results.export import Format
from tieless.study.results.store import FILE as STORE
from tieless.study.results.trackers import Tracker
from tieless.study.running.workers import is_running, set_workers

MOST_SEEDS = 40
"""Largest number of seeds of a cell if ``--until-decided`` is given alone."""

_FOLDER = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
_SECONDS = click.FloatRange(min=0, min_open=True)
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
@imported
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
@click.option(
    "--executor", type=click.Choice(["local", "dask"]), default="local", show_default=True, help="Where trials run."
)
@click.option("--address", metavar="tcp://HOST:PORT", help="With --executor dask: the scheduler of the cluster.")
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
    help="Start no new trial after this many hours.",
)
@click.option(
    "--grace",
    metavar="SECONDS",
    type=_SECONDS,
    help="After SIGTERM, and after the budget, wait this long for running trials [SIGTERM: 0, budget: until they end].",
)
@click.option("--trial-timeout", metavar="SECONDS", type=_SECONDS, help="End a trial that takes longer, as if it died.")
@click.option(
    "--checkpoint",
    type=click.Choice(["epochs"]),
    help="Keep the state of running trials after each epoch, and go on from there [as the study's file says].",
)
@click.option("--max-failures", type=click.IntRange(min=1), help="Start no new trial after this many failed ones.")
@click.pass_context
def _run(
    context: click.Context,
    name_or_file: str,
    imports: tuple[str, ...],
    out: Path | None,
    overrides: tuple[str, ...],
    tables: tuple[Path, ...],
    workers: int,
    threads: int,
    executor: str,
    address: str | None,
    *,
    until_decided: bool,
    max_seeds: int | None,
    every_cell: bool,
    budget: float | None,
    grace: float | None,
    trial_timeout: float | None,
    max_failures: int | None,
    checkpoint: Literal["epochs"] | None,
) -> None:
    """Run a study, or the missing trials of it.

    NAME_OR_FILE is a name from 'tieless study list' or a YAML file. Results that DIR has already are kept and
    not run again, so an interrupted study is continued by the same command. So are runs of a TABLE from elsewhere,
    as 'tieless study export' writes it.
    """
    if not until_decided and (max_seeds or every_cell):
        option = "--max-seeds" if max_seeds else "--every-cell"
        raise click.UsageError(f"{option} says nothing without --until-decided.")
    if (executor == "dask") != (address is not None):
        raise click.UsageError("--executor dask and --address tcp://HOST:PORT belong together: give both, or neither.")
    if address is not None and context.get_parameter_source("workers") is not ParameterSource.DEFAULT:
        raise click.UsageError("--workers are processes of this machine: a cluster has as many as have joined it.")
    console = terminal.console()
    found = load_study(name_or_file, overrides, imports=imports)
    taken = {table: load_table(table, check_ids=True) for table in tables}
    folder = out or Path("runs", found.name)
    if found.fallback:
        console.print(
            Text(f"{found.fallback} Running on this study's fallback instead: {_data(found.trials)}.", "yellow")
        )
    for claim in found.emptied:
        console.print(Text(f"Not judged, for --set leaves no run that it is about: {claim}", "yellow"), soft_wrap=True)
    again = f"To continue: {found.command} --out {shlex.quote(str(folder))}{_options(context)}"
    try:
        with show_progress(console, found.trials) as show:
            summary = run(
                found,
                folder,
                workers=workers,
                threads=threads,
                pool=None
                if address is None
                else DaskPool(address, threads=threads, trial_timeout=trial_timeout, code=found.code),
                grace=grace,
                trial_timeout=trial_timeout,
                most_failures=max_failures,
                checkpoint=checkpoint,
                most_seeds=max_seeds or _most_before(folder, taken.values()) or MOST_SEEDS if until_decided else None,
                every_cell=every_cell,
                budget=None if budget is None else 3600 * budget,
                taken=taken.values(),
                listen=_foretold(console, found, show),
            )
    except OSError as error:
        # The store's own errors are not of this kind.
        terminal.drop_output()
        terminal.say(
            f"Stopped, for the output cannot be written: {terminal.words(error)} What was finished is kept. {again}",
            err=True,
        )
        context.exit(terminal.CLOSED if isinstance(error, BrokenPipeError) else 1)
    _tell(console, found, folder, summary, again, taken)
    if summary.interrupted:
        context.exit(128 + (summary.stopped_by or signal.SIGINT))
    if summary.failed:
        context.exit(1)


def _foretold(console: Console, found: Study, show: Callable[[Event], None]) -> Callable[[Event], None]:
    """Listener of a run that says what its claims can show when it starts, and passes each event on."""
    foreseen = [foresee(found, test_samples=_test_samples())] if found.claims else []

    def listen(event: Event) -> None:
        if isinstance(event, Started) and foreseen:
            told = claim_words.foresight_line(foreseen.pop())
            more = f"More: tieless study plan {shlex.quote(found.run_as)}"
            console.print(Text(f"{told} {more}"), soft_wrap=True)
        show(event)

    return listen


def _test_samples() -> Callable[[str], int | None]:
    """Function from data to the number of their test samples, each loaded once; ``None`` if they cannot be."""

    @cache
    def samples(data: str) -> int | None:
        try:
            return len(load(data, seed=0).test_y)
        except (TielessError, MemoryError):
            return None

    return samples


@study.command("plan")
@click.argument("name_or_file")
@imported
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="Folder of results [runs/NAME].")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override, as of run.")
@click.option(
    "--sd",
    type=click.FloatRange(min=0, min_open=True),
    help="Standard deviation of the differences, in points or the metric's unit.",
)
def _plan(
    name_or_file: str, imports: tuple[str, ...], out: Path | None, overrides: tuple[str, ...], sd: float | None
) -> None:
    """Say what each claim of a study can show with its planned seeds, before it runs.

    Printed is the distance of the true median from the margin that is shown with a probability of 80 %. It takes the
    standard deviation of the differences: --sd, else that of the results in DIR, else that of the test samples alone.
    """
    found = load_study(name_or_file, overrides, imports=imports)
    if not found.claims:
        raise StudyError(f"{found.name} has no claims to plan for: give it some, as 'claims:' in its file.")
    folder = out or Path("runs", found.name)
    results: list[Result] = []
    if is_file(folder / STORE):
        with Store.open(folder) as store:
            results = store.results(planned=False)
    console = terminal.console()
    foreseen = foresee(found, results, sd=sd, test_samples=_test_samples())
    for one in foreseen:
        console.print(Text.assemble((f"{one.claim}: ", "bold"), claim_words.foresight(one)), soft_wrap=True)
    shared = f"The {foreseen[0].family} comparisons share one error rate; seeds that are added later are further looks."
    console.print(Text(shared), soft_wrap=True)


@study.command("workers")
@_FOLDER
@click.argument("number", metavar="N", type=click.IntRange(min=0))
def _workers(folder: Path, number: int) -> None:
    """Change the number of processes of the run that is going on in DIR.

    With fewer, each that is too many ends its trial first. 0 pauses the run.
    """
    set_workers(folder, number)


@study.command("status")
@_FOLDER
@click.option("--json", "as_json", is_flag=True, help="For a program: one JSON object.")
def _status(folder: Path, *, as_json: bool) -> None:
    """Show the progress of the study in DIR."""
    with Store.open(folder) as store:
        plan = store.study()
        results = store.results()
        others = len(store.results(planned=False)) - len(results)
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
        versions = "; ".join(dict.fromkeys(trial.sources for trial in plan.trials))
        console.print(Text(f"Imported: {', '.join(plan.imports)} ({versions})"), soft_wrap=True)
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
    """Test a claim in the study in DIR, or in a table: one that was exported from a study, or any with --columns.

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
            said = str(error).split(". ")[0].rstrip(".")
            raise StudyError(
                f"{said}. For a table of another origin: --columns rule=COLUMN,value=COLUMN,seed=COLUMN"
            ) from None
    else:
        with _advice(source):
            claim = parse_claim(sentence)
        with Store.open(source) as store:
            plan, results = store.study(), store.results()
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
        said = str(error).split(". ")[0].rstrip(".")
        options = " ".join(f"--import {shlex.quote(name)}" for name in lacking)
        raise StudyError(f"{said}. The study was run with code of its own: {options}") from None


@study.command("report")
@_SOURCE
@imported
@_COLUMNS
@click.option("--study", "name", metavar="NAME_OR_FILE", help="Of a table: the study whose claims to judge.")
@click.option(
    "--out", metavar="FILE", type=click.Path(path_type=Path), help="The page [DIR/report.html, or TABLE.html]."
)
def _report(source: Path, imports: tuple[str, ...], columns: str | None, name: str | None, out: Path | None) -> None:
    """Print the tables of the study in DIR and write DIR/report.html.

    For a table that was exported from a study, as CSV, JSON or parquet, the page is written beside it. Of a table of any
    other origin --columns gives the means and their intervals, without a page.
    """
    if columns is not None:
        if out is not None or name is not None:
            raise click.UsageError("--columns prints means and writes no page: leave --out and --study out.")
        terminal.console().print(report.table_summary(Runs.read(source, Columns.parse(columns))))
        return
    found = None if name is None else load_study(name, imports=imports, check=False)
    console = terminal.console()
    try:
        with _advice(source):
            # The page first: the reader of the table may close it before its end.
            page = report.write(source, found, out)
            console.print(report.table(report.collect(source, found)))
    except SpecError as error:
        what = str(error).split(". ")[0]
        raise StudyError(f"{what}. If code of yours registers it: --import FILE.py") from None
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
    """Write a figure of the study in DIR, or of a table that was exported from one, for a paper."""
    if form == "tex" and kind != "table":
        raise click.UsageError("--format tex is for --kind table: the others are svg, pdf or png.")
    found = None if name is None else load_study(name, imports=imports, check=False)
    with _advice(source):
        file = report.write_figure(source, kind, form, out, found)
    terminal.console().print(Text(str(file)), soft_wrap=True)


@study.command("watch")
@_FOLDER
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port of this machine, 127.0.0.1 [one that is free]."
)
def _watch(folder: Path, port: int) -> None:
    """Show the study in DIR as a live page, while it runs and after.

    The page is served to this machine alone, under an address with a random token, until Ctrl-C. It tells of progress, the time
    left, running trials with their curves, results as they come and failures, and changes nothing.
    """
    with report.Watch(folder, port) as watch:
        terminal.say(watch.address)
        watch.serve_forever()


@study.command("export")
@_FOLDER
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
    """Write the results of the study in DIR as a table, or as runs of an experiment tracker.

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
    name = f"{'alignments' if alignments else 'epochs' if epochs else 'trials'}.{form}"
    file = sys.stdout.buffer if str(out) == "-" else out or folder / name
    export_table(results, file, form=form, study=plan, per_epoch=epochs, alignments=alignments)
    if isinstance(file, Path):
        terminal.console().print(Text(str(file)), soft_wrap=True)


@study.command("backup")
@_FOLDER
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
def _backup(folder: Path, file: Path) -> None:
    """Copy the store of the study in DIR into one file, also while it runs.

    Beside the store itself a running study keeps a log, so that a copy of one file by other means may lack the latest
    results. In a folder of its own, under the name study.db, FILE is a study to report, export and continue. The folder is
    made if it is not there.
    """
    with Store.open(folder) as store:
        content = store.copy()
        if is_file(file) and file.samefile(store.file):
            raise click.UsageError(f"{file} is the store itself: name another FILE.")
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
    """Join the stores of one study that several machines have run into a new folder.

    Trials of any of them are in the plan of the new one. A trial that several have run keeps the first result. What is
    joined stays as it is.
    """
    target, count = Store.merge(folders, out)
    terminal.console().print(Text(f"{target}: {count} results"), soft_wrap=True)


def _tell(
    console: Console,
    found: Study,
    folder: Path,
    summary: Summary,
    again: str,
    taken: Mapping[Path, tuple[Study, Sequence[Result]]],
) -> None:
    """Print how a run ended, and the next command."""
    where = shlex.quote(str(folder))
    ended = f"{summary.done} done, {summary.diverged} diverged, {summary.failed} failed"
    skipped = f", {summary.skipped} were there before" if summary.skipped else ""
    console.print(Text(f"{ended}{skipped}."))
    _tell_taken(console, folder, taken)
    if summary.added:
        console.print(Text(f"{summary.added} of the trials have seeds that were added to decide claims."))
    if summary.interrupted:
        number = summary.stopped_by or signal.SIGINT
        by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
        console.print(Text(f"Stopped{by}, {summary.left} trials are left. {again}"), soft_wrap=True)
        return
    if summary.spent:
        console.print(Text(f"The budget is spent. {again}"), soft_wrap=True)
    if summary.gave_up:
        console.print(Text(f"{summary.failed} trials have failed, so no more were begun. {again}"), soft_wrap=True)
    if found.claims:
        with Store.open(folder) as store:
            verdicts = judge(found.claims, store.study(), store.results())
        for verdict in verdicts:
            console.print(Text(f"{verdict.claim}: {verdict.text}"), soft_wrap=True)
    console.print(Text(f"To see the results: tieless study report {where}"), soft_wrap=True)
    if summary.failed:
        console.print(Text(f"To see why trials failed: tieless study status {where}"), soft_wrap=True)


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


_NOT_AGAIN = {"name_or_file", "imports", "out", "overrides", "tables"}
"""Options of ``run`` that the study's command and the folder have, and tables, whose runs are in the folder."""


def _options(context: click.Context) -> str:
    """Options of ``run``, as they are to be given again."""
    words = [""]
    for option in context.command.params:
        value = context.params[str(option.name)]
        told = value != option.default or (option.name == "workers" and context.params["address"] is None)
        if option.name not in _NOT_AGAIN and told and value:
            words.append(option.opts[0] if value is True else f"{option.opts[0]} {value}")
    return " ".join(words)


def _most_before(folder: Path, taken: Iterable[tuple[Study, Sequence[Result]]]) -> int | None:
    """Value of ``--max-seeds`` if the folder, or a table, belongs to a run with ``--until-decided``."""
    studies = [source for source, _ in taken]
    if is_file(folder / STORE):
        with Store.open(folder) as store:
            studies.insert(0, store.study())
    return next((study.most_seeds for study in studies if study.most_seeds is not None), None)
