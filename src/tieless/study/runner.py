"""Running a study: processes, what happens when one dies, and what is left when everything does.

The runner alone writes to the store, one transaction a trial. So whatever is killed, whenever, a finished trial
is stored once and an unfinished one not at all; running the study again runs what is missing.
"""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from tieless.errors import StudyError
from tieless.study.spec import Study
from tieless.study.store import Store
from tieless.study.training import run_trial
from tieless.study.trial import EpochRecord, Result, Trial
from tieless.study.worker import READY, RunTrial, work

__all__ = ["Epoch", "Event", "Finished", "Retried", "Started", "Summary", "run"]

_LOCK = "study.lock"
_ATTEMPTS = 2
"""How often a trial may take its worker down before it counts as failed."""
_FALSE_STARTS = 3
"""How many workers in a row may die before their first trial: then it is not the trials."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Started:
    """The run begins: of ``planned`` trials, ``skipped`` are in the store and ``trials`` are to be run."""

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


Event = Started | Epoch | Finished | Retried


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended. ``skipped`` trials were in the store before, ``left`` ones were not reached."""

    done: int
    diverged: int
    failed: int
    skipped: int
    left: int
    interrupted: bool


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    channel: Connection
    trial: Trial | None = None
    ready: bool = False


def _how_it_died(process: SpawnProcess) -> str:
    code = process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
    return f"exit code {code}"


@contextlib.contextmanager
def _thread_environment(threads: int) -> Generator[None]:
    """OpenMP and Numba read these once, when they are first loaded: they must be set before a process starts."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _interrupt_blocked() -> Generator[None]:
    """A child started here has Ctrl-C blocked from its first instruction; the parent gets it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Started first of all: its own start would unblock the signal.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _pipe(*, duplex: bool) -> tuple[Connection, Connection]:
    return mp.Pipe(duplex)  # pyright: ignore[reportReturnType] - Windows has a class of its own, to the same effect


@contextlib.contextmanager
def _interrupts() -> Generator[Connection]:
    """A connection that becomes readable with Ctrl-C, in place of an exception at any instruction."""
    readable, writable = _pipe(duplex=False)
    if threading.current_thread() is not threading.main_thread():
        yield readable
        return

    def tell(signum: int, _: FrameType | None) -> None:
        writable.send(signum)

    before = signal.signal(signal.SIGINT, tell)
    try:
        yield readable
    finally:
        signal.signal(signal.SIGINT, before)


class _Run:
    """The loop of one run: a queue of trials, the workers, and the store that takes what they send."""

    def __init__(
        self,
        trials: Sequence[Trial],
        store: Store,
        workers: int,
        threads: int,
        run_trial: RunTrial,
        listen: Callable[[Event], None],
    ) -> None:
        self.queue = deque(trials)
        self.ended: Counter[str] = Counter()
        self._store = store
        self._size = workers
        self._threads = threads
        self._run_trial = run_trial
        self._listen = listen
        self._workers: list[_Worker] = []
        self._deaths: Counter[Trial] = Counter()
        self._false_starts = 0

    def loop(self) -> bool:
        """Run until nothing is left; false where Ctrl-C came first."""
        with _interrupts() as interrupt:
            try:
                while self.queue or any(worker.trial for worker in self._workers):
                    self._hire()
                    self._assign()
                    ready = wait([interrupt, *(worker.channel for worker in self._workers)])
                    if interrupt in ready:
                        return False
                    for worker in [worker for worker in self._workers if worker.channel in ready]:
                        self._hear(worker)
                return True
            finally:
                self._dismiss()

    def _hire(self) -> None:
        running = sum(worker.trial is not None for worker in self._workers)
        while len(self._workers) < min(self._size, len(self.queue) + running):
            ours, theirs = _pipe(duplex=True)
            with _thread_environment(self._threads), _interrupt_blocked():
                process = mp.get_context("spawn").Process(
                    target=work, args=(theirs, self._run_trial, self._threads), name="tieless-worker", daemon=True
                )
                process.start()
            # With our copy of its end open we would never learn that the worker is gone.
            theirs.close()
            self._workers.append(_Worker(process, ours))

    def _assign(self) -> None:
        for worker in self._workers:
            if worker.ready and worker.trial is None and self.queue:
                worker.trial = self.queue.popleft()
                with contextlib.suppress(BrokenPipeError):  # it died since, and the next wait tells
                    worker.channel.send(worker.trial)

    def _hear(self, worker: _Worker) -> None:
        try:
            message = worker.channel.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if isinstance(message, EpochRecord) and worker.trial is not None:
            self._listen(Epoch(worker.trial, message))
        elif isinstance(message, Result):
            worker.trial = None
            self._keep(message)
        elif message == READY:
            worker.ready, self._false_starts = True, 0

    def _keep(self, result: Result) -> None:
        self._store.add(result)
        self.ended[result.status] += 1
        self._listen(Finished(result))

    def _bury(self, worker: _Worker) -> None:
        worker.process.join()
        self._workers.remove(worker)
        worker.channel.close()
        reason = _how_it_died(worker.process)
        if not worker.ready:
            self._false_starts += 1
            if self._false_starts == _FALSE_STARTS:
                raise StudyError(f"No worker could be started: {_FALSE_STARTS} in a row died first ({reason}).")
        trial = worker.trial
        if trial is None:
            return
        self._deaths[trial] += 1
        if self._deaths[trial] < _ATTEMPTS:
            self.queue.appendleft(trial)
            self._listen(Retried(trial, reason))
        else:
            error = f"Its worker died {_ATTEMPTS} times, the last time {reason}."
            self._keep(Result(trial=trial, status="failed", error=error))

    def _dismiss(self) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            # A result that was sent before the end is finished, so it is not lost.
            with contextlib.suppress(EOFError, OSError):
                while True:
                    message = worker.channel.recv()
                    if isinstance(message, Result):
                        self._keep(message)
            worker.channel.close()
        self._workers.clear()


@contextlib.contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Make the folder where there is none and hold it against a second run."""
    lock = FileLock(folder / _LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)  # pyright: ignore[reportUnknownMemberType]
    except Timeout:
        raise StudyError(f"Another run is writing to {folder}: wait for its end, or choose another --out.") from None
    except OSError as error:
        raise StudyError(f"Cannot write to {folder}: {error.strerror}. Choose another folder with --out.") from error
    try:
        yield
    finally:
        lock.release()


def run(
    study: Study,
    folder: Path,
    *,
    workers: int = 1,
    threads: int = 1,
    run_trial: RunTrial = run_trial,
    listen: Callable[[Event], None] = lambda _: None,
) -> Summary:
    """Run the trials of a study that its folder does not have yet.

    Trials run in processes of their own. A worker that dies has its trial run once more in a fresh one, then the
    trial counts as failed. Ctrl-C ends the run at once and loses nothing that was finished. A failed trial is
    tried again by the next run; a done or diverged one never.

    Args:
        study: What to run.
        folder: Where its store is or shall be.
        workers: Processes.
        threads: Torch threads of each.
        run_trial: What runs a trial.
        listen: Called in this process with each event.
    Raises:
        StudyError: the folder is not writable, holds another study or has a run going on, or no worker starts.
    """
    for name, value in (("workers", workers), ("threads", threads)):
        if value < 1:
            raise StudyError(f"{name} must be an integer >= 1, got {value}.")
    with _locked(folder), Store.create(folder, study) as store:
        finished = store.finished_ids()
        trials = [trial for trial in study.trials if trial.id not in finished]
        listen(Started(len(study.trials), len(study.trials) - len(trials), tuple(trials)))
        running = _Run(trials, store, workers, threads, run_trial, listen)
        complete = running.loop()
    return Summary(
        done=running.ended["done"],
        diverged=running.ended["diverged"],
        failed=running.ended["failed"],
        skipped=len(study.trials) - len(trials),
        left=len(trials) - running.ended.total(),
        interrupted=not complete,
    )
