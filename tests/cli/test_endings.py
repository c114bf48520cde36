"""Endings of the command: one line on stderr, the right code, and nothing that a terminal would obey."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner
from filelock import FileLock

from tests.study import fakes
from tieless.cli import main
from tieless.cli.study import running as commands
from tieless.study import Store, Summary, parse_study

SMALL = ["paper/suc-ones", "--set", "epochs=1", "--set", "data=ones", "--set", "seeds=0"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    """A study of four results."""
    study = fakes.make_study("learning_rate=0.1", "seeds=0")
    (tmp_path / "out").mkdir()
    with Store.create(tmp_path / "out", study) as store:
        for trial in study.trials:
            store.add(fakes.make_result(trial))
    return tmp_path / "out"


def invoke(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def assert_one_line(ended, code, pattern):
    assert (ended.returncode, ended.stdout or "") == (code, "")
    assert re.fullmatch(f"[^\n]*{pattern}[^\n]*\n", ended.stderr), ended.stderr


def command(*arguments, program="from tieless_command import main; main()", **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=environment,
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def ended(process):
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess([], process.returncode, out, err)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_an_output_that_is_full_is_one_line():
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        assert_one_line(ended(command("forwards", stdout=full)), 2, "Error: No space left on device")


def test_a_reader_that_has_gone_ends_the_command_with_the_code_of_a_closed_pipe():
    read, write = os.pipe()
    os.close(read)
    process = command("forwards", stdout=write)
    os.close(write)
    found = ended(process)
    assert (found.returncode, found.stderr) == (141, "")


# Half a second for each trial: the study is in its middle when something happens.
RUN_SLOWLY = """
import sys
from tieless.cli.study import running
from tests.study import fakes
run = running.run
running.run = lambda *given, **options: run(*given, **options, run_trial=fakes.slow)
from tieless_command import main
main()
"""


def test_a_run_whose_reader_has_gone_stops_with_a_word_and_keeps_what_was_finished(tmp_path):
    Path("mine.yaml").write_text(fakes.STUDY, encoding="utf-8")
    with command("study", "run", "mine.yaml", "--threads", "2", program=RUN_SLOWLY) as process:
        assert process.stdout.readline().startswith("A study of nothing: 24 of 24 trials to run")
        assert process.stdout.readline().startswith("[1/24]")
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 141
    assert said == (
        "Stopped, for the output cannot be written: Broken pipe. What was finished is kept. To continue: tieless study run"
        " mine.yaml --out runs/mine --workers 1 --threads 2\n"
    )
    with Store.open(Path("runs/mine")) as store:
        assert 2 <= len(store.results()) < 24


def test_a_watch_serves_its_page_until_ctrl_c(folder):
    process = command("study", "watch", folder)
    address = process.stdout.readline().strip()
    with urllib.request.urlopen(address, timeout=60) as page:  # noqa: S310 - the address is ours
        assert page.status == 200
    process.send_signal(signal.SIGINT)
    done = ended(process)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "Interrupted.")


def test_runs_are_exported_to_a_tracker_once(folder):
    exported = invoke("study", "export", folder, "--format", "tensorboard")
    assert (exported.exit_code, exported.output.split(": ")[1:]) == (0, ["4 runs\n"])
    again = invoke("study", "export", folder, "--format", "tensorboard")
    assert_one_line_of(again, "Error: .* has files already.*: name a new folder")
    assert_one_line_of(
        invoke("study", "export", folder, "--format", "wandb", "--epochs"), "Error: --format wandb has all epochs"
    )


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        (["--kind", "forest", "--format", "tex"], "Error: --format tex is for --kind table"),
        (["--kind", "forest", "--format", "svg"], "Error: No forest to draw"),
    ],
)
def test_a_figure_that_cannot_be_is_one_line(folder, options, pattern):
    assert_one_line_of(invoke("study", "plot", folder, *options), pattern)


def test_a_figure_is_written_where_it_is_said(folder):
    assert invoke("study", "plot", folder, "--kind", "table", "--format", "tex").output.strip() == f"{folder}/table.tex"
    assert "\\begin{tabular}" in (folder / "table.tex").read_text(encoding="utf-8")


def test_nothing_to_watch_is_one_line(tmp_path):
    assert_one_line(ended(command("study", "watch", tmp_path)), 2, "No study in")


@pytest.mark.parametrize(("number", "by"), [(signal.SIGTERM, " by SIGTERM"), (signal.SIGINT, "")], ids=["TERM", "INT"])
def test_a_run_that_is_stopped_says_so_and_has_the_code_of_the_signal(number, by):
    Path("mine.yaml").write_text(fakes.STUDY, encoding="utf-8")
    process = command("study", "run", "mine.yaml", program=RUN_SLOWLY)
    assert process.stdout.readline().startswith("A study of nothing: 24 of 24 trials to run")
    assert process.stdout.readline().startswith("[1/24]")
    process.send_signal(number)
    found = ended(process)
    assert (found.returncode, found.stderr) == (128 + number, "")
    assert re.search(rf"Stopped{by}, \d+ trials are left\. To continue: tieless study run", found.stdout)


# As Ctrl-C between two of the thousand modules of PyTorch.
INTERRUPTED = """
import signal, sys

class Finder:
    def find_spec(self, name, *_):
        if name == "torch.nn":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Finder())
from tieless_command import main
main()
"""


def test_ctrl_c_while_torch_is_imported_is_a_word_and_code_130():
    assert_one_line(ended(command("study", "list", program=INTERRUPTED)), 130, "Interrupted\\.")


def test_the_console_script_begins_before_torch():
    program = "import sys, tieless_command; print(sorted({'tieless', 'torch'} & set(sys.modules)))"
    assert ended(command(program=program)).stdout == "[]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["study", "status", "n" * 300],
        ["study", "report", "n" * 300],
        ["study", "ask", "n" * 300, "full_jam is non-inferior to tied"],
        ["study", "run", f"{'n' * 300}.yaml"],
        ["study", "run", *SMALL, "--out", "n" * 300],
        ["study", "run", *SMALL, "--from", f"{'n' * 300}.csv"],
        ["study", "backup", "n" * 300, "x"],
        ["diagnose", "n" * 300],
        ["diagnose", "mlp", "--weights", "n" * 300],
        ["rules", "atan", "--plot", f"{'n' * 300}.svg"],
        ["data", "get", "brown", "--from", "n" * 300],
    ],
    ids=lambda arguments: " ".join(arguments).replace("n" * 300, "LONG"),
)
def test_a_name_that_is_too_long_is_one_line(arguments, tmp_path, monkeypatch):
    monkeypatch.delenv("TIELESS_DATA", raising=False)
    result = invoke(*arguments)
    assert result.exit_code == 2, result.exception
    assert re.fullmatch(r"Error: [^\n]+\n", result.stderr), result.output
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_is_one_line():
    import click

    from tieless.cli.app import OneLineGroup

    group = OneLineGroup()

    @group.command()
    def fail():
        raise MemoryError

    assert isinstance(fail, click.Command)
    found = CliRunner().invoke(group, ["fail"])
    assert (found.exit_code, found.stderr) == (2, "Error: The memory of this machine is not enough for that.\n")


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_a_table_goes_to_the_standard_output(folder, form):
    to_pipe = invoke("study", "export", folder, "--format", form, "--out", "-")
    assert to_pipe.exit_code == 0, to_pipe.output
    assert invoke("study", "export", folder, "--format", form, "--out", "table").exit_code == 0
    assert to_pipe.stdout_bytes == Path("table").read_bytes()
    assert sorted(path.name for path in Path().iterdir()) == ["out", "table"]


def test_what_is_no_regular_file_is_not_replaced(folder):
    os.mkfifo("page")
    (folder / "report.html").symlink_to(os.devnull)
    for arguments in (["report", folder], ["export", folder, "--format", "csv", "--out", os.devnull]):
        assert invoke("study", *arguments).exit_code == 0
    assert invoke("rules", "atan", "--plot", "page.svg").exit_code == 0
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    assert (folder / "report.html").is_symlink()
    refused = invoke("study", "export", folder, "--format", "csv", "--out", folder)
    assert (refused.exit_code, refused.stderr) == (
        2,
        f"Error: Cannot write {folder}: Is a directory. Choose another with --out.\n",
    )


def test_the_status_is_one_json_object_for_a_program(folder):
    with Store.create(folder, fakes.make_study("learning_rate=[0.1, 8]", "seeds=0")) as store:
        failed = next(trial for trial in store.study().trials if trial.learning_rate == 8)
        store.add(fakes.make_result(failed, "failed"))
    state = json.loads(invoke("study", "status", folder, "--json").stdout)
    failures = state.pop("failures")
    counts = {"planned": 8, "added": 0, "done": 4, "diverged": 0, "failed": 1, "left": 3, "others": 0}
    none = {"imports": [], "sources": [], "claims": [], "not_judged": []}
    assert state == {"name": "nothing", "running": False, **counts, **none}
    assert failures == [{"id": failed.id, "trial": failed.to_dict(), "error": "ValueError: it broke"}]
    with FileLock(folder / "study.lock"):
        assert json.loads(invoke("study", "status", folder, "--json").stdout)["running"]
    assert_one_line_of(invoke("study", "workers", folder, 3), r"Error: No run is going on in")


def assert_one_line_of(result, pattern):
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(f"{pattern}[^\n]*\n", result.stderr), result.stderr


def test_a_backup_is_a_study_of_one_file_also_while_it_runs(folder):
    Path("copy").mkdir()
    with Store.create(folder, fakes.make_study("learning_rate=0.1", "seeds=[0, 1]")) as running:
        result = invoke("study", "backup", folder, "copy/study.db")
        assert (result.exit_code, result.output) == (0, "copy/study.db\n")
        running.add(fakes.make_result(running.study().trials[4]))
    assert [path.name for path in Path("copy").iterdir()] == ["study.db"]
    with Store.open(Path("copy")) as copied, Store.open(folder) as whole:
        assert copied.results() == whole.results()[:4]


@pytest.mark.parametrize(
    "command",
    ["backup DIR FILE", "export DIR --format csv --out FILE", "report DIR --out FILE"]
    + [f"plot {source} --kind table --format svg --out FILE" for source in ("DIR", "FILE")]
    + ["report FILE --out FILE"],
)
def test_no_command_writes_over_what_it_reads(folder, command):
    invoke("study", "export", folder, "--format", "csv", "--out", "table.csv")
    read = Path("table.csv") if "DIR" not in command else folder / "study.db"
    before = read.read_bytes()
    link = Path(f"link{read.suffix}")
    link.symlink_to(read)
    for target in (read, link):
        words = [{"DIR": folder, "FILE": target}.get(word, word) for word in command.split()]
        assert re.fullmatch(r"Error: .* is (the store itself|what was read)[^\n]*\n", invoke("study", *words).stderr)
    assert read.read_bytes() == before


HOSTILE = "a \x1b[31mred\x1b]0;title\x07 \x9b2J \u202etxt"


def test_escape_characters_are_shown_and_not_sent(tmp_path):
    study = parse_study(
        fakes.STUDY.replace("A study of nothing", f'"{HOSTILE.encode("unicode_escape").decode()}"'), name="bad"
    )
    assert "\x1b" in study.title
    with Store.create(tmp_path, study) as store:
        failed = fakes.make_result(study.trials[0], "failed")
        object.__setattr__(failed, "error", HOSTILE)
        store.add(failed)
    for arguments in (["status", tmp_path], ["report", tmp_path], ["status", "none\x1b[2J\udce9"]):
        printed = invoke("study", *arguments).output
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", printed), printed
    assert r"a \x1b[31mred\x1b]0;title" in invoke("study", "status", tmp_path).output


def test_to_continue_repeats_every_option_that_matters(monkeypatch):
    stopped = Summary(done=1, diverged=0, failed=0, skipped=0, left=2, interrupted=True)
    monkeypatch.setattr(commands, "run", lambda *_, **__: stopped)
    options = "--workers 3 --threads 2 --until-decided --max-seeds 8 --every-cell --budget 1.5 --grace 9.0 --trial-timeout 60.0 --max-failures 3"
    result = invoke("study", "run", *SMALL, "--out", "here", *options.split())
    assert result.output.splitlines()[-1].endswith(f"--set=seeds=0 --out here {options}")


@pytest.mark.usefixtures("forked")
def test_claims_that_set_has_emptied_are_told_by_run_and_status(monkeypatch):
    from tieless.study.running.runner import run

    monkeypatch.setattr(commands, "run", lambda *given, **options: run(*given, **options, run_trial=fakes.quick))
    Path("claiming.yaml").write_text(fakes.CLAIMING, encoding="utf-8")
    ran = invoke("study", "run", "claiming.yaml", "--set", "backward=[tied, constant]")
    told = [
        f"Not judged, for --set leaves no run that it is about: {claim}"
        for claim in ("full_jam is non-inferior to tied by 1 point", "frozen is inferior to tied by 20 points")
    ]
    for output in (ran.output, invoke("study", "status", "runs/claiming").output):
        assert [line for line in output.splitlines() if line.startswith("Not judged")] == told


def test_a_study_of_rules_that_a_program_registers_says_how_to_report_it(folder):
    with Store.create(folder, fakes.make_study("learning_rate=0.1", "seeds=0")) as store:
        store._database.execute("UPDATE plan SET json = replace(json, '\"logistic\"', '\"mine\"')")
        store._database.execute("UPDATE results SET json = replace(json, '\"logistic\"', '\"mine\"')")
    result = invoke("study", "report", folder)
    assert result.exit_code == 2
    assert result.stderr == "Error: Unknown forward 'mine'. If code of yours registers it: --import FILE.py\n"


@pytest.mark.usefixtures("forked")
def test_two_files_of_one_name_do_not_share_a_folder(monkeypatch):
    from tieless.study.running.runner import run

    monkeypatch.setattr(commands, "run", lambda *given, **options: run(*given, **options, run_trial=fakes.quick))
    for place in ("a", "b"):
        Path(place).mkdir()
        Path(place, "exp.yaml").write_text(fakes.STUDY, encoding="utf-8")
    assert invoke("study", "run", "a/exp.yaml").exit_code == 0
    refused = invoke("study", "run", "b/exp.yaml")
    assert refused.exit_code == 2
    assert re.fullmatch(
        r"Error: runs/exp holds the study 'exp' of .*/a/exp\.yaml, not that of .*/b/exp\.yaml: [^\n]*\n", refused.stderr
    )
    assert invoke("study", "run", "./a/exp.yaml").exit_code == 0


def test_a_lost_result_is_exit_code_1(monkeypatch):
    from tieless.errors import LostResultError

    def run(*_, **__):
        raise LostResultError("gone.")

    monkeypatch.setattr(commands, "run", run)
    result = invoke("study", "run", *SMALL)
    assert (result.exit_code, result.stderr) == (1, "Error: gone.\n")
