"""The store: what goes in comes out, whoever else reads, and whatever else lies in its place is refused."""

import json
import sqlite3

import pytest

from tests.study.fakes import make_result, make_study, make_trial
from tieless.errors import StudyError
from tieless.study.store import FILE, Store


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
        assert store._connection.execute("PRAGMA synchronous").fetchone()[0] == full
        assert store._connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_a_result_is_in_whole_or_not_at_all(tmp_path, study):
    store = Store.create(tmp_path, study)
    store.add(make_result(study.trials[0]))
    store._connection.execute("BEGIN IMMEDIATE")
    store._connection.execute("INSERT INTO results VALUES ('x', 'done', '{}')")
    # Not closed: as a process that dies within a transaction leaves it.
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tmp_path.glob(f"{FILE}*"):
        (copy / file.name).write_bytes(file.read_bytes())
    with Store.open(copy) as left:
        assert left.finished_ids() == {study.trials[0].id}
    store._connection.execute("ROLLBACK")
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
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
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
        store._connection.execute("UPDATE results SET json = replace(json, '\"tied\"', '\"gone(1)\"')")
        assert store.results(planned=False)[0].trial.backward == "gone(1)"
