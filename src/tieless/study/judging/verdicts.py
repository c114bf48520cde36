"""Verdicts on claims: for each cell the difference, its interval and its tests; for each claim one verdict.

Undecided cells get further seeds, on both sides, up to the next look. All tests compare runs paired by seed. ``docs/statistics.md`` defines the accuracy of a run, the family of comparisons
and the number of looks; they are computed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tieless.errors import StudyError
from tieless.study.claims import Claim
from tieless.study.judging.comparison import LEAST_PAIRS, ClaimCell, Comparison, Verdict, steps
from tieless.study.judging.pairing import Pairing, cells_of, pairings
from tieless.study.judging.statistics import LEVEL, holm
from tieless.study.study import Study
from tieless.study.trial import Result, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimVerdict:
    """Claim with its verdict.

    Args:
        claim: Judged claim.
        verdict: Verdict: ``holds`` if every cell holds, ``does not hold`` if one cell does not, else ``undecided``.
        cells: Comparisons, one per cell.
        family: Number of comparisons that share the error rate, those of the other claims included.
        looks: Number of times that the data may be looked at, each time at that part of the level.
    """

    claim: Claim
    verdict: Verdict
    cells: tuple[ClaimCell, ...]
    family: int
    looks: int

    @property
    def more(self) -> int | None:
        """Largest number of further seeds that an undecided cell is estimated to need."""
        return max((cell.more for cell in self.cells if cell.more is not None), default=None)

    @property
    def text(self) -> str:
        """Verdict in words: ``holds``, ``undecided, needs about 7 more seeds``, ``undecided: not run yet``."""
        if self.verdict != "undecided":
            return self.verdict
        if not self.cells:
            return "undecided: the learning rates are not chosen yet"
        stuck = next((cell.reason for cell in self.cells if cell.verdict == "undecided" and cell.more is None), "")
        if stuck or self.more is None:
            return f"undecided: {stuck}"
        return f"undecided, needs about {self.more} more seed{'s' if self.more > 1 else ''}"


def judge(claims: Iterable[Claim], study: Study, results: Iterable[Result]) -> list[ClaimVerdict]:
    """Judge claims as one family.

    Args:
        claims: Claims, whose comparisons share the error rate: the probability that any verdict is wrong is at most 5
            %.
        study: Plan, as stored.
        results: All known results.
    Raises:
        StudyError: a claim matches nothing in the study, or does not mention a rate that the study chooses.
    """
    return [verdict for verdict, _ in _judged(claims, study, results)]


def check_most_seeds(study: Study, most: int) -> None:
    """Check that seeds can be added.

    Raises:
        StudyError: the study has no claims, or no cell could get more seeds than it has.
    """
    if not study.claims:
        raise StudyError(f"{study.name} has no claims to decide: give it some, as 'claims:' in its file.")
    if most < LEAST_PAIRS:
        raise StudyError(f"At most {most} seeds decide nothing: a test needs {LEAST_PAIRS} pairs of runs.")


def more_seeds(study: Study, results: Iterable[Result], *, every_cell: bool = False) -> list[Trial]:
    """Trials to add next; empty if every claim is decided, has all its seeds, or cannot be decided by more.

    Args:
        study: Plan, with ``most_seeds``.
        results: Results of the plan.
        every_cell: True to decide also cells of a claim that another cell has settled.
    """
    chosen = () if study.choose is None else study.choose.seeds
    wanted: dict[Trial, None] = {}
    for comparison in _undecided(study, results, every_cell=every_cell):
        size = next((size for size in comparison.sizes if size > comparison.ended), None)
        if size is None:
            continue
        seeds = list(comparison.pairing.seeds)
        number = max(seeds) + 1
        while len(seeds) < size:
            if number not in chosen:
                seeds.append(number)
            number += 1
        for arm in (comparison.pairing.candidate, comparison.pairing.baseline):
            known = next(iter(arm.values()))
            wanted.update(dict.fromkeys(replace(known, seed=seed) for seed in seeds if seed not in arm))
    there = set(study.trials)
    return sorted((trial for trial in wanted if trial not in there), key=lambda trial: trial.seed)


def _undecided(study: Study, results: Iterable[Result], *, every_cell: bool = False) -> list[Comparison]:
    """Comparisons of a study's claims that are still undecided and that more seeds may decide.

    A claim that does not hold in one cell is settled, whatever its other cells say; ``every_cell`` includes those too.
    If neither rule trains, seeds cannot decide anything.
    """
    return [
        comparison
        for verdict, comparisons in _judged(study.claims, study, results)
        if every_cell or verdict.verdict == "undecided"
        for comparison, cell in zip(comparisons, verdict.cells, strict=True)
        if cell.verdict == "undecided" and comparison.trained
    ]


def _judged(
    claims: Iterable[Claim], study: Study, results: Iterable[Result]
) -> list[tuple[ClaimVerdict, list[Comparison]]]:
    known = {result.trial: result for result in results}
    found_steps = steps(known.values())
    asked: list[tuple[Claim, list[Comparison]]] = []
    for claim in claims:
        found = _found(claim, study)
        varied = _varied(found)
        asked.append((claim, [Comparison(claim, one, known, found_steps, study.most_seeds, varied) for one in found]))
    everything = [comparison for _, comparisons in asked for comparison in comparisons]
    p_holds = holm([comparison.p_holds for comparison in everything])
    p_fails = holm([comparison.p_fails for comparison in everything])
    verdicts: list[Verdict] = [_verdict(*pair) for pair in zip(p_holds, p_fails, strict=True)]
    open_ones = max(1, verdicts.count("undecided"))
    cells = iter(
        comparison.judged(holds, fails, verdict, open_ones)
        for comparison, holds, fails, verdict in zip(everything, p_holds, p_fails, verdicts, strict=True)
    )
    return [
        (_together(claim, tuple(next(cells) for _ in comparisons), len(everything), comparisons), comparisons)
        for claim, comparisons in asked
    ]


def _found(claim: Claim, study: Study) -> list[Pairing]:
    """Cells that a claim is about; empty if their learning rates are still to be chosen."""
    if study.choose is None:
        return cells_of(claim, study.trials, chooses=False, added=study.added)
    tested = [trial for trial in study.trials if trial.test != "never"]
    choosing = [trial for trial in study.trials if trial.test == "never" and not study.choose.confirms(trial)]
    asked = cells_of(_of_any_length(claim) if study.choose.epochs else claim, choosing, chooses=True)
    # A cell whose rate is not chosen yet has no runs: a verdict must not pass it over.
    found = pairings(claim, tested, study.added) if tested else []
    return found if len(found) == len(asked) else []


def _of_any_length(claim: Claim) -> Claim:
    """Claim without its number of epochs, for shorter runs choose the rates of the runs that it is about."""
    return replace(claim, where=tuple(one for one in claim.where if one[0] != "epochs"))


def _varied(found: Sequence[Pairing]) -> list[str]:
    names = list(found[0].settings) if found else []
    return [name for name in names if len({str(one.settings[name]) for one in found}) > 1]


def _verdict(p_holds: float, p_fails: float) -> Verdict:
    if min(p_holds, p_fails) > LEVEL:
        return "undecided"
    return "holds" if p_holds < p_fails else "does not hold"


def _together(
    claim: Claim, cells: tuple[ClaimCell, ...], family: int, comparisons: Sequence[Comparison]
) -> ClaimVerdict:
    verdicts = {cell.verdict for cell in cells}
    verdict: Verdict = "undecided"
    if "does not hold" in verdicts:
        verdict = "does not hold"
    elif verdicts == {"holds"}:
        verdict = "holds"
    looks = max((len(comparison.sizes) for comparison in comparisons), default=1)
    return ClaimVerdict(claim=claim, verdict=verdict, cells=cells, family=family, looks=looks)
