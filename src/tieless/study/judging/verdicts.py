"""Verdicts on claims: for each cell two intervals and what they decide; for each claim one verdict.

Undecided cells get further seeds, on both sides, up to the next look. ``docs/statistics.md`` defines what a claim says,
the family of comparisons and the looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tieless.errors import StudyError
from tieless.study.claims import Claim
from tieless.study.judging.comparison import ClaimCell, Comparison
from tieless.study.judging.pairing import Pairing, cells_of, pairings
from tieless.study.judging.questions import Verdict, together
from tieless.study.judging.statistics import LEAST_PAIRS, LEVEL, share
from tieless.study.study import Batch, Study
from tieless.study.trial import Result, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimVerdict:
    """Claim with its verdict.

    Args:
        claim: Judged claim.
        verdict: Verdict: ``holds`` if every cell holds, ``does not hold`` if one cell does not, else ``undecided``.
        cells: Comparisons, one per cell.
        family: Number of comparisons that share the error rate, those of the other claims included.
        level: Part of the level, 2.5 % for each direction, that each comparison has over all its looks.
        looks: Number of looks so far, of the cell with the most.
        batch: Place of the claim among those that were added after the first results: 0 for a planned one.
    Example:
        >>> from tieless.study import judge, load_study
        >>> study = load_study("quickstart")
        >>> verdict = judge(study.claims, study, results=[])[0]
        >>> verdict.text, verdict.family
        ('undecided: not run yet', 4)
    """

    claim: Claim
    verdict: Verdict
    cells: tuple[ClaimCell, ...]
    family: int
    level: float
    looks: int
    batch: int = 0

    @property
    def more(self) -> int | None:
        """Largest number of further seeds that an undecided cell is estimated to need."""
        return max((cell.more for cell in self.cells if cell.more is not None), default=None)

    @property
    def text(self) -> str:
        """Verdict in words: ``holds``, ``undecided, needs about 7 more seeds``, ``undecided: not run yet``."""
        if self.verdict == "identical":
            return "identical runs, which are no evidence"
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
            %. Claims that the study's plan lists in a later batch have a part of it by themselves.
        study: Plan, as stored.
        results: All known results.
    Raises:
        StudyError: a claim matches nothing in the study, or does not mention a rate that the study chooses.
    Example:
        >>> from tieless.study import EpochRecord, Result, judge, parse_study
        >>> study = parse_study('''
        ... title: Hidden layers
        ... question: Do they have to learn?
        ... grid: {data: digits, model: "mlp(16, 1)", forward: heaviside, backward: [rectangular, frozen], optimiser: adam,
        ...        learning_rate: 0.01, batch: 64, epochs: 1, seeds: 0..9}
        ... claims: [rectangular is superior to frozen by 5 points]
        ... ''', name="hidden-layers")
        >>> def result(trial):
        ...     accuracy = (0.5 if trial.backward == "frozen" else 0.8) + 0.001 * trial.seed
        ...     return Result(trial=trial, status="done", epochs=(EpochRecord(0.4, 0.8, 0.5, accuracy, 1.0),), classes=10)
        >>> results = [result(trial) for trial in study.trials]
        >>> (verdict,) = judge(study.claims, study, results)
        >>> verdict.text
        'holds'
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
        raise StudyError(f"At most {most} seeds decide nothing: a verdict needs {LEAST_PAIRS} pairs of runs.")


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
        size = comparison.next_look
        if study.most_seeds is None or size > study.most_seeds:
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
    asked = [(claim, _batch(claim, study), _asked(claim, study)) for claim in claims]
    sizes: dict[int, int] = {place: batch.comparisons for place, batch in enumerate(study.batches)}
    for place in {place for _, place, _ in asked}:
        now = sum(len(of_it) for _, other, of_it in asked if other == place)
        sizes[place] = max(sizes.get(place, 0), now)
    judged: list[tuple[ClaimVerdict, list[Comparison]]] = []
    for claim, place, of_it in asked:
        found = _found(claim, study, of_it)
        level = LEVEL * share(place) / max(1, sizes[place])
        varied = _varied(found)
        comparisons = [Comparison(claim, one, known, varied, level) for one in found]
        cells = tuple(comparison.cell for comparison in comparisons)
        verdict = ClaimVerdict(
            claim=claim,
            verdict=together(cell.verdict for cell in cells) if cells else "undecided",
            cells=cells,
            family=sizes[place],
            level=level,
            looks=1 + max((comparison.look for comparison in comparisons), default=-1),
            batch=place,
        )
        judged.append((verdict, comparisons))
    return judged


def _batch(claim: Claim, study: Study) -> int:
    """Place of the batch that has a claim, or of the next one; 0 in a study that lists none."""
    places = (place for place, batch in enumerate(study.batches) if claim in batch.claims)
    return next(places, len(study.batches))


def comparisons_of(claim: Claim, study: Study) -> int:
    """Number of cells that a claim is about, also if their learning rates are still to be chosen."""
    return len(_asked(claim, study))


def registered(study: Study, before: Study, *, seen: bool) -> Study:
    """Study with the batches of its claims, after those of its folder's plan before.

    Until a first run has ended all claims are one batch. Claims that come later are another one.

    Args:
        study: Study with its new plan.
        before: Study with the plan before.
        seen: True if results of the plan before are there.
    """
    batches = before.batches or (_batch_of(before.claims, before),)
    later = [claim for claim in study.claims if all(claim not in batch.claims for batch in batches)]
    if not seen or not (before.claims or later):
        return study
    return replace(study, batches=(*batches, _batch_of(later, study)) if later else batches)


def _batch_of(claims: Sequence[Claim], study: Study) -> Batch:
    return Batch(tuple(claims), sum(comparisons_of(claim, study) for claim in claims))


def _asked(claim: Claim, study: Study) -> list[Pairing]:
    """Cells that a claim is about, by the runs that choose learning rates where there are any."""
    if study.choose is None:
        return cells_of(claim, study.trials, chooses=False, added=study.added)
    choosing = [trial for trial in study.trials if trial.test == "never" and not study.choose.confirms(trial)]
    return cells_of(_of_any_length(claim) if study.choose.epochs else claim, choosing, chooses=True)


def _found(claim: Claim, study: Study, asked: list[Pairing]) -> list[Pairing]:
    """Cells that a claim is about; empty if their learning rates are still to be chosen.

    Args:
        claim: Claim.
        study: Study.
        asked: Cells of the claim, by the runs that choose learning rates where there are any.
    """
    if study.choose is None:
        return asked
    tested = [trial for trial in study.trials if trial.test != "never"]
    # A cell whose rate is not chosen yet has no runs: a verdict must not pass it over.
    try:
        found = pairings(claim, tested, study.added)
    except StudyError:
        # Nothing that chooses has the length of the runs that are judged.
        asked_epochs = dict(claim.where).get("epochs")
        if tested and asked_epochs is not None and all(trial.epochs not in asked_epochs for trial in tested):
            raise
        return []
    return found if len(found) == len(asked) else []


def _of_any_length(claim: Claim) -> Claim:
    """Claim without its number of epochs, for shorter runs choose the rates of the runs that it is about."""
    return replace(claim, where=tuple(one for one in claim.where if one[0] != "epochs"))


def _varied(found: Sequence[Pairing]) -> list[str]:
    names = list(found[0].settings) if found else []
    return [name for name in names if len({str(one.settings[name]) for one in found}) > 1]
