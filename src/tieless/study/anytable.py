"""Claims about any table of runs, such as one from wandb, Optuna or pandas, as far as it tells what they need."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

from tieless._yaml import write_value
from tieless.errors import StudyError
from tieless.registry import unknown
from tieless.study.claims import MARGIN, Relation
from tieless.study.judging.questions import Verdict, relation_question, together
from tieless.study.judging.statistics import LEAST_PAIRS, LEVEL, Differences, Mean, share
from tieless.study.results.tables import read_rows

ROLES = ("rule", "value", "seed", "cell")
# Optuna's and wandb's. A run that did not end well has the value that it had when it stopped.
_STATES = (
    ("state", {"COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"}, "COMPLETE"),
    ("State", {"finished", "running", "crashed", "failed", "killed", "pending", "preempted", "preempting"}, "finished"),
)
_CLAIM = re.compile(
    r"(?P<ours>.+?) is (?P<relation>non-inferior|superior|inferior|equivalent) to (?P<theirs>.+?)"
    r"(?: by (?P<margin>[0-9.eE+-]+)(?: (?P<unit>points?))?)?"
)
FORM = "NAME is non-inferior|superior|inferior|equivalent to NAME [by NUMBER [points]]"


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of a table.

    Args:
        rule: Column of the names that are compared.
        value: Column of the result of each run.
        seed: Column by which runs are paired; ``None`` if there is none.
        cell: Columns whose values are compared apart, each by itself.
    """

    rule: str
    value: str
    seed: str | None = None
    cell: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Columns:
        """Read ``rule=backward,seed=run,value=f1``; several columns of ``cell`` are joined by ``+``.

        Raises:
            StudyError: the text is no such list, or lacks a column.
        Example:
            >>> Columns.parse("rule=backward,value=f1,cell=data+model").cell
            ('data', 'model')
        """
        found: dict[str, str] = {}
        for part in text.split(","):
            role, equals, name = (word.strip() for word in part.partition("="))
            if not (equals and name):
                raise StudyError(f"--columns {text}: expected ROLE=COLUMN, such as rule=backward,seed=run,value=f1.")
            if role not in ROLES:
                raise StudyError(f"--columns {text}: {unknown('role', role, ROLES)}")
            if role in found:
                raise StudyError(f"--columns {text}: {role} is given twice.")
            found[role] = name
        if lacking := [role for role in ("rule", "value") if role not in found]:
            raise StudyError(f"--columns {text}: {lacking[0]} is missing, as in rule=backward,seed=run,value=f1.")
        cell = tuple(found["cell"].split("+")) if "cell" in found else ()
        return cls(found["rule"], found["value"], found.get("seed"), cell)

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (self.rule, self.value, *([self.seed] if self.seed else []), *self.cell)


@dataclass(frozen=True, slots=True)
class Run:
    """Row of a table: name, value, seed, and the place among the cells."""

    rule: str
    value: float
    seed: str | None
    cell: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Runs:
    """Rows of a table that have a value.

    Args:
        columns: Columns.
        runs: Rows, in their order.
        without: Number of rows that have no value.
        unfinished: Number of rows that Optuna or wandb says have not come to their end.
        step: Last digit of the values, as they were rounded; 0 if they have more than six.
    """

    columns: Columns
    runs: tuple[Run, ...]
    without: int
    step: float
    unfinished: int = 0

    @classmethod
    def read(cls, file: Path, columns: Columns) -> Runs:
        """Read a table.

        Raises:
            StudyError: the file cannot be read, lacks a column, or has a value that is no number.
        """
        found: list[Run] = []
        without, unfinished, digits = 0, 0, 0
        rows = read_rows(file, columns.names)
        ended = _ended(rows, columns)
        for place, row in enumerate(rows, start=1):
            if not ended[place - 1]:
                unfinished += 1
                continue
            rule, value = row[columns.rule], row[columns.value]
            if _empty(rule):
                raise StudyError(f"{file}, row {place}: {columns.rule} is empty, and each run needs a name.")
            try:
                number = math.nan if _empty(value) or isinstance(value, bool) else float(value)
            except (TypeError, ValueError, OverflowError):
                raise StudyError(f"{file}, row {place}: {columns.value}: expected a number, got {value!r}.") from None
            if not math.isfinite(number):
                without += 1
                continue
            digits = max(digits, _digits(number))
            seed = None if columns.seed is None or _empty(row[columns.seed]) else _text(row[columns.seed])
            cell = tuple(_text(row[name]) for name in columns.cell)
            found.append(Run(_text(rule), number, seed, cell))
        if not found:
            raise StudyError(f"{file}: no row has a value in {columns.value}.")
        return cls(columns, tuple(found), without, 0.0 if digits > 6 else 10.0**-digits, unfinished)

    @property
    def left_out(self) -> str:
        """Sentence about the rows without a value or an end; empty if there are none."""
        parts = [f"{_rows(self.without)} without a value"] if self.without else []
        parts += (
            [f"{_rows(self.unfinished)} whose state says that the run did not come to its end"]
            if self.unfinished
            else []
        )
        return f"{' and '.join(parts)} left out." if parts else ""

    @property
    def point(self) -> float | None:
        """A percentage point: 0.01 of fractions, 1 of percentages; ``None`` of values that are neither."""
        values = [run.value for run in self.runs]
        if all(0 <= value <= 1 for value in values):
            return 0.01
        return 1.0 if all(0 <= value <= 100 for value in values) else None


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"


def _ended(rows: Sequence[Mapping[str, Any]], columns: Columns) -> list[bool]:
    """True for each run that has come to its end, as a column of states says where there is one."""
    for name, words, good in _STATES:
        if name not in columns.names and all(str(row.get(name)) in words for row in rows):
            return [row[name] == good for row in rows]
    return [True] * len(rows)


def _empty(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or str(value).strip() == ""


def _text(value: object) -> str:
    number = value if isinstance(value, float) else None
    return str(int(number)) if number is not None and number.is_integer() else str(value).strip()


def _digits(value: float) -> int:
    """Number of decimal digits behind the point."""
    _, _, behind = f"{value:.7f}".rstrip("0").partition(".")
    return len(behind)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedCell:
    """Comparison within one cell of a table.

    Args:
        cell: Values of the columns of the cell.
        means: Means of both sides, of the runs that are compared.
        runs: Numbers of runs of both sides.
        pairs: Number of pairs of a seed; ``None`` if the runs are paired at random.
        found: Differences of the pairs; ``None`` without a pair.
        verdict: Verdict on the claim in this cell.
        lacks: Remarks on what the table lacks.
    """

    cell: tuple[str, ...]
    means: tuple[float, float]
    runs: tuple[int, int]
    pairs: int | None
    found: Differences | None
    verdict: Verdict
    lacks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableVerdict:
    """Claim about a table with its verdict, which is that of all its cells together."""

    says: str
    verdict: Verdict
    cells: tuple[ComparedCell, ...]
    lacks: str


def ask_table(runs: Runs, sentence: str, *, lower: bool = False) -> TableVerdict:
    """Judge a claim about a table. Runs are paired by seed where both sides have the same ones, else at random.

    Args:
        runs: Rows of the table.
        sentence: Claim: ``"new is superior to base by 1 point"``, with names as they are in the table.
        lower: True if lower values are better.
    Raises:
        StudyError: the claim cannot be read, names what is not there, or the margin has no meaning for the values.
    """
    ours, theirs, relation, margin, says = _claim(runs, sentence)
    cells: dict[tuple[str, ...], tuple[list[Run], list[Run]]] = {}
    for run in runs.runs:
        if run.rule in (ours, theirs):
            cells.setdefault(run.cell, ([], []))[run.rule == theirs].append(run)
    whole = {cell: sides for cell, sides in cells.items() if all(sides)}
    if not whole:
        raise StudyError(f"No cell of the table has runs of both {ours} and {theirs}.")
    question = relation_question(relation, margin, higher=not lower)
    levels = question.levels(LEVEL * share(0) ** 2 / len(whole), question.refutations)
    judged: list[ComparedCell] = []
    for cell, sides in whole.items():
        pairs, by_seed, lacks = _paired(runs, sides)
        # A difference of two rounded numbers is one too, but for the noise of its computation.
        found = Differences.of([round(ours - theirs, 12) for ours, theirs in pairs], *levels) if pairs else None
        judged.append(
            ComparedCell(
                cell=cell,
                means=(fmean(ours for ours, _ in pairs), fmean(theirs for _, theirs in pairs)),
                runs=(len(sides[0]), len(sides[1])),
                pairs=len(pairs) if by_seed else None,
                found=found,
                verdict=question.answer(*found.interval) if found else "undecided",
                lacks=lacks,
            )
        )
    return TableVerdict(
        says=says, verdict=together(cell.verdict for cell in judged), cells=tuple(judged), lacks=_lacks(runs)
    )


def _claim(runs: Runs, sentence: str) -> tuple[str, str, Relation, float, str]:
    """Both names, the relation, the margin in units of the values, and the claim as it was understood."""
    match = _CLAIM.fullmatch(" ".join(sentence.split()))
    if match is None:
        raise StudyError(f"Cannot read the claim {sentence!r}. A claim about a table reads: {FORM}.")
    there = list(dict.fromkeys(run.rule for run in runs.runs))
    for name in (match["ours"], match["theirs"]):
        if name not in there:
            raise StudyError(unknown(f"name in the column {runs.columns.rule}", name, there))
    if match["ours"] == match["theirs"]:
        raise StudyError(f"Cannot read the claim {sentence!r}: {match['ours']} is compared with itself.")
    try:
        margin = MARGIN if match["margin"] is None else float(match["margin"])
    except ValueError:
        margin = math.nan
    if not 0 <= margin < math.inf:
        raise StudyError(f"Cannot read the claim {sentence!r}: expected a number of 0 or more behind 'by'.")
    size, unit = 1.0, f" of {runs.columns.value}"
    if match["unit"] or match["margin"] is None:
        if runs.point is None:
            raise StudyError(
                f"The values of {runs.columns.value} are neither fractions nor percentages, so they have no points: give"
                " the margin in their own unit, as in 'by 0.1'."
            )
        size, unit = (
            runs.point,
            f" point{'' if margin == 1 else 's'} ({write_value(margin * runs.point)} of {runs.columns.value})",
        )
    relation = next(one for one in get_args(Relation) if one.startswith(f"{match['relation']} "))
    if relation == "equivalent to" and margin == 0:
        raise StudyError(f"Cannot read the claim {sentence!r}: nothing is equivalent by 0; give a margin.")
    says = f"{match['ours']} is {relation} {match['theirs']} by {write_value(margin)}{unit}"
    return match["ours"], match["theirs"], relation, margin * size, says


def _paired(runs: Runs, sides: tuple[list[Run], list[Run]]) -> tuple[list[tuple[float, float]], bool, tuple[str, ...]]:
    """Pairs of values, True if they are those of a seed, and what is lacking."""
    seeds = [[run.seed for run in side] for side in sides]
    for side, given in zip(sides, seeds, strict=True):
        named = [seed for seed in given if seed is not None]
        if len(named) != len(set(named)):
            twice = next(seed for seed in named if named.count(seed) > 1)
            raise StudyError(
                f"{side[0].rule} has several runs of {runs.columns.seed} {twice}: if they differ in a setting, compare its"
                " values apart with cell=COLUMN; if not, name another column as the seed."
            )
    common = [seed for seed in seeds[0] if seed is not None and seed in set(seeds[1])]
    by_seed = len(common) >= LEAST_PAIRS or (bool(common) and len(common) == len(seeds[0]) == len(seeds[1]))
    if by_seed:
        values = [{run.seed: run.value for run in side} for side in sides]
        pairs = [(values[0][seed], values[1][seed]) for seed in common]
    else:
        # Any order that does not depend on the values pairs independent runs; that of the rows may depend on them.
        shuffled = [random.Random(side).sample(own, len(own)) for side, own in enumerate(sides)]  # noqa: S311 - no secrets
        pairs = [(ours.value, theirs.value) for ours, theirs in zip(*shuffled, strict=False)]
    alone = len(seeds[0]) + len(seeds[1]) - 2 * len(pairs)
    lacks = [f"{alone} run{'' if alone == 1 else 's'} without a partner left out"] if alone else []
    lacks += [f"a verdict needs {LEAST_PAIRS} pairs"] if len(pairs) < LEAST_PAIRS else []
    return pairs, by_seed, tuple(lacks)


def _lacks(runs: Runs) -> str:
    """Line that says what the table does not tell."""
    lacking = [] if runs.columns.seed else ["seeds, by which runs would be paired (seed=COLUMN)"]
    lacking += ["which runs diverged or collapsed"]
    told = f"The table does not tell {' nor '.join(lacking)}: the claim is judged by its differences alone."
    return f"{told} {runs.left_out}".rstrip()


@dataclass(frozen=True, slots=True)
class Group:
    """Runs of one name in one cell of a table.

    Args:
        cell: Values of the columns of the cell.
        rule: Name.
        values: Values in the order of the rows.
        mean: Mean.
        half: Half of its 95 % interval; ``None`` of one run.
    """

    cell: tuple[str, ...]
    rule: str
    values: tuple[float, ...]
    mean: float
    half: float | None


def groups(runs: Runs) -> list[Group]:
    """Runs of each cell and name, with their mean, in the order of the table."""
    found: dict[tuple[tuple[str, ...], str], list[float]] = {}
    for run in runs.runs:
        found.setdefault((run.cell, run.rule), []).append(run.value)
    return [
        Group(cell, rule, tuple(values), fmean(values), Mean.of(values, runs.step).half if len(values) > 1 else None)
        for (cell, rule), values in found.items()
    ]
