"""Runner of a study: its rounds, the signals that stop it, and the store that survives a crash.

The runner alone writes to the store, one transaction for all results that have arrived, and tells of none before. So
whatever is killed, whenever, a trial that was told of is stored once, and an unfinished one not at all; running the study
again runs the missing trials.

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
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Literal

from filelock import FileLock, Timeout

from tieless.errors import StudyError
from tieless.study.judging.verdicts import check_most_seeds, more_seeds
from tieless.study.results.store import FILE, Store
from tieless.study.running.books import Books
from tieless.study.running.carrying import Carrying
from tieless.study.running.checkpoints import Checkpoints
from tieless.study.running.events import Event, Started, Summary, Waiting
from tieless.study.running.pool import Pool
from tieless.study.running.processes import ProcessPool, pipe
from tieless.study.running.training import run_trial
from tieless.study.running.underway import Underway
from tieless.study.running.worker import NAME, NO_GUARD, RunTrial
from tieless.study.running.workers import LOCK, WorkerCount
from tieless.study.study import Study
from tieless.study.trial import Result, Trial

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


@contextlib.contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Context that holds the folder, created if it does not exist, against a second run."""
    lock = FileLock(folder / LOCK)
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
    grace: float | None = None,
    trial_timeout: float | None = None,
    most_failures: int | None = None,
    checkpoint: Literal["epochs"] | None = None,
    taken: Iterable[tuple[Study, Sequence[Result]]] = (),
    run_trial: RunTrial = run_trial,
    pool: Pool | None = None,
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
            none. Each look is at twice as many seeds as the one before.
        every_cell: True to add seeds also to undecided cells of a claim that another cell has settled.
        budget: Number of seconds after which no further trial begins; running trials are waited for.
        grace: Number of seconds for which running trials are waited for after SIGTERM, which else ends them at once, and
            after the budget. A second signal ends them.
        trial_timeout: Number of seconds after which a trial's process is ended, as if it had died.
        most_failures: Number of failed trials at which no further trial begins; running trials are waited for.
        checkpoint: Moments at which the state of a running trial is kept beside the store, so that it goes on from there
            after an interruption, bit for bit as without one: ``"epochs"``, after each epoch. ``None`` is as the study
            says.
        taken: Pairs of a study and results from elsewhere, as ``load_table(file, check_ids=True)`` returns them. They
            are put into the folder first, and so not run.
        run_trial: Function that runs a trial.
        pool: Pool that runs the trials in the place of ``workers`` processes of this machine. It is closed at the end.
        listen: Function called in this process with each event.
    Raises:
        StudyError: the folder is not writable, holds another study or has a run going on, no worker starts, seeds are
            to be added to a study without claims, or the script that calls this function does so in each worker too.
        LostResultError: results cannot be stored, because the disk is full or the store was deleted.
    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from tieless.study import Store, parse_study, run
        >>> study = parse_study('''
        ... title: Hidden layers
        ... question: Do they have to learn?
        ... grid: {data: digits, model: "mlp(16, 1)", forward: heaviside, backward: [rectangular, frozen], optimiser: adam,
        ...        learning_rate: 0.01, batch: 64, epochs: 2, seeds: [0]}
        ... ''', name="hidden-layers")
        >>> with TemporaryDirectory() as folder:
        ...     summary = run(study, Path(folder))
        ...     with Store.open(Path(folder)) as store:
        ...         accuracy = {found.trial.backward: found.epochs[-1].test_accuracy for found in store.results()}
        >>> summary.done, accuracy["rectangular(-0.5, 0.5)"] > accuracy["frozen"]
        (2, True)
    """
    if mp.current_process().name == NAME:
        # Not an error, whose traceback would hide that of the process which started this one.
        raise SystemExit(NO_GUARD)
    for name, value in (("workers", workers), ("threads", threads), ("most_failures", most_failures)):
        if value is not None and value < 1:
            raise StudyError(f"{name} must be an integer >= 1, got {value}.")
    _check_times(grace=grace, trial_timeout=trial_timeout)
    if most_seeds is not None:
        check_most_seeds(study, most_seeds)
    if study.code:
        run_trial = Carrying(run_trial, study.code)
    checkpoints = None if (checkpoint or study.checkpoint) is None else _checkpoints(study, folder)
    deadline = math.inf if budget is None else time.monotonic() + budget
    with (
        _locked(folder),
        _interrupts() as interrupt,
        Store.create(folder, study, go_on=_Patience(folder / FILE, listen, interrupt)) as store,
        contextlib.ExitStack() as processes,
    ):
        for source, results in taken:
            store.take(source, results)
        if most_seeds is not None:
            store.allow_seeds(most_seeds)
        underway = processes.enter_context(contextlib.closing(Underway(folder)))
        if pool is None:
            count = processes.enter_context(contextlib.closing(WorkerCount(folder, workers)))
            pool = ProcessPool(count, threads, run_trial, trial_timeout)
        running = Books(
            pool,
            store.add_all,
            listen,
            interrupt,
            deadline=deadline,
            grace=grace,
            most_failures=most_failures,
            checkpoints=checkpoints,
            underway=underway,
        )
        try:
            more = None if most_seeds is None else partial(more_seeds, every_cell=every_cell)
            complete, added = _rounds(study, store, running, listen, more)
        finally:
            running.close()
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
        gave_up=running.gave_up,
        stopped_by=running.stopped_by,
    )


def _check_times(**options: float | None) -> None:
    for name, seconds in options.items():
        if seconds is not None and not 0 < seconds < math.inf:
            raise StudyError(f"{name} must be a number of seconds above 0, got {seconds}.")


def _checkpoints(study: Study, folder: Path) -> Checkpoints:
    if any(trial.device != "cpu" for trial in study.trials):
        raise StudyError(
            "checkpoint: a step that a GPU has captured cannot be resumed bit for bit. Leave it out there."
        )
    return Checkpoints(folder)


def _rounds(
    study: Study,
    store: Store,
    running: Books,
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
        if running.spent or running.gave_up:
            return True, added
        tried.update(trial.id for trial in trials)
