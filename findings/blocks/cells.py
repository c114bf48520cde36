"""Blocks of runs: the source of a table, and the accuracy of each of its cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from findings.blocks.claims import Judged
from findings.blocks.markdown import NAMES, table
from findings.tables import runs, sections
from tieless.errors import StudyError
from tieless.report import words
from tieless.report.records import Section, TableCell


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
    if cell.accuracy is None:
        return f"{marks}{at}"
    number = f"{words.percent(cell.accuracy.mean)} {words.interval(cell.accuracy)}"
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
            ""
            if cell.accuracy is None
            else f"{words.percent(1 - cell.accuracy.mean, 2)} {words.interval(cell.accuracy)}"
        )
        body.append([f"`{rule}`", error, published, words.rate(cell.learning_rate, cell.edge)])
    return table(["Way back", "Error, %", f"{peer}'s", "Learning rate"], body)
