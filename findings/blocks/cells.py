"""Blocks of runs: the source of a table, and the accuracy of each of its cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from findings.blocks.claims import Judged
from findings.blocks.markdown import NAMES, table
from findings.tables import runs, sections
from tieless.errors import StudyError
from tieless.report import words
from tieless.report.records import Section, TableCell
from tieless.study import Result
from tieless.study.choose import Choice, choices as made
from tieless.study.settings import spelling
from tieless.study.trial import outcome

TRAINING = {"fashion-mnist": 60_000, "digits": 1_437, "ones": 1_600}
"""Number of training samples, by the data set of the trials that use all of them."""
SYMBOLS = {"brown": 48}
"""Number of predictions a sample, where it is not one."""


def source(given: Sequence[str], _lines: Sequence[str], _shown: Judged) -> str:
    """``data NAME``: the runs of a table, with place and time."""
    (name,) = given
    study, results = runs(name)
    tested = [result for result in results if result.trial.test != "never"]
    several = {
        "epochs": _distinct(result.trial.epochs for result in tested),
        "training samples": _distinct(result.trial.subset or "all" for result in tested),
        "seeds": _distinct(sorted({result.trial.seed for result in tested})),
    }
    extent = "; ".join(f"{what} {value}" for what, value in several.items())
    chosen = len(results) - len(tested)
    rates = f", {chosen:,} more to choose their learning rates" if chosen else ""
    machines = dict.fromkeys(str(result.hardware.get("processor", "?")) for result in results)
    on_cpu = all(result.trial.device == "cpu" for result in results)
    where = f"One thread of {' and one of '.join(machines)}" if on_cpu else ", ".join(machines)
    torch = _distinct(result.versions.get("torch", "?") for result in results)
    ended = max(result.started for result in results)[:10]
    spent = words.duration(sum(result.seconds for result in results))
    return (
        f"[{name}.csv](../results/{name}.csv): {len(tested):,} runs of `{study.name}`{rates}; {extent}. "
        f"{where}, torch {torch}, {spent} in all, {ended}."
    )


def _distinct(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(f"{value:,}" if isinstance(value, int) else str(value) for value in values))


def cells(given: Sequence[str], _lines: Sequence[str], _shown: Judged) -> str:
    """``cells NAME [FIELD=VALUE ...]``: accuracies, a row for each rule, columns by forward, rate and setting.

    A field is a forward or a setting.
    """
    name, *conditions = given
    wanted = dict(condition.split("=", 1) for condition in conditions)
    forward = wanted.pop("forward", None)
    found = _sections(name, wanted)
    spoken = [words.settings_words(section.settings) for section in found]
    fields = dict.fromkeys(field for said in spoken for field in said)
    varied = [field for field in fields if len({said.get(field) for said in spoken}) > 1]
    columns: dict[tuple[str, ...], dict[str, TableCell]] = {}
    rules: dict[str, None] = {}
    for section, said in zip(found, spoken, strict=True):
        for cell in (cell for part in section.blocks for cell in part.grid.cells):
            if forward not in {None, cell.forward}:
                continue
            rate = "" if section.chosen else words.rate(cell.learning_rate)
            others = (said.get(field, "") for field in varied)
            columns.setdefault((cell.forward, rate, *others), {})[str(cell.backward)] = cell
            rules[str(cell.backward)] = None
    if not columns:
        raise StudyError(f"{name} has no cells with {' '.join(conditions)}.")
    forwards = list(dict.fromkeys(forward for forward, *_ in columns))
    order = sorted(columns, key=lambda column: forwards.index(column[0]))
    parts = [part for part in range(len(order[0])) if len({column[part] for column in order}) > 1] or [0]
    alone = "rate " if parts == [1] else ""
    head = ["Rule", *(alone + ", ".join(NAMES.get(column[part], column[part]) for part in parts) for column in order)]
    body = [
        [f"`{rule}`", *(_accuracy(columns[c].get(rule), rated=not c[1]) for c in order)]
        for rule in rules
        if any(rule in columns[c] for c in order)
    ]
    return table(head, body)


def _sections(name: str, wanted: Mapping[str, str]) -> list[Section]:
    """Sections of a table with some settings."""
    return [
        section
        for section in sections(name)
        if all(str(getattr(section.settings, field)) == value for field, value in wanted.items())
    ]


def _accuracy(cell: TableCell | None, *, rated: bool) -> str:
    if cell is None:
        return words.NOTHING
    marks = ", ".join(mark.text for mark in words.marks(cell))
    at = f" at {words.rate(cell.learning_rate, cell.edge)}" if rated else ""
    if cell.value is None:
        return f"{marks}{at}"
    number = f"{words.value(cell.value.mean)} {words.interval(cell.value)}"
    return f"{number}{at}{f' ({marks})' if marks else ''}"


def beside(given: Sequence[str], lines: Sequence[str], _shown: Judged) -> str:
    """``beside NAME PEER [FIELD=VALUE ...]``, then lines ``rule | error``: errors beside published errors of a peer.

    A field is a setting.
    """
    name, peer, *conditions = given
    found = {
        str(cell.backward): cell
        for section in _sections(name, dict(condition.split("=", 1) for condition in conditions))
        for part in section.blocks
        for cell in part.grid.cells
    }
    body: list[list[str]] = []
    for line in lines:
        rule, published = (part.strip() for part in line.split("|"))
        cell = found[rule]
        error = (
            "" if cell.value is None else f"{words.value(1 - cell.value.mean, digits=2)} {words.interval(cell.value)}"
        )
        body.append([f"`{rule}`", error, published, words.rate(cell.learning_rate, cell.edge)])
    return table(["Way back", "Error, %", f"{peer}'s", "Learning rate"], body)


def choices(given: Sequence[str], _lines: Sequence[str], _shown: Judged) -> str:
    """``choices NAME ...``: the number of learning rates that each study chose, and of how many another may do as well."""
    body: list[list[str]] = []
    for name in given:
        study, results = runs(name)
        if study.choose is None:
            raise StudyError(f"{study.name} chooses no learning rates.")
        found = made(study.choosing, results, study.choose)
        near = [_within_noise(choice, study.choose.validation) for choice in found]
        body.append(
            [
                f"`{study.name}`",
                str(len(found)),
                str(len(study.choose.seeds)),
                f"{near.count(True)} of {len(near) - near.count(None)}",
                f"{sum(choice.edge != 0 for choice in found)} of {len(found)}",
            ]
        )
    head = ["Study", "Rates chosen", "Choosing seeds", "Runner-up within two standard errors", "At an end of the grid"]
    return table(head, body)


def _within_noise(choice: Choice, held_out: float) -> bool | None:
    """True if the runner-up is within two standard errors of the chosen rate; ``None`` if it has none.

    With one choosing seed the error is that of two accuracies from the validation samples alone, which the noise of seeds adds
    to.
    """
    second = choice.runner_up
    if second is None:
        return None
    if choice.within_noise is not None:
        return choice.within_noise
    best = next(one for one in choice.confirmed or choice.tried if one.learning_rate == choice.learning_rate)
    if best.diverged != second.diverged or best.value is None or second.value is None:
        return False
    kind = choice.trial.data.split("(")[0]
    samples = held_out * (choice.trial.subset or TRAINING[kind]) * SYMBOLS.get(kind, 1)
    error = math.sqrt(sum(p * (1 - p) / samples for p in (best.value, second.value)))
    return abs(best.value - second.value) <= 2 * error


def means(_given: Sequence[str], lines: Sequence[str], _shown: Judged) -> str:
    """``means``, then lines ``label | table | rule | field=value; ...``: mean accuracies, and how far the first is above each.

    The difference is over the seeds that both have, whichever tables they are from.
    """
    rows = [_mean_row(*(part.strip() for part in line.split("|"))) for line in lines]
    first = rows[0][1]
    body: list[list[str]] = []
    for label, by_seed, rates in rows:
        common = sorted(first.keys() & by_seed.keys())
        gains = [100 * (first[seed] - by_seed[seed]) for seed in common]
        gain = (
            f"{words.signed(fmean(gains))} ({words.signed(min(gains))} to {words.signed(max(gains))})" if gains else ""
        )
        body.append(
            [label, words.value(fmean(by_seed.values())), rates, str(len(by_seed)), "" if by_seed is first else gain]
        )
    return table(
        ["Trained by", "Mean, %", "Learning rate", "Seeds", "Points that the first is above it (least to most)"], body
    )


def _mean_row(label: str, name: str, rule: str, conditions: str) -> tuple[str, dict[int, float], str]:
    wanted = dict(condition.strip().split("=", 1) for condition in conditions.split(";"))

    def fits(result: Result) -> bool:
        trial = result.trial
        settings = all(str(getattr(trial, field)) == value for field, value in wanted.items())
        return trial.test != "never" and trial.backward == spelling.rule(rule) and settings

    found = [result for result in runs(name)[1] if fits(result)]
    by_seed = {result.trial.seed: value for result in found if (value := outcome(result)) is not None}
    if len(by_seed) != len(found) or not found:
        raise StudyError(f"{name} has {len(found)} runs of {rule} with {conditions}, and {len(by_seed)} seeds of them.")
    return label, by_seed, ", ".join(dict.fromkeys(words.rate(result.trial.learning_rate) for result in found))
