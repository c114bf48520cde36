"""Programs in a process of their own: where one crashes, one test fails and the others go on."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch.multiprocessing import start_processes

__all__ = ["ending", "forking", "in_ranks", "run_alone", "server"]

ROOT = Path(__file__).parents[1]


def ending(returncode: int) -> str:
    """End of a process, in words: its exit code, or the signal that ended it."""
    return f"killed by {signal.Signals(-returncode).name}" if returncode < 0 else f"exit code {returncode}"


def run_alone(
    program: str, *, warnings: str = "error", timeout: float = 300, environment: Mapping[str, str] | None = None
) -> str:
    """Output of a Python program in a process of its own, which has to end with exit code 0.

    Args:
        program: Text of the program.
        warnings: Warning filter of the process, as for ``python -W``.
        timeout: Number of seconds after which the process and its children are killed.
        environment: Variables that are set for it beside those of this process.
    Raises:
        AssertionError: The program ended otherwise. The message has the end and the standard error, where a crash
            leaves the Python stack.
    """
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-W", warnings, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | (environment or {}),
    )
    try:
        output, errors = process.communicate(timeout=timeout)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its children too
    assert process.returncode == 0, f"{ending(process.returncode)}\n{errors}"
    return output


@cache
def server() -> ForkServerContext:
    """Processes that a server forks, which has imported PyTorch and the library: one begins in a hundredth of the time.

    For tests that do not ask how a process begins. The server has no threads, and computes nothing.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.study.fakes", "torch._dynamo", "torch.distributed.tensor.parallel"])
    here = Path.cwd()
    os.chdir(ROOT)  # whence it can import the tests
    try:
        forkserver.ensure_running()
    finally:
        os.chdir(here)
    return context


class _Context:
    """In the place of ``multiprocessing``'s own, whose processes have the variables of this one at their start."""

    def Process(  # noqa: N802  (the name that a context has)
        self, *, target: Callable[..., object], args: tuple[Any, ...], **options: Any
    ) -> ForkServerProcess:
        return server().Process(target=_begin, args=(dict(os.environ), target, args), **options)


@contextlib.contextmanager
def forking() -> Iterator[None]:
    """Block in which the workers of studies are forked by ``server``."""
    with patch("multiprocessing.get_context", lambda _: _Context()):
        yield


def in_ranks(function: Callable[..., None], *arguments: object) -> None:
    """Run a function in two processes, of which each is given its rank and then the arguments.

    Raises:
        ProcessRaisedException: The function raised, with its traceback.
        ProcessExitedException: A process ended otherwise.
    """
    server()
    start_processes(function, arguments, nprocs=2, start_method="forkserver")


def _begin(environment: dict[str, str], target: Callable[..., object], args: tuple[Any, ...]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    target(*args)
