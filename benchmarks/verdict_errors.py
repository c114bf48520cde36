"""How often is a verdict wrong, and how often does the planned number of seeds suffice?

Studies are simulated whose truth is known, at the edge of the claim "non-inferior by 1 point": the true mean difference
is -1 point exactly, so that "holds" and "does not hold" are both wrong. Nominal are at most 2.5 % false "holds" and at
most 2.5 % false "does not hold". All studies of a row are judged at once, by arrays; the first of them also by the code
that judges real results, and the script stops where one of their verdicts differs.

    python benchmarks/verdict_errors.py [--simulations 10000] [--checked 50] [--seed 2026]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import special

from tieless.study import EpochRecord, Result, Study, Trial, judge, parse_claim, seeds_needed
from tieless.study.judging.comparison import look_sizes
from tieless.study.judging.statistics import LEVEL

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
MARGIN = 0.01
SAMPLES = 10_000
"""Of the test set that accuracies are rounded to, unless a distribution is of DIGITS, which has 360."""


@dataclass(frozen=True)
class Differences:
    """How the differences are distributed around their mean: ``draw`` gives points with mean 0."""

    name: str
    draw: Draw
    samples: int = SAMPLES


def _collapsing(probability: float, loss: float) -> Draw:
    """With a probability, a run loses many points; the others are better by as much as keeps the mean."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        lost = rng.random(shape) < probability
        return rng.normal(0, 0.3, shape) + probability * loss - loss * lost

    return draw


DISTRIBUTIONS = (
    Differences("normal, sd 1", lambda rng, shape: rng.normal(0, 1, shape)),
    Differences("normal, sd 0.1, on 360 samples", lambda rng, shape: rng.normal(0, 0.1, shape), samples=360),
    Differences("uniform", lambda rng, shape: rng.uniform(-1.5, 1.5, shape)),
    Differences("Student's t, 3 degrees", lambda rng, shape: rng.standard_t(3, shape)),
    Differences("exponential, long tail below", lambda rng, shape: 1 - rng.exponential(1, shape)),
    Differences("exponential, long tail above", lambda rng, shape: rng.exponential(1, shape) - 1),
    Differences("20 % of runs lose 5 points", _collapsing(0.2, 5)),
    Differences("2 % of runs lose 70 points", _collapsing(0.02, 70)),
    Differences("20 % of runs lose 70 points", _collapsing(0.2, 70)),
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


def _study(trials: tuple[Trial, ...], planned: int, most: int | None) -> Study:
    return Study(
        name="simulated",
        run_as="simulated",
        title="",
        question="",
        settings={},
        trials=trials,
        added=sum(trial.seed >= planned for trial in trials),
        most_seeds=most,
    )


def _result(trial: Trial, accuracy: float) -> Result:
    record = EpochRecord(0.0, 0.0, 0.0, accuracy, 0.0)
    return Result(trial=trial, status="done", epochs=(record,), predicted_classes=10, classes=10)


def _p_values(points: np.ndarray, sizes: Sequence[int], samples: int) -> tuple[np.ndarray, np.ndarray]:
    """For and against each claim, before Holm: of counts ``(simulations, seeds, 1 + claims)``, the baseline first."""
    common = np.lcm.reduce((samples // np.gcd(points, samples)).reshape(len(points), -1), axis=1)
    values = (points[:, :, 1:] - points[:, :, :1]) / samples
    p_for, p_against = np.ones((2, len(points), values.shape[2]))
    for size in sizes:
        seen = values[:, :size]
        unseen = -np.expm1(math.log(LEVEL) / common / size) * math.sqrt(size) / special.stdtrit(size - 1, 1 - LEVEL)
        sd = np.maximum(seen.std(1, ddof=1), np.maximum(1 / common / math.sqrt(6), unseen)[:, None])
        t = (seen.mean(1) + MARGIN) / (sd / math.sqrt(size))
        p_for = np.minimum(p_for, len(sizes) * special.stdtr(size - 1, -t))
        p_against = np.minimum(p_against, len(sizes) * special.stdtr(size - 1, t))
    return p_for, p_against


def _holm(p_values: np.ndarray) -> np.ndarray:
    order = p_values.argsort(1)
    factors = np.arange(p_values.shape[1], 0, -1)
    stepped = np.maximum.accumulate(np.minimum(1, np.take_along_axis(p_values, order, 1) * factors), axis=1)
    adjusted = np.empty_like(p_values)
    np.put_along_axis(adjusted, order, stepped, 1)
    return adjusted


def _verdicts(points: np.ndarray, planned: int, most: int | None, samples: int, checked: int) -> np.ndarray:
    """Of each study and claim: 1 holds, -1 does not hold, 0 undecided."""
    p_for, p_against = map(_holm, _p_values(points, look_sizes(planned, most), samples))
    settled = np.minimum(p_for, p_against) <= LEVEL
    verdicts = np.where(settled, np.where(p_for < p_against, 1, -1), 0)
    rules = ["tied", *(f"constant({i})" for i in range(1, points.shape[2]))]
    study = _study(_trials(rules, points.shape[1]), planned, most)
    claims = [parse_claim(f"{rule} is non-inferior to tied by 1 point") for rule in rules[1:]]
    for one, expected in zip(points[:checked], verdicts, strict=False):
        results = [_result(t, int(count) / samples) for t, count in zip(study.trials, one.ravel(), strict=True)]
        found = [{"holds": 1, "does not hold": -1, "undecided": 0}[v.verdict] for v in judge(claims, study, results)]
        if found != expected.tolist():
            raise RuntimeError(f"judge() says {found}, the arrays say {expected.tolist()}, of {one.tolist()}")
    return verdicts


def _counts(points: np.ndarray, samples: int) -> np.ndarray:
    return np.clip(np.round(points / 100 * samples), 0, samples).astype(np.int64)


def errors(
    kind: Differences, planned: int, most: int | None, options: argparse.Namespace, claims: int = 1
) -> tuple[float, float]:
    """How often some verdict is a false "holds", and how often a false "does not hold".

    Args:
        kind: Of the differences.
        planned, most: Seeds before and after all additions; ``most`` is ``None`` where there are none.
        options: How many studies, drawn by what.
        claims: Rules that are each compared with the same baseline.
    """
    seeds = most or planned
    # The baseline's own noise is what the claims have in common.
    own = options.rng.normal(0, 0.5 if claims > 1 else 0, (options.simulations, seeds, 1))
    drawn = kind.draw(options.rng, (options.simulations, seeds, claims))
    points = _counts(np.concatenate([85 + own, 84 + drawn], axis=2), kind.samples)
    verdicts = _verdicts(points, planned, most, kind.samples, options.checked)
    return float((verdicts == 1).any(1).mean()), float((verdicts == -1).any(1).mean())


def decided(distance: float, sd: float, options: argparse.Namespace) -> tuple[int, float]:
    """The seeds that a plan asks for, and how often a study of so many decides rightly."""
    seeds = seeds_needed([distance / 100], sd / 100)
    if seeds is None:
        raise ValueError(f"no number of seeds decides {distance} points at a standard deviation of {sd}")
    theirs = 84 + distance + options.rng.normal(0, sd, (options.simulations, seeds, 1))
    points = _counts(np.concatenate([np.full_like(theirs, 85), theirs], axis=2), SAMPLES)
    return seeds, float((_verdicts(points, seeds, None, SAMPLES, options.checked) == 1).mean())


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=10_000)
    parser.add_argument("--checked", type=int, default=50)
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args()
    options.rng = np.random.default_rng(options.seed)
    console = Console()

    table = Table(title="One look: false verdicts, % of studies")
    table.add_column("differences")
    table.add_column("seeds", justify="right")
    table.add_column("false holds", justify="right")
    table.add_column("false does not hold", justify="right")
    for kind in DISTRIBUTIONS:
        for seeds in (3, 5, 10):
            shares = errors(kind, seeds, None, options)
            table.add_row(kind.name, str(seeds), *map(_percent, shares))
    console.print(table)

    table = Table(title="Seeds added until decided: false verdicts at any look, % of studies")
    for name in ("differences", "seeds", "claims"):
        table.add_column(name, justify="left" if name == "differences" else "right")
    table.add_column("false holds", justify="right")
    table.add_column("false does not hold", justify="right")
    for kind in DISTRIBUTIONS:
        shares = errors(kind, 5, 40, options)
        table.add_row(kind.name, "5 to 40", "1", *map(_percent, shares))
    for planned, most, claims in ((3, 24, 1), (5, None, 4), (3, 12, 4)):
        shares = errors(DISTRIBUTIONS[0], planned, most, options, claims)
        table.add_row(
            "normal, sd 1", f"{planned} to {most}" if most else str(planned), str(claims), *map(_percent, shares)
        )
    console.print(table)

    table = Table(title="Planned with a power of 80 %: verdicts that are right, % of studies")
    for name in ("points above the margin", "sd", "seeds planned", "holds"):
        table.add_column(name, justify="right")
    for distance, sd in ((1.0, 0.5), (1.0, 1.0), (0.5, 1.0), (1.0, 3.0)):
        seeds, share = decided(distance, sd, options)
        table.add_row(f"{distance:g}", f"{sd:g}", str(seeds), _percent(share))
    console.print(table)
    error = 100 * 1.96 * math.sqrt(0.025 * 0.975 / options.simulations)
    console.print(f"{options.simulations} simulated studies a row; 2.5 % is known to within ±{error:.2f}.")


if __name__ == "__main__":
    main()
