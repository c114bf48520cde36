"""``study ask``, ``report`` and ``merge`` as a shell meets them: exit codes, tables of any origin, joined stores."""

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from tests.study.fakes import claiming, make_result, noisy
from tieless.cli import main
from tieless.study import Store, load_study


def invoke(*arguments):
    return CliRunner().invoke(main, ["study", *map(str, arguments)])


def stored(folder, seeds):
    study = claiming(f"seeds={seeds}")
    folder.mkdir()
    with Store.create(folder, study) as store:
        for trial in study.trials:
            store.add(noisy(trial))
    return study


@pytest.mark.parametrize(
    ("sentence", "code"),
    [
        ("frozen is inferior to tied by 20 points", 0),
        ("full_jam is non-inferior to tied by 1 point", 3),
        ("constant is superior to tied by 0 points", 4),
    ],
)
def test_the_exit_code_is_the_verdict(tmp_path, sentence, code):
    stored(tmp_path / "s", "0..9")
    assert invoke("ask", tmp_path / "s", sentence).exit_code == code
    invoke("export", tmp_path / "s", "--format", "csv")
    assert invoke("ask", tmp_path / "s" / "trials.csv", sentence).exit_code == code
    columns = "rule=backward,seed=seed,value=test_accuracy"
    sentence = sentence.replace("constant ", "constant(1) ")
    assert invoke("ask", tmp_path / "s" / "trials.csv", sentence, "--columns", columns).exit_code == code


def test_a_usage_error_is_no_verdict(tmp_path):
    stored(tmp_path / "s", "0..4")
    assert invoke("ask", tmp_path / "s", "nonsense").exit_code == 2
    assert invoke("ask", tmp_path / "s", "frozen is inferior to tied", "--lower").exit_code == 2
    (tmp_path / "t.csv").write_text("method,f1\nnew,1\n", encoding="utf-8")
    error = invoke("ask", tmp_path / "t.csv", "frozen is inferior to tied").stderr
    assert error.count("\n") == 1
    assert "For a table of another origin: --columns" in error


def test_a_range_of_seeds_is_their_list(tmp_path):
    assert {trial.seed for trial in claiming("seeds=0..9").trials} == set(range(10))
    assert claiming("seeds=[0..2,7]").trials == claiming("seeds=[0,1,2,7]").trials
    for text in ("5..2", "0..100000", "0..", "-1..3", "0..1..2", "0..2,1"):
        with pytest.raises(Exception, match="seeds"):
            claiming(f"seeds=[{text}]")


def test_stores_of_several_machines_are_joined(tmp_path):
    one, two = stored(tmp_path / "a", "0..2"), stored(tmp_path / "b", "2..4")
    assert "20 results" in invoke("merge", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "c").output
    with Store.open(tmp_path / "c") as store:
        plan, results = store.study(), store.results()
    assert set(plan.trials) == {*one.trials, *two.trials}
    assert {r.trial.id: r.epochs for r in results} == {t.id: noisy(t).epochs for t in {*one.trials, *two.trials}}
    for folder, study in (("a", one), ("b", two)):
        with Store.open(tmp_path / folder) as store:
            assert store.study().trials == study.trials


def test_a_failed_result_is_replaced_by_one_of_another_machine(tmp_path):
    study = claiming("seeds=0")
    for folder, status in (("a", "failed"), ("b", "done")):
        (tmp_path / folder).mkdir()
        with Store.create(tmp_path / folder, study) as store:
            store.add(make_result(study.trials[0], status))
    invoke("merge", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "c")
    with Store.open(tmp_path / "c") as store:
        assert [result.status for result in store.results()] == ["done"]


def test_what_cannot_be_joined_is_refused(tmp_path):
    stored(tmp_path / "a", "0")
    other = load_study("paper/suc-ones", ["seeds=0"], check=False)
    (tmp_path / "b").mkdir()
    with Store.create(tmp_path / "b", other):
        pass
    for arguments, words in (
        (("a", "b", "--out", "c"), "holds the study 'paper/suc-ones', and not 'claiming'"),
        (("a", "--out", "b"), "has a study: name a new folder"),
        (("a", "none", "--out", "c"), "No study in"),
    ):
        result = invoke("merge", *(a if a.startswith("--") else tmp_path / a for a in arguments))
        assert result.exit_code == 2
        assert words in result.stderr
        assert not (tmp_path / "c").exists()


def test_the_page_goes_where_it_is_asked_to(tmp_path):
    stored(tmp_path / "a", "0..2")
    assert invoke("report", tmp_path / "a", "--out", tmp_path / "page.html").exit_code == 0
    assert "claiming" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not (tmp_path / "a" / "report.html").exists()


def test_a_table_of_any_origin_has_its_means(tmp_path):
    (tmp_path / "t.csv").write_text("method,f1\nnew,0.5\nnew,0.7\nbase,0.1\n", encoding="utf-8")
    output = invoke("report", tmp_path / "t.csv", "--columns", "rule=method,value=f1").output
    assert next(line.split() for line in output.splitlines() if "new" in line)[:3] == ["new", "2", "0.6"]
    assert invoke("report", tmp_path / "t.csv", "--columns", "rule=method,value=f1", "--study", "x").exit_code == 2


def test_a_table_of_any_origin_has_a_page_of_its_means(tmp_path):
    content = "method,f1,set\nnew,0.5,a\nnew,0.7,a\nnew,0.8,a\nbase,nan,a\n<i>x</i>,0.1,b\n"
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    columns = ("--columns", "rule=method,value=f1,cell=set")
    assert invoke("report", tmp_path / "t.csv", *columns).output.endswith(f"{tmp_path / 't.html'}\n")
    page = (tmp_path / "t.html").read_text(encoding="utf-8")
    half = stats.t.ppf(0.975, 2) * np.std([0.5, 0.7, 0.8], ddof=1) / 3**0.5
    assert (
        f"<td>3</td>\n      <td><b>0.666667</b></td>\n      <td>{2 / 3 - half:.4g} to {2 / 3 + half:.4g}</td>" in page
    )
    assert "<dt>Rows without a value, left out</dt><dd>1</dd>" in page
    assert "&lt;i&gt;x&lt;/i&gt;" in page
    assert "<i>" not in page
    assert "<script" not in page
    assert invoke("report", tmp_path / "t.csv", *columns, "--out", tmp_path / "p.html").exit_code == 0
    assert (tmp_path / "p.html").read_text(encoding="utf-8") == page
    itself = invoke("report", tmp_path / "t.csv", *columns, "--out", tmp_path / "t.csv")
    assert (itself.exit_code, itself.stderr.count("\n")) == (2, 1)
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == content
