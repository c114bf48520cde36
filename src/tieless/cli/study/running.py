"""Commands that run studies: ``run``, ``plan`` and ``workers``."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import click
from click.core import ParameterSource
from rich.console import Console
from rich.text import Text

from tieless._files import is_file
from tieless.cli import terminal
from tieless.cli.options import imported
from tieless.cli.progress import show_progress
from tieless.cli.study.group import FOLDER, study
from tieless.data import load
from tieless.errors import StudyError, TielessError
from tieless.report import claim_words
from tieless.study import (
    DaskPool,
    Event,
    Result,
    Started,
    Store,
    Study,
    Summary,
    foresee,
    judge,
    load_study,
    load_table,
    run,
)
from tieless.study.choose import way
from tieless.study.results.store import FILE as STORE
from tieless.study.running.workers import set_workers

MOST_SEEDS = 40
"""Largest number of seeds of a cell if ``--until-decided`` is given alone."""

_SECONDS = click.FloatRange(min=0, min_open=True)


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
    place = f"{workers} {'worker' if workers == 1 else 'workers'}" if address is None else f"the cluster at {address}"
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
                listen=_begun(console, found, folder, place, show),
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


def _begun(
    console: Console, found: Study, folder: Path, place: str, show: Callable[[Event], None]
) -> Callable[[Event], None]:
    """Listener of a run that says what is run and what its claims can show when it starts, and passes each event on."""
    foreseen = foresee(found, test_samples=_test_samples()) if found.claims else ()
    begun = False

    def listen(event: Event) -> None:
        nonlocal begun
        if isinstance(event, Started) and not begun:
            begun = True
            left = f"{len(event.trials)} of {event.planned} trials to run"
            console.print(Text(f"{found.title}: {left}, {place}, results in {folder}"), soft_wrap=True)
            if foreseen:
                told = claim_words.foresight_line(foreseen)
                console.print(Text(f"{told} More: tieless study plan {shlex.quote(found.run_as)}"), soft_wrap=True)
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
    """Say what each claim can show with its seeds.

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
    if found.choose is not None:
        console.print(Text(way(found.choose, len(found.trials))), soft_wrap=True)
    family = foreseen[0].family
    if family > 1:
        console.print(Text(f"The {family} comparisons share one error rate."), soft_wrap=True)
    console.print(Text("Seeds that are added later are further looks."), soft_wrap=True)


@study.command("workers")
@FOLDER
@click.argument("number", metavar="N", type=click.IntRange(min=0))
def _workers(folder: Path, number: int) -> None:
    """Change the number of processes of a run.

    With fewer, each that is too many ends its trial first. 0 pauses the run.
    """
    set_workers(folder, number)


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
