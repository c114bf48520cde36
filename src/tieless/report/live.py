"""Live state of a study, as records: what is done, what runs and how far it is, and how much time is left."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tieless.report import chart
from tieless.report.records import Curve, Panel, Point
from tieless.report.words import Labels
from tieless.study.judging.verdicts import ClaimVerdict, judge
from tieless.study.results.store import Store
from tieless.study.running.underway import UnderwayTrial, underway
from tieless.study.study import Study
from tieless.study.trial import Result, Trial, count

MOST_SHOWN = 24
"""Largest number of running trials, of latest results and of failures that are shown; the rest is counted."""


@dataclass(frozen=True, slots=True)
class LiveTrial:
    """Trial that runs.

    Args:
        label: Settings in which it differs from the others.
        trial: Trial.
        epochs: Number of finished epochs.
        loss: Loss of the training in the last of them; ``None`` before the first.
        samples: Samples of which the curve tells: ``"test"`` or ``"validation"``.
        panel: Curve of the metric; ``None`` before it was measured.
        frame: Axes of the curve.
        seconds: Number of seconds since it began.
    """

    label: str
    trial: Trial
    epochs: int
    loss: float | None
    samples: str
    panel: Panel | None
    frame: chart.Frame | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Ended:
    """Trial that has ended, with its time in UTC, ``HH:MM:SS``."""

    label: str
    result: Result
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """Live state of a study.

    Args:
        name, title: Name and title of the study.
        goes_on: True if a run goes on.
        planned, done, diverged, failed: Numbers of trials.
        epochs: Numbers of finished and of planned epochs, of all trials.
        left: Number of seconds that the rest takes; ``None`` if no trial has ended.
        claims: Verdicts so far.
        running: Trials that run, or that a killed run was in the middle of.
        latest: Trials that ended last, the last one first.
        failures: Trials that failed.
    """

    name: str
    title: str
    goes_on: bool
    planned: int
    done: int
    diverged: int
    failed: int
    epochs: tuple[int, int]
    left: float | None
    claims: tuple[ClaimVerdict, ...]
    running: tuple[LiveTrial, ...]
    latest: tuple[Ended, ...]
    failures: tuple[Ended, ...]


def look(folder: Path) -> Live:
    """Live state of the study in a folder.

    Raises:
        StudyError: there is no store in the folder or it cannot be read.
    """
    with Store.open(folder) as store:
        results, study = store.results(), store.study()
    return live(study, results, *underway(folder), now=time.time())


def live(
    study: Study, results: Sequence[Result], goes_on: bool, running: Mapping[str, UnderwayTrial], *, now: float
) -> Live:
    """Live state from what is stored.

    Args:
        study: Plan.
        results: Results of the plan.
        goes_on: True if a run goes on.
        running: Trials that have begun, by their id.
        now: Time in seconds since 1970.
    """
    label = Labels(study.trials)
    finished = {result.trial.id for result in results if result.status != "failed"}
    begun = {trial: running[trial.id] for trial in study.trials if trial.id in running and trial.id not in finished}
    waiting = [trial for trial in study.trials if trial.id not in finished and trial not in begun]
    if goes_on:
        # A failed trial is tried again by the next run.
        tried = {result.trial.id for result in results}
        waiting = [trial for trial in waiting if trial.id not in tried]
    ended = sorted((result for result in results if result.started), key=_end, reverse=True)
    done = sum(result.trial.epochs for result in results) + sum(len(one.epochs) for one in begun.values())
    return Live(
        name=study.name,
        title=study.title,
        goes_on=goes_on,
        planned=len(study.trials),
        done=count("done", results),
        diverged=count("diverged", results),
        failed=count("failed", results),
        epochs=(done, sum(trial.epochs for trial in study.trials)),
        left=_left(waiting, begun, results, max(1, len(begun))),
        claims=tuple(judge(study.claims, study, results)),
        running=tuple(_trial(trial, one, label(trial), now) for trial, one in begun.items()),
        latest=tuple(Ended(label(one.trial), one, _end(one).strftime("%H:%M:%S")) for one in ended[:MOST_SHOWN]),
        failures=tuple(Ended(label(one.trial), one, "") for one in results if one.status == "failed"),
    )


def _end(result: Result) -> datetime:
    return datetime.fromisoformat(result.started) + timedelta(seconds=result.seconds)


def _left(
    waiting: Iterable[Trial], begun: Mapping[Trial, UnderwayTrial], results: Sequence[Result], at_a_time: int
) -> float | None:
    """Seconds that the rest takes, by the mean of an epoch of the same model, data and forward, or of any."""
    times: dict[tuple[str, ...], list[float]] = {}
    for result in results:
        if result.status == "done" and result.epochs:
            for key in ((), _alike(result.trial)):
                times.setdefault(key, []).append(result.seconds / len(result.epochs))
    if not times:
        return None

    def epoch(trial: Trial) -> float:
        found = times.get(_alike(trial), times[()])
        return sum(found) / len(found)

    rest = sum(trial.epochs * epoch(trial) for trial in waiting)
    rest += sum(max(0, trial.epochs - len(one.epochs)) * epoch(trial) for trial, one in begun.items())
    return rest / at_a_time


def _alike(trial: Trial) -> tuple[str, ...]:
    return trial.model, trial.data, trial.forward, str(trial.batch), str(trial.subset)


def _trial(trial: Trial, found: UnderwayTrial, label: str, now: float) -> LiveTrial:
    tested = [(epoch, test) for epoch, (_, test, _) in enumerate(found.epochs, start=1) if test is not None]
    held_out = [(epoch, value) for epoch, (_, _, value) in enumerate(found.epochs, start=1) if value is not None]
    samples, points = ("validation", held_out) if held_out and not tested else ("test", tested)
    panel = frame = None
    if points:
        curve = Curve(trial.backward_pass, tuple(Point(epoch, value, value, value) for epoch, value in points), ())
        panel = Panel(trial.forward, (curve,))
        edges = chart.axis([value for _, value in points], trial.metric)
        frame = chart.Frame(trial.epochs, *edges, None, trial.metric)
    loss = found.epochs[-1][0] if found.epochs else None
    return LiveTrial(label, trial, len(found.epochs), loss, samples, panel, frame, max(0.0, now - found.began))
