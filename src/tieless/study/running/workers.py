"""Number of processes of a run, which another program may change while the run goes on."""

from __future__ import annotations

import contextlib
from pathlib import Path

from filelock import FileLock, Timeout

from tieless._files import is_file, write_whole
from tieless.errors import StudyError

LOCK = "study.lock"
"""Name of the file that a run holds locked, in its folder."""
_FILE = "study.workers"


class WorkerCount:
    """Number of processes that a run in a folder is to have, kept in a file there as long as the run goes on.

    Args:
        folder: Folder of the run, which it has locked.
        number: Number of processes at first.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._file = folder / _FILE
        self._number = number
        _write(self._file, number)

    def __call__(self) -> int:
        """Number that was set last."""
        # Nothing changes if the folder is not there at the moment, or the file is not of our making.
        with contextlib.suppress(OSError, ValueError):
            self._number = int(self._file.read_text(encoding="utf-8"))
        return self._number

    def close(self) -> None:
        """Remove the file: the run is over."""
        self._file.unlink(missing_ok=True)


def is_running(folder: Path) -> bool:
    """True if a run of the study in ``folder`` is going on."""
    if not is_file(folder / LOCK):
        return False
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)  # pyright: ignore[reportUnknownMemberType]
    except (Timeout, OSError):
        return True
    lock.release()
    return False


def set_workers(folder: Path, number: int) -> None:
    """Change the number of processes of the run that is going on in a folder, within about a second.

    With fewer, each that is too many ends its trial first. With 0 the run pauses.

    Args:
        folder: Folder of the study.
        number: Number of processes, at least 0.
    Raises:
        StudyError: no run is going on in the folder, or it has no processes of its own, for it is on a cluster.
    """
    if not is_running(folder):
        raise StudyError(f"No run is going on in {folder}: start it with as many --workers as it is to have.")
    if not is_file(folder / _FILE):
        raise StudyError(f"The run in {folder} is on a cluster: start workers there, or end some, and it follows.")
    _write(folder / _FILE, number)


def _write(file: Path, number: int) -> None:
    try:
        write_whole(file, str(number).encode())
    except OSError as error:
        raise StudyError(f"Cannot write {file}: {error.strerror}.") from None
