"""Events that a run reports, and the summary of its end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tieless.study.trial import EpochRecord, Result, Trial


@dataclass(frozen=True, slots=True)
class Started:
    """Start of a round of the run: of ``planned`` trials, ``skipped`` are in the store and ``trials`` are to be run."""

    planned: int
    skipped: int
    trials: tuple[Trial, ...]


@dataclass(frozen=True, slots=True)
class Epoch:
    """End of an epoch of a trial."""

    trial: Trial
    record: EpochRecord


@dataclass(frozen=True, slots=True)
class Finished:
    """End of a trial, whose result is in the store.

    Example:
        >>> from tieless.study import Finished, Result, load_study
        >>> def listen(event):  # as in run(study, folder, listen=listen)
        ...     if isinstance(event, Finished):
        ...         print(event.result.trial.backward, event.result.status)
        >>> listen(Finished(Result(trial=load_study("quickstart").trials[0], status="diverged")))
        tied diverged
    """

    result: Result


@dataclass(frozen=True, slots=True)
class Retried:
    """Death of a worker during a trial, which starts again in a fresh one."""

    trial: Trial
    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Lock of the store by another program: the run waits for it, and keeps the results that arrive meanwhile."""

    file: Path


@dataclass(frozen=True, slots=True)
class Notice:
    """Line of text about the machines of a run: a worker that is refused, a scheduler that is gone."""

    text: str


Event = Started | Epoch | Finished | Retried | Waiting | Notice


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary of a run. ``skipped`` trials were in the store before, ``left`` ones were not reached.

    ``added`` trials have seeds that this run added; ``spent`` is True if it ended because its budget was used up,
    ``gave_up`` if so many trials failed that it began no more.
    ``stopped_by`` is the signal that interrupted it.
    """

    done: int
    diverged: int
    failed: int
    skipped: int
    left: int
    interrupted: bool
    added: int = 0
    spent: bool = False
    gave_up: bool = False
    stopped_by: int | None = None
