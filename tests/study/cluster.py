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
HOST = "127.0.0.1"
PATIENCE = 300
"""Seconds after which a test gives up on what it waits for."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        return found.getsockname()[1]


class Cluster:
    """Scheduler and workers. Each worker is one process with one thread, without Dask's own watchdog.

    Args:
        log: File for what they print.
        environment: Variables that they get beside those of this process.
        protocol: Protocol of their connections, ``tcp`` or ``tls``.
    """

    def __init__(self, log: Path, environment=(), protocol="tcp") -> None:
        self._log = log
        self._protocol = protocol
        self._environment = dict(environment)
        self._port = free_port()
        self.scheduler = None
        self.workers = []

    @property
    def address(self) -> str:
        return f"{self._protocol}://{HOST}:{self._port}"

    def start_scheduler(self):
        """Start the scheduler, and wait until it listens, which takes seconds."""
        self.scheduler = self._start(
            "scheduler", "--host", HOST, "--port", str(self._port), "--protocol", self._protocol
        )
        wait_for(self._listens)

    def _listens(self) -> bool:
        with socket.socket() as tried:
            return tried.connect_ex((HOST, self._port)) == 0

    def start_worker(self, *options, **environment):
        worker = self._start("worker", self.address, "--nthreads", "1", "--no-nanny", *options, **environment)
        self.workers.append(worker)
        return worker

    def _start(self, *words, **environment):
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *words, "--no-dashboard"],
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
