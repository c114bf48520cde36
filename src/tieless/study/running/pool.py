"""Pool: processes that run trials, here or on other machines, for a runner that keeps the books."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Protocol

from tieless.study.running.events import Epoch, Finished, Notice
from tieless.study.trial import Result, Trial


@dataclass(frozen=True, slots=True)
class Died:
    """Death of the process that ran a trial, which may be the trial's fault."""

    trial: Trial
    reason: str


@dataclass(frozen=True, slots=True)
class Left:
    """Loss of the machine that ran a trial: taken away, switched off, or out of reach. The trial has no part in it."""

    trial: Trial
    reason: str


@dataclass(frozen=True, slots=True)
class Saved:
    """State of a trial that goes on, after an epoch."""

    trial: Trial
    state: bytes


PoolEvent = Epoch | Finished | Died | Left | Saved | Notice
"""Event of a pool. The result of ``Finished`` is not in the store yet."""


class Pool(Protocol):
    """Pool of processes that run trials. It writes to no store and decides nothing about a trial that has failed."""

    def room(self, wanted: int) -> int:
        """Number of trials that can begin now. Starts processes, if more could be used.

        Args:
            wanted: Number of trials that wait for a process.
        Raises:
            StudyError: the pool can never run a trial.
        """
        ...

    def submit(self, trial: Trial, state: bytes | None) -> None:
        """Begin a trial, for which there is room.

        Args:
            trial: Trial to run.
            state: Checkpoint from which it goes on, empty for its start; ``None`` if it makes no checkpoints.
        """
        ...

    def events(self, interrupt: Connection, timeout: float | None) -> Iterator[PoolEvent]:
        """Events since the last call, in their order. Waits for the first.

        What is not taken from the iterator stays in the pool, until ``close`` returns its results.

        Args:
            interrupt: Connection that ends the wait when it becomes readable.
            timeout: Number of seconds after which the wait ends; ``None`` for no end. It may end earlier without an
                event, where the pool has room again.
        Raises:
            StudyError: the pool can never run a trial.
        """
        ...

    def close(self) -> Sequence[Result]:
        """End all processes, whatever they do. Returns the results that had been sent and not been returned yet."""
        ...
