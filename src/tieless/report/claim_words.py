"""Verdicts in words, for the page and the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from tieless.report import words
from tieless.study import Arm, ClaimCell, ClaimVerdict
from tieless.study.judging.anytable import ComparedCell, TableVerdict
from tieless.study.judging.comparison import LEAST_PAIRS
from tieless.study.settings.metrics import ACCURACY

SYMBOLS = {"holds": "✓", "does not hold": "✕", "undecided": "?"}


def method(verdicts: Sequence[ClaimVerdict]) -> str:
    """Description of the method: the tests, the family, the looks."""
    family = max((verdict.family for verdict in verdicts), default=0)
    looks = max((verdict.looks for verdict in verdicts), default=1)
    metrics = list(dict.fromkeys(cell.metric for verdict in verdicts for cell in verdict.cells)) or [ACCURACY]
    named = " and ".join(words.measure(one).replace(", %", "") for one in metrics)
    unit = "points" if metrics == [ACCURACY] else "the unit of the claim"
    how = (
        f"Differences of test {named} paired by seed, in {unit}, with 95 % intervals; one-sided t tests at 2.5 % each for and"
        f" against. A run that diverged counts with the {words.chance(metrics)}"
        f"{', one that predicts one class with the accuracy it has' if metrics == [ACCURACY] else ''}."
    )
    holm = f" p-values are adjusted by Holm for {family} comparisons" if family > 1 else ""
    each = f"{' and' if holm else ' p-values are adjusted'} by Bonferroni for {looks} looks at growing data"
    return f"{how}{holm}{each if looks > 1 else ''}{'.' if holm or looks > 1 else ''}"


def estimate(cell: ClaimCell) -> str:
    """Difference with its interval: ``+0.15 (-0.29 to +0.59)``. Two pairs give no interval, as they give no test."""
    if cell.differences is None:
        return words.NOTHING
    if cell.pairs < LEAST_PAIRS:
        return words.value(cell.differences.mean, cell.metric, 2, signed=True)
    ends = (cell.differences.mean, *cell.differences.interval)
    mean, low, high = (words.value(end, cell.metric, 2, signed=True) for end in ends)
    return f"{mean} ({low} to {high})"


def chance_of(p: float) -> str:
    """p-value in words: ``p 0.012``, ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def chances(cell: ClaimCell) -> str:
    """p-value on which a verdict rests, or both if there is none: ``p 0.012 for, p 1.000 against``."""
    against = chance_of(cell.p_fails)
    return {
        "holds": chance_of(cell.p_holds),
        "does not hold": f"{against} against",
        "undecided": f"{chance_of(cell.p_holds)} for, {against} against",
    }[cell.verdict]


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
        low, high = cell.found.interval
        against = chance_of(cell.p_fails)
        chances = {
            "holds": chance_of(cell.p_holds),
            "does not hold": f"{against} against",
            "undecided": f"{chance_of(cell.p_holds)} for, {against} against",
        }[cell.verdict]
        parts = [f"{cell.found.mean:+.4g} ({low:+.4g} to {high:+.4g}), {means}", chances, how]
    return "; ".join([*parts, *cell.lacks]).replace("-", words.MINUS)


def table_method(verdict: TableVerdict) -> str:
    """Description of the method for a table of any origin."""
    paired = [cell.pairs is not None for cell in verdict.cells]
    how = "Differences paired by seed where seeds match, else of means, one-sided tests by Student and Welch"
    if all(paired):
        how = "Differences paired by seed, one-sided t tests"
    elif not any(paired):
        how = "Differences of means, one-sided tests by Welch"
    holm = f"; p-values adjusted by Holm for {len(verdict.cells)} cells" if len(verdict.cells) > 1 else ""
    return f"{how} at 2.5 % each for and against, with 95 % intervals{holm}."


def notes(cell: ClaimCell, claim_verdict: ClaimVerdict) -> list[str]:
    """Remarks: why a cell is undecided, which runs did not train, how often that may happen unseen."""
    claim = claim_verdict.claim
    said = [cell.reason] if cell.reason else []
    if cell.more is not None:
        said.append(f"needs about {cell.more} more seed{'' if cell.more == 1 else 's'}")
    for name, arm in zip(claim.names, (cell.candidate, cell.baseline), strict=True):
        counts = ((arm.diverged, "diverged"), (arm.one_class, "one class"), (arm.failed, "failed and left out"))
        said += [f"{name}: {count} {what}" for count, what in counts if count]
    if cell.verdict == "holds" and claim.relation in ("non-inferior to", "equivalent to") and cell.unseen is not None:
        limit = words.percent(cell.unseen, 0)
        said.append(f"no run of {claim.names[0]} diverged or collapsed; up to {limit} % may (95 %)")
    return said


def sentence(claim_verdict: ClaimVerdict) -> str:
    """Numbers behind a verdict in one sentence, of the comparison that decides it or is nearest to being decided.

    ``It fails in 2 of 4 cells, most clearly in relu, sgd: 70.1 % against 87.5 %, -17.42 (-20.86 to -13.99) points.``
    """
    verdict, cells = claim_verdict.verdict, claim_verdict.cells
    alike = [cell for cell in cells if cell.verdict == verdict]
    if not alike:
        return ""
    shown = {
        "holds": max(alike, key=lambda cell: cell.p_holds),
        "does not hold": min(alike, key=lambda cell: cell.p_fails),
        "undecided": min(alike, key=lambda cell: min(cell.p_holds, cell.p_fails)),
    }[verdict]
    lead = ""
    if len(cells) > 1:
        what, which = {
            "holds": ("It holds", "the nearest to the margin is"),
            "does not hold": ("It fails", "most clearly in"),
            "undecided": ("It is undecided", "the nearest to a verdict is"),
        }[verdict]
        every = f"all {len(cells)} cells" if len(alike) == len(cells) else f"{len(alike)} of {len(cells)} cells"
        lead = f"{what} in {every}, {which} {shown.settings}: "
    if shown.differences is None:
        return f"{lead}{means(shown)}." if shown.pairs else ""
    difference = f"{estimate(shown)} {words.unit_of_differences(shown.metric)}"
    return f"{lead}{means(shown)}, {difference}, {shown.pairs} pairs."


def cell_line(cell: ClaimCell, claim_verdict: ClaimVerdict) -> str:
    """Comparison in one line."""
    parts = [f"{estimate(cell)} {words.unit_of_differences(cell.metric)}, {means(cell)}"] if cell.differences else []
    if cell.differences and cell.pairs >= LEAST_PAIRS and cell.differences.effect is not None:
        parts.append(f"g {words.signed(cell.differences.effect)}")
    if cell.differences and cell.pairs >= LEAST_PAIRS:
        parts.append(chances(cell))
    parts.append(comparisons(cell))
    return "; ".join([*parts, *notes(cell, claim_verdict)])
