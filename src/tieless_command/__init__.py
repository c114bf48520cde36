"""The command ``tieless`` from its first instruction on.

PyTorch takes seconds to import, and this package imports nothing: Ctrl-C in these seconds ends the command as it does later,
with a word and exit code 130.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

__all__ = ["main"]


def main() -> None:
    """Import the command line and run it."""
    # Where a shell has it ignored, it stays ignored.
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, _end)
    from tieless.cli import main as command  # noqa: PLC0415  this is what takes long

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command()


def _end(_: int, __: FrameType | None) -> None:
    # Not an exception: in the middle of an import, others that it causes would take its place.
    sys.stderr.write("Interrupted.\n")
    sys.stderr.flush()
    os._exit(130)
