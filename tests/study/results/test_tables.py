"""Exported tables read back: they are judged as the store is, and what no run can have is refused in one line."""

import csv
import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.study.fakes import CONFIRMED, SHORT, choosing, claiming, make_result, make_trial, noisy
from tieless.errors import MissingExtraError, StudyError
from tieless.report.collect import assemble
from tieless.study import Store, export_table, judge, load_table, parse_study, trial_rows
from tieless.study.judging.verdicts import more_seeds
from tieless.study.results import export
from tieless.study.results.plan import planned
from tieless.study.trial import DEFAULTS_OF_LATER_FIELDS, EpochRecord

ROOT = Path(__file__).parents[3]
FORMS = pytest.mark.parametrize("form", ["csv", "json", "parquet"])


def chosen(study=None):
    """A study that chooses, with all its runs."""
    study = study or choosing()
    results = [noisy(trial) for trial in study.trials]
    while len((plan := planned(study, results, (), None)).trials) > len(results):
        results = [noisy(trial) for trial in plan.trials]
    return plan, results


def briefly_chosen():
    """The same, where the runs that choose are shorter."""
    return chosen(parse_study(SHORT, name="choosing", overrides=["epochs=2"]))


def confirmed():
    """The same, where runs as long as those that are judged confirm what the shorter ones chose."""
    return chosen(parse_study(CONFIRMED, name="choosing"))


def plain():
    """Runs that are done, one that diverged and one that failed."""
    study = claiming("learning_rate=[0.1, 9]", "seeds=[0,1,2,3]")
    results = [noisy(trial) for trial in study.trials]
    failed = replace(make_result(study.trials[3], "failed"), epochs=(), error='ValueError: it, "broke"')
    return study, [failed if result.trial == failed.trial else result for result in results]


def until_decided():
    """Runs of five planned seeds, and of five more that a cell got, of up to twelve."""
    study = replace(claiming("seeds=0..4"), most_seeds=12)
    added = more_seeds(study, [noisy(trial) for trial in study.trials])
    study = replace(study, trials=(*study.trials, *added), added=len(added))
    return study, [noisy(trial) for trial in study.trials]


@FORMS
@pytest.mark.parametrize("make", [plain, chosen, briefly_chosen, confirmed, until_decided])
def test_a_table_is_judged_as_its_store_is(tmp_path, form, make):
    study, results = make()
    export_table(results, tmp_path / f"t.{form}", form=form, study=study)
    found, again = load_table(tmp_path / f"t.{form}", study)
    assert (found.added, found.most_seeds) == (study.added, study.most_seeds)
    assert judge(found.claims, found, again) == judge(study.claims, study, results)
    assert [verdict.verdict for verdict in judge(found.claims, found, again)]
    assert (found.title, found.name, found.claims) == (study.title, study.name, study.claims)


def in_short(judged):
    """Verdicts, looks and intervals."""
    return [(one.text, one.looks, [c.differences for c in one.cells]) for one in judged]


@FORMS
def test_which_seeds_were_added_is_told_in_any_order_of_the_rows(tmp_path, form):
    study, results = until_decided()
    export_table(results[::-1], tmp_path / f"t.{form}", form=form, study=study)
    found, again = load_table(tmp_path / f"t.{form}", study)
    judged = judge(study.claims, study, results)
    assert [verdict.looks for verdict in judged] == [2, 1, 2]
    assert in_short(judge(study.claims, found, again)) == in_short(judged)
    planned = judge(study.claims, replace(found, added=0, most_seeds=None), again)
    assert in_short(planned) != in_short(judged), "the level of one look is another"


@FORMS
def test_what_a_report_shows_of_a_table_is_what_it_shows_of_the_store(tmp_path, form):
    study, results = plain()
    export_table(results, tmp_path / f"t.{form}", form=form)
    ours, theirs = assemble(*load_table(tmp_path / f"t.{form}", study)), assemble(study, results)
    for name in ("claims", "planned", "done", "diverged", "one_class", "rules", "axes", "versions", "failures"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for section, other in zip(ours.sections, theirs.sections, strict=True):
        assert [block.grid for block in section.blocks] == [block.grid for block in other.blocks]


def test_epochs_before_the_last_are_counted_and_not_invented(tmp_path):
    result = make_result(make_trial(epochs=3))
    export_table([result], tmp_path / "t.csv", form="csv")
    (found,) = load_table(tmp_path / "t.csv")[1]
    assert [record.test_accuracy for record in found.epochs] == [None, None, result.epochs[-1].test_accuracy]
    assert all(math.isnan(record.train_loss) for record in found.epochs[:2])
    assert replace(found.epochs[-1], seconds=0.0) == result.epochs[-1]


@pytest.mark.parametrize("make", [plain, chosen, briefly_chosen, confirmed])
def test_the_study_that_a_table_makes_has_its_trials(tmp_path, make):
    study, results = make()
    export_table(results, tmp_path / "t.csv", form="csv")
    found, _ = load_table(tmp_path / "t.csv")
    again = parse_study(found.yaml, name="again")
    assert (found.claims, found.choose) == ((), study.choose)
    plan = planned(again, results, (), None)
    if found.choose is None:
        assert set(plan.trials) == set(found.trials)
    else:
        for test in ("never", "once"):
            assert {t.cell for t in plan.trials if t.test == test} == {t.cell for t in study.trials if t.test == test}


TABLES = [f for f in sorted((ROOT / "docs" / "results").glob("*.csv")) if f.read_text("utf-8").startswith("id,data,")]


@pytest.mark.parametrize("file", TABLES, ids=lambda file: file.stem)
def test_tables_of_earlier_versions_are_read(file):
    """Their columns are fewer; the id of each run follows from what is read."""
    _, *lines = file.read_text(encoding="utf-8").splitlines()
    _, results = load_table(file)
    assert [result.trial.id for result in results] == [line.partition(",")[0] for line in lines]


GOOD = make_result(make_trial())
ROWS = [
    ("status", "gone", "row 1: status: expected one of done, diverged, failed, got 'gone'"),
    ("test_accuracy", "94.5", "row 1: test_accuracy: expected a fraction from 0 to 1, got 94.5"),
    ("test_accuracy", "nan", "row 1: test_accuracy: expected a fraction from 0 to 1, got nan"),
    ("test_accuracy", "", "row 1: test_accuracy: a run that is done has one, got none"),
    ("seed", "1.5", "row 1: seed: expected an integer, got '1.5'"),
    ("seed", "-1", "row 1: Trial: seed must be an integer >= 0, got -1"),
    ("seed", "", "row 1: seed: a run has one, got none"),
    ("learning_rate", "fast", "row 1: learning_rate: expected a number, got 'fast'"),
    ("backward", "full_jm", "row 1: backward: Unknown rule 'full_jm'"),
    ("backward", "__import__('os')", "row 1: backward: "),
    ("device", "abacus", "row 1: device: expected a torch device"),
    ("epochs", "1e400", "row 1: epochs: expected an integer, got '1e400'"),
    ("epochs", "9" * 5000, "row 1: epochs: expected an integer, got '999"),
    ("epochs", "1_0", "row 1: epochs: expected an integer, got '1_0'"),
    ("learning_rate", "nan", "row 1: Trial: learning_rate must be a finite number > 0, got nan"),
    ("learning_rate", "1e999", "row 1: Trial: learning_rate must be a finite number > 0, got inf"),
    ("train_loss", "inf", "row 1: train_loss: expected a finite number, got inf"),
    ("test_loss", "-inf", "row 1: test_loss: expected a finite number, got -inf"),
    ("validation_loss", "low", "row 1: validation_loss: expected a number, got 'low'"),
    ("train_accuracy", "1.5", "row 1: train_accuracy: expected a fraction from 0 to 1, got 1.5"),
    ("validation_accuracy", "-0.1", "row 1: validation_accuracy: expected a fraction from 0 to 1, got -0.1"),
    ("classes", "0", "row 1: classes: expected 1 or more, got 0"),
    ("predicted_classes", "-1", "row 1: predicted_classes: expected 1 or more, got -1"),
    ("predicted_classes", "3", "row 1: predicted_classes: expected at most the 2 of classes, got 3"),
    ("test_samples", "0", "row 1: test_samples: expected 1 or more, got 0"),
    ("seconds", "nan", "row 1: seconds: expected seconds from 0 to 1e+09, got nan"),
    ("seconds", "inf", "row 1: seconds: expected seconds from 0 to 1e+09, got inf"),
    ("seconds", "-1", "row 1: seconds: expected seconds from 0 to 1e+09, got -1"),
    ("seconds", "0:00:07", "row 1: seconds: expected a number, got '0:00:07'"),
    ("started", "28.11.2026 13:06", "row 1: started: expected a time such as 2026-11-28T13:06:54+00:00, got '28.11."),
    ("added", "maybe", "row 1: added: expected an integer, got 'maybe'"),
    ("finished_epochs", "1", "row 1: finished_epochs: expected 2 in a run that is done, got 1"),
    ("most_seeds", "many", "row 1: most_seeds: expected an integer, got 'many'"),
    ("most_seeds", "0", "row 1: most_seeds: expected 1 or more, got 0"),
    ("most_seeds", "12", "row 1: added: expected 0 or 1, got None"),
    ("added", "2", "row 1: added: expected 0 or 1, got 2"),
    ("finished_epochs", "7", "row 1: finished_epochs: expected 2 in a run that is done, got 7"),
]


@FORMS
def test_what_a_run_cannot_have_is_one_line(tmp_path, form):
    if form == "csv":
        file = tmp_path / "t.csv"
        for column, value, problem in ROWS:
            export_table([GOOD], file, form="csv")
            header, row = (line.split(",") for line in re.sub('"[^"]*"', "ones", file.read_text()).splitlines())
            row[header.index(column)] = value
            file.write_text("\n".join([",".join(header), ",".join(row)]))
            with pytest.raises(StudyError, match=re.escape(problem)) as raised:
                load_table(file)
            assert "\n" not in str(raised.value)
        return
    file = tmp_path / f"t.{form}"
    export_table([replace(GOOD, epochs=(*GOOD.epochs[:1], EpochRecord(0.5, 0.5, 0.5, 94.5, 0.0)))], file, form=form)
    with pytest.raises(StudyError, match=r"row 1: test_accuracy: expected a fraction from 0 to 1, got 94\.5"):
        load_table(file)


def rewritten(file, **cells):
    """The cells of a CSV's rows exchanged: a value, or what makes one of the old value."""
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row.update({name: new(row[name]) if callable(new) else new for name, new in cells.items()})
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


WHOLE = [
    "subset",
    "batch",
    "epochs",
    "seed",
    "monitor",
    "finished_epochs",
    "predicted_classes",
    "classes",
    "most_seeds",
]


@pytest.mark.parametrize("written", ["{}.0", "{}.00", " {} ", "+{}", "{}e0"])
def test_a_whole_number_is_one_however_it_is_written(tmp_path, written):
    """Pandas makes floating columns of integers where a value is missing."""
    file = tmp_path / "t.csv"
    study, results = until_decided()
    export_table(results, file, form="csv", study=study)
    expected = load_table(file)
    rewritten(file, **dict.fromkeys(WHOLE, lambda old: written.format(old) if old else old))
    assert load_table(file) == expected
    rewritten(file, added=lambda old: "True" if old == "1" else "false")
    assert load_table(file) == expected


def test_nan_is_nothing_where_a_value_may_be_missing(tmp_path):
    study, results = plain()
    file = tmp_path / "t.csv"
    export_table(results, file, form="csv", study=study)
    expected = repr(load_table(file))
    text = file.read_text()
    blank = [name for name in text.splitlines()[0].split(",") if name not in {"seconds", "error"}]
    rewritten(file, **dict.fromkeys(blank, lambda old: old or "nan"))
    assert repr(load_table(file)) == expected
    export_table(results, tmp_path / "t.json", form="json", study=study)
    rows = json.loads((tmp_path / "t.json").read_text())
    expected = repr(load_table(tmp_path / "t.json"))
    as_pandas = [{name: math.nan if value is None else value for name, value in row.items()} for row in rows]
    (tmp_path / "t.json").write_text(json.dumps(as_pandas))
    assert repr(load_table(tmp_path / "t.json")) == expected


@FORMS
def test_a_run_whose_row_was_changed_is_refused_where_ids_count(tmp_path, form):
    """With a byte-order mark, without an id, without a column of ids: none of them is a way around."""
    file = tmp_path / f"t.{form}"
    export_table([GOOD], file, form=form)
    assert load_table(file, check_ids=True)[1] == load_table(file)[1]
    rows = trial_rows([GOOD])
    changed = [{**rows[0], "learning_rate": 0.2}]
    without = [{name: value for name, value in changed[0].items() if name != "id"}]
    for wrong in (changed, [{**rows[0], "id": None}], without, [{**without[0], "\ufeffid": rows[0]["id"]}]):
        columns = {name: type(value) if value is not None else str for name, value in wrong[0].items()}
        file.write_bytes(export._WRITERS[form](wrong, columns))
        load_table(file)
        with pytest.raises(StudyError, match=r"row 1: id: expected [0-9a-f]{16} of a run with these settings, got"):
            load_table(file, check_ids=True)


def test_a_byte_order_mark_changes_nothing(tmp_path):
    file = tmp_path / "t.csv"
    export_table([GOOD], file, form="csv")
    expected = load_table(file, check_ids=True)
    whole = file.read_bytes()
    file.write_bytes(b"\xef\xbb\xbf" + whole)
    assert load_table(file, check_ids=True) == expected
    file.write_bytes(whole)
    rewritten(file, learning_rate="0.3")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    with pytest.raises(StudyError, match="row 1: id: expected"):
        load_table(file, check_ids=True)


def test_a_run_that_would_end_beyond_the_last_date_is_refused(tmp_path):
    file = tmp_path / "t.csv"
    export_table([GOOD], file, form="csv")
    rewritten(file, started="9999-12-31T23:59:59+00:00", seconds="1")
    with pytest.raises(StudyError, match="row 1: started: expected a time such as"):
        load_table(file)
    rewritten(file, started="2026-11-28 13:06:54Z")
    assert load_table(file)[1][0].started == "2026-11-28T13:06:54+00:00"


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    file = tmp_path / "t.csv"
    export_table([GOOD], file, form="csv")
    head, row = file.read_text().splitlines()
    file.write_text(f"{head},seed\n{row},7\n")
    with pytest.raises(StudyError, match="it has the column seed twice"):
        load_table(file)


def test_the_number_of_test_samples_comes_back_and_may_be_missing(tmp_path):
    file = tmp_path / "t.csv"
    export_table([replace(GOOD, test_samples=400)], file, form="csv")
    assert load_table(file)[1][0].test_samples == 400
    rewritten(file, test_samples="")
    assert load_table(file)[1][0].test_samples is None


def test_json_keeps_its_types(tmp_path):
    file = tmp_path / "t.json"
    export_table([GOOD], file, form="json")
    rows = json.loads(file.read_text())
    for column, value in (("seed", True), ("seed", 1.5), ("seed", 1e300), ("data", 3), ("test_accuracy", [1])):
        file.write_text(json.dumps([rows[0] | {column: value}]))
        with pytest.raises(StudyError, match=rf"row 1: {column}: expected (an integer|a number|text), got "):
            load_table(file)
    file.write_text(json.dumps([rows[0] | {"learning_rate": 1}]))
    assert load_table(file)[1][0].trial.learning_rate == 1.0


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("t.txt", b"", "a table ends in .csv, .json, .parquet"),
        ("t.csv", b"", "it has no rows"),
        ("t.csv", b"a,b\n1,2\n", "it has no column backward"),
        ("t.csv", b"\xff\xfe", "it is no CSV of UTF-8 text"),
        ("t.csv", b'a,"b\n1', "it is no CSV of UTF-8 text"),
        ("t.json", b"{", "it is no JSON"),
        ("t.json", b"[" * 100_000, "it is no JSON"),
        ("t.json", b'{"a": 1}', "expected a list of objects"),
        ("t.json", b"[]", "it has no rows"),
        ("t.parquet", b"PAR1", "it is no parquet"),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StudyError, match=re.escape(problem)) as raised:
        load_table(tmp_path / name)
    assert "\n" not in str(raised.value)
    assert str(tmp_path / name) in str(raised.value)


def test_other_tables_say_what_they_are(tmp_path):
    file = tmp_path / "t.csv"
    export_table([GOOD], file, form="csv", per_epoch=True)
    with pytest.raises(StudyError, match="it has a row for each epoch, not one a run"):
        load_table(file)
    with pytest.raises(StudyError, match=r"Cannot read .*gone\.csv: No such file"):
        load_table(tmp_path / "gone.csv")
    export_table([], file, form="csv")
    with pytest.raises(StudyError, match="it has no rows; run its study first"):
        load_table(file)


def test_rows_that_do_not_fit_their_head_or_repeat_a_run_are_refused(tmp_path):
    file = tmp_path / "t.csv"
    export_table([GOOD], file, form="csv")
    text = file.read_text()
    head, row = text.splitlines()
    columns = head.count(",") + 1
    file.write_text(f"{text}{row}\n")
    with pytest.raises(StudyError, match="row 2: a row above it is of the same run"):
        load_table(file)
    for wrong in (f"{text}{row},1\n", f"{text}{row[:40]}\n"):
        file.write_text(wrong)
        with pytest.raises(StudyError, match=rf"row 2: expected {columns} values, one a column"):
            load_table(file)


def test_parquet_without_its_package_names_the_extra(tmp_path, monkeypatch):
    export_table([GOOD], tmp_path / "t.parquet", form="parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[report\]'"):
        load_table(tmp_path / "t.parquet")


def test_a_column_that_came_later_may_be_missing(tmp_path):
    file = tmp_path / "t.json"
    export_table([GOOD], file, form="json")
    rows = json.loads(file.read_text())
    file.write_text(
        json.dumps([{name: value for name, value in rows[0].items() if name not in DEFAULTS_OF_LATER_FIELDS}])
    )
    assert load_table(file)[1][0].trial == GOOD.trial


def test_runs_of_one_table_may_get_as_many_seeds(tmp_path):
    study, results = until_decided()
    export_table(results, tmp_path / "t.json", form="json", study=study)
    rows = json.loads((tmp_path / "t.json").read_text())
    rows[2]["most_seeds"] = 24
    (tmp_path / "t.json").write_text(json.dumps(rows))
    with pytest.raises(StudyError, match="row 3: most_seeds: expected 12 as in the first row, got 24"):
        load_table(tmp_path / "t.json")


def test_claims_without_runs_in_the_table_are_left_out(tmp_path):
    study, results = plain()
    some = [result for result in results if result.trial.backward != "full_jam"]
    export_table(some, tmp_path / "t.csv", form="csv")
    found, _ = load_table(tmp_path / "t.csv", study)
    assert [claim.candidate for claim in found.claims] == ["constant(1)", "frozen"]


def test_a_store_and_its_table_give_the_same(tmp_path):
    study, results = plain()
    with Store.create(tmp_path, study) as store:
        for result in results:
            store.add(result)
        export_table(store.results(), tmp_path / "t.csv", form="csv")
        stored = judge(study.claims, store.study(), store.results())
    found, again = load_table(tmp_path / "t.csv", study)
    assert [verdict.text for verdict in judge(found.claims, found, again)] == [verdict.text for verdict in stored]
