"""Programs in a process of their own: where one crashes, one test fails and the others go on."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping

__all__ = ["ending", "run_alone"]


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
