"""Files written whole or not at all, by all of tieless: only a regular file is ever replaced."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from pathlib import Path

_STREAM = re.compile(r"/dev/(std(out|err)|fd/\d+)|/proc/(self|\d+)/fd/\d+")
"""Names of open files of this process: they are written to, never replaced under their other users."""


def is_file(path: Path) -> bool:
    """True if ``path`` names a file; a name that no file can have, or that may not be looked at, names none."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_same(path: Path, *others: Path) -> bool:
    """True if ``path`` names one of the files that are there, whatever the spelling."""
    return is_file(path) and any(is_file(other) and path.samefile(other) for other in others)


def write_whole(target: Path, content: bytes) -> None:
    """Write a file completely or not at all. Its old content stays until the new one is complete.

    A regular file is replaced by a rename, behind a symbolic link too, and keeps its permissions. Anything else, such
    as a pipe or ``/dev/null``, is opened and written to.

    Args:
        target: Path of the file.
        content: Content of the file.
    Raises:
        OSError: the file cannot be written, for example because it is a folder.
    """
    mode = _mode(target)
    if _STREAM.fullmatch(str(target)) or not (mode is None or stat.S_ISREG(mode)):
        # Appended, so that a shell's `> file` and `>> file` behind /dev/stdout mean the same as ever.
        with target.open("ab", buffering=0) as stream:
            _write_all(stream.fileno(), content)
        return
    real = Path(os.path.realpath(target))
    # The name of the target, with more around it, could be too long where the target's own is not.
    handle, temporary = tempfile.mkstemp(prefix=".tieless-", dir=real.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        # mkstemp makes it private; a table is as readable as any other new file.
        Path(temporary).chmod(0o666 & ~_umask() if mode is None else stat.S_IMODE(mode))
        Path(temporary).replace(real)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def _mode(target: Path) -> int | None:
    try:
        return target.stat().st_mode
    except FileNotFoundError:
        return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_all(handle: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(handle, left) :]
