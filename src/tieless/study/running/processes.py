"""Pool of local processes: their start, their messages, and the reason of their end."""

from __future__ import annotations

import contextlib
import math
import multiprocessing as mp
import os
import signal
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from tieless.errors import StudyError
from tieless.study.running.events import Epoch, Finished
from tieless.study.running.pool import Died, PoolEvent, Saved
from tieless.study.running.worker import NAME, NO_GUARD, READY, STOPS, Checkpoint, Order, RunTrial, work
from tieless.study.trial import EpochRecord, Result, Trial

_FALSE_STARTS = 3
"""Number of workers in a row that may die before their first trial: then the cause is not the trials."""
_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""Limits of glibc: memory that was freed stays with the process, where else each step gets its pages anew from the system. The
first is the largest that glibc takes."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(slots=True)
class Worker:
    """Worker process, the connection to it, and the trial that it runs since a time."""

    process: SpawnProcess
    channel: Connection
    trial: Trial | None = None
    ready: bool = False
    since: float = 0.0


def how_it_died(code: int | None) -> str:
    """Reason of a process's end in words, from its exit code."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
    return f"exit code {code}"


def worker_environment(threads: int) -> dict[str, str]:
    """Variables of a worker, to be set before it starts: libraries read their limits once, at loading.

    Those of memory change no number, and are the user's own where they are set.
    """
    memory = {name: value for name, value in _MEMORY.items() if name not in os.environ}
    return {**memory, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}


def over(limit: float) -> str:
    """Reason of the end of a process whose trial took longer than ``limit`` seconds."""
    return f"ended after {limit:g} s, the limit of a trial"


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Generator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def signals_blocked() -> Generator[None]:
    """Block in which a child starts with Ctrl-C and SIGTERM blocked from its first instruction; the parent gets them later."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Started first of all: its own start would unblock them.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def pipe(*, duplex: bool) -> tuple[Connection, Connection]:
    """Both ends of a pipe."""
    return mp.Pipe(duplex)  # pyright: ignore[reportReturnType] - Windows has a class of its own, to the same effect


def start_worker(run_trial: RunTrial, threads: int) -> Worker:
    """Start a process that asks for trials.

    Args:
        run_trial: Function that runs a trial there.
        threads: Number of Torch threads of the process.
    Raises:
        StudyError: the system starts no further process.
    """
    try:
        ours, theirs = pipe(duplex=True)
        with _environment(worker_environment(threads)), signals_blocked():
            process = mp.get_context("spawn").Process(
                target=work, args=(theirs, run_trial, threads), name=NAME, daemon=True
            )
            process.start()
    except OSError as error:
        raise StudyError(f"No worker could be started: {error.strerror or error}.") from error
    # With our copy of its end open we would never learn that the worker is gone.
    theirs.close()
    return Worker(process, ours)


def received(channel: Connection) -> object:
    """Next message of a worker; ``None`` if there will be none."""
    try:
        return channel.recv()
    except (EOFError, OSError):
        return None


class ProcessPool:
    """Pool of processes of this machine.

    Args:
        size: Function that returns the number of processes that there are to be.
        threads: Number of Torch threads of each.
        run_trial: Function that runs a trial there.
        limit: Number of seconds after which the process of a trial is ended; ``None`` for no limit.
    """

    def __init__(self, size: Callable[[], int], threads: int, run_trial: RunTrial, limit: float | None = None) -> None:
        self._size = size
        self._limit = math.inf if limit is None else limit
        self._threads = threads
        self._run_trial = run_trial
        self._workers: list[Worker] = []
        self._false_starts = 0

    def room(self, wanted: int) -> int:
        size, busy = self._size(), sum(worker.trial is not None for worker in self._workers)
        while len(self._workers) < min(size, wanted + busy):
            self._workers.append(start_worker(self._run_trial, self._threads))
        for worker in self._free()[: max(0, len(self._workers) - size)]:
            self._end(worker)
        return min(len(self._free()), max(0, size - busy))

    def _free(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.ready and worker.trial is None]

    def submit(self, trial: Trial, state: bytes | None) -> None:
        worker = self._free()[0]
        worker.trial, worker.since = trial, time.monotonic()
        with contextlib.suppress(OSError):  # it died since, and the next wait tells
            worker.channel.send(Order(trial, state))

    def events(self, interrupt: Connection, timeout: float | None) -> Iterator[PoolEvent]:
        # A second at most, for another program may have changed the number of processes.
        due = min(1.0 if timeout is None else timeout, *(self._left(worker) for worker in self._workers), 1.0)
        ready = wait([interrupt, *(worker.channel for worker in self._workers)], max(0.0, due))
        for worker in [worker for worker in self._workers if worker.channel in ready]:
            if (event := self._hear(worker)) is not None:
                yield event
        for worker in [worker for worker in self._workers if self._left(worker) <= 0]:
            self._end(worker)
            assert worker.trial is not None
            yield Died(worker.trial, over(self._limit))

    def _left(self, worker: Worker) -> float:
        """Number of seconds that a worker has for its trial."""
        return math.inf if worker.trial is None else worker.since + self._limit - time.monotonic()

    def _end(self, worker: Worker) -> None:
        worker.process.kill()
        worker.process.join()
        self._workers.remove(worker)
        worker.channel.close()

    def _hear(self, worker: Worker) -> PoolEvent | None:
        message, trial = received(worker.channel), worker.trial
        if message is None:
            return self._bury(worker)
        if message == READY:
            worker.ready, self._false_starts = True, 0
        elif isinstance(message, EpochRecord) and trial is not None:
            return Epoch(trial, message)
        elif isinstance(message, Checkpoint) and trial is not None:
            return Saved(trial, message.state)
        elif isinstance(message, Result):
            worker.trial = None
            return Finished(message)
        return None

    def _bury(self, worker: Worker) -> Died | None:
        worker.process.join()
        self._workers.remove(worker)
        worker.channel.close()
        reason = how_it_died(worker.process.exitcode)
        if not worker.ready and worker.process.exitcode == NO_GUARD:
            raise StudyError(
                "Each worker imports the script that calls run(), and so would call it again: put the call under"
                " if __name__ == '__main__':"
            )
        if not worker.ready:
            self._false_starts += 1
            if self._false_starts == _FALSE_STARTS:
                raise StudyError(f"No worker could be started: {_FALSE_STARTS} in a row died first ({reason}).")
        return None if worker.trial is None else Died(worker.trial, reason)

    def close(self) -> Sequence[Result]:
        for worker in self._workers:
            worker.process.kill()
        rescued: list[Result] = []
        for worker in self._workers:
            worker.process.join()
            while (message := received(worker.channel)) is not None:
                rescued += [message] if isinstance(message, Result) else []
            worker.channel.close()
        self._workers.clear()
        return rescued
