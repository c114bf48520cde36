"""Claims on the command line: asked of a folder, decided by a run, told by status and report."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.study import fakes
from tieless.cli import main
from tieless.cli.study import running as commands
from tieless.report.words import MINUS
from tieless.study import Store
from tieless.study.running import runner
from tieless.study.running.runner import run


@pytest.fixture
def noisy(monkeypatch):
    """``tieless study run`` with the trials of ``fakes.noisy``, in this process."""
    monkeypatch.setattr(runner, "ProcessPool", fakes.Inline)
    monkeypatch.setattr(commands, "run", lambda *given, **options: run(*given, **options, run_trial=fakes.noisy))
    Path("claiming.yaml").write_text(fakes.CLAIMING, encoding="utf-8")
    Path("choosing.yaml").write_text(fakes.CHOOSING, encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    study = fakes.claiming("seeds=0..9")
    with Store.create(tmp_path, study) as store:
        for trial in study.trials:
            store.add(fakes.noisy(trial))
    return tmp_path


def invoke(*arguments):
    return CliRunner().invoke(main, ["study", *map(str, arguments)])


def test_a_claim_is_answered_with_its_numbers(folder):
    asked = invoke("ask", folder, "full_jam is inferior to tied by 1 point for logistic under sgd")
    assert asked.exit_code == 0, asked.output
    verdict, numbers, method = asked.output.splitlines()[:3]
    assert verdict == "full_jam is inferior to tied by 1 point for logistic under sgd: holds"
    assert re.fullmatch(
        r"  -\d\.\d\d \(-\d\.\d\d to -\d\.\d\d\) points, \d\d\.\d % against \d\d\.\d %;"
        r" 10 pairs: 0 better, 0 equal, 10 worse; collapsed 0 and 0 of 10 \(excess -\d\d to \d\d %\)",
        numbers.replace(MINUS, "-"),
    )
    assert method.startswith("Median difference of test accuracy paired by seed, in points, and runs that collapse")


def test_an_undecided_claim_names_the_seeds_it_needs(folder):
    asked = invoke("ask", folder, "constant is non-inferior to tied by 0.4 points")
    assert asked.exit_code == 4
    assert re.match(r".*: undecided, needs about \d+ more seeds\n", asked.output)


@pytest.mark.parametrize(
    ("sentence", "problem"),
    [
        ("full_jam is worse than tied", "expected one of non-inferior, superior, inferior, equivalent, got 'worse'"),
        ("full_jm is inferior to tied", "Unknown rule 'full_jm'. Did you mean 'full_jam'"),
        ("full_jam is inferior to tied for relu", "no run has the forward relu; there are logistic"),
        ("full_jam is inferior to tied at the chosen rate", "this study chooses none"),
    ],
)
def test_what_cannot_be_asked_is_one_line(folder, sentence, problem):
    asked = invoke("ask", folder, sentence)
    assert (asked.exit_code, asked.stdout) == (2, "")
    assert re.fullmatch(f"Error: [^\n]*{problem}[^\n]*\n", asked.stderr), asked.stderr


def test_a_folder_without_a_study_is_one_line(tmp_path):
    asked = invoke("ask", tmp_path / "none", "full_jam is inferior to tied")
    assert asked.exit_code == 2
    assert "No study in" in asked.stderr


@pytest.mark.usefixtures("noisy")
def test_a_run_until_decided_tells_the_verdicts_and_so_do_status_and_report():
    ran = invoke("run", "claiming.yaml", "--until-decided", "--max-seeds", "48", "--out", "out")
    assert ran.exit_code == 0, ran.output
    said = [
        "constant(1) is non-inferior to tied by 1 point: holds",
        "full_jam is non-inferior to tied by 1 point: does not hold",
        "frozen is inferior to tied by 20 points: holds",
    ]
    lines = ran.output.splitlines()
    assert [line for line in lines if " is " in line] == said
    (added,) = re.findall(
        r"^(\d+) of the trials have seeds that were added to decide claims\.$", ran.output, re.MULTILINE
    )
    status = invoke("status", "out").output.splitlines()
    assert [line for line in status if " is " in line] == said
    assert f"{added} of them added after the first results" in " ".join(" ".join(status).split())
    report = invoke("report", "out").output
    assert report.startswith("A study of claims: all ")
    assert report.index("mean over seeds") < report.index(f"\n{said[0]}\n"), "the verdicts come last"
    assert "The baseline: frozen is inferior to tied by 20 points: holds" in report
    assert re.search(r"is shared by 3 comparisons and by \d looks", report)
    again = invoke("run", "claiming.yaml", "--until-decided", "--out", "out")
    assert again.exit_code == 0, "the most seeds are those of before"
    other = invoke("run", "claiming.yaml", "--until-decided", "--max-seeds", "20", "--out", "out")
    assert other.exit_code == 0


@pytest.mark.usefixtures("noisy")
def test_a_plan_says_what_its_claims_can_show_and_so_does_the_run():
    planned = invoke("plan", "claiming.yaml", "--set", "seeds=0..19", "--sd", "0.5")
    assert planned.exit_code == 0, planned.output
    assert re.search(r"tied by 1 point: 1 cell of 20 seeds: a median 0\.\d+ points from its margin is", planned.output)
    assert "standard deviation 0.5 points, as given" in planned.output
    assert "it cannot hold: without a collapse 2" in planned.output
    ran = invoke("run", "claiming.yaml", "--set", "seeds=0..19", "--out", "out")
    assert re.search(r"^A claim can show: .* points from its margin \(power 80 %\)", ran.output, re.MULTILINE)
    assert (
        "of the 20 pairs that have run"
        in invoke("plan", "claiming.yaml", "--set", "seeds=0..19", "--out", "out").output
    )
    assert invoke("plan", "paper/none").exit_code == 2


@pytest.mark.usefixtures("noisy")
@pytest.mark.parametrize("more", ["", ", extend: [0.001, 1.0]"])
def test_a_plan_says_how_learning_rates_will_be_chosen(more):
    text = Path("choosing.yaml").read_text(encoding="utf-8")
    Path("choosing.yaml").write_text(re.sub("(?<=choose: {).*(?=})", f"validation: 0.1, seeds: [100, 101]{more}", text))
    told = invoke("plan", "choosing.yaml").output
    assert re.search("are chosen first: [0-9]+ runs, under seeds 100, 101, by 10 % of the training samples", told)
    assert ("from 0.001 to 1." in told) == bool(more)
    assert "are chosen" not in invoke("plan", "claiming.yaml").output


def test_a_question_by_itself_says_so_and_one_of_the_study_is_judged_among_its_others(folder):
    alone = invoke("ask", folder, "constant is non-inferior to tied by 2 points").output
    assert "is shared by 1 comparison." in alone
    assert "A question by itself beside the 3 of the study: it shares its error with no other" in alone
    own = invoke("ask", folder, "constant is non-inferior to tied by 1 point").output
    assert "is shared by 3 comparisons." in own
    assert "by itself" not in own


@pytest.mark.usefixtures("noisy")
@pytest.mark.parametrize("options", ["--until-decided", "--until-decided --max-seeds 12 --every-cell"])
def test_a_spent_budget_says_how_to_go_on(options):
    ran = invoke("run", "claiming.yaml", *options.split(), "--budget", "1e-12", "--out", "out")
    assert ran.exit_code == 0
    again = f"tieless study run claiming.yaml --out out --workers 1 {options} --budget 1e-12\n"
    assert f"The budget is spent. To continue: {again}" in ran.output
    assert ran.output.count("undecided: not run yet") == 3


@pytest.mark.usefixtures("noisy")
def test_rates_are_chosen_and_shown():
    Path("choosing.yaml").write_text(fakes.CHOOSING, encoding="utf-8")
    ran = invoke("run", "choosing.yaml", "--out", "out")
    assert ran.exit_code == 0, ran.output
    assert "36 done" in ran.output
    report = invoke("report", "out").output
    assert "each cell at the learning rate that was chosen for it on validation samples, by other seeds" in report
    assert report.count("@0.1") == 4
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert page.index('id="claims"') < page.index('class="facts"') < page.index('id="choices"')
    assert "0.01: 7" in page


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--max-seeds", "8"], "--max-seeds says nothing without --until-decided"),
        (["--every-cell"], "--every-cell says nothing without --until-decided"),
        (["--until-decided", "--max-seeds", "2"], "2 is not in the range x>=3"),
        (["--budget", "0"], "0.0 is not in the range x>0"),
        (["--budget", "much"], "'much' is not a valid float range"),
    ],
)
def test_a_bad_option_is_one_line_and_nothing_is_written(tmp_path, options, problem):
    asked = invoke("run", "paper/suc-ones", "--out", "out", *options)
    assert (asked.exit_code, asked.stdout) == (2, "")
    assert problem in asked.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_table_is_asked_and_reported_as_its_folder_is(folder, tmp_path):
    table = tmp_path / "trials.csv"
    assert invoke("export", folder, "--format", "csv").exit_code == 0
    sentence = "full_jam is inferior to tied by 1 point for logistic under sgd"
    asked = invoke("ask", folder, sentence).output
    # A table does not have the claims of its study.
    assert invoke("ask", table, sentence).output == asked.replace(" beside the 3 of the study", "") != ""
    Path("claiming.yaml").write_text(fakes.CLAIMING, encoding="utf-8")
    of_folder, of_table = invoke("report", folder), invoke("report", table, "--study", "claiming.yaml")
    assert (of_folder.exit_code, of_table.exit_code) == (0, 0), of_table.output
    assert of_table.output.splitlines()[:-1] == of_folder.output.splitlines()[:-1]
    assert of_table.output.splitlines()[-1] == str(table.with_suffix(".html"))
    assert "The baseline" in table.with_suffix(".html").read_text(encoding="utf-8")


def test_a_table_that_is_none_is_one_line(folder, tmp_path):
    Path("t.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    for words in (("ask", "t.csv", "full_jam is inferior to tied"), ("report", "t.csv")):
        asked = invoke(*words)
        assert (asked.exit_code, asked.stdout) == (2, "")
        assert re.fullmatch(r"Error: Cannot read t\.csv: it has no column [^\n]*\n", asked.stderr)
    refused = invoke("report", folder, "--study", "quickstart")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
