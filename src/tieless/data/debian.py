"""Debian's packages as a source of data: downloaded and unpacked into a folder, without root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tieless.errors import DataError

__all__ = ["unpack_package"]

_PATIENCE = 600
"""Seconds after which apt is taken to hang; it has its own, shorter limits for a connection."""


def unpack_package(package: str, folder: Path, tell: Callable[[str], None]) -> None:
    """Put the files of a Debian package below ``folder``, as they would lie below ``/``.

    The machine's package lists are tried first. Where they are absent or out of date, fresh ones are fetched into
    ``folder``, which needs no root; apt checks them against the system's keys as always.

    Args:
        package: The package's name.
        folder: An empty folder to work in.
        tell: Told what takes long.
    Raises:
        DataError: there is no apt here, or it could not fetch or unpack the package.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise DataError(f"{tool} is not installed")
    # Run by root, apt downloads as the user _apt, who must be able to enter.
    folder.chmod(0o755)
    tell(f"Downloading Debian's package {package} ...")
    try:
        _run("apt-get", "download", package, folder=folder)
    except DataError:
        private = _private_lists(folder)
        tell("Fetching Debian's package lists, as those of this machine do not give the package ...")
        complaints = _run("apt-get", *private, "update", folder=folder)
        try:
            _run("apt-get", *private, "download", package, folder=folder)
        except DataError as error:
            # apt calls an update without any network a success with warnings; they are what is to be known here.
            unreachable = [line for line in complaints if "Failed to fetch" in line][:1]
            raise DataError("; ".join([str(error), *unreachable])) from None
    archives = sorted(folder.glob("*.deb"))
    if not archives:
        raise DataError("apt-get download left no package behind")
    _run("dpkg-deb", "-x", archives[0].name, ".", folder=folder)


def _private_lists(folder: Path) -> tuple[str, ...]:
    state = folder / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True)
    return (
        *("-o", f"Dir::State::lists={state}/lists"),
        *("-o", f"Dir::Cache={state}/cache"),
        *("-o", "Acquire::Languages=none"),
        *("-o", "Acquire::Retries=2"),
    )


def _run(*command: str, folder: Path) -> list[str]:
    """Run a program in ``folder``; return what it said on stderr, line by line."""
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
        errors = [line for line in said if line.startswith("E:")] or said
        raise DataError(errors[0] if errors else f"{command[0]} ended with {done.returncode}")
    return said
