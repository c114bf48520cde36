"""Studies and results made by hand: what a report must say of them is known in advance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from tests import browsing
from tests.study.fakes import make_trial
from tieless.report.collect import assemble
from tieless.report.records import Report
from tieless.study.study import Study
from tieless.study.trial import EpochRecord, Result, Trial

browser = browsing.browser
MakeTrial = Callable[..., Trial]
MakeResult = Callable[..., Result]
MakeStudy = Callable[..., Study]


def _trial(**changes: Any) -> Trial:
    return make_trial(**{"data": "digits", "forward": "relu", "loss": "cross_entropy", **changes})


def _result(trial: Trial, *accuracies: float, **changes: Any) -> Result:
    """A result with these test accuracies, epoch by epoch."""
    values: dict[str, Any] = {
        "status": "done",
        "epochs": tuple(EpochRecord(0.5, 0.5, 0.5, accuracy, 1.0) for accuracy in accuracies),
        "predicted_classes": 10 if accuracies else None,
        "classes": 10,
        "test_samples": 10_000,
        "seconds": 3.0,
        "started": "2026-11-23T20:00:00+00:00",
        "versions": {"python": "3.11.2", "torch": "2.13.0"},
        "hardware": {"device": "cpu", "processor": "a processor", "threads": "1"},
    }
    return Result(trial=trial, **{**values, **changes})


def _study(trials: Iterable[Trial], **changes: Any) -> Study:
    values: dict[str, Any] = {
        "name": "two-slopes",
        "run_as": "two-slopes",
        "title": "Two slopes",
        "question": "Does the height of a slope matter?",
        "settings": {"grid": {"data": "digits"}},
    }
    return Study(**{**values, **changes}, trials=tuple(trials))


@pytest.fixture
def trial() -> MakeTrial:
    return _trial


@pytest.fixture
def result() -> MakeResult:
    return _result


@pytest.fixture
def study() -> MakeStudy:
    return _study


@pytest.fixture
def report_of() -> Callable[[Sequence[Result]], Report]:
    """The report of a study that consists of just these results."""

    def make(results: Sequence[Result]) -> Report:
        return assemble(_study(result.trial for result in results), results)

    return make


LEVELS = {
    ("relu", "tied"): (0.8, 0.82, 0.81),
    ("relu", "frozen"): (0.5, 0.52, 0.54),
    ("relu", "constant"): (0.7, 0.78, 0.77),
    ("relu", "full_jam"): (None, 0.66, 0.64),
    ("logistic", "tied"): (0.7, 0.71, 0.72),
    ("logistic", "frozen"): (0.3, 0.31, 0.32),
    ("logistic", "constant"): (0.1, 0.1, 0.1),
    ("logistic", "full_jam"): (None, None, None),
    ("heaviside", "frozen"): (0.5, 0.5, 0.5),
    ("heaviside", "constant"): (0.61, 0.62, 0.63),
    ("heaviside", "full_jam"): (0.6, 0.6, 0.6),
}
"""Last test accuracy of seeds 0, 1 and 2; ``None`` diverges in the second epoch."""


@pytest.fixture
def typical() -> list[Result]:
    """Results of ``LEVELS``: a tied and a frozen baseline, a flat forward, a collapsed cell, diverged seeds."""
    results: list[Result] = []
    for (forward, backward), levels in LEVELS.items():
        for seed, level in enumerate(levels):
            trial = _trial(forward=forward, backward=backward, seed=seed)
            if level is None:
                results.append(_result(trial, 0.2, status="diverged"))
            else:
                results.append(_result(trial, level / 2, level, predicted_classes=1 if level == 0.1 else 10))
    return results
