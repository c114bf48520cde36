"""Worker's side of a Dask cluster: a trial runs in a process of its own, which ends when nobody waits for it any more.

A Dask worker has threads. Each runs one trial in a child process, watches over its time, and passes its epochs on. The
child stays for the next trial, so that PyTorch is imported once.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Mapping
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from tieless.data import get
from tieless.data.loading import missing
from tieless.data.own import is_path, keep, place_of
from tieless.study.running.processes import how_it_died, over, pipe, received, signals_blocked, worker_environment
from tieless.study.running.training import versions
from tieless.study.running.worker import Checkpoint, Order, work
from tieless.study.trial import MEANING, EpochRecord, Result, Trial

_AT_WORK = {"running", "paused", "closing_gracefully"}
"""States of a Dask worker in which it goes on with what it has."""
_LOOK = 0.2
"""Seconds from one look at what a trial's process and the driver want to the next."""
_IDLE = 60.0
"""Seconds after which a process that has nothing to do ends."""
_HANDED = threading.Lock()
_idle: list[_Child] = []


def about() -> dict[str, str]:
    """Versions that have to be those of the driver."""
    return {"tieless": versions()["tieless"], "meaning": str(MEANING), "torch": torch.__version__}


def look_around() -> dict[str, Any]:
    """Description of this machine: ``about()``, and the number of its GPUs."""
    return {**about(), "gpus": torch.cuda.device_count()}


def put(name: str, files: Mapping[str, bytes], sources: str) -> None:
    """Put the files of a data set into the cache of this machine's user, checked by their SHA-256.

    Args:
        name: Name of the data set, or path of the user's own data.
        files: Contents of the files by their names.
        sources: Sources of the trial that needs them.
    """
    if is_path(name):
        keep(name, files, sources)
        return
    with tempfile.TemporaryDirectory(prefix="tieless-") as folder:
        for file, content in files.items():
            Path(folder, file).write_bytes(content)
        get(name, Path(folder))


class _Child:
    """Process that runs trials for one thread of a Dask worker."""

    def __init__(self, run_trial: bytes, threads: int, gpu: int | None) -> None:
        self.kind = (run_trial, threads, gpu)
        self.channel, theirs = pipe(duplex=True)
        self._lifeline, watched = pipe(duplex=False)[::-1]
        handles = (theirs.fileno(), watched.fileno())
        code = f"from tieless.study.running.remote import serve; serve{(*handles, threads)}"
        # Not by multiprocessing: a Dask worker is one of its daemons, which may have no children.
        with signals_blocked():
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                pass_fds=handles,
                env={**os.environ, **worker_environment(threads), **_one_gpu(gpu)},
            )
        theirs.close()
        watched.close()
        self.ready = False
        self.idle_since = 0.0
        with contextlib.suppress(OSError):  # it died since, and the next look tells
            self.channel.send_bytes(run_trial)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.channel.close()
        self._lifeline.close()


def _one_gpu(number: int | None) -> dict[str, str]:
    if number is None:
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {"CUDA_VISIBLE_DEVICES": visible.split(",")[number] if visible else str(number)}


def serve(channel: int, parent: int, threads: int) -> None:
    """Serve one thread of a Dask worker: the program of a child process.

    Args:
        channel, parent: Numbers of open files: the connection to the thread, and one that is closed when its process ends.
        threads: Number of Torch threads.
    """
    connection = Connection(channel)
    work(connection, pickle.loads(connection.recv_bytes()), threads, Connection(parent))  # noqa: S301  the driver's own


@contextlib.contextmanager
def _borrowed(run_trial: bytes, threads: int, gpu: int | None) -> Generator[_Child]:
    """Child for one trial. It is ended where the block raises, and kept for the next trial otherwise."""
    with _HANDED:
        child = next((child for child in _idle if child.kind == (run_trial, threads, gpu)), None)
        if child is not None:
            _idle.remove(child)
    child = child or _Child(run_trial, threads, gpu)
    try:
        yield child
    except BaseException:
        child.end()
        raise
    child.idle_since = time.monotonic()
    with _HANDED:
        _idle.append(child)
    timer = threading.Timer(_IDLE, dismiss, (_IDLE,))
    timer.daemon = True
    timer.start()


def dismiss(idle: float = 0.0) -> None:
    """End the processes that have had nothing to do for some seconds."""
    with _HANDED:
        now = time.monotonic()
        over = [child for child in _idle if now - child.idle_since >= idle]
        _idle[:] = [child for child in _idle if child not in over]
    for child in over:
        child.end()


class _EndedError(Exception):
    """End of a child before its result; the text is the reason."""


class _UnwantedError(Exception):
    """Release of the trial by the driver."""


def run_there(order: Mapping[str, Any]) -> dict[str, Any]:
    """Run a trial for a driver, in a thread of a Dask worker.

    Args:
        order: Order that ``cluster`` writes: ``trial``, ``state``, ``run_trial``, ``threads``, ``gpu``, ``limit``
            and ``topic``.
    Returns:
        Dictionary with one key: ``result``, the record of the result; ``saved``, the state at the end of a stage, from
        which another order goes on; ``died``, the reason why the trial's process
        ended; ``lacks``, the name of the data set whose files this machine does not have.
    """
    trial = Trial.from_dict(order["trial"])
    place = place_of(trial.data, trial.sources) if is_path(trial.data) else ""
    if (name := trial.data if place is None else missing(trial.data)) is not None:
        return {"lacks": name}
    try:
        with _borrowed(order["run_trial"], order["threads"], order["gpu"]) as child:
            result = _watched(
                child, Order(trial, order["state"], stages=True, place=place or ""), order["limit"], order["topic"]
            )
    except _EndedError as error:
        return {"died": str(error)}
    except _UnwantedError:
        return {}
    if isinstance(result, Checkpoint):
        return {"saved": result.state}
    hardware = {**result.hardware, "host": socket.gethostname()}
    return {"result": replace(result, hardware=hardware).to_dict()}


def _watched(child: _Child, order: Order, limit: float | None, topic: str) -> Result | Checkpoint:
    """Result of a trial that a child runs, or its state at the end of a stage."""
    worker: Any = importlib.import_module("distributed").get_worker()
    key = worker.get_current_task()
    begun = math.inf
    while True:
        if child.ready and begun == math.inf:
            begun = time.monotonic()
            with contextlib.suppress(OSError):  # it died since, and the next look tells
                child.channel.send(order)
        if child.channel.poll(_LOOK):
            message = received(child.channel)
            if message is None:
                raise _EndedError(how_it_died(child.process.wait()))
            if isinstance(message, (Result, Checkpoint)):
                return message
            if isinstance(message, EpochRecord):
                worker.log_event(topic, {"trial": order.trial.id, "epoch": asdict(message)})
            child.ready = True
        if limit is not None and time.monotonic() - begun > limit:
            raise _EndedError(over(limit))
        task = worker.state.tasks.get(key)
        if worker.status.name not in _AT_WORK or task is None or task.state == "cancelled":
            raise _UnwantedError
