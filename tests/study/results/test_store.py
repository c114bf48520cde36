"""The store: what goes in comes out, whoever else reads, and whatever else lies in its place is refused."""

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.study.fakes import make_result, make_study, make_trial
from tieless.errors import StudyError
from tieless.study.results.store import FILE, Store


def add_all(store, trials):
    for trial in trials:
        store.add(make_result(trial))


@pytest.fixture
def study():
    return make_study()


def test_results_come_out_as_they_went_in_in_the_order_of_the_plan(tmp_path, study):
    results = [make_result(trial) for trial in study.trials]
    with Store.create(tmp_path, study) as store:
        for result in reversed(results):
            store.add(result)
    with Store.open(tmp_path) as store:
        assert store.results() == results
        assert store.study() == study


def test_results_added_together_are_all_stored_or_none(tmp_path, study):
    first, second, third, *_ = map(make_result, study.trials)
    with Store.create(tmp_path, study) as store:
        store.add_all([first, second])
        assert store.results() == [first, second]
        with pytest.raises(StudyError, match="Cannot write"):
            store.add_all([third, replace(first, status=None)])
        assert store.results() == [first, second]


def test_a_plan_of_an_earlier_meaning_keeps_its_ids_and_is_run_anew(tmp_path, study, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr("tieless.study.trial.MEANING", 0)
        before = make_study()
        with Store.create(tmp_path, before) as store:
            add_all(store, before.trials)
    with Store.open(tmp_path) as store:
        assert [trial.id for trial in store.study().trials] == [trial.id for trial in before.trials]
        assert [result.trial.id for result in store.results()] == [trial.id for trial in before.trials]
    with Store.create(tmp_path, study) as store:
        assert store.results() == []
        assert not {trial.id for trial in study.trials} & store.finished_ids()


def test_added_seeds_of_an_earlier_meaning_are_run_anew(tmp_path, study, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr("tieless.study.trial.MEANING", 0)
        before = make_study()
        late = before.trials[0].with_seed(77)
        with Store.create(tmp_path, before) as store:
            store.add_seeds([late])
            add_all(store, [*before.trials, late])
    with Store.create(tmp_path, study) as store:
        plan = store.plan(study)
        assert plan.trials[-1].seed == 77
        assert not {trial.id for trial in plan.trials} & store.finished_ids()


def test_stores_of_two_meanings_are_joined_to_a_plan_of_one(tmp_path, study, monkeypatch):
    wide = make_study("seeds=[0, 1, 2, 3, 4]")
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    with monkeypatch.context() as earlier:
        earlier.setattr("tieless.study.trial.MEANING", 0)
        with Store.create(tmp_path / "old", make_study("seeds=[0, 1, 2, 3, 4]")) as store:
            add_all(store, store.study().trials)
    with Store.create(tmp_path / "new", study) as store:
        add_all(store, study.trials)
    Store.merge([tmp_path / "new", tmp_path / "old"], tmp_path / "both")
    with Store.create(tmp_path / "both", wide) as store:
        assert {trial.id for trial in store.plan(wide).trials} == {trial.id for trial in wide.trials}


def test_a_trial_keeps_its_first_result(tmp_path, study):
    trial = study.trials[0]
    with Store.create(tmp_path, study) as store:
        store.add(make_result(trial))
        store.add(make_result(trial, "diverged"))
        store.add(make_result(trial))
        assert store.results() == [make_result(trial)]


def test_any_result_replaces_a_failure_and_a_failure_replaces_nothing_else(tmp_path, study):
    failed, good = study.trials[:2]
    with Store.create(tmp_path, study) as store:
        store.add(make_result(failed, "failed"))
        assert store.finished_ids() == set()
        store.add(make_result(failed, "diverged"))
        store.add(make_result(good))
        store.add(make_result(good, "failed"))
        assert [result.status for result in store.results()] == ["diverged", "done"]
        assert store.finished_ids() == {failed.id, good.id}


def test_another_plan_hides_results_and_loses_none(tmp_path, study):
    with Store.create(tmp_path, study) as store:
        for trial in study.trials:
            store.add(make_result(trial))
    fewer = make_study("seeds=1")
    with Store.create(tmp_path, fewer) as store:
        assert [result.trial for result in store.results()] == list(fewer.trials)
        assert len(store.results(planned=False)) == len(study.trials)
        assert store.study() == fewer
    with Store.create(tmp_path, study) as store:
        assert len(store.results()) == len(study.trials)


def test_others_read_while_one_writes(tmp_path, study):
    with Store.create(tmp_path, study) as writer, Store.open(tmp_path) as reader:
        assert reader.results() == []
        for count, trial in enumerate(study.trials[:3], start=1):
            writer.add(make_result(trial))
            assert len(reader.results()) == count


def test_a_closed_store_is_one_file(tmp_path, study):
    with Store.create(tmp_path, study) as store:
        store.add(make_result(study.trials[0]))
        assert len(list(tmp_path.iterdir())) > 1
    assert [file.name for file in tmp_path.iterdir()] == [FILE]
    # Bytes 18 and 19 of a SQLite file: 1 is a rollback journal, 2 is WAL, which cannot be read from read-only media.
    assert (tmp_path / FILE).read_bytes()[18:20] == b"\x01\x01"


def test_a_store_closed_while_someone_reads_is_whole(tmp_path, study):
    writer = Store.create(tmp_path, study)
    with Store.open(tmp_path) as reader:
        writer.add(make_result(study.trials[0]))
        writer.close()
        assert len(reader.results()) == 1
    with Store.open(tmp_path) as store:
        assert len(store.results()) == 1


def test_what_is_in_the_file_is_json(tmp_path, study):
    with Store.create(tmp_path, study) as store:
        store.add(make_result(study.trials[0]))
    with sqlite3.connect(tmp_path / FILE) as connection:
        (text,) = connection.execute("SELECT json FROM results").fetchone()
    connection.close()
    assert json.loads(text)["trial"] == study.trials[0].to_dict()


def test_each_result_is_synced_to_the_disk(tmp_path, study):
    with Store.create(tmp_path, study) as store:
        full = 2
        assert store._database._connection.execute("PRAGMA synchronous").fetchone()[0] == full
        assert store._database._connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_a_result_is_in_whole_or_not_at_all(tmp_path, study):
    store = Store.create(tmp_path, study)
    store.add(make_result(study.trials[0]))
    store._database._connection.execute("BEGIN IMMEDIATE")
    store._database._connection.execute("INSERT INTO results VALUES ('x', 'done', '{}')")
    # Not closed: as a process that dies within a transaction leaves it.
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tmp_path.glob(f"{FILE}*"):
        (copy / file.name).write_bytes(file.read_bytes())
    with Store.open(copy) as left:
        assert left.finished_ids() == {study.trials[0].id}
    store._database._connection.execute("ROLLBACK")
    store.close()


def test_a_store_whose_first_run_died_before_its_first_transaction_is_begun_anew(tmp_path, study):
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    with Store.create(tmp_path, study) as store:
        assert store.study() == study


def test_nothing_to_read_is_told(tmp_path):
    with pytest.raises(StudyError, match=r"^No study in .*: there is no study\.db\. Start one with"):
        Store.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not a database" * 100, b"SQLite format 3\x00 and then nonsense" * 50])
def test_a_file_that_is_not_a_store_is_refused_and_left_alone(tmp_path, study, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(StudyError, match="is not the store of a study"):
        Store.open(tmp_path)
    if content:
        with pytest.raises(StudyError, match="is not the store of a study"):
            Store.create(tmp_path, study)
        assert (tmp_path / FILE).read_bytes() == content


def test_another_database_is_refused_and_left_alone(tmp_path, study):
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("CREATE TABLE bills (amount)")
    connection.close()
    before = (tmp_path / FILE).read_bytes()
    for open_it in (lambda: Store.open(tmp_path), lambda: Store.create(tmp_path, study)):
        with pytest.raises(StudyError, match="is not the store of a study"):
            open_it()
    assert (tmp_path / FILE).read_bytes() == before


def test_a_store_of_another_format_is_refused(tmp_path, study):
    Store.create(tmp_path, study).close()
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StudyError, match="has format 99, this tieless reads 1 and 2"):
        Store.open(tmp_path)


def test_a_folder_belongs_to_one_study(tmp_path, study):
    with Store.create(tmp_path, study) as store:
        store.add(make_result(study.trials[0]))
    with pytest.raises(StudyError, match=r"holds the study 'nothing', not 'other': choose another --out\."):
        Store.create(tmp_path, make_study(name="other"))
    with Store.open(tmp_path) as store:
        assert (store.study(), len(store.results())) == (study, 1)


def test_a_full_disk_is_told_and_what_was_there_stays(tmp_path, study):
    with Store.create(tmp_path, study) as store:
        store.add(make_result(study.trials[0]))
        pages = store._database._connection.execute("PRAGMA page_count").fetchone()[0]
        store._database._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StudyError, match=r"^Cannot write .*study\.db: database or disk is full\.$"):
            add_all(store, study.trials[1:])
        kept = store.results()
    with Store.open(tmp_path) as store:
        assert store.results() == kept
        assert kept[0] == make_result(study.trials[0])


def test_a_result_of_a_rule_that_is_gone_is_still_read(tmp_path, study):
    with Store.create(tmp_path, study) as store:
        trial = make_trial()
        store.add(make_result(trial))
        store._database._connection.execute("UPDATE results SET json = replace(json, '\"tied\"', '\"gone(1)\"')")
        assert store.results(planned=False)[0].trial.backward == "gone(1)"


def records(folder, statement, *values):
    with contextlib.closing(sqlite3.connect(folder / FILE, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def test_a_copy_of_the_file_alone_has_every_result_also_while_a_run_writes(tmp_path, study):
    with Store.create(tmp_path / "", study) as store:
        add_all(store, study.trials[:5])
        alone = tmp_path / "alone"
        alone.mkdir()
        # As after kill -9, when the log is still beside it.
        assert (tmp_path / f"{FILE}-wal").exists()
        (alone / FILE).write_bytes((tmp_path / FILE).read_bytes())
    with Store.open(alone) as copied:
        assert copied.study() == study
        assert copied.results() == [make_result(trial) for trial in study.trials[:5]]


def test_a_copy_is_one_file_with_all_of_it(tmp_path, study):
    copy = tmp_path / "copy"
    copy.mkdir()
    with Store.create(tmp_path, study) as writer, Store.open(tmp_path) as reader:
        add_all(writer, study.trials[:3])
        (copy / FILE).write_bytes(reader.copy())
        add_all(writer, study.trials[3:4])
    assert (copy / FILE).read_bytes()[18:20] == b"\x01\x01"
    with Store.open(copy) as copied:
        assert copied.results() == [make_result(trial) for trial in study.trials[:3]]
    with Store.create(copy, study) as copied:
        add_all(copied, study.trials[3:])
        assert len(copied.results()) == len(study.trials)


def test_a_store_whose_log_was_left_behind_says_so(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    with pytest.raises(StudyError, match=r"study\.db is empty: it was copied without study\.db-wal"):
        Store.open(tmp_path)


def test_a_store_that_was_cut_short_is_called_so(tmp_path, study):
    with Store.create(tmp_path, study) as store:
        add_all(store, study.trials)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: len(whole) // 2])
    for use in (Store.open, lambda folder: Store.create(folder, study)):
        with pytest.raises(StudyError, match=r"^Cannot .*study\.db: it is damaged or cut short \(.*malformed"):
            use(tmp_path)


def test_a_store_that_another_program_holds_is_called_so(tmp_path, study, monkeypatch):
    monkeypatch.setattr("tieless.study.results.database._READERS_PATIENCE", 0.01)
    Store.create(tmp_path, study).close()
    with contextlib.closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for use in (Store.open, lambda folder: Store.create(folder, study)):
            with pytest.raises(StudyError, match=r"^Cannot .*: another program holds it \(database is locked\)\. Wait"):
                use(tmp_path)
        assert (tmp_path / FILE).is_file()


def test_a_lock_is_waited_for_as_long_as_one_is_asked_to(tmp_path, study, monkeypatch):
    monkeypatch.setattr("tieless.study.results.database._PATIENCE", 0.01)
    asked = []
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)

    def go_on():
        asked.append(1)
        if len(asked) % 3 == 0:
            other.execute("ROLLBACK")
        return True

    with contextlib.closing(other), Store.create(tmp_path, study, go_on=go_on) as store:
        other.execute("BEGIN IMMEDIATE")
        store.add(make_result(study.trials[0]))
        assert asked == [1, 1, 1]
        assert len(store.results()) == 1


@pytest.mark.parametrize("lose", ["delete", "replace", "move"])
def test_a_store_that_is_gone_while_it_is_written_is_noticed_at_the_next_result(tmp_path, study, lose):
    folder = tmp_path / "study"
    folder.mkdir()
    with Store.create(folder, study) as store:
        add_all(store, study.trials[:2])
        if lose == "move":
            folder.rename(tmp_path / "elsewhere")
        else:
            shutil.rmtree(folder)
        if lose == "replace":
            folder.mkdir()
            Store.create(folder, study).close()
        with pytest.raises(StudyError, match=r"study\.db: it was deleted, moved or replaced while it was in use"):
            add_all(store, study.trials[2:3])


@pytest.mark.parametrize(
    "damage",
    ["substr(json, 1, 40)", "'[]'", "'{}'", "CAST(X'7B2268FF227D' AS TEXT)"],
)
def test_a_damaged_record_is_named_and_the_others_are_read_and_it_is_made_anew(tmp_path, study, damage):
    spoilt = study.trials[1]
    with Store.create(tmp_path, study) as store:
        add_all(store, study.trials[:3])
    records(tmp_path, f"UPDATE results SET json = {damage} WHERE id = ?", spoilt.id)  # noqa: S608
    with Store.open(tmp_path) as store:
        first, second, third = store.results()
        assert [first, third] == [make_result(study.trials[0]), make_result(study.trials[2])]
        assert (second.trial, second.status) == (spoilt, "failed")
        assert second.error.startswith(f"The record {spoilt.id} is damaged (")
        assert len(store.results(planned=False)) == 3
    with Store.create(tmp_path, study) as store:
        assert store.finished_ids() == {study.trials[0].id, study.trials[2].id}
        store.add(make_result(spoilt))
        assert store.results() == [make_result(trial) for trial in study.trials[:3]]


def test_a_damaged_plan_is_read_from_the_results_named_where_it_is_not_and_made_anew(tmp_path, study):
    with Store.create(tmp_path, study) as store:
        store.add(make_result(study.trials[0]))
    records(tmp_path, "UPDATE plan SET json = '{' WHERE position = 0")
    with Store.open(tmp_path) as store:
        assert store.study() == study
    records(tmp_path, "UPDATE plan SET json = '{' WHERE position = 1")
    with (
        Store.open(tmp_path) as store,
        pytest.raises(StudyError, match=f"^The trial {study.trials[1].id} of .*damaged"),
    ):
        store.study()
    records(tmp_path, "UPDATE study SET json = '{'")
    with Store.open(tmp_path) as store, pytest.raises(StudyError, match=r"damaged"):
        store.study()
    with Store.create(tmp_path, study) as store:
        assert store.study() == study
        assert len(store.results()) == 1


def test_a_folder_belongs_to_one_file_until_that_is_gone(tmp_path, study):
    ours, theirs = tmp_path / "a.yaml", tmp_path / "b.yaml"
    ours.touch()
    theirs.touch()
    folder = tmp_path / "out"
    folder.mkdir()
    Store.create(folder, replace(study, source=str(ours))).close()
    with pytest.raises(
        StudyError, match=r"holds the study 'nothing' of .*a\.yaml, not that of .*b\.yaml: choose another"
    ):
        Store.create(folder, replace(study, source=str(theirs)))
    Store.create(folder, replace(study, source=str(ours), title="Edited")).close()
    ours.unlink()
    Store.create(folder, replace(study, source=str(theirs))).close()
    with Store.open(folder) as store:
        assert store.study().source == str(theirs)


def test_a_foreign_database_keeps_its_way_of_writing(tmp_path, study):
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE bills (amount)")
    with pytest.raises(StudyError, match="is not the store of a study"):
        Store.create(tmp_path, study)
    assert records(tmp_path, "PRAGMA journal_mode") == [("wal",)]


AS_NOBODY = """
import os, sys
from pathlib import Path
from tieless.errors import StudyError
from tieless.study.results.store import Store
from tests.study.fakes import make_study
study = make_study()
if os.geteuid() == 0:
    os.setuid(65534)
try:
    with Store.open(Path(sys.argv[1])) as store:
        print(len(store.study().trials))
    Store.create(Path(sys.argv[1]), study).close()
except StudyError as error:
    print(error)
"""


def as_nobody(folder):
    """Results and errors of someone who may not write to the folder, and reads and then writes."""
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    command = [sys.executable, "-c", AS_NOBODY, str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.fixture
def open_folder():
    """A folder whose parents everybody may enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        Path(folder).chmod(0o755)


def test_a_read_only_folder_is_read_and_not_written_also_without_the_log(open_folder, study):
    store = Store.create(open_folder, study)
    content = (open_folder / FILE).read_bytes()
    assert content[18:20] == b"\x02\x02"
    store.close()
    (open_folder / FILE).write_bytes(content)
    open_folder.chmod(0o555)
    trials, refusal = as_nobody(open_folder)
    assert trials == str(len(study.trials))
    assert re.match(r"Cannot write .*study\.db: .*read-?only", refusal), refusal


def test_a_store_that_one_may_not_read_is_called_so(open_folder, study):
    Store.create(open_folder, study).close()
    (open_folder / FILE).chmod(0o000)
    (refusal,) = as_nobody(open_folder)
    assert re.fullmatch(r"Cannot read .*study\.db: you may not read it \(unable to open database file\)\.", refusal)
