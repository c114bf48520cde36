"""Programs of this machine that fetch packages, run in a folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tieless.errors import DataError

_PATIENCE = 600
"""Seconds after which a program is taken to hang; each has its own, shorter limits for a connection."""


def need(*programs: str) -> None:
    """Raise ``DataError`` if a program is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            raise DataError(f"{program} is not installed")


def run(*command: str, folder: Path, blame: re.Pattern[str]) -> list[str]:
    """Run a program in ``folder``; return its stderr, line by line.

    Args:
        command: Program and its arguments.
        folder: Folder where it runs.
        blame: Beginning of the line that says why it failed; the first such line is reported, or the first of all.
    Raises:
        DataError: the program failed, or took too long.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DataError(f"{command[0]} took longer than {_PATIENCE} s") from None
    said = [" ".join(line.split()) for line in done.stderr.splitlines() if line.strip()]
    if done.returncode != 0:
        errors = [line for line in said if blame.match(line)] or said
        raise DataError(errors[0] if errors else f"{command[0]} ended with {done.returncode}")
    return said
