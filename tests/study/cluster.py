"""Dask cluster of separate processes on this machine, as ``dask scheduler`` and ``dask worker`` start it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 300
"""Seconds after which a test gives up on what it waits for."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Cluster:
    """Scheduler and workers. Each worker is one process with one thread, without Dask's own watchdog.

    Args:
        log: File for what they print.
        environment: Variables that they get beside those of this process.
        inside: Words before each command, which put it into a network namespace.
    """

    def __init__(self, log: Path, environment=(), host="127.0.0.1") -> None:
        self._log = log
        self._environment = dict(environment)
        self._host = host
        self._port = free_port()
        self.scheduler = None
        self.workers = []

    @property
    def address(self) -> str:
        return f"tcp://{self._host}:{self._port}"

    def start_scheduler(self, inside=()):
        self.scheduler = self._start("scheduler", "--host", self._host, "--port", str(self._port), inside=inside)

    def start_worker(self, *options, inside=(), **environment):
        worker = self._start(
            *("worker", self.address, "--nthreads", "1", "--no-nanny", *options), inside=inside, **environment
        )
        self.workers.append(worker)
        return worker

    def _start(self, *words, inside=(), **environment):
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*inside, sys.executable, "-m", "dask", *words, "--no-dashboard"],
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
                    **self._environment,
                    **environment,
                },
                start_new_session=True,
            )

    def close(self) -> None:
        for process in [self.scheduler, *self.workers]:
            if process is not None:
                end(process)


def end(process, number=signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    process.wait()


def wait_for(condition) -> None:
    """Wait until ``condition()`` is true; give up after minutes."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)
