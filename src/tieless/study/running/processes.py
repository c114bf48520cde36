"""Worker processes: their start, their messages, and the reason of their end."""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import signal
from collections.abc import Generator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from tieless.errors import StudyError
from tieless.study.running.worker import NAME, RunTrial, work
from tieless.study.trial import Trial

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(slots=True)
class Worker:
    """Worker process, the connection to it, and the trial that it runs."""

    process: SpawnProcess
    channel: Connection
    trial: Trial | None = None
    ready: bool = False


def how_it_died(process: SpawnProcess) -> str:
    """Reason of a process's end, in words."""
    code = process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
    return f"exit code {code}"


@contextlib.contextmanager
def _thread_environment(threads: int) -> Generator[None]:
    """Thread limits of OpenMP and Numba, set before a process starts: they are read once, at loading."""
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
    """Block in which a child starts with Ctrl-C blocked from its first instruction; the parent gets it afterwards."""
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
        with _thread_environment(threads), _interrupt_blocked():
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
