"""Exported tables: what is written is what the store has, in every format, whole or not at all."""

import csv
import json
import math
import os
import stat
import sys
from dataclasses import fields, replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.study.fakes import make_result, make_trial
from tieless.errors import MissingExtraError, StudyError
from tieless.study.results import export
from tieless.study.results.export import epoch_rows, export_table, trial_rows
from tieless.study.trial import EpochRecord, Trial

DONE = replace(make_result(make_trial(seed=0, subset=5)), seconds=1.5, started="2025-01-01T00:00:00+00:00")
DIVERGED = make_result(make_trial(seed=1, backward='positive_jam(gate="feedback")'), "diverged")
FAILED = replace(make_result(make_trial(seed=2), "failed"), epochs=(), error='ValueError: it, "broke"')
RESULTS = [DONE, DIVERGED, FAILED]


def from_csv(text, kind):
    return None if text == "" else kind(text)


def read(file, columns):
    """The rows of a table, by a reader that is not ours."""
    if file.suffix == ".json":
        return json.loads(file.read_text(encoding="utf-8"))
    if file.suffix == ".parquet":
        return pq.read_table(file).to_pylist()
    with file.open(encoding="utf-8", newline="") as stream:
        return [{name: from_csv(row[name], columns[name]) for name in row} for row in csv.DictReader(stream)]


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
@pytest.mark.parametrize("per_epoch", [False, True], ids=["trials", "epochs"])
def test_every_value_comes_back(tmp_path, form, per_epoch):
    file = tmp_path / f"table.{form}"
    export_table(RESULTS, file, form=form, per_epoch=per_epoch)
    rows = (epoch_rows if per_epoch else trial_rows)(RESULTS)
    assert read(file, export._columns(rows, per_epoch=per_epoch)) == rows


def test_a_row_of_a_trial_says_all_that_a_result_does():
    done, diverged, failed = trial_rows(RESULTS)
    assert {field.name for field in fields(Trial)} - set(done) == {"metric"}  # of a study judged by accuracy
    assert (done["id"], done["status"], done["epochs"], done["finished_epochs"]) == (DONE.trial.id, "done", 2, 2)
    assert done["test_accuracy"] == DONE.epochs[-1].test_accuracy
    assert (done["seconds"], done["version_torch"], done["hardware_device"]) == (1.5, "2", "cpu")
    assert (diverged["finished_epochs"], diverged["test_loss"]) == (1, DIVERGED.epochs[0].test_loss)
    assert (failed["finished_epochs"], failed["test_accuracy"]) == (0, None)
    assert failed["error"] == 'ValueError: it, "broke"'
    assert {(row["added"], row["most_seeds"]) for row in (done, diverged, failed)} == {(None, None)}


def test_rows_of_epochs_count_from_one():
    rows = epoch_rows(RESULTS)
    assert [(row["seed"], row["epoch"]) for row in rows] == [(0, 1), (0, 2), (1, 1)]
    assert rows[1]["train_loss"] == DONE.epochs[1].train_loss


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_what_is_not_finite_survives_where_the_format_can_say_it(tmp_path, form):
    odd = replace(DONE, epochs=(EpochRecord(math.inf, 0.5, math.nan, 0.5, 1.0),))
    file = tmp_path / f"table.{form}"
    export_table([odd], file, form=form)
    (row,) = read(file, export._columns(trial_rows([odd]), per_epoch=False))
    if form == "json":
        assert (row["train_loss"], row["test_loss"]) == (None, None)
    else:
        assert row["train_loss"] == math.inf
        assert math.isnan(row["test_loss"])


def test_columns_of_parquet_have_their_types_also_without_a_value(tmp_path):
    export_table([FAILED], tmp_path / "t.parquet", form="parquet")
    schema = pq.read_schema(tmp_path / "t.parquet")
    assert schema.field("test_accuracy").type == pa.float64()
    assert schema.field("subset").type == pa.int64()
    assert schema.field("error").type == pa.string()


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
@pytest.mark.parametrize("per_epoch", [False, True])
def test_no_results_are_a_table_without_rows(tmp_path, form, per_epoch):
    file = tmp_path / f"t.{form}"
    export_table([], file, form=form, per_epoch=per_epoch)
    assert read(file, {}) == []


def test_a_table_is_replaced_whole_and_readable_by_others(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("old", encoding="utf-8")
    export_table(RESULTS, file, form="csv")
    assert file.read_text(encoding="utf-8").startswith("id,data,")
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~mask


def test_a_failed_write_leaves_the_old_table_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "t.csv"
    file.write_text("old", encoding="utf-8")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(StudyError, match=r"^Cannot write .*t\.csv: No space left on device\. Choose another"):
        export_table(RESULTS, file, form="csv")
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
    assert file.read_text(encoding="utf-8") == "old"


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(StudyError, match="there is no folder"):
        export_table(RESULTS, tmp_path / "none" / "t.csv", form="csv")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[report\]'"):
        export_table(RESULTS, tmp_path / "t.parquet", form="parquet")
    assert list(tmp_path.iterdir()) == []
