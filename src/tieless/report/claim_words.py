"""Verdicts in words, for the page and the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tieless.report import words
from tieless.study import Arm, ClaimCell, ClaimVerdict, Differences, Foresight
from tieless.study.anytable import ComparedCell, TableVerdict
from tieless.study.judging.statistics import LEAST_PAIRS
from tieless.study.settings.metrics import ACCURACY, scale_of

SYMBOLS = {"holds": "✓", "does not hold": "✕", "undecided": "?", "identical": "="}


def method(verdicts: Sequence[ClaimVerdict]) -> str:
    """Description of the method: the two questions, the family, the looks."""
    families = {verdict.batch: verdict.family for verdict in verdicts}
    looks = max((verdict.looks for verdict in verdicts), default=1)
    metrics = list(dict.fromkeys(cell.metric for verdict in verdicts for cell in verdict.cells)) or [ACCURACY]
    named = " and ".join(words.measure(one).replace(", %", "") for one in metrics)
    unit = "points" if metrics == [ACCURACY] else "the unit of the claim"
    shared = " and ".join(_batch(batch, family) for batch, family in sorted(families.items()))
    return (
        f"Median difference of test {named} paired by seed, in {unit}, and runs that collapse, each with an interval by which"
        f" alone a claim is judged: it holds if both answers do. The error, 5 % for a wrong verdict, is shared by {shared}"
        f"{f' and by {looks} looks' if looks > 1 else ''}. A run that diverged counts with the {words.chance(metrics)}."
    )


def _batch(batch: int, family: int) -> str:
    comparisons = f"{family} comparison{'' if family == 1 else 's'}"
    return f"{comparisons} that came after the first results" if batch else comparisons


def separate(comparisons: int) -> str:
    """Remark on a question that is asked by itself, beside so many comparisons of a study."""
    beside = f" beside the {comparisons} of the study" if comparisons else ""
    return (
        f"A question by itself{beside}: it shares its error with no other, so of many such questions some are answered"
        " wrongly."
    )


def estimate(cell: ClaimCell) -> str:
    """Median difference with its interval: ``+0.15 (-0.29 to +0.59)``; ``+0.15 (no interval)`` of few pairs."""
    if cell.differences is None:
        return words.NOTHING
    found = words.value(cell.differences.median, cell.metric, 2, signed=True)
    return f"{found} ({_ends(cell.differences, cell.metric)})"


def _ends(found: Differences, metric: str) -> str:
    if not math.isfinite(found.high - found.low):
        return "no interval"
    low, high = (words.value(end, metric, 2, signed=True) for end in found.interval)
    return f"{low} to {high}"


def collapses(cell: ClaimCell) -> str:
    """Runs that collapsed, and the interval of the excess: ``collapsed 0 and 1 of 10 (excess -48 to +36 %)``."""
    if cell.excess is None:
        return ""
    counts = f"{cell.candidate.collapsed} and {cell.baseline.collapsed} of {cell.excess.n}"
    low, high = (words.whole(100 * end) for end in (cell.excess.low, cell.excess.high))
    return f"collapsed {counts} (excess {low} to {high} %)"


def comparisons(cell: ClaimCell) -> str:
    """Number of pairs, and their outcomes: ``10 pairs: 4 better, 3 equal, 3 worse``."""
    pairs = f"{cell.pairs} pair{'' if cell.pairs == 1 else 's'}"
    return f"{pairs}: {cell.wins} better, {cell.ties} equal, {cell.losses} worse" if cell.pairs else pairs


def means(cell: ClaimCell) -> str:
    """Means of both sides, with their learning rates if they differ: ``82.3 % against 87.3 %``."""
    rated = cell.candidate.learning_rate != cell.baseline.learning_rate
    ours, theirs = (_mean(arm, cell.metric, rated=rated) for arm in (cell.candidate, cell.baseline))
    return f"{ours} against {theirs}"


def _mean(arm: Arm, metric: str, *, rated: bool) -> str:
    mean = words.NOTHING if arm.mean is None else words.with_unit(arm.mean, metric)
    return f"{mean} at {words.rate(arm.learning_rate)}" if rated else mean


def table_line(cell: ComparedCell) -> str:
    """Comparison in a table of any origin, in one line."""
    how = f"{cell.runs[0]} and {cell.runs[1]} runs, unpaired" if cell.pairs is None else f"{cell.pairs} pairs"
    means = f"{cell.means[0]:.6g} against {cell.means[1]:.6g}"
    parts = [means, how]
    if cell.found is not None:
        ends = cell.found.interval
        interval = f"{ends[0]:+.4g} to {ends[1]:+.4g}" if math.isfinite(ends[1] - ends[0]) else "no interval"
        parts = [f"{cell.found.median:+.4g} ({interval}), {means}", how]
    return "; ".join([*parts, *cell.lacks]).replace("-", words.MINUS)


def table_method(verdict: TableVerdict) -> str:
    """Description of the method for a table of any origin."""
    paired = [cell.pairs is not None for cell in verdict.cells]
    how = "paired by seed where seeds match, else at random"
    if all(paired):
        how = "paired by seed"
    elif not any(paired):
        how = "paired at random, for nothing pairs them"
    count = f", shared by {len(verdict.cells)} cells" if len(verdict.cells) > 1 else ""
    return (
        f"Median difference of runs {how}, with the interval by which alone the claim is judged; the error is 5 % for a wrong"
        f" verdict{count}."
    )


def notes(cell: ClaimCell, claim_verdict: ClaimVerdict) -> list[str]:
    """Remarks: what each question says where they differ, why a cell is undecided, which runs did not train."""
    said = [] if claim_verdict.batch == 0 else ["added after the first results"]
    if cell.of_differences != cell.of_collapses and cell.verdict != "identical":
        said.append(f"the difference: {cell.of_differences}; collapses, {_allowed(cell)} allowed: {cell.of_collapses}")
    said += [cell.reason] if cell.reason else []
    if cell.more is not None:
        said.append(f"needs about {cell.more} more seed{'' if cell.more == 1 else 's'}")
    for name, arm in zip(claim_verdict.claim.names, (cell.candidate, cell.baseline), strict=True):
        counts = ((arm.diverged, "diverged"), (arm.one_class, "single class"), (arm.failed, "failed and left out"))
        said += [f"{name}: {count} {what}" for count, what in counts if count]
    return said


def foresight(found: Foresight) -> str:
    """Differences that a claim can show with its planned seeds: ``3 cells of 10 seeds: a median 1.35 points beyond its margin ...``."""
    unit = words.unit_of_differences(found.metric)
    cells = (
        f"{found.cells} cell{'' if found.cells == 1 else 's'} of {found.seeds} seed{'' if found.seeds == 1 else 's'}"
    )
    if found.seeds < LEAST_PAIRS:
        return f"{cells}: no verdict, which needs {LEAST_PAIRS} pairs"
    if found.distance is None:
        shown = f"what it can show is unknown, as the standard deviation is {found.source}"
    else:
        shown = (
            f"a median {found.distance:.3g} {unit} from its margin is shown with a probability of 80 % (standard deviation "
            f"{found.sd:.3g} {unit}, {found.source})"
        )
    parts = [f"{cells}: {shown}"]
    if not found.can_hold:
        left, allowed = (words.whole(100 * part) for part in (found.excess, found.claim.tolerance))
        parts.append(
            f"it cannot hold: without a collapse {left} % more stay possible, and {allowed} % are allowed: {found.needed} seeds"
            " would do"
        )
    return "; ".join(parts)


def foresight_line(found: Sequence[Foresight]) -> str:
    """The same of all claims, in a line."""
    distances = [one.distance for one in found if one.distance is not None]
    cannot = sum(not one.can_hold for one in found)
    units = list(dict.fromkeys(words.unit_of_differences(one.metric) for one in found))
    parts: list[str] = []
    if distances and len(units) == 1:
        low, high = (f"{end:.3g}" for end in (min(distances), max(distances)))
        parts.append(f"{low if low == high else f'{low} to {high}'} {units[0]} from its margin (power 80 %)")
    if cannot:
        parts.append(f"{cannot} of {len(found)} cannot hold with so few seeds")
    return f"A claim can show: {'; '.join(parts) or 'its difference'}."


def sentence(claim_verdict: ClaimVerdict) -> str:
    """Numbers behind a verdict in one sentence, of the comparison that decides it or is nearest to being decided.

    ``It fails in 2 of 4 cells, most clearly in relu, sgd: 70.1 % against 87.5 %, -17.42 (-20.86 to -13.99) points.``
    """
    verdict, cells = claim_verdict.verdict, claim_verdict.cells
    alike = [cell for cell in cells if cell.verdict == verdict]
    if not alike:
        return ""
    if verdict == "undecided":
        shown = min(alike, key=lambda cell: math.inf if cell.more is None else cell.more)
    else:
        shown = min(alike, key=lambda cell: _favour(cell, claim_verdict.claim.relation))
    lead = ""
    if len(cells) > 1:
        what, which = {
            "holds": ("It holds", "the nearest to the margin is"),
            "does not hold": ("It fails", "most clearly in"),
            "undecided": ("It is undecided", "the nearest to a verdict is"),
            "identical": ("The runs are the same", "such as"),
        }[verdict]
        every = f"all {len(cells)} cells" if len(alike) == len(cells) else f"{len(alike)} of {len(cells)} cells"
        lead = f"{what} in {every}, {which} {shown.settings}: "
    if shown.differences is None:
        return f"{lead}{means(shown)}." if shown.pairs else ""
    difference = f"{estimate(shown)} {words.unit_of_differences(shown.metric)}"
    return f"{lead}{means(shown)}, {difference}, {shown.pairs} pairs, {collapses(shown)}."


def _favour(cell: ClaimCell, relation: str) -> float:
    """Median difference, turned so that the claim holds the more, the larger it is."""
    if cell.differences is None:
        return 0.0
    better = scale_of(cell.metric).rank(cell.differences.median)
    return {"inferior to": -better, "equivalent to": -abs(better)}.get(relation, better)


def _allowed(cell: ClaimCell) -> str:
    return f"{words.whole(100 * cell.tolerance)} % more"


def cell_line(cell: ClaimCell, claim_verdict: ClaimVerdict) -> str:
    """Comparison in one line."""
    parts = [f"{estimate(cell)} {words.unit_of_differences(cell.metric)}, {means(cell)}"] if cell.differences else []
    parts += [comparisons(cell), collapses(cell)] if cell.excess else [comparisons(cell)]
    return "; ".join([*parts, *notes(cell, claim_verdict)])
