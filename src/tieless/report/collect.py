"""Records from results: all computing of a report is done here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from itertools import chain
from math import isfinite
from operator import attrgetter
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from tieless._files import is_file, is_same
from tieless.errors import StudyError, UntrainableError
from tieless.report.doses import doses
from tieless.report.records import (
    Axis,
    Block,
    Curve,
    Estimate,
    Fact,
    Failure,
    Grid,
    Header,
    Panel,
    Point,
    Report,
    Run,
    Section,
    Settings,
    Stop,
    TableCell,
)
from tieless.study.choose import Choice, Choose, choices
from tieless.study.judging.comparison import UNKNOWN, Step, compared, differences, possible, steps
from tieless.study.judging.pairing import by_cell
from tieless.study.judging.statistics import Differences, Mean
from tieless.study.judging.verdicts import judge
from tieless.study.results.store import FILE as STORE, Store
from tieless.study.results.tables import load_table
from tieless.study.settings import spelling
from tieless.study.settings.metrics import ACCURACY, scale_of
from tieless.study.study import Study
from tieless.study.trial import FIELDS, BackwardPass, Result, Trial, measured, outcome

BASELINES = (BackwardPass("tied"), BackwardPass("frozen"))
"""Rules with which every other is compared, in the order of their rows."""

_LEAST_VALUES = 3
"""Smallest number of values whose mean has an interval: two are shown themselves."""
_SETTINGS = attrgetter(*(field.name for field in fields(Settings) if field.name != "learning_rate"))
"""Values of a trial that its section shares."""

Seeds = Sequence[Trial]
"""Trials of one cell, which differ in the seed alone. What they share is asked of the first: a study may have thousands."""
KeyT = TypeVar("KeyT", bound=Hashable)
ItemT = TypeVar("ItemT")
Cells = Mapping[tuple[BackwardPass, str], TableCell]
"""Cells by (backward, forward)."""


def collect(source: Path, study: Study | None = None) -> Report:
    """Read the store in a study's folder, or a table that was exported from one.

    Args:
        source: Folder, as it was given to ``tieless study run --out``, or table, as ``load_table`` takes it. A study
            that still runs gives the report of the results so far.
        study: Study whose title, question and claims to take, for a table.
    Raises:
        StudyError: there is no store in the folder or it cannot be read, the file is no table, or a folder, which has
            its own, is given a study.
    """
    if is_file(source):
        return assemble(*load_table(source, study))
    if study is not None:
        raise StudyError(f"{source} is no table: a study's folder has its own title and claims.")
    with Store.open(source) as store:
        results = store.results()
        return assemble(store.study(), results)


def check_apart(target: Path, source: Path) -> None:
    """Check that a file to be written is not the one that was read.

    Args:
        target: Path of the file to be written.
        source: Table, or folder of a study.
    Raises:
        StudyError: it is.
    """
    if is_same(target, source, source / STORE):
        raise StudyError(f"{target} is what was read: name another --out.")


def assemble(study: Study, results: Iterable[Result]) -> Report:
    """All records of a study.

    Args:
        study: Question, and the trials that answer it; their order is the order of all tables.
        results: All known results. A result of a trial that is not the study's is left out.
    """
    planned = study.trials
    cells = by_cell(planned)
    firsts = [cell[0] for cell in cells]
    # Runs that choose a learning rate have no test accuracy: they are described beside the tables.
    shown = [cell for cell in cells if study.choose is None or cell[0].test != "never"]
    results_by_id = {result.trial.id: result for result in results}
    known = [results_by_id[trial.id] for trial in planned if trial.id in results_by_id]
    ended = Counter(result.status for result in known)
    flat = frozenset(forward for forward in _distinct(trial.forward for trial in firsts) if _flat(forward))
    rules = _rules_in_order(firsts)
    choose = study.choose
    made = tuple(choices(study.choosing, known, choose)) if choose else ()
    edges = _edges(choose, made, shown) if choose else None
    found = steps(known)
    sections = tuple(
        _section(
            alike,
            results_by_id,
            rules,
            flat,
            edges,
            found.get((alike[0][0].data, alike[0][0].metric), UNKNOWN),
        )
        for alike in _group(shown, lambda cell: _SETTINGS(cell[0])).values()
    )
    return Report(
        header=Header.of(study),
        claims=tuple(judge(study.claims, study, known)),
        choosing=choose is not None,
        choices=made,
        added=study.added,
        planned=len(planned),
        done=ended["done"],
        diverged=ended["diverged"],
        one_class=sum(result.one_class for result in known),
        rules=rules,
        sections=sections,
        doses=doses(sections),
        axes=_axes(firsts, planned),
        seconds=sum(result.seconds for result in known),
        started=min((result.started for result in known if result.started), default=""),
        ended=_last_end(known),
        versions=_facts([result.versions for result in known]),
        hardware=_facts([result.hardware for result in known]),
        failures=tuple(
            Failure(result.trial, result.error or "no message") for result in known if result.status == "failed"
        ),
    )


def _edges(choose: Choose, made: Iterable[Choice], shown: Iterable[Seeds]) -> dict[Trial, int]:
    """Value of ``Choice.edge`` for the first trial of each cell."""
    edges = {choose.key(choice.trial): choice.edge for choice in made}
    return {cell[0]: edges.get(choose.key(cell[0]), 0) for cell in shown}


def _section(
    planned: Sequence[Seeds],
    results: Mapping[str, Result],
    rules: Sequence[BackwardPass],
    flat: frozenset[str],
    edges: Mapping[Trial, int] | None,
    step: Step,
) -> Section:
    settings = Settings.of(planned[0][0]).without_rate()
    chosen = edges is not None
    # Where each cell has the one rate that was chosen for it, all belong in one table.
    by_rate = _group(planned, lambda cell: None if chosen else cell[0].learning_rate)
    forwards = _distinct(cell[0].forward for cell in planned)
    blocks = {
        rate: _cells(by_rate[rate], results, edges or {}, step) for rate in sorted(by_rate, key=lambda rate: rate or 0)
    }

    def against(cells: Cells) -> Cells:
        return _against_baselines(cells, results)

    def grid(cells: Cells) -> Grid:
        down = tuple(rule for rule in rules if any(rule == backward for backward, _ in cells))
        across = tuple(forward for forward in forwards if any(forward == other for _, other in cells))
        rows = tuple(tuple(cells.get((rule, forward)) for forward in across) for rule in down)
        return Grid(down, across, flat & set(across), rows)

    return Section(
        settings=settings,
        learning_rates=tuple(sorted({cell[0].learning_rate for cell in planned})),
        best=grid(against(_best(blocks.values()))) if len(blocks) > 1 else None,
        blocks=tuple(
            Block(replace(settings, learning_rate=rate), grid(against(cells)), _panels(grid(cells)))
            for rate, cells in blocks.items()
        ),
        classes=next(
            (r.classes for t in chain(*planned) if (r := results.get(t.id)) and r.classes is not None),
            None,
        ),
        chosen=chosen,
    )


def _cells(planned: Sequence[Seeds], results: Mapping[str, Result], edges: Mapping[Trial, int], step: Step) -> Cells:
    cells: dict[tuple[BackwardPass, str], TableCell] = {}
    for (backward, forward), alike in _group(planned, lambda cell: (cell[0].backward_pass, cell[0].forward)).items():
        trials = list(chain(*alike))
        found = [results[trial.id] for trial in trials if trial.id in results]
        runs = tuple(sorted((_run(result) for result in found), key=lambda run: run.seed))
        cells[backward, forward] = TableCell(
            forward=forward,
            backward=backward,
            learning_rate=trials[0].learning_rate,
            planned=len(trials),
            runs=runs,
            value=_estimate([run.counted for run in runs if run.counted is not None], step),
            edge=edges.get(trials[0], 0),
            metric=trials[0].metric,
        )
    return cells


def _run(result: Result) -> Run:
    return Run(
        trial=result.trial.id,
        seed=result.trial.seed,
        status=result.status,
        one_class=result.one_class,
        history=tuple([measured(result.trial, epoch) for epoch in result.epochs]),
        counted=outcome(result),
    )


def _estimate(values: Sequence[float], step: Step) -> Estimate | None:
    """Mean and its interval; ``None`` for no values. One or two values give no interval."""
    if not values:
        return None
    if len(values) < _LEAST_VALUES:
        return Estimate(len(values), fmean(values), None, tuple(values))
    found = Mean.of(values, step.size)
    return Estimate(found.n, found.mean, found.half)


def _against_baselines(cells: Cells, results: Mapping[str, Result]) -> Cells:
    baselines = {
        place: {run.seed: results[run.trial] for run in cell.runs}
        for place, cell in cells.items()
        if cell.backward in BASELINES
    }

    def difference(cell: TableCell, baseline: BackwardPass) -> Estimate | None:
        theirs = baselines.get((baseline, cell.forward))
        if cell.backward == baseline or theirs is None:
            return None
        values = differences(compared((results[run.trial], theirs.get(run.seed)) for run in cell.runs))
        if not values:
            return None
        found = possible(Differences.of(values), scale_of(cell.metric))
        return Estimate(found.n, found.median, None, ends=found.interval if isfinite(found.low) else None)

    tied, frozen = BASELINES
    return {
        place: replace(cell, to_tied=difference(cell, tied), to_frozen=difference(cell, frozen))
        for place, cell in cells.items()
    }


def _best(blocks: Iterable[Cells]) -> Cells:
    """Each cell at the learning rate with the fewest seeds diverged, and of those the best mean."""

    def merit(cell: TableCell) -> tuple[int, float]:
        return -cell.diverged, scale_of(cell.metric).rank(cell.value.mean if cell.value else None)

    chosen: dict[tuple[BackwardPass, str], TableCell] = {}
    for place, candidates in _group((cell for cells in blocks for cell in cells.values()), _place).items():
        tried = [cell for cell in candidates if cell.runs] or candidates
        best = max(tried, key=merit)
        # Where rates are equally good, as where all end with one class, none lies beyond the best.
        alone = sum(merit(cell) == merit(best) for cell in tried) == 1
        rates = sorted(cell.learning_rate for cell in candidates)
        edge = (best.learning_rate == rates[-1]) - (best.learning_rate == rates[0]) if alone and len(rates) > 2 else 0
        chosen[place] = replace(best, edge=edge)
    return chosen


def _place(cell: TableCell) -> tuple[BackwardPass, str]:
    return cell.backward, cell.forward


def _panels(grid: Grid) -> tuple[Panel, ...]:
    return tuple(
        Panel(
            forward,
            tuple(_curve(cell) for row in grid.rows if (cell := row[column]) is not None and cell.runs),
        )
        for column, forward in enumerate(grid.forwards)
    )


def _curve(cell: TableCell) -> Curve:
    finished = [run.history for run in cell.runs if run.status == "done"]
    points = tuple(
        Point(epoch, fmean(values), min(values), max(values))
        for epoch, tested in enumerate(zip(*finished, strict=True), start=1)
        if (values := [value for value in tested if value is not None])
    )
    return Curve(
        cell.backward, points, tuple(Stop(run.seed, run.history) for run in cell.runs if run.status == "diverged")
    )


def _axes(cells: Sequence[Trial], planned: Sequence[Trial]) -> tuple[Axis, ...]:
    names = [name for name in FIELDS if name != "metric" or any(trial.metric != ACCURACY for trial in cells)]
    values = {name: _distinct(map(attrgetter(name), planned if name == "seed" else cells)) for name in names}
    return tuple(Axis(name, _distinct(map(_in_words, values[name]))) for name in names)


def _in_words(value: object) -> str:
    return "all" if value is None else str(value)


def _facts(records: Sequence[Mapping[str, str]]) -> tuple[Fact, ...]:
    # Results of a store share the records that are equal.
    one_each, often = {id(record): record for record in records}, Counter(map(id, records))
    counts: dict[tuple[str, str], int] = {}
    for place, record in one_each.items():
        for name, value in record.items():
            counts[name, value] = counts.get((name, value), 0) + often[place]
    return tuple(Fact(name, value, count) for (name, value), count in sorted(counts.items()))


def _last_end(results: Iterable[Result]) -> str:
    ends = [
        datetime.fromisoformat(result.started).astimezone(timezone.utc) + timedelta(seconds=result.seconds)
        for result in results
        if result.started
    ]
    return max(ends).isoformat(timespec="seconds") if ends else ""


def _flat(forward: str) -> bool:
    try:
        spelling.check_pair(forward, "tied")
    except UntrainableError:
        return True
    return False


def _rules_in_order(planned: Sequence[Trial]) -> tuple[BackwardPass, ...]:
    rules = _distinct(trial.backward_pass for trial in planned)
    return tuple(rule for rule in BASELINES if rule in rules) + tuple(rule for rule in rules if rule not in BASELINES)


def _distinct(values: Iterable[KeyT]) -> tuple[KeyT, ...]:
    return tuple(dict.fromkeys(values))


def _group(items: Iterable[ItemT], key: Callable[[ItemT], KeyT]) -> dict[KeyT, list[ItemT]]:
    groups: dict[KeyT, list[ItemT]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
