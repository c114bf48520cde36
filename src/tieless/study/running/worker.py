"""Process that runs trials, one after the other, for ``runner``."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Protocol

import torch

from tieless.data.own import read_from
from tieless.study.trial import EpochRecord, Result, Trial

NAME = "tieless-worker"
"""Name of the process."""
READY = "ready"
STOPS = (signal.SIGINT, signal.SIGTERM)
"""Signals that stop a run, not its workers."""
NO_GUARD = 97
"""Exit code of a worker that met a call of ``run`` while it imported the script which started it."""


class RunTrial(Protocol):
    """Function that turns a trial into its result. A fresh process must be able to import it by name.

    It takes ``resume`` and ``on_checkpoint`` as ``training.run_trial`` does, if it runs with checkpoints.
    """

    def __call__(self, trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None) -> Result: ...


@dataclass(frozen=True, slots=True)
class Order:
    """Order to run a trial.

    Args:
        trial: Trial to run.
        state: Checkpoint from which it goes on, empty for its start; ``None`` if it makes no checkpoints.
        stages: True if it ends at each checkpoint, to go on by another order.
        place: Path from which it reads data that the trial names by a path; empty for that path.
    """

    trial: Trial
    state: bytes | None = None
    stages: bool = False
    place: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State of the trial that runs, after an epoch."""

    state: bytes


def _exit_with(parent: int | Connection) -> None:
    wait([parent])
    # Not sys.exit: the main thread may be deep in a trial whose result nobody waits for any more.
    os._exit(1)


def _stay(signum: int, frame: FrameType | None) -> None:
    """Handle a signal by nothing."""


def work(channel: Connection, run_trial: RunTrial, threads: int, parent: Connection | None = None) -> None:
    """Send ``READY``, then answer each ``Order`` with its ``EpochRecord``s and its ``Result``, until there are no more.

    Each ``Checkpoint`` follows the record of its epoch. One that ends a stage is in the place of the result.

    Args:
        channel: Connection to the runner, which alone writes to the store.
        run_trial: Function that runs a trial.
        threads: Number of Torch threads.
        parent: Connection that is closed when the process which started this one ends; ``None`` if multiprocessing
            started it.
    """
    # They reach every process of a terminal or of a job; it is the runner that decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Not SIG_IGN, which a program that a trial starts would inherit.
    signal.signal(signal.SIGTERM, _stay)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    starter = mp.parent_process()
    lifeline = parent or (starter.sentinel if starter is not None else None)
    if lifeline is not None:
        threading.Thread(target=_exit_with, args=(lifeline,), daemon=True).start()
    # The runner's OMP_NUM_THREADS is enough where torch uses OpenMP; where it does not, this is.
    torch.set_num_threads(threads)
    channel.send(READY)
    while True:
        try:
            order: Order = channel.recv()
        except EOFError:
            return
        result = _run(run_trial, order, channel)
        if result is not None:
            channel.send(result)


def _run(run_trial: Callable[..., Result | None], order: Order, channel: Connection) -> Result | None:
    if order.place:
        read_from(order.trial.data, order.place)
    if order.state is None:
        return run_trial(order.trial, on_epoch=channel.send)

    def send(state: bytes) -> bool:
        channel.send(Checkpoint(state))
        return not order.stages

    return run_trial(order.trial, on_epoch=channel.send, resume=order.state, on_checkpoint=send)
