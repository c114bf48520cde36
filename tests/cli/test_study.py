"""``tieless study`` as a user meets it, with real training on the smallest study."""

import csv
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.alone import forking
from tests.study.fakes import make_result, make_study
from tieless.cli import main
from tieless.cli.study import running as commands
from tieless.study import Store, load_study, shipped

MINIMAL = """\
title: Mine
question: Is it read?
core_hours: 0.1
grid:
  data: ones
  model: suc
  forward: logistic
  backward: tied
  loss: bce
  optimiser: sgd
  learning_rate: 0.1
  batch: 32
  epochs: 1
  seeds: 0
"""
SHORT = ["paper/suc-ones", "--set", "epochs=1", "--set", "data=ones"]
SMALL = [*SHORT, "--set", "seeds=0"]


def invoke(*arguments):
    return CliRunner().invoke(main, ["study", *map(str, arguments)])


def assert_refused(result, pattern):
    """One clear line on stderr, exit code 2, and nothing written."""
    assert result.exit_code == 2
    assert result.stdout == ""
    assert re.fullmatch(f"Error: [^\n]*{pattern}[^\n]*\n", result.stderr), result.stderr


def test_list_has_every_study_with_its_trials_and_cost():
    lines = invoke("list").output.splitlines()[1:]
    assert [line.split()[0] for line in lines] == shipped()
    study = load_study("paper/lenet5-jamming", check=False)
    (line,) = [line for line in lines if line.startswith("paper/lenet5-jamming")]
    assert line.split()[1:3] == [str(len(study.trials)), f"{study.core_hours:g}"]


def test_run_status_report_and_export_from_any_folder():
    ran = invoke("run", *SMALL)
    assert ran.exit_code == 0, ran.output
    title = load_study("paper/suc-ones", check=False).title
    begins = f"{title}: {{}} of 3 trials to run, {{}}, results in runs/paper/suc-ones"
    assert ran.stdout.splitlines()[0] == begins.format(3, "1 worker")
    assert "3 done, 0 diverged, 0 failed." in ran.output
    assert "tieless study report runs/paper/suc-ones" in ran.output
    folder = Path("runs/paper/suc-ones")

    again = invoke("run", *SMALL, "--workers", "2")
    assert again.stdout.splitlines()[0] == begins.format(0, "2 workers")
    assert again.stdout.count("trials to run") == 1

    status = invoke("status", folder)
    assert status.exit_code == 0
    assert dict(line.split()[::-1] for line in status.output.splitlines()[1:6]) == {
        "planned": "3",
        "done": "3",
        "diverged": "0",
        "failed": "0",
        "left": "0",
    }

    assert status.output.splitlines()[6].endswith(": undecided: 1 pair, and a verdict needs 5")

    report = invoke("report", folder)
    assert report.exit_code == 0, report.output
    assert report.output.splitlines()[-1] == str(folder / "report.html")
    assert (folder / "report.html").is_file()

    for form in ("csv", "json", "parquet"):
        exported = invoke("export", folder, "--format", form)
        assert (exported.exit_code, exported.output.strip()) == (0, str(folder / f"trials.{form}"))
    with (folder / "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["backward"] for row in rows] == ["tied", "constant(1)", "frozen"]
    assert rows[0]["status"] == "done"

    again = invoke("run", *SMALL)
    assert again.exit_code == 0
    assert "0 done, 0 diverged, 0 failed, 3 were there before." in again.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A table of the runs of one seed."""
    folder = tmp_path_factory.mktemp("runs")
    with forking():
        assert invoke("run", *SMALL, "--out", folder).exit_code == 0
    assert invoke("export", folder, "--format", "csv", "--out", folder / "old.csv").exit_code == 0
    return folder / "old.csv"


@pytest.fixture
def table(runs):
    """old.csv: the runs of one seed."""
    shutil.copy(runs, "old.csv")


@pytest.mark.usefixtures("forked", "table")
def test_a_run_goes_on_from_a_table():
    more = invoke("run", *SHORT, "--set", "seeds=[0, 1]", "--out", "new", "--from", "old.csv")
    assert more.exit_code == 0, more.output
    assert "3 done, 0 diverged, 0 failed, 3 were there before." in more.output
    assert "3 of the 3 runs of old.csv are this study's." in more.output
    assert invoke("export", "new", "--format", "csv", "--out", "new.csv").exit_code == 0
    with Path("old.csv").open(encoding="utf-8") as old, Path("new.csv").open(encoding="utf-8") as new:
        assert [row for row in csv.DictReader(new) if row["seed"] == "0"] == list(csv.DictReader(old))


@pytest.mark.usefixtures("forked", "table")
def test_runs_that_a_study_does_not_plan_are_told():
    other = invoke("run", *SHORT, "--set", "seeds=1", "--out", "new", "--from", "old.csv")
    assert "3 done, 0 diverged, 0 failed." in other.output
    assert "0 of the 3 runs of old.csv are this study's." in other.output


@pytest.mark.usefixtures("table")
def test_a_table_of_what_would_now_be_computed_differently_is_one_line():
    whole = Path("old.csv").read_text(encoding="utf-8")
    head, first, *rest = whole.splitlines()
    row = first.split(",", 1)[1]
    Path("old.csv").write_text("\n".join([head, f"0123456789abcdef,{row}", *rest, ""]), encoding="utf-8")
    refused = invoke("run", *SMALL, "--out", "new", "--from", "old.csv")
    assert_refused(
        refused, "old.csv, row 1: id: expected [0-9a-f]{16} of a run with these settings, got 0123456789abcdef"
    )
    assert not Path("new").exists()


@pytest.mark.parametrize("form", ["edited", "edited, with a byte-order mark", "without ids"])
@pytest.mark.usefixtures("table")
def test_a_run_does_not_go_on_from_a_table_whose_ids_are_not_those_of_its_rows(form):
    text = Path("old.csv").read_text(encoding="utf-8")
    if form == "without ids":
        text = "\n".join(line.split(",", 1)[1] for line in text.splitlines())
    else:
        text = text.replace(",0.1,", ",0.2,")
    Path("old.csv").write_text(text, encoding="utf-8-sig" if "mark" in form else "utf-8")
    assert_refused(
        invoke("run", *SMALL, "--out", "new", "--from", "old.csv"), "old.csv, row 1: id: expected [0-9a-f]{16}"
    )
    assert not Path("new").exists()


@pytest.fixture
def folder(tmp_path):
    """A store with a failure in it, and a result that the latest plan does not have."""
    wide = make_study("learning_rate=0.1", "seeds=[0, 1]")
    with Store.create(tmp_path, wide) as store:
        for trial in wide.trials:
            store.add(make_result(trial, "failed" if trial.backward == "frozen" else "done"))
    Store.create(tmp_path, make_study("learning_rate=0.1", "seeds=[0, 2]")).close()
    return tmp_path


def test_status_tells_what_is_left_what_failed_and_what_the_plan_has_not(folder):
    output = invoke("status", folder).output
    assert [line.split()[0] for line in output.splitlines()[1:7]] == ["8", "3", "0", "1", "4", "4"]
    assert "frozen, seed 0: ValueError: it broke" in output


@pytest.mark.parametrize(("options", "rows"), [([], 4), (["--all"], 8), (["--epochs"], 7)], ids=str)
def test_export_takes_the_plan_or_all_and_trials_or_epochs(folder, options, rows):
    invoke("export", folder, "--format", "json", "--out", folder / "table.json", *options)
    assert len(json.loads((folder / "table.json").read_text(encoding="utf-8"))) == rows


@pytest.mark.usefixtures("forked")
def test_failed_trials_are_exit_code_1(monkeypatch, tmp_path):
    Path("mine.yaml").write_text(MINIMAL, encoding="utf-8")

    def run(study, out, **options):
        from tests.study.fakes import quick
        from tieless.study.running.runner import run

        return run(study, out, **options, run_trial=quick)

    monkeypatch.setattr(commands, "run", run)
    result = invoke("run", "mine.yaml", "--set", "learning_rate=[0.1, 8]")
    assert result.exit_code == 1
    assert "1 done, 0 diverged, 1 failed." in result.output
    assert "failed: ValueError: it broke" in result.output
    assert "tieless study status runs/mine" in result.output


def test_an_interrupted_run_says_how_to_go_on(monkeypatch):
    from tieless.study import Summary

    stopped = Summary(done=1, diverged=0, failed=0, skipped=0, left=2, interrupted=True)
    monkeypatch.setattr(commands, "run", lambda *_, **__: stopped)
    result = invoke("run", *SMALL, "--workers", "2", "--out", "a folder")
    assert result.exit_code == 130
    again = result.output.splitlines()[-1].partition("To continue: ")[2]
    assert again == (
        "tieless study run paper/suc-ones --set=epochs=1 --set=data=ones --set=seeds=0 --out 'a folder' --workers 2"
    )


@pytest.mark.usefixtures("forked")
def test_a_fallback_is_said_and_recorded(monkeypatch):
    monkeypatch.setattr("tieless.study.file.library.is_available", lambda spec: spec != "fashion-mnist")
    monkeypatch.setattr("tieless.study.file.library.locate", lambda _: None)
    options = ["--set", "epochs=1", "--set", "seeds=0", "--set", "forward=relu", "--set", "backward=tied"]
    result = invoke("run", "quickstart", *options)
    assert result.exit_code == 0, result.output
    said = "fashion-mnist is not on this machine: get it with 'tieless data get fashion-mnist'."
    assert result.output.startswith(f"{said} Running on this study's fallback instead: digits.")
    with Store.open(Path("runs/quickstart")) as store:
        assert store.study().fallback == said
        assert [record.trial.data for record in store.results()] == ["digits"]


@pytest.mark.parametrize(
    ("line", "replacement", "pattern"),
    [
        (
            "backward: tied",
            "backward: tyed",
            r"mine\.yaml:8: grid\.backward: Unknown rule 'tyed'\. Did you mean 'tied'",
        ),
        ("backward: tied", "backward: rectangular(hihg=1)", r"mine\.yaml:8: .*Unknown parameter 'hihg'.*'high'"),
        ("backward: tied", "backward: rectangular(1,-1)", r"mine\.yaml:8: .*needs low < high, got low=1, high=-1"),
        ("batch: 32", "batch: many", r"mine\.yaml:12: grid\.batch: expected an integer >= 1, got 'many'"),
        ("batch: 32", "bach: 32", r"mine\.yaml:12: grid\.bach: unknown key; did you mean 'batch'"),
        ("epochs: 1", "epochs: -3", r"mine\.yaml:13: grid\.epochs: expected an integer >= 1, got -3"),
    ],
)
def test_a_bad_file_is_one_line_and_nothing_is_written(line, replacement, pattern):
    Path("mine.yaml").write_text(MINIMAL.replace(line, replacement), encoding="utf-8")
    assert_refused(invoke("run", "mine.yaml"), pattern)
    assert [path.name for path in Path().iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (["quikstart"], "Unknown study 'quikstart'. Did you mean 'quickstart'"),
        (["mine.yaml"], "Cannot read mine.yaml: No such file or directory"),
        ([*SMALL, "--workers", "0"], "Invalid value for '--workers': 0 is not in the range x>=1"),
        ([*SMALL, "--threads", "0"], "Invalid value for '--threads': 0 is not in the range x>=1"),
        ([*SMALL, "--workers", "two"], "Invalid value for '--workers': 'two' is not a valid integer range"),
        ([*SMALL, "--set", "batch=0"], "--set batch=0: batch: expected an integer >= 1, got 0"),
        ([*SMALL, "--set", "bach=1"], "--set bach=1: bach: unknown key"),
        ([*SMALL, "--set", "model=lenet5"], "lenet5 needs images of 28 x 28"),
        ([*SMALL, "--from", "gone.csv"], "Cannot read gone.csv: No such file or directory"),
        ([*SMALL, "--from", "trials.txt"], "Cannot read trials.txt: a table ends in .csv, .json, .parquet"),
        ([*SMALL, "--out", "/sys/kernel/out"], "Cannot write to /sys/kernel/out: "),
        ([*SMALL, "--out", f"{__file__}/out"], "Cannot write to .*test_study.py/out: Not a directory"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_a_bad_command_is_one_line_and_nothing_is_written(arguments, pattern):
    assert_refused(invoke("run", *arguments), pattern)
    assert list(Path().iterdir()) == []


def test_missing_data_are_one_line_and_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.setenv("TIELESS_DATA", str(tmp_path / "none"))
    assert_refused(invoke("run", "paper/heaviside"), "is missing.*TIELESS_DATA is set")
    assert list(tmp_path.iterdir()) == []


def test_corrupted_data_are_one_line_and_nothing_is_written(monkeypatch, tmp_path):
    spoilt = tmp_path / "data"
    spoilt.mkdir()
    kinds = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]
    for name in kinds:
        (spoilt / f"{name}-ubyte").write_bytes(os.urandom(100))
    monkeypatch.setenv("TIELESS_DATA", str(spoilt))
    for study in ("paper/heaviside", "quickstart"):
        assert_refused(invoke("run", study), "is truncated")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_folder_of_another_study_is_refused(folder):
    before = {file: file.read_bytes() for file in folder.iterdir()}
    assert_refused(invoke("run", *SMALL, "--out", folder), "holds the study 'nothing', not 'paper/suc-ones'")
    assert {file: file.read_bytes() for file in folder.iterdir() if file.name != "study.lock"} == before


@pytest.mark.parametrize("command", [["status"], ["report"], ["export", "--format", "csv"]], ids=lambda c: c[0])
def test_a_folder_without_a_study_is_one_line(command, tmp_path):
    assert_refused(invoke(*command, tmp_path), "No study in .*: there is no study.db")
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_cannot_be_written_is_one_line(folder):
    pattern = "Cannot write .*t.csv: there is no folder .*none. Choose another with --out"
    assert_refused(invoke("export", folder, "--format", "csv", "--out", folder / "none" / "t.csv"), pattern)


def test_a_table_in_a_file_of_another_format_is_refused(folder):
    file = folder / "t.parquet"
    pattern = "--format csv in a file named .*t.parquet: give --format parquet"
    assert_refused(invoke("export", folder, "--format", "csv", "--out", file), pattern)
    assert not file.exists()
    assert invoke("export", folder, "--format", "csv", "--out", folder / "t.txt").exit_code == 0


def test_a_backup_makes_its_folder(folder, tmp_path):
    file = tmp_path / "new" / "copy" / "study.db"
    assert invoke("backup", folder, file).exit_code == 0
    assert invoke("status", file.parent).exit_code == 0


@pytest.mark.parametrize(
    "options",
    ["--executor dask", "--address tcp://127.0.0.1:1", "--executor dask --address tcp://127.0.0.1:1 --workers 2"],
)
def test_an_executor_and_its_address_belong_together_and_have_no_workers_here(options):
    result = invoke("run", "paper/suc-ones", *options.split())
    assert result.exit_code == 2
    assert re.fullmatch(r"Error: --(executor|workers) [^\n]*\n", result.stderr), result.output
