"""SQLite file of a study: it waits for locks, notices the loss of its file, and explains errors."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

from tieless.errors import StudyError

_PATIENCE = 1.0
"""Seconds that SQLite waits for another program's lock before we ask whether to go on waiting."""
_READERS_PATIENCE = 5.0


class Database:
    """SQLite file that one process writes to while any number of processes read.

    The results of a run are in a log beside the file (``study.db-wal``) until they are copied into it, which happens
    after each transaction: a copy of the file alone, made after the run was ended by force, has them too.

    Args:
        file: Path of the file. It is created if it does not exist and is to be written.
        writes: True if this process writes to it.
        go_on: Function called after each second of waiting for another program's lock; it returns True to go on
            waiting. ``None`` never waits.
    Raises:
        StudyError: the file cannot be opened.
    """

    def __init__(self, file: Path, *, writes: bool, go_on: Callable[[], bool] | None = None) -> None:
        self.file, self._writes, self._go_on = file, writes, go_on
        with self._explained():
            # The file is not looked at before the first statement.
            self._connection = sqlite3.connect(
                file if writes else _address(file),
                uri=not writes,
                isolation_level=None,
                timeout=_PATIENCE if go_on else _READERS_PATIENCE,
            )
        self._identity = _identity(file)
        self._logs = False

    def keep_log(self) -> None:
        """Let others read while this process writes, and have each transaction on the disk when it ends.

        The sync costs milliseconds against the seconds or minutes of the trials that end between two. With a limit of one
        page, the log is copied into the file after each transaction.
        """
        self._logs = True
        with self._explained():
            self._patiently("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA wal_autocheckpoint = 1")

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        with self._explained():
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.OperationalError as error:
                if "decode" not in str(error):
                    raise
            # A text that is no UTF-8 is damage. With \x in it, it is no JSON either, so its reader notices.
            self._connection.text_factory = _text
            return self._connection.execute(query, values).fetchall()

    def value(self, query: str) -> Any:
        """First value of a query's first row."""
        return self.rows(query)[0][0]

    def execute(self, statement: str, values: Sequence[object] = ()) -> None:
        """Run a statement, within a transaction."""
        self._connection.execute(statement, values)

    def execute_many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement for each row, within a transaction."""
        self._connection.executemany(statement, rows)

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        """Context of which all is executed or nothing; it is on the disk, in the file of this name, when it ends.

        Raises:
            StudyError: the transaction could not be written, or the file is gone.
        """
        with self._explained():
            self._patiently("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk has rolled it back already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        # SQLite goes on writing to a file that has lost its name, and nobody would ever read it.
        if self._identity is None or _identity(self.file) != self._identity:
            raise StudyError(
                f"Cannot write {self.file}: it was deleted, moved or replaced while it was in use, and what it held is not"
                " under this name any more. Run the study again."
            )

    def copy(self) -> bytes:
        """Content of one file with the whole database as it is at this moment, even during a write."""
        with self._explained("copy"), tempfile.TemporaryDirectory(prefix="tieless-") as folder:
            file = Path(folder, self.file.name)
            with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as copy:
                self._connection.backup(copy)
                # Else its reader would look for a log, and write beside it.
                copy.execute("PRAGMA journal_mode = DELETE")
            return file.read_bytes()

    def close(self) -> None:
        """Close the file. The last process to close a file that was written leaves no log beside it."""
        if self._logs:
            # Refused while someone reads, and then the log stays, which is as safe.
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA journal_mode = DELETE")
        self._connection.close()

    def _patiently(self, statement: str) -> None:
        while (locked := self._locked(statement)) is not None:
            if self._go_on is None or not self._go_on():
                raise locked

    def _locked(self, statement: str) -> sqlite3.OperationalError | None:
        """Run a statement, or return the error of another program's lock."""
        try:
            self._connection.execute(statement)
        except sqlite3.OperationalError as error:
            if not _is_locked(error):
                raise
            return error
        return None

    @contextlib.contextmanager
    def _explained(self, doing: str = "") -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            doing = doing or ("write" if self._writes else "read")
            raise StudyError(f"Cannot {doing} {self.file}: {_reason(self.file, error)}.") from error


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _address(file: Path) -> str:
    """Address for reading the file. If its folder is not writable, it states that there is no log."""
    log = file.with_name(f"{file.name}-wal")
    alone = not os.access(file.parent, os.W_OK) and not (log.exists() and log.stat().st_size)
    return f"{file.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_locked(error: Exception) -> bool:
    return "is locked" in str(error)


def _reason(file: Path, error: Exception) -> str:
    """Reason in words that say what to do. Python 3.10 has the text of SQLite's errors, and no number."""
    text = (getattr(error, "strerror", None) or str(error)).rstrip(".")
    if _is_locked(error):
        return f"another program holds it ({text}). Wait for its end, then give the same command again"
    if "malformed" in text:
        return f"it is damaged or cut short ({text}). Go on from a copy, such as 'tieless study backup' makes"
    if "not a database" in text:
        return f"it is not the store of a study ({text}). Choose another folder, or move the file"
    if "unable to open" in text or "readonly" in text:
        return _refusal(file, text)
    return text


def _refusal(file: Path, text: str) -> str:
    folder = file.parent
    if not folder.is_dir():
        return f"there is no folder {folder} ({text})"
    if file.exists() and not os.access(file, os.R_OK):
        return f"you may not read it ({text})"
    if not os.access(folder, os.W_OK):
        log = file.with_name(f"{file.name}-wal")
        if log.exists():
            return f"it has a log, {log.name}, and {folder} is read-only ({text}). Copy both to another folder"
        return f"{folder} is read-only ({text}). Choose another folder"
    if file.exists() and not os.access(file, os.W_OK):
        return f"it is read-only ({text})"
    return text
