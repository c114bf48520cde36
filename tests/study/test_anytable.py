"""Claims about tables of any origin: the intervals are SciPy's, and what cannot be compared is one line."""

import json

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats

from tieless.errors import StudyError
from tieless.study.anytable import Columns, Run, Runs, ask_table
from tieless.study.judging.statistics import Differences

OURS = [0.8123456, 0.8312345, 0.7987654, 0.8234567, 0.8045678, 0.8191919, 0.8012345, 0.8277777, 0.8111111, 0.8099999]
THEIRS = [0.7912345, 0.8123456, 0.7923456, 0.7834567, 0.7845678, 0.7955555, 0.7999999, 0.7987654, 0.7912121, 0.7888888]
LEVEL = 0.025 * 0.8 * 0.8
PAIRED = Columns.parse("rule=method,seed=run,value=f1")
ALONE = Columns.parse("rule=method,value=f1")


def table(tmp_path, rows, names=("method", "run", "f1")):
    file = tmp_path / "t.csv"
    file.write_text("\n".join([",".join(names), *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")
    return file


def rows_of(ours=OURS, theirs=THEIRS):
    return [("new", i, v) for i, v in enumerate(ours)] + [("base", i, v) for i, v in enumerate(theirs)]


def test_runs_of_equal_seeds_are_paired(tmp_path):
    verdict = ask_table(Runs.read(table(tmp_path, rows_of()), PAIRED), "new is superior to base by 0")
    (cell,) = verdict.cells
    values = [round(a - b, 12) for a, b in zip(OURS, THEIRS, strict=True)]
    low = stats.quantile_test(values, p=0.5, alternative="greater").confidence_interval(1 - LEVEL).low
    high = stats.quantile_test(values, p=0.5, alternative="less").confidence_interval(1 - LEVEL).high
    assert (cell.pairs, cell.found.interval, verdict.verdict) == (10, (low, high), "holds")
    assert ask_table(Runs.read(table(tmp_path, rows_of()), PAIRED), "new is superior to base by 0.1").verdict == (
        "does not hold"
    )


def test_runs_without_seeds_are_paired_at_random_by_any_order_but_that_of_their_values(tmp_path):
    rows = rows_of(sorted(OURS), sorted(THEIRS[:8]))
    (cell,) = ask_table(Runs.read(table(tmp_path, rows), ALONE), "new is superior to base by 0.01").cells
    assert (cell.pairs, cell.runs, cell.found.n) == (None, (10, 8), 8)
    assert cell.lacks == ("2 runs without a partner left out",)
    in_order = [round(a - b, 12) for a, b in zip(sorted(OURS), sorted(THEIRS[:8]), strict=False)]
    assert cell.found != Differences.of(in_order, LEVEL, LEVEL)
    assert ask_table(Runs.read(table(tmp_path, rows), ALONE), "new is superior to base by 0.01").cells == (cell,)


def test_pairs_at_random_are_wrong_as_rarely_as_said(tmp_path):
    """Two samples of equal medians and other shapes, sorted in the file: 300 studies, each side 8 runs."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(300):
        sides = [
            [("new", v) for v in np.sort(rng.normal(0, 3, 8))],
            [("base", v) for v in np.sort(rng.normal(0, 1, 8))],
        ]
        runs = Runs(ALONE, tuple(Run(name, float(v), None, ()) for side in sides for name, v in side), 0, 0.0)
        wrong += ask_table(runs, "new is superior to base by 0").verdict != "undecided"
    assert wrong <= 300 * 2 * 0.016 + 3 * (300 * 2 * 0.016) ** 0.5


@pytest.mark.parametrize("relation", ["superior", "inferior", "non-inferior", "equivalent"])
def test_lower_is_better_is_the_mirror_of_higher(tmp_path, relation):
    claim = f"new is {relation} to base by 0.01"
    plain = ask_table(Runs.read(table(tmp_path, rows_of()), PAIRED), claim)
    mirrored = table(tmp_path, rows_of([-v for v in OURS], [-v for v in THEIRS]))
    lower = ask_table(Runs.read(mirrored, PAIRED), claim, lower=True)
    assert plain.verdict == lower.verdict
    low, high = lower.cells[0].found.interval
    assert plain.cells[0].found.interval == (-high, -low)


def test_a_point_is_that_of_fractions_or_of_percentages(tmp_path):
    fractions = ask_table(Runs.read(table(tmp_path, rows_of()), PAIRED), "new is superior to base")
    assert fractions.says == "new is superior to base by 1 point (0.01 of f1)"
    percent = table(tmp_path, rows_of([100 * v for v in OURS], [100 * v for v in THEIRS]))
    verdict = ask_table(Runs.read(percent, PAIRED), "new is superior to base by 2 points")
    assert verdict.says == "new is superior to base by 2 points (2 of f1)"
    large = table(tmp_path, rows_of([1000.0 + i for i in range(6)], [1.5 + i for i in range(6)]))
    with pytest.raises(StudyError, match="give the margin in their own unit"):
        ask_table(Runs.read(large, PAIRED), "new is superior to base by 1 point")
    assert ask_table(Runs.read(large, PAIRED), "new is superior to base by 1").verdict == "holds"


def test_seeds_that_do_not_match_are_left_out_or_not_used(tmp_path):
    partly = [*rows_of(), ("new", 99, 0.5)]
    (cell,) = ask_table(Runs.read(table(tmp_path, partly), PAIRED), "new is superior to base by 0").cells
    assert (cell.pairs, cell.lacks) == (10, ("1 run without a partner left out",))
    assert cell.means == pytest.approx((sum(OURS) / 10, sum(THEIRS) / 10))
    apart = [(name, i + 100 * (name == "new"), v) for name, i, v in rows_of()]
    assert ask_table(Runs.read(table(tmp_path, apart), PAIRED), "new is superior to base by 0").cells[0].pairs is None


def test_two_columns_of_one_name_are_refused(tmp_path):
    file = table(tmp_path, [(*row, 0.1) for row in rows_of()], ("method", "run", "f1", "f1"))
    with pytest.raises(StudyError, match=r"^Cannot read \S+t\.csv: it has the column f1 twice; rename one\.$"):
        Runs.read(file, PAIRED)


def test_too_few_runs_are_undecided(tmp_path):
    for rows, columns in ((rows_of(OURS[:2], THEIRS[:2]), PAIRED), (rows_of(OURS[:2]), ALONE)):
        verdict = ask_table(Runs.read(table(tmp_path, rows), columns), "new is superior to base by 0")
        assert verdict.verdict == "undecided"
        assert "a verdict needs 5 pairs" in verdict.cells[0].lacks[-1]


def test_each_cell_is_compared_by_itself_and_all_share_the_level(tmp_path):
    rows = [(*row, cell) for row in rows_of() for cell in "ab"]
    file = table(tmp_path, rows, ("method", "run", "f1", "task"))
    columns = Columns.parse("rule=method,seed=run,value=f1,cell=task")
    both = ask_table(Runs.read(file, columns), "new is superior to base by 0")
    (tmp_path / "one").mkdir()
    one = ask_table(Runs.read(table(tmp_path / "one", rows_of()), PAIRED), "new is superior to base by 0")
    assert [cell.cell for cell in both.cells] == [("a",), ("b",)]
    values = [round(a - b, 12) for a, b in zip(OURS, THEIRS, strict=True)]
    assert one.cells[0].found == Differences.of(values, LEVEL, LEVEL)
    assert both.cells[0].found == both.cells[1].found == Differences.of(values, LEVEL / 2, LEVEL / 2)
    with pytest.raises(StudyError, match="has several runs of run 0"):
        ask_table(Runs.read(file, PAIRED), "new is superior to base")


def test_what_pandas_and_json_write_is_read(tmp_path):
    file = tmp_path / "t.json"
    rows = [{"method": n, "run": float(i), "f1": v} for n, i, v in rows_of()] + [
        {"method": "new", "run": None, "f1": None}
    ]
    file.write_text(json.dumps(rows), encoding="utf-8")
    verdict = ask_table(Runs.read(file, PAIRED), "new is superior to base by 0")
    assert verdict.cells[0].pairs == 10
    assert "1 row without a value left out." in verdict.lacks
    assert "seeds" in ask_table(Runs.read(file, ALONE), "new is superior to base by 0").lacks


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("nothing", "A claim about a table reads: NAME is"),
        ("other is superior to base", "Unknown name in the column method 'other'. There are: base, new"),
        ("new is superior to new", "compared with itself"),
        ("new is equivalent to base by 0", "nothing is equivalent by 0"),
        ("new is superior to base by e", "expected a number of 0 or more"),
        ("new is superior to base by -1", "expected a number of 0 or more"),
        ("new is better than base", "A claim about a table reads"),
    ],
)
def test_a_claim_that_cannot_be_read_is_one_line(tmp_path, sentence, words):
    with pytest.raises(StudyError) as caught:
        ask_table(Runs.read(table(tmp_path, rows_of()), PAIRED), sentence)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("rule=method", "value is missing"),
        ("rule", "expected ROLE=COLUMN"),
        ("rule=a,rule=b,value=c", "rule is given twice"),
        ("rulee=a,value=c", "Unknown role 'rulee'. Did you mean 'rule'?"),
        ("rule=absent,value=f1", "has no column 'absent'; it has method, run, f1"),
        ("rule=f1,value=method", "row 1: method: expected a number, got 'new'"),
    ],
)
def test_columns_that_are_not_there_are_one_line(tmp_path, columns, words):
    with pytest.raises(StudyError) as caught:
        Runs.read(table(tmp_path, rows_of()), Columns.parse(columns))
    assert words in str(caught.value)


@given(text=st.text(max_size=40))
def test_any_text_is_columns_or_refused(text):
    try:
        Columns.parse(text)
    except StudyError as error:
        assert str(error)  # noqa: PT017 - any other error fails the test


@pytest.mark.parametrize(
    ("column", "good", "others"),
    [("state", "COMPLETE", ("PRUNED", "FAIL", "RUNNING")), ("State", "finished", ("crashed", "failed", "running"))],
    ids=["Optuna", "wandb"],
)
def test_runs_that_did_not_come_to_their_end_are_left_out_and_counted(tmp_path, column, good, others):
    whole = [(*row, good) for row in rows_of()]
    # A pruned trial has the value that it had when it was stopped, a failed one none, a running one no parameters yet.
    partial = [("new", 77, 0.001, others[0]), ("base", 77, "", others[1]), ("", "", "", others[2])]
    columns = Columns.parse("rule=method,seed=run,value=f1")
    runs = Runs.read(table(tmp_path, [*whole, *partial], ("method", "run", "f1", column)), columns)
    assert runs.runs == Runs.read(table(tmp_path, rows_of()), columns).runs
    assert runs.unfinished == 3
    assert runs.left_out == "3 rows whose state says that the run did not come to its end left out."
    # Words of one's own, and a column that is asked for, are no such state.
    own = Runs.read(table(tmp_path, [(*row, "PRUNED?") for row in rows_of()], ("method", "run", "f1", column)), columns)
    apart = Columns.parse(f"rule=method,seed=run,value=f1,cell={column}")
    named = Runs.read(table(tmp_path, [(*row, others[0]) for row in rows_of()], ("method", "run", "f1", column)), apart)
    assert (own.unfinished, named.unfinished, len(named.runs)) == (0, 0, len(own.runs))


def test_a_name_that_is_not_there_is_one_short_line_whatever_the_names_are(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text(f'rule,value\n"a\nb",1\n{"x" * 3000},2\n', encoding="utf-8")
    runs = Runs.read(file, Columns("rule", "value"))
    with pytest.raises(StudyError) as refused:
        ask_table(runs, "none is superior to x by 1")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300
