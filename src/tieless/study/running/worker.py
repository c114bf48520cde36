"""Process that runs trials, one after the other, for ``runner``."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Protocol

import torch

from tieless.study.trial import EpochRecord, Result, Trial

NAME = "tieless-worker"
"""Name of the process."""
READY = "ready"
NO_GUARD = 97
"""Exit code of a worker that met a call of ``run`` while it imported the script which started it."""


class RunTrial(Protocol):
    """Function that turns a trial into its result. A fresh process must be able to import it by name."""

    def __call__(self, trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None) -> Result: ...


def _exit_with(parent: int | Connection) -> None:
    wait([parent])
    # Not sys.exit: the main thread may be deep in a trial whose result nobody waits for any more.
    os._exit(1)


def work(channel: Connection, run_trial: RunTrial, threads: int, parent: Connection | None = None) -> None:
    """Send ``READY``, then answer each ``Trial`` with its ``EpochRecord``s and its ``Result``, until there are no more.

    Args:
        channel: Connection to the runner, which alone writes to the store.
        run_trial: Function that runs a trial.
        threads: Number of Torch threads.
        parent: Connection that is closed when the process which started this one ends; ``None`` if multiprocessing
            started it.
    """
    # Ctrl-C reaches every process of the terminal; it is the runner that decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    starter = mp.parent_process()
    lifeline = parent or (starter.sentinel if starter is not None else None)
    if lifeline is not None:
        threading.Thread(target=_exit_with, args=(lifeline,), daemon=True).start()
    # The runner's OMP_NUM_THREADS is enough where torch uses OpenMP; where it does not, this is.
    torch.set_num_threads(threads)
    channel.send(READY)
    while True:
        try:
            trial = channel.recv()
        except EOFError:
            return
        channel.send(run_trial(trial, on_epoch=channel.send))
