"""How often is a verdict wrong, and how often does the planned number of seeds suffice?

Studies are simulated whose truth is known, at the edge of the claim "non-inferior by 1 point": the true median difference
is -1 point exactly, or the candidate collapses exactly as much more often as the claim allows. So "holds" and "does not
hold" are both wrong, and each may be told in 2.5 % of studies at most. All studies of a row are judged at once, by arrays;
the first of them also by the code that judges real results, and the script stops where one of their verdicts differs.

    python benchmarks/verdict_errors.py [--simulations 10000] [--checked 20] [--seed 2026]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import special, stats

from tieless.study import Batch, Claim, EpochRecord, Result, Study, Trial, judge, parse_claim, seeds_needed
from tieless.study.judging.statistics import LEVEL

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
SAMPLES = 10_000
"""Of the test set that accuracies are rounded to, unless a row has fewer, so that most runs tie with the margin."""
LOST, BASELINE, MARGIN = 12, 85, 1
"""Accuracy of a run that collapses, of the baseline, and the margin, in points."""
LEAST = 5


@dataclass(frozen=True)
class Row:
    """Distribution of the differences around the margin: ``draw`` gives points with median 0.

    Args:
        name: Name of the row.
        draw: Draws differences of the runs that train, in points from the margin.
        ours, theirs: Probability that a run of the candidate, or of the baseline, collapses.
        allowed: Excess of collapses that the claim allows.
        samples: Number of test samples.
    """

    name: str
    draw: Draw
    ours: float = 0.0
    theirs: float = 0.0
    allowed: float = 0.2
    samples: int = SAMPLES


def _lossy(probability: float, loss: float) -> Draw:
    """Some runs lose points, a negative number gains them; the others lie so that the median of all is 0."""
    below = (0.5 - probability) / (1 - probability) if loss > 0 else 0.5 / (1 - probability)
    shift = 0.3 * float(special.ndtri(1 - below))

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.normal(shift, 0.3, shape) - loss * (rng.random(shape) < probability)

    return draw


def _shifted(shift: float) -> Draw:
    return lambda rng, shape: rng.normal(shift, 0.3, shape)


# A tenth of the pairs lie far on one side, so that the others have 4/9 or 5/9 of theirs on that side of the median.
_TENTH = 0.3 * float(special.ndtri(5 / 9))
ROWS = (
    Row("normal, sd 1", lambda rng, shape: rng.normal(0, 1, shape)),
    Row("normal, sd 0.1, 400 test samples", lambda rng, shape: rng.normal(0, 0.1, shape), samples=400),
    Row("uniform", lambda rng, shape: rng.uniform(-1.5, 1.5, shape)),
    Row("Student's t, 3 degrees", lambda rng, shape: rng.standard_t(3, shape)),
    Row("lognormal, long tail below", lambda rng, shape: 1 - rng.lognormal(0, 1, shape)),
    Row("lognormal, long tail above", lambda rng, shape: rng.lognormal(0, 1, shape) - 1),
    Row(
        "bimodal, 3 points to each side",
        lambda rng, shape: 3 * rng.choice([-1.0, 1.0], shape) + rng.normal(0, 0.1, shape),
    ),
    Row("ties: half at the margin", lambda rng, shape: rng.choice([-0.5, 0.0, 0.0, 0.5], shape)),
    Row("10 % of the candidate's runs lose 5 points", _lossy(0.1, 5)),
    Row("10 % of the baseline's runs lose 5 points", _lossy(0.1, -5)),
    Row("10 % of the candidate's runs collapse", _shifted(_TENTH), ours=0.1),
    Row("10 % of the baseline's runs collapse", _shifted(-_TENTH), theirs=0.1),
    Row("no difference, candidate collapses 20 %, allowed", _shifted(1), ours=0.2),
    Row("the same, 10 % and 10 % allowed", _shifted(1), ours=0.1, allowed=0.1),
)


def _trials(rules: Sequence[str], seeds: int) -> tuple[Trial, ...]:
    return tuple(
        Trial(
            data="digits",
            model="mlp",
            forward="relu",
            backward=rule,
            optimiser="sgd",
            learning_rate=0.1,
            batch=32,
            epochs=1,
            seed=seed,
        )
        for seed in range(seeds)
        for rule in rules
    )


def _study(trials: tuple[Trial, ...], added: int, batches: tuple[Batch, ...]) -> Study:
    return Study(
        name="simulated",
        run_as="simulated",
        title="",
        question="",
        settings={},
        trials=trials,
        added=added,
        batches=batches,
    )


def _result(trial: Trial, accuracy: float) -> Result:
    record = EpochRecord(trial.seed, 0.0, 0.0, accuracy, 0.0, float(trial.backward != "tied"))
    return Result(trial=trial, status="done", epochs=(record,), predicted_classes=10, classes=10)


def _lower(ordered: np.ndarray, n: int, level: float) -> np.ndarray:
    """Lower ends of the intervals of medians: of rows of ascending values, of which the first ``n`` count."""
    if n < LEAST:
        return np.full(len(ordered), -np.inf)
    beyond = int(stats.binom.ppf(level, n, 0.5))
    beyond -= stats.binom.cdf(beyond, n, 0.5) > level
    if beyond >= 0:
        return ordered[:, beyond]
    width = ordered[:, n - 1] - ordered[:, 0]
    return np.where(width > 0, ordered[:, 0] - ((0.5**n / level) ** (1 / (n - 1)) - 1) * width, -np.inf)


@cache
def _most(n: int, ours: int, theirs: int, level: float) -> float:
    """Upper end of the interval of the excess of collapses."""
    most = stats.beta.ppf(1 - 0.9 * level, ours + 1, n - ours) if ours < n else 1.0
    return float(most - (stats.beta.ppf(0.1 * level, theirs, n - theirs + 1) if theirs else 0.0))


def _verdicts(points: np.ndarray, level: float, allowed: float, samples: int) -> np.ndarray:
    """Of each study and claim: 1 holds, -1 does not hold, 0 undecided."""
    lost = points < 0.19 * samples
    found = np.zeros((len(points), points.shape[2] - 1), int)
    n = points.shape[1]
    for claim in range(found.shape[1]):
        ours, theirs = lost[:, :, claim + 1], lost[:, :, 0]
        away = (points[:, :, claim + 1] - points[:, :, 0]) / samples + MARGIN / 100
        away = np.where(ours & theirs, np.inf, np.round(away, 12))
        kept = n - (ours & theirs).sum(1)
        low, high = np.full((2, len(points)), -np.inf)
        for size in np.unique(kept):
            chosen = kept == size
            low[chosen] = _lower(np.sort(away[chosen]), size, level)
            high[chosen] = -_lower(np.sort(np.where(np.isinf(away), np.inf, -away)[chosen]), size, level / 2)
        alone = np.stack([(ours & ~theirs).sum(1), (theirs & ~ours).sum(1)], 1)
        most = np.array([_most(n, *map(int, pair), level) for pair in alone])
        least = np.array([-_most(n, *map(int, pair[::-1]), level / 2) for pair in alone])
        found[:, claim] = np.where((low > 0) & (most < allowed), 1, 0) - ((high < 0) | (least > allowed))
    return found


def _checked(points: np.ndarray, row: Row, added: int, sizes: Sequence[int], found: np.ndarray, checked: int) -> None:
    rules = ["tied", *(f"constant({i})" for i in range(1, points.shape[2]))]
    trials = _trials(rules, points.shape[1])
    claims = [_claim(rule, row) for rule in rules[1:]]
    places = np.cumsum([0, *sizes])
    batches = tuple(Batch(tuple(claims[start:end]), int(end - start)) for start, end in pairwise(places))
    study = _study(trials, added * len(rules), batches if len(sizes) > 1 else ())
    for one, expected in zip(points[:checked], found, strict=False):
        results = [_result(t, int(count) / row.samples) for t, count in zip(trials, one.ravel(), strict=True)]
        told = [{"holds": 1, "does not hold": -1, "undecided": 0}[v.verdict] for v in judge(claims, study, results)]
        if told != expected.tolist():
            raise RuntimeError(f"judge() says {told}, the arrays say {expected.tolist()}, of {one.tolist()}")


def _claim(rule: str, row: Row) -> Claim:
    return parse_claim(f"{rule} is non-inferior to tied by {MARGIN} point allowing {100 * row.allowed:g} % collapses")


def errors(
    row: Row, seeds: Sequence[int], options: argparse.Namespace, batches: Sequence[int] = (1,)
) -> tuple[float, float]:
    """Numbers of studies in which some verdict at some look is a false "holds", and a false "does not hold".

    Args:
        row: Distributions of the differences and collapses.
        seeds: Numbers of seeds at the looks: the planned one, and each time twice as many.
        options: Number of studies, and the generator that draws them.
        batches: Numbers of claims: the planned ones, and those that were added each time. All have one baseline.
    """
    claims = sum(batches)
    shape = (options.simulations, seeds[-1], claims)
    # The baseline's own noise is what the claims have in common.
    own = options.rng.normal(0, 0.5 if claims > 1 else 0, (*shape[:2], 1))
    drawn = BASELINE - MARGIN + row.draw(options.rng, shape)
    sides = [np.where(options.rng.random((*shape[:2], 1)) < row.theirs, LOST, BASELINE + own)]
    sides += [np.where(options.rng.random(shape) < row.ours, LOST, drawn)]
    points = np.clip(np.round(np.concatenate(sides, axis=2) / 100 * row.samples), 0, row.samples).astype(np.int64)
    wrong = np.zeros((2, options.simulations), bool)
    for look, size in enumerate(size for size in seeds if size >= LEAST):
        found: list[np.ndarray] = []
        start = 1
        for batch, number in enumerate(batches):
            level = LEVEL * _share(batch) / number * _share(look)
            part = points[:, :size, [0, *range(start, start + number)]]
            found.append(_verdicts(part, level, row.allowed, row.samples))
            start += number
        together = np.concatenate(found, axis=1)
        _checked(points[:, :size], row, size - seeds[0], batches, together, options.checked)
        wrong |= [(together == 1).any(1), (together == -1).any(1)]
    return float(wrong[0].mean()), float(wrong[1].mean())


def decided(distance: float, sd: float, options: argparse.Namespace) -> tuple[int, float]:
    """The seeds that a plan asks for, and how often the differences of a study of so many are decided rightly."""
    level = LEVEL * 0.8 * 0.8
    seeds = seeds_needed([distance], sd, level)
    if seeds is None:
        raise ValueError(f"no number of seeds decides {distance} points at a standard deviation of {sd}")
    drawn = np.sort(options.rng.normal(distance, sd, (options.simulations, seeds)))
    return seeds, float((_lower(drawn, seeds, level) > 0).mean())


def _share(place: int) -> float:
    return [0.8, 0.1, 0.05, 0.025][place]


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=10_000)
    parser.add_argument("--checked", type=int, default=20)
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args()
    options.rng = np.random.default_rng(options.seed)
    console = Console(width=150)

    table = Table(title="One look, one claim: studies with a false holds / a false does not hold, %")
    numbers = (3, 5, 10, 20, 40)
    for name in ("differences", *(f"{seeds} seeds" for seeds in numbers), "5 to 40 seeds"):
        table.add_column(name, justify="left" if name == "differences" else "right")
    for row in ROWS:
        runs = [*([seeds] for seeds in numbers), [5, 10, 20, 40]]
        table.add_row(row.name, *(" / ".join(map(_percent, errors(row, seeds, options))) for seeds in runs))
    console.print(table)

    table = Table(title="Families: studies with any false holds / any false does not hold, %")
    for name in ("differences", "claims", *(f"{seeds} seeds" for seeds in (5, 10, 20)), "5 to 40 seeds"):
        table.add_column(name, justify="left" if name == "differences" else "right")
    for row in (ROWS[0], ROWS[4], ROWS[5], ROWS[6]):
        for batches in ((4,), (20,), (1, 3), (4, 4, 4)):
            runs = ([5], [10], [20], [5, 10, 20, 40])
            shares = [" / ".join(map(_percent, errors(row, seeds, options, batches))) for seeds in runs]
            table.add_row(row.name, " + ".join(map(str, batches)), *shares)
    console.print(table)

    table = Table(title="Planned with a power of 80 %: differences that are shown, % of studies")
    for name in ("points above the margin", "sd", "seeds planned", "shown"):
        table.add_column(name, justify="right")
    for distance, sd in ((1.0, 0.3), (1.0, 0.5), (1.0, 1.0), (0.5, 1.0)):
        seeds, share = decided(distance, sd, options)
        table.add_row(f"{distance:g}", f"{sd:g}", str(seeds), _percent(share))
    console.print(table)
    error = 100 * 1.96 * math.sqrt(0.025 * 0.975 / options.simulations)
    console.print(f"{options.simulations} simulated studies a row; 2.5 % is known to within ±{error:.2f}.")


if __name__ == "__main__":
    main()
