"""Claims about any table of runs, such as one from wandb, Optuna or pandas, with the statistics that it allows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, variance
from typing import Any, get_args

from tieless._yaml import write_value
from tieless.errors import StudyError
from tieless.registry import unknown
from tieless.study.claims import MARGIN, Relation
from tieless.study.judging.comparison import LEAST_PAIRS, Verdict, relation_tests
from tieless.study.judging.statistics import LEVEL, Differences, holm, least_spread, special_functions
from tieless.study.results.tables import read_rows

ROLES = ("rule", "value", "seed", "cell")
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
        step: Last digit of the values, as they were rounded; 0 if they have more than six.
    """

    columns: Columns
    runs: tuple[Run, ...]
    without: int
    step: float

    @classmethod
    def read(cls, file: Path, columns: Columns) -> Runs:
        """Read a table.

        Raises:
            StudyError: the file cannot be read, lacks a column, or has a value that is no number.
        """
        found: list[Run] = []
        without, digits = 0, 0
        for place, row in enumerate(read_rows(file, columns.names), start=1):
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
        return cls(columns, tuple(found), without, 0.0 if digits > 6 else 10.0**-digits)

    @property
    def point(self) -> float | None:
        """A percentage point: 0.01 of fractions, 1 of percentages; ``None`` of values that are neither."""
        values = [run.value for run in self.runs]
        if all(0 <= value <= 1 for value in values):
            return 0.01
        return 1.0 if all(0 <= value <= 100 for value in values) else None


def _empty(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or str(value).strip() == ""


def _text(value: object) -> str:
    number = value if isinstance(value, float) else None
    return str(int(number)) if number is not None and number.is_integer() else str(value).strip()


def _digits(value: float) -> int:
    """Number of decimal digits behind the point."""
    _, _, behind = f"{value:.7f}".rstrip("0").partition(".")
    return len(behind)


@dataclass(frozen=True, slots=True)
class Unpaired:
    """Difference of two means of runs that nothing pairs, by Welch's t test.

    Args:
        mean: Difference of the means.
        error: Standard error of the difference.
        freedom: Degrees of freedom, by Satterthwaite.
    Source:
        Welch 1947, doi:10.1093/biomet/34.1-2.28.
    """

    mean: float
    error: float
    freedom: float

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float], step: float) -> Unpaired:
        """Difference of two samples of at least two values, whose spread is never taken to be below rounding's."""
        parts = [
            max(variance(side), least_spread(len(side), step) ** 2 if step else 0.0) / len(side)
            for side in (ours, theirs)
        ]
        total = sum(parts)
        terms = sum(part**2 / (len(side) - 1) for part, side in zip(parts, (ours, theirs), strict=True))
        freedom = total**2 / terms if terms else float(len(ours) + len(theirs) - 2)
        return cls(fmean(ours) - fmean(theirs), math.sqrt(total), freedom)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the difference."""
        half = float(special_functions().stdtrit(self.freedom, 1 - LEVEL)) * self.error
        return self.mean - half, self.mean + half

    def above(self, threshold: float) -> float:
        """p-value of "the true difference is above ``threshold``" against "it is not"."""
        if self.error == 0:
            return 0.0 if self.mean > threshold else 1.0
        return float(special_functions().stdtr(self.freedom, (threshold - self.mean) / self.error))

    def below(self, threshold: float) -> float:
        """p-value of "the true difference is below ``threshold``" against "it is not"."""
        return Unpaired(-self.mean, self.error, self.freedom).above(-threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedCell:
    """Comparison within one cell of a table.

    Args:
        cell: Values of the columns of the cell.
        means: Means of both sides, of the runs that are compared.
        runs: Numbers of runs of both sides.
        pairs: Number of pairs; ``None`` if the runs are not paired.
        found: Difference; ``None`` if there are too few runs for a test.
        p_holds, p_fails: p-values for and against the claim, adjusted by Holm for all cells.
        verdict: Verdict on the claim in this cell.
        lacks: Remarks on what the table lacks.
    """

    cell: tuple[str, ...]
    means: tuple[float, float]
    runs: tuple[int, int]
    pairs: int | None
    found: Differences | Unpaired | None
    p_holds: float
    p_fails: float
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
    """Judge a claim about a table. Runs are paired by seed where both sides have the same ones.

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
    tests = relation_tests(relation, margin, higher=not lower)
    compared = [(cell, sides, *_compared(runs, sides)) for cell, sides in whole.items()]
    p_values = [
        (1.0, 1.0) if found is None else (tests[0].p_all(found), tests[1].p_any(found)) for *_, found, _, _ in compared
    ]
    holds, fails = (holm([pair[side] for pair in p_values]) for side in (0, 1))
    judged = tuple(
        ComparedCell(
            cell=cell,
            means=means,
            runs=(len(sides[0]), len(sides[1])),
            pairs=pairs,
            found=found,
            p_holds=p_holds,
            p_fails=p_fails,
            verdict="undecided" if min(p_holds, p_fails) > LEVEL else "holds" if p_holds < p_fails else "does not hold",
            lacks=lacks,
        )
        for (cell, sides, means, found, pairs, lacks), p_holds, p_fails in zip(compared, holds, fails, strict=True)
    )
    verdicts = {cell.verdict for cell in judged}
    verdict: Verdict = (
        "does not hold" if "does not hold" in verdicts else "holds" if verdicts == {"holds"} else "undecided"
    )
    return TableVerdict(says=says, verdict=verdict, cells=judged, lacks=_lacks(runs))


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


def _compared(
    runs: Runs, sides: tuple[list[Run], list[Run]]
) -> tuple[tuple[float, float], Differences | Unpaired | None, int | None, tuple[str, ...]]:
    """Means and difference of the sides, the number of pairs, and what is lacking."""
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
    if len(common) >= LEAST_PAIRS or (common and len(common) == len(seeds[0]) == len(seeds[1])):
        ours, theirs = ([{run.seed: run.value for run in side}[seed] for seed in common] for side in sides)
        means = fmean(ours), fmean(theirs)
        alone = len(seeds[0]) + len(seeds[1]) - 2 * len(common)
        lacks = (
            (f"{alone} run{'' if alone == 1 else 's'} without a partner of the same seed left out",) if alone else ()
        )
        if len(common) < LEAST_PAIRS:
            return means, None, len(common), (f"a test needs {LEAST_PAIRS} pairs",)
        differences = [mine - other for mine, other in zip(ours, theirs, strict=True)]
        # A difference of two rounded numbers is one too, but for the noise of its computation.
        return means, Differences.of([round(value, 12) for value in differences], runs.step), len(common), lacks
    ours, theirs = ([run.value for run in side] for side in sides)
    means = fmean(ours), fmean(theirs)
    if min(map(len, seeds)) < LEAST_PAIRS:
        return means, None, None, (f"a test needs {LEAST_PAIRS} runs of each side",)
    return means, Unpaired.of(ours, theirs, runs.step), None, ()


def _lacks(runs: Runs) -> str:
    """Line that says what the table does not tell."""
    lacking = [] if runs.columns.seed else ["seeds, by which runs would be paired (seed=COLUMN)"]
    lacking += ["the number of test samples (which limits what a difference can show)", "which runs diverged"]
    left = f" {runs.without} row{'' if runs.without == 1 else 's'} without a value left out." if runs.without else ""
    return f"The table lacks {', '.join(lacking[:-1])} and {lacking[-1]}.{left}"


def summary_rows(runs: Runs) -> list[Mapping[str, Any]]:
    """Rows of a summary: the values of each cell and name, their number, mean and 95 % interval."""
    groups: dict[tuple[tuple[str, ...], str], list[float]] = {}
    for run in runs.runs:
        groups.setdefault((run.cell, run.rule), []).append(run.value)
    return [
        {
            "cell": cell,
            "rule": rule,
            "runs": len(values),
            "mean": fmean(values),
            "half": Differences.of(values, runs.step).half if len(values) > 1 else None,
        }
        for (cell, rule), values in groups.items()
    ]
