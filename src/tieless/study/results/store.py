"""Store of the results of a study: one SQLite file that survives a crash.

What is added at a time is one transaction, synced to the disk before ``add`` or ``add_all`` returns. SQLite's write-ahead
log lets others read while a run writes, and rolls a half-written transaction back when the file is next opened. Values are
JSON; a record that was damaged since is named by its id, and the others stay usable.
"""

from __future__ import annotations

import contextlib
import gc
import json
import tempfile
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal

from tieless._files import is_file, write_whole
from tieless.errors import StudyError
from tieless.study.judging.verdicts import registered
from tieless.study.results.database import Database
from tieless.study.results.plan import planned, widened
from tieless.study.results.reading import Reader, read
from tieless.study.study import SHIPPED, Study
from tieless.study.trial import Result, Trial

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


_ANEW = "'tieless study run' makes it anew"


class Store:
    """Results of one study, and its latest plan: the trials of which it consists.

    A folder belongs to one study, by name. Running it again with other settings replaces the plan and keeps all
    results; ``results`` returns those of the plan.

    Only one process may write, which ``tieless.study.run`` ensures; any number may read meanwhile.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from tieless.study import Store, load_study
        >>> with TemporaryDirectory() as folder:
        ...     with Store.create(Path(folder), load_study("quickstart")) as store:
        ...         store.results()
        []
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reader = Reader()
        self._written_plan: Study | None = None
        self._read_trials: dict[str, Trial] = {}

    @property
    def file(self) -> Path:
        """Path of the file."""
        return self._database.file

    @classmethod
    def create(cls, folder: Path, study: Study, *, go_on: Callable[[], bool] | None = None) -> Store:
        """Open a folder's store for writing, created if it does not exist, with ``study`` as its plan.

        Args:
            folder: Folder of the store.
            study: Plan.
            go_on: Function called about once a second while another program holds the file; it returns True to go on
                waiting.
        Raises:
            StudyError: the folder belongs to another study, holds another file of this name or cannot be written.
        """
        store = cls(Database(Path(folder) / FILE, writes=True, go_on=go_on))
        try:
            if not store._blank():
                store._check()
                store._check_owner(study)
            store._prepare(study)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def merge(cls, folders: Sequence[Path], out: Path) -> tuple[Path, int]:
        """Join the stores of several machines, of one study, into a new one. They stay as they are.

        Args:
            folders: Folders of the stores. Where two have a trial, the first one's result is taken.
            out: Folder of the new store, which must have none.
        Returns:
            Path of the new store, and the number of its results that are done or diverged.
        Raises:
            StudyError: a folder has no store, they are of different studies, or the new one cannot be written.
        """
        target = Path(out) / FILE
        if target.exists():
            raise StudyError(f"{out} has a study: name a new folder with --out.")
        with cls.open(folders[0]) as first:
            content = first.copy()
        # Joined beside it, so that what is there under its name is whole.
        with tempfile.TemporaryDirectory(prefix="tieless-") as folder:
            Path(folder, FILE).write_bytes(content)
            store = cls(Database(Path(folder, FILE), writes=True))
            with store:
                for other in folders[1:]:
                    with cls.open(other) as one:
                        store.join(one)
                count = len(store.finished_ids())
            with cls.open(Path(folder)) as joined:
                content = joined.copy()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, content)
        except OSError as error:
            raise StudyError(f"Cannot write {target}: {error.strerror}. Choose another folder with --out.") from error
        return target, count

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open the store in ``folder`` for reading, during a run or after it.

        Raises:
            StudyError: the folder has no store, or the file is not a store of this version.
        """
        file = Path(folder) / FILE
        if not is_file(file):
            raise StudyError(f"No study in {folder}: there is no {FILE}. Start one with 'tieless study run'.")
        store = cls(Database(file, writes=False))
        try:
            store._check()
        except BaseException:
            store.close()
            raise
        return store

    def _blank(self) -> bool:
        """True if nothing was ever written: the file is new, or its first run was killed before a transaction."""
        return self._database.value("SELECT count(*) FROM sqlite_master") == 0

    def _check(self) -> None:
        if self._database.value("PRAGMA application_id") != _MAGIC:
            if self._blank() and self._database.value("PRAGMA journal_mode") == "wal":
                raise StudyError(
                    f"{self.file} is empty: it was copied without {FILE}-wal, where a run keeps what it wrote last. Copy"
                    " both, or use 'tieless study backup'."
                )
            raise StudyError(f"{self.file} is not the store of a study: choose another folder, or move the file.")
        version = self._database.value("PRAGMA user_version")
        if version not in _READABLE:
            read = " and ".join(map(str, _READABLE))
            raise StudyError(f"{self.file} has format {version}, this tieless reads {read}: use the one that made it.")

    def _check_owner(self, study: Study) -> None:
        try:
            owner = self._study(())
        except StudyError:
            return  # It is damaged, and is written anew.
        folder = self.file.parent
        if owner.name != study.name:
            raise StudyError(f"{folder} holds the study {owner.name!r}, not {study.name!r}: choose another --out.")
        # Files of one name in two folders make one default folder. A file that is gone was moved.
        known = owner.source is not None and study.source is not None and owner.source != study.source
        if known and (owner.source == SHIPPED or is_file(Path(str(owner.source)))):
            raise StudyError(
                f"{folder} holds the study {owner.name!r} of {owner.source}, not that of {study.source}: choose another"
                " --out."
            )

    def _prepare(self, study: Study) -> None:
        self._database.keep_log()
        with self._database.transaction():
            if self._database.value("PRAGMA application_id") != _MAGIC:
                self._make(_TABLES)
                self._database.execute(f"PRAGMA application_id = {_MAGIC}")
                self._database.execute("PRAGMA user_version = 1")
            if self._database.value("PRAGMA user_version") == 1:
                self._make(_LATER_TABLES)
                self._database.execute(f"PRAGMA user_version = {_VERSION}")
            self._fail_damaged()
            full = self._plan(study, self._before())
        self._written_plan = full

    def _fail_damaged(self) -> None:
        """Mark a result that is no longer readable as missing: its trial runs again."""
        with _uncollected():
            for name, text in self._database.rows("SELECT id, json FROM results"):
                result = self._reader.result(name, text)
                if isinstance(result, str):
                    self._database.execute("UPDATE results SET status = 'failed' WHERE id = ?", [name])
                else:
                    self._read_trials[name] = result.trial

    def _make(self, tables: str) -> None:
        for statement in filter(str.strip, tables.split(";")):
            self._database.execute(statement)

    def plan(self, study: Study) -> Study:
        """Plan a study from its file, the stored results and the added seeds, and store the plan.

        Args:
            study: Study as ``parse_study`` returns it.
        Returns:
            Study with all trials of the plan.
        """
        # Not known while it is written, which may fail.
        before, self._written_plan = self._written_plan, None
        with self._database.transaction():
            full = self._plan(study, before or self._before())
        self._written_plan = full
        return full

    def _plan(self, study: Study, before: Study | None) -> Study:
        current = before is not None and _has_ids_of_this_version(before.trials)
        if before is not None and current:
            study = replace(study, trials=_as_before(study.trials, before.trials))
        most = self._database.rows("SELECT most FROM looks")
        results = () if study.choose is None else self.results(planned=False)
        full = planned(study, results, self._trials("added"), most[0][0] if most else None)
        if before is not None:
            finished = self.finished_ids()
            if late := widened(full, before, finished):
                self._add(late)
                full = planned(study, results, self._trials("added"), full.most_seeds)
            seen = any(trial.id in finished and trial.test != "never" for trial in before.trials)
            full = registered(full, before, seen=seen)
        if not current or full != before:
            self._write_plan(full)
        return full

    def _before(self) -> Study | None:
        """Study with the plan before; ``None`` in a new store, or if its record is damaged."""
        if not self._database.rows("SELECT only FROM study"):
            return None
        try:
            return self.study()
        except StudyError:
            return None

    def _write_plan(self, full: Study) -> None:
        self._database.execute("INSERT OR REPLACE INTO study VALUES (1, ?)", [json.dumps(full.to_dict())])
        self._database.execute("DELETE FROM plan")
        rows = [(i, trial.id, json.dumps(trial.to_dict())) for i, trial in enumerate(full.trials)]
        self._database.execute_many("INSERT INTO plan VALUES (?, ?, ?)", rows)

    def join(self, other: Store) -> int:
        """Take the results of another store of the same study, all or none, and what it plans beyond this one.

        Args:
            other: Store of a study of the same name, such as that of another machine.
        Returns:
            Number of results that this store did not have.
        Raises:
            StudyError: it is another study.
        """
        ours, theirs = self.study(), other.study()
        if ours.name != theirs.name:
            raise StudyError(f"{other.file.parent} holds the study {theirs.name!r}, and not {ours.name!r}.")
        before = self.finished_ids()
        self.take(theirs, other.results(planned=False))
        planned, added = (
            list(dict.fromkeys([*one[0], *one[1]])) for one in zip(_by_kind(ours), _by_kind(theirs), strict=True)
        )
        added = [trial for trial in added if trial not in set(planned)]
        # One plan has the ids of one version of the training code.
        planned, added = ([Trial.from_dict(trial.to_dict()) for trial in trials] for trials in (planned, added))
        with self._database.transaction():
            self._write_plan(replace(ours, trials=(*planned, *added), added=len(added)))
        return len(self.finished_ids() - before)

    def allow_seeds(self, most: int) -> None:
        """Set the largest number of seeds of a cell."""
        with self._database.transaction():
            self._database.execute("INSERT OR REPLACE INTO looks VALUES (1, ?)", [most])

    def add_seeds(self, trials: Iterable[Trial]) -> None:
        """Remember trials as added to the study, for this plan and all later ones."""
        with self._database.transaction():
            self._add(trials)

    def _add(self, trials: Iterable[Trial]) -> None:
        rows = [(trial.id, json.dumps(trial.to_dict())) for trial in trials]
        self._database.execute_many("INSERT OR IGNORE INTO added (id, json) VALUES (?, ?)", rows)

    def study(self) -> Study:
        """Study as it was last run in this folder: its trials are the plan.

        Raises:
            StudyError: its record or that of a trial in the plan is damaged; the next run writes them anew.
        """
        return self._study(self._trials("plan"))

    def _study(self, trials: Sequence[Trial]) -> Study:
        (text,) = self._database.rows("SELECT json FROM study")[0]
        found = read(text, lambda record: Study.from_dict(record, trials))
        if isinstance(found, str):
            raise StudyError(f"The study's record in {self.file} is damaged ({found}): {_ANEW}.")
        return found

    def _trials(self, table: Literal["plan", "added"]) -> list[Trial]:
        query = {
            "plan": "SELECT id, json FROM plan ORDER BY position",
            "added": "SELECT id, json FROM added ORDER BY position",
        }
        rows = self._database.rows(query[table])
        if table == "plan":
            there = self._read_trials
            return [there.get(name) or self._trial(name, text) for name, text in rows]
        # It was added under any version of the training code: its id follows from its fields.
        return [Trial.from_dict(self._trial(name, text).to_dict()) for name, text in rows]

    def _trial(self, name: str, text: str) -> Trial:
        trial = self._reader.trial(name, text)
        if isinstance(trial, str):
            result = self._database.rows("SELECT json FROM results WHERE id = ?", [name])
            ended = self._reader.result(name, result[0][0]) if result else ""
            if isinstance(ended, str):
                raise StudyError(f"The trial {name} of {self.file} has a damaged record ({trial}): {_ANEW}.")
            return ended.trial
        return trial

    def add(self, result: Result) -> None:
        """Store a result. A trial keeps its first result, except that any result replaces a failure.

        Raises:
            StudyError: the result cannot be written; the store is as it was before.
        """
        self.add_all([result])

    def add_all(self, results: Iterable[Result]) -> None:
        """Store results as ``add`` does, all or none, in one transaction: a sync to the disk takes as long for many.

        Raises:
            StudyError: the results cannot be written; the store is as it was before.
        """
        rows = [(result.trial.id, result.status, json.dumps(result.to_dict())) for result in results]
        with self._database.transaction():
            self._database.execute_many(
                "INSERT INTO results VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE"
                " SET status = excluded.status, json = excluded.json WHERE results.status = 'failed'",
                rows,
            )

    def take(self, study: Study, results: Iterable[Result]) -> None:
        """Store results from elsewhere, all or none, and which of their seeds were added to decide claims.

        Args:
            study: Study of the results, as ``load_table`` returns it.
            results: Results. Those already in the store stay as they are.
        Raises:
            StudyError: the results cannot be written.
        """
        if study.most_seeds is not None:
            self.allow_seeds(study.most_seeds)
        self.add_seeds(study.trials[len(study.trials) - study.added :])
        self.add_all(results)

    def results(self, *, planned: bool = True) -> list[Result]:
        """Results of the plan, in its order; with ``planned=False`` all that were ever stored, in order of their id.

        A result whose record is damaged counts as failed, and its error says so; the next run repeats it. If its trial
        is not in the plan, it is left out.
        """
        with _uncollected():
            # In the order of the file, which reads each of its pages once.
            found = {
                name: result
                for name, text in self._database.rows("SELECT id, json FROM results ORDER BY id")
                if (result := self._result(name, text)) is not None
            }
            if not planned:
                return list(found.values())
            order = self._database.rows("SELECT id FROM plan ORDER BY position")
            return [found[name] for (name,) in order if name in found]

    def _result(self, name: str, text: str) -> Result | None:
        result = self._reader.result(name, text)
        if not isinstance(result, str):
            self._read_trials[name] = result.trial
            return result
        plan = self._database.rows("SELECT json FROM plan WHERE id = ?", [name])
        trial = self._reader.trial(name, plan[0][0]) if plan else ""
        if isinstance(trial, str):
            return None
        return Result(trial=trial, status="failed", error=f"The record {name} is damaged ({result}): {_ANEW}.")

    def others(self) -> int:
        """Number of results that are not of the plan."""
        return self._database.value("SELECT count(*) FROM results WHERE id NOT IN (SELECT id FROM plan)")

    def copy(self) -> bytes:
        """Content of one file with the whole store as it is at this moment, during a run or after it."""
        return self._database.copy()

    def finished_ids(self) -> set[str]:
        """Ids of the trials that need no run: done or diverged. A failed trial is run again."""
        return {trial for (trial,) in self._database.rows("SELECT id FROM results WHERE status != 'failed'")}

    def close(self) -> None:
        """Close the store. The last process to close a store that was written leaves one file."""
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


@contextlib.contextmanager
def _uncollected() -> Generator[None]:
    """Block that makes many values without cycles, which Python's collector would walk through again and again."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _has_ids_of_this_version(trials: Sequence[Trial]) -> bool:
    """True if a plan was written under this version of the training code, of which ids are a part."""
    return not trials or Trial.from_dict(trials[0].to_dict()).id == trials[0].id


def _as_before(trials: Sequence[Trial], before: Sequence[Trial]) -> tuple[Trial, ...]:
    """Trials, each as the plan before has it, with an id that need not be computed again."""
    there = {trial: trial for trial in before}
    return tuple(there.get(trial, trial) for trial in trials)


def _by_kind(study: Study) -> tuple[list[Trial], list[Trial]]:
    """Trials that were planned, and those with seeds that were added."""
    first = len(study.trials) - study.added
    return list(study.trials[:first]), list(study.trials[first:])
