"""The results of a study, in one SQLite file that a crash leaves whole.

Each result is one transaction, synced to the disk before ``add`` returns. SQLite's write-ahead log lets others
read while a run writes, and rolls a half-written transaction back when the file is next opened. Values are JSON.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Generator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from tieless.errors import StudyError
from tieless.study.plan import planned
from tieless.study.spec import Study
from tieless.study.trial import Result, Trial

__all__ = ["FILE", "Store"]

FILE = "study.db"
"""Name of the store in a study's folder."""

_MAGIC = 0x7469656C
"""``application_id`` of the file: "tiel"."""
_VERSION = 2
"""``user_version`` of the file: raise it with every change of its tables."""
_READABLE = (1, 2)

_TABLES = """
    CREATE TABLE study (only INTEGER PRIMARY KEY CHECK (only = 1), json TEXT NOT NULL);
    CREATE TABLE plan (position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, json TEXT NOT NULL);
    CREATE TABLE results (id TEXT PRIMARY KEY, status TEXT NOT NULL, json TEXT NOT NULL) WITHOUT ROWID;
"""
# Since version 2: trials with seeds that were added to those of the study's file, and up to how many there may be.
_LATER_TABLES = """
    CREATE TABLE added (position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, json TEXT NOT NULL);
    CREATE TABLE looks (only INTEGER PRIMARY KEY CHECK (only = 1), most INTEGER NOT NULL);
"""


@contextlib.contextmanager
def _one_line(file: Path, doing: str) -> Generator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StudyError(f"Cannot {doing} {file}: {error}.") from error


class Store:
    """The results of one study, and the latest plan: which trials it consists of.

    A folder belongs to one study, by name. Running it again with other settings replaces the plan and keeps all
    results; ``results`` gives those of the plan.

    Only one process may write, which ``tieless.study.run`` sees to; any number may read meanwhile.

    Example:
        >>> with Store.open(folder) as store:  # doctest: +SKIP
        ...     best = max(store.results(), key=lambda result: result.epochs[-1].test_accuracy)
    """

    def __init__(self, connection: sqlite3.Connection, file: Path, *, writes: bool) -> None:
        self._connection, self._file, self._writes = connection, file, writes

    @classmethod
    def create(cls, folder: Path, study: Study) -> Store:
        """Open a folder's store to write to it, made where there is none, with ``study`` as its plan.

        Raises:
            StudyError: the folder belongs to another study, holds another file of this name or cannot be written.
        """
        file = Path(folder) / FILE
        with _one_line(file, "write"):
            store = cls(sqlite3.connect(file, isolation_level=None), file, writes=True)
            try:
                if not store._blank():
                    store._check()
                    store._check_owner(study)
                store._prepare(study)
            except BaseException:
                store._connection.close()
                raise
            return store

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open the store in ``folder`` to read it, while a run writes or after.

        Raises:
            StudyError: there is none, or the file is not a store of this version.
        """
        file = Path(folder) / FILE
        if not file.is_file():
            raise StudyError(f"No study in {folder}: there is no {FILE}. Start one with 'tieless study run'.")
        with _one_line(file, "read"):
            address = f"{file.absolute().as_uri()}?mode=ro"
            store = cls(sqlite3.connect(address, uri=True, isolation_level=None), file, writes=False)
            try:
                store._check()
            except BaseException:
                store._connection.close()
                raise
            return store

    def _blank(self) -> bool:
        """Nothing was ever written: a new file, or one whose first run was killed before its first transaction."""
        try:
            return self._value("SELECT count(*) FROM sqlite_master") == 0
        except sqlite3.DatabaseError:
            return False

    def _check(self) -> None:
        try:
            magic = self._value("PRAGMA application_id")
        except sqlite3.DatabaseError:
            magic = None
        if magic != _MAGIC:
            raise StudyError(f"{self._file} is not the store of a study: choose another folder, or move the file.")
        version = self._value("PRAGMA user_version")
        if version not in _READABLE:
            read = " and ".join(map(str, _READABLE))
            raise StudyError(f"{self._file} has format {version}, this tieless reads {read}: use the one that made it.")

    def _check_owner(self, study: Study) -> None:
        owner = self.study().name
        if owner != study.name:
            raise StudyError(
                f"{self._file.parent} holds the study {owner!r}, not {study.name!r}: choose another --out."
            )

    def _prepare(self, study: Study) -> None:
        # FULL syncs the log at each commit: a result that was reported finished outlives a power cut too. One
        # fsync per trial costs milliseconds against the seconds or minutes of the trial.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            if self._value("PRAGMA application_id") != _MAGIC:
                self._make(_TABLES)
                self._connection.execute(f"PRAGMA application_id = {_MAGIC}")
                self._connection.execute("PRAGMA user_version = 1")
            if self._value("PRAGMA user_version") == 1:
                self._make(_LATER_TABLES)
                self._connection.execute(f"PRAGMA user_version = {_VERSION}")
            self._plan(study)

    def _make(self, tables: str) -> None:
        for statement in filter(str.strip, tables.split(";")):
            self._connection.execute(statement)

    def plan(self, study: Study) -> Study:
        """Plan a study anew, by its file, the results that there are and the seeds that were added, and keep the plan.

        Args:
            study: As ``parse_study`` gives it.
        Returns:
            The study with all trials of the plan.
        """
        with _one_line(self._file, "write"), self._transaction():
            return self._plan(study)

    def _plan(self, study: Study) -> Study:
        most = self._rows("SELECT most FROM looks")
        full = planned(study, self.results(planned=False), self._trials("added"), most[0][0] if most else None)
        self._connection.execute("INSERT OR REPLACE INTO study VALUES (1, ?)", [json.dumps(full.to_dict())])
        self._connection.execute("DELETE FROM plan")
        rows = [(i, trial.id, json.dumps(trial.to_dict())) for i, trial in enumerate(full.trials)]
        self._connection.executemany("INSERT INTO plan VALUES (?, ?, ?)", rows)
        return full

    def allow_seeds(self, most: int) -> None:
        """Fix up to how many seeds a cell may get. It fixes how often the data are looked at, so it cannot be changed.

        Raises:
            StudyError: another number was fixed before.
        """
        before = self._rows("SELECT most FROM looks")
        if before and before[0][0] != most:
            raise StudyError(
                f"{self._file.parent} was begun with at most {before[0][0]} seeds, and with {most} the looks at its data"
                f" would be others: go on with --max-seeds {before[0][0]}, or start in another folder."
            )
        with _one_line(self._file, "write"), self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO looks VALUES (1, ?)", [most])

    def add_seeds(self, trials: Iterable[Trial]) -> None:
        """Remember trials as added to the study, for this plan and all to come."""
        with _one_line(self._file, "write"), self._transaction():
            rows = [(trial.id, json.dumps(trial.to_dict())) for trial in trials]
            self._connection.executemany("INSERT OR IGNORE INTO added (id, json) VALUES (?, ?)", rows)

    @contextlib.contextmanager
    def _transaction(self) -> Generator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # A full disk has rolled it back already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        with _one_line(self._file, "read"):
            return self._connection.execute(query).fetchall()

    def _value(self, query: str) -> Any:
        return self._connection.execute(query).fetchone()[0]

    def study(self) -> Study:
        """The study as it was last run in this folder: its trials are the plan."""
        return Study.from_dict(json.loads(self._rows("SELECT json FROM study")[0][0]), self._trials("plan"))

    def _trials(self, table: Literal["plan", "added"]) -> list[Trial]:
        query = {"plan": "SELECT json FROM plan ORDER BY position", "added": "SELECT json FROM added ORDER BY position"}
        return [Trial.from_dict(json.loads(text)) for (text,) in self._rows(query[table])]

    def add(self, result: Result) -> None:
        """Keep a result. A trial keeps its first result, except that any result replaces a failure.

        Raises:
            StudyError: it cannot be written; the store is as it was before.
        """
        self._add([result])

    def _add(self, results: Iterable[Result]) -> None:
        rows = [(result.trial.id, result.status, json.dumps(result.to_dict())) for result in results]
        with _one_line(self._file, "write"), self._transaction():
            self._connection.executemany(
                "INSERT INTO results VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE"
                " SET status = excluded.status, json = excluded.json WHERE results.status = 'failed'",
                rows,
            )

    def take(self, study: Study, results: Iterable[Result]) -> None:
        """Keep results of elsewhere, all or none, and which of their seeds were added to decide claims.

        Args:
            study: What they are results of, as ``load_table`` gives it.
            results: The results. What the store has already stays as it is.
        Raises:
            StudyError: it cannot be written, or another number of seeds was fixed for this folder.
        """
        if study.most_seeds is not None:
            self.allow_seeds(study.most_seeds)
            self.add_seeds(study.trials[len(study.trials) - study.added :])
        self._add(results)

    def results(self, *, planned: bool = True) -> list[Result]:
        """Results of the plan, in its order; with ``planned=False`` all that were ever stored, in order of their id."""
        of_plan = "SELECT results.json FROM plan JOIN results USING (id) ORDER BY position"
        rows = self._rows(of_plan if planned else "SELECT json FROM results ORDER BY id")
        return [Result.from_dict(json.loads(text)) for (text,) in rows]

    def finished_ids(self) -> set[str]:
        """Ids of the trials that need no run: done or diverged. A failed one is run again."""
        return {trial for (trial,) in self._rows("SELECT id FROM results WHERE status != 'failed'")}

    def close(self) -> None:
        """Close it. The last to close a store that was written leaves one file."""
        if self._writes:
            # Refused while someone reads, and then the log stays beside the file, which is as safe.
            with contextlib.suppress(sqlite3.OperationalError):
                self._connection.execute("PRAGMA journal_mode = DELETE")
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
