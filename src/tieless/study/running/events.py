"""What a run tells while it goes on, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tieless.study.trial import EpochRecord, Result, Trial


@dataclass(frozen=True, slots=True)
class Started:
    """A round of the run begins: of ``planned`` trials, ``skipped`` are in the store and ``trials`` are to be run."""

    planned: int
    skipped: int
    trials: tuple[Trial, ...]


@dataclass(frozen=True, slots=True)
class Epoch:
    """A trial finished an epoch."""

    trial: Trial
    record: EpochRecord


@dataclass(frozen=True, slots=True)
class Finished:
    """A trial came to an end, and its result is in the store."""

    result: Result


@dataclass(frozen=True, slots=True)
class Retried:
    """A worker died in a trial, which starts again in a fresh one."""

    trial: Trial
    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Another program holds the store: the run waits for it, and keeps what has ended meanwhile."""

    file: Path


Event = Started | Epoch | Finished | Retried | Waiting


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended. ``skipped`` trials were in the store before, ``left`` ones were not reached.

    ``added`` trials have seeds that this run added; ``spent`` says that it ended because its budget was. ``stopped_by`` is the
    signal that interrupted it.
    """

    done: int
    diverged: int
    failed: int
    skipped: int
    left: int
    interrupted: bool
    added: int = 0
    spent: bool = False
    stopped_by: int | None = None
