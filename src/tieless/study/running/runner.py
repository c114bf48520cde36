"""Runner of a study: its processes, the handling of their deaths, and the store that survives a crash.

The runner alone writes to the store, one transaction a trial. So whatever is killed, whenever, a finished trial is
stored once and an unfinished one not at all; running the study again runs the missing trials.

A run has rounds: first the missing trials of the plan, then those that were added to it because a learning rate is now
chosen or a claim is undecided. Added trials are in the store before they run.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing as mp
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from tieless.errors import LostResultError, StudyError
from tieless.study.judging.deciding import check_most_seeds, more_seeds
from tieless.study.results.store import FILE, Store
from tieless.study.running.events import Epoch, Event, Finished, Retried, Started, Summary, Waiting
from tieless.study.running.processes import Worker, how_it_died, pipe, received, start_worker
from tieless.study.running.training import run_trial
from tieless.study.running.worker import NAME, NO_GUARD, READY, RunTrial
from tieless.study.study import Study
from tieless.study.trial import EpochRecord, Result, Trial

_LOCK = "study.lock"
_ATTEMPTS = 2
"""Number of times that a trial may end its worker before it counts as failed."""
_FALSE_STARTS = 3
"""Number of workers in a row that may die before their first trial: then the cause is not the trials."""
_STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals of Ctrl-C, of a scheduler, and of a terminal that is closed."""
_TELL_AGAIN = 60.0
"""Seconds after which a run that still waits says so again."""


@contextlib.contextmanager
def _interrupts() -> Generator[Connection]:
    """Connection that becomes readable with Ctrl-C and its like, in place of an exception at any instruction."""
    readable, writable = pipe(duplex=False)
    if threading.current_thread() is not threading.main_thread():
        yield readable
        return

    def tell(signum: int, _: FrameType | None) -> None:
        writable.send(signum)

    before = {number: signal.getsignal(number) for number in _STOPS}
    for number, handler in before.items():
        # Signals that nohup ignores for us stay ignored.
        if number is signal.SIGINT or handler is not signal.SIG_IGN:
            signal.signal(number, tell)
    try:
        yield readable
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class _Patience:
    """Wait for another program's lock on the store: report it once each time, and go on until Ctrl-C."""

    def __init__(self, file: Path, listen: Callable[[Event], None], interrupt: Connection) -> None:
        self._file, self._listen, self._interrupt = file, listen, interrupt
        self._told = -math.inf

    def __call__(self) -> bool:
        if time.monotonic() - self._told > _TELL_AGAIN:
            self._told = time.monotonic()
            self._listen(Waiting(self._file))
        return not self._interrupt.poll()


class _Run:
    """Loop of one run: a queue of trials, the workers, and the store that takes what they send."""

    def __init__(
        self,
        store: Store,
        workers: int,
        threads: int,
        run_trial: RunTrial,
        listen: Callable[[Event], None],
        deadline: float,
        interrupt: Connection,
    ) -> None:
        self.queue: deque[Trial] = deque()
        self.ended: Counter[str] = Counter()
        self.ended_ids: set[str] = set()
        self.spent = False
        self.stopped_by: int | None = None
        self._deadline = deadline
        self._interrupt = interrupt
        self._store = store
        self._size = workers
        self._threads = threads
        self._run_trial = run_trial
        self._listen = listen
        self._workers: list[Worker] = []
        self._deaths: Counter[Trial] = Counter()
        self._false_starts = 0

    def loop(self, trials: Iterable[Trial]) -> bool:
        """Run until nothing is left, or until the running trials end after the deadline; False if Ctrl-C came first.

        Idle workers stay for the next round.
        """
        self.queue.extend(trials)
        while self._open() or any(worker.trial for worker in self._workers):
            self._hire()
            self._assign()
            ready = wait([self._interrupt, *(worker.channel for worker in self._workers)])
            if self._interrupt in ready:
                self.stopped_by = self._interrupt.recv()
                return False
            for worker in [worker for worker in self._workers if worker.channel in ready]:
                self._hear(worker)
        return True

    def _open(self) -> bool:
        """True if another trial is to begin."""
        return bool(self.queue) and not self.over()

    def over(self) -> bool:
        """True if the deadline has come, evaluated where there would be more to run."""
        self.spent = self.spent or time.monotonic() >= self._deadline
        return self.spent

    def _hire(self) -> None:
        running = sum(worker.trial is not None for worker in self._workers)
        while self._open() and len(self._workers) < min(self._size, len(self.queue) + running):
            self._workers.append(start_worker(self._run_trial, self._threads))

    def _assign(self) -> None:
        for worker in self._workers:
            if worker.ready and worker.trial is None and self._open():
                worker.trial = self.queue.popleft()
                with contextlib.suppress(OSError):  # it died since, and the next wait tells
                    worker.channel.send(worker.trial)

    def _hear(self, worker: Worker) -> None:
        message = received(worker.channel)
        if message is None:
            self._bury(worker)
        elif isinstance(message, EpochRecord) and worker.trial is not None:
            self._listen(Epoch(worker.trial, message))
        elif isinstance(message, Result):
            worker.trial = None
            self._keep(message)
            self._listen(Finished(message))
        elif message == READY:
            worker.ready, self._false_starts = True, 0

    def _keep(self, result: Result) -> None:
        try:
            self._store.add(result)
        except StudyError as error:
            raise LostResultError(f"The run ends, and its latest result is lost. {error}") from error
        self.ended[result.status] += 1
        self.ended_ids.add(result.trial.id)

    def _bury(self, worker: Worker) -> None:
        worker.process.join()
        self._workers.remove(worker)
        worker.channel.close()
        reason = how_it_died(worker.process)
        if not worker.ready and worker.process.exitcode == NO_GUARD:
            raise StudyError(
                "Each worker imports the script that calls run(), and so would call it again: put the call under"
                " if __name__ == '__main__':"
            )
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
            result = Result(trial=trial, status="failed", error=error)
            self._keep(result)
            self._listen(Finished(result))

    def dismiss(self) -> None:
        """End the workers, whatever they do. A result that was sent before the end is stored."""
        for worker in self._workers:
            worker.process.kill()
        rescued: list[Result] = []
        for worker in self._workers:
            worker.process.join()
            while (message := received(worker.channel)) is not None:
                rescued += [message] if isinstance(message, Result) else []
            worker.channel.close()
        self._workers.clear()
        # All are kept before the first is told: whoever listens may have gone.
        for result in rescued:
            self._keep(result)
        for result in rescued:
            self._listen(Finished(result))


@contextlib.contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Context that holds the folder, created if it does not exist, against a second run."""
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
    most_seeds: int | None = None,
    every_cell: bool = False,
    budget: float | None = None,
    taken: Iterable[tuple[Study, Sequence[Result]]] = (),
    run_trial: RunTrial = run_trial,
    listen: Callable[[Event], None] = lambda _: None,
) -> Summary:
    """Run the trials of a study that its folder does not have yet.

    Trials run in processes of their own. A worker that dies has its trial run once more in a fresh one, then the trial
    counts as failed. Ctrl-C, SIGTERM and SIGHUP end the run at once and lose nothing that was finished. A failed trial
    is tried again by the next run; a done or diverged one never. If another program holds the store, the run waits.

    Each worker imports the script that calls this function, so a script calls it under ``if __name__ == "__main__":``.

    Args:
        study: Study to run.
        folder: Folder of its store.
        workers: Number of processes.
        threads: Number of Torch threads of each process.
        most_seeds: Largest number of seeds of a cell, up to which seeds are added to undecided claims; ``None`` adds
            none. It determines the number of looks at the claims, so a folder keeps its first value.
        every_cell: True to add seeds also to undecided cells of a claim that another cell has settled.
        budget: Number of seconds after which no further trial begins; running trials are waited for.
        taken: Pairs of a study and results from elsewhere, as ``load_table(file, check_ids=True)`` returns them. They
            are put into the folder first, and so not run.
        run_trial: Function that runs a trial.
        listen: Function called in this process with each event.
    Raises:
        StudyError: the folder is not writable, holds another study or has a run going on, no worker starts, seeds are
            to be added to a study without claims, ``taken`` was begun with another ``most_seeds``, or the script that
            calls this function does so in each worker too.
        LostResultError: a result cannot be stored, because the disk is full or the store was deleted.
    """
    if mp.current_process().name == NAME:
        # Not an error, whose traceback would hide that of the process which started this one.
        raise SystemExit(NO_GUARD)
    for name, value in (("workers", workers), ("threads", threads)):
        if value < 1:
            raise StudyError(f"{name} must be an integer >= 1, got {value}.")
    if most_seeds is not None:
        check_most_seeds(study, most_seeds)
    deadline = math.inf if budget is None else time.monotonic() + budget
    with (
        _locked(folder),
        _interrupts() as interrupt,
        Store.create(folder, study, go_on=_Patience(folder / FILE, listen, interrupt)) as store,
    ):
        for source, results in taken:
            store.take(source, results)
        if most_seeds is not None:
            store.allow_seeds(most_seeds)
        running = _Run(store, workers, threads, run_trial, listen, deadline, interrupt)
        try:
            more = None if most_seeds is None else partial(more_seeds, every_cell=every_cell)
            complete, added = _rounds(study, store, running, listen, more)
        finally:
            running.dismiss()
        plan, finished = store.study(), store.finished_ids()
    left = sum(trial.id not in finished | running.ended_ids for trial in plan.trials)
    return Summary(
        done=running.ended["done"],
        diverged=running.ended["diverged"],
        failed=running.ended["failed"],
        skipped=len(plan.trials) - left - running.ended.total(),
        left=left,
        interrupted=not complete,
        added=added,
        spent=running.spent,
        stopped_by=running.stopped_by,
    )


def _rounds(
    study: Study,
    store: Store,
    running: _Run,
    listen: Callable[[Event], None],
    more: Callable[[Study, Sequence[Result]], list[Trial]] | None,
) -> tuple[bool, int]:
    """Run round after round; return False if Ctrl-C came first, and the number of added trials, if any can be added."""
    added, tried, first = 0, set[str](), True
    while True:
        plan = store.plan(study)
        done = store.finished_ids() | tried
        trials = [trial for trial in plan.trials if trial.id not in done]
        if not first and not trials:
            further = more(plan, store.results()) if more else []
            if not further or running.over():
                return True, added
            added += len(further)
            store.add_seeds(further)
            continue
        first = False
        listen(Started(len(plan.trials), len(plan.trials) - len(trials), tuple(trials)))
        if not running.loop(trials):
            return False, added
        if running.spent:
            return True, added
        tried.update(trial.id for trial in trials)
