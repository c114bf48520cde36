"""Networks and rules of the user's own, from the command line to workers, ids and reports."""

import json
import sys

import pytest
from click.testing import CliRunner

from tieless import own
from tieless.cli import main
from tieless.study import Store, load_study
from tieless.testing import temporary_names

NET = """\
import tieless as tl
from torch import nn
from tieless.models import register_model


class Net(nn.Sequential):
    def __init__(self, forward, backward, features, classes, width=4, dropout=None):
        super().__init__(
            nn.Flatten(), nn.Linear(features, width), tl.Activation(forward, backward), nn.Linear(width, classes)
        )


@register_model
def plain(features, classes, width: int = 4):
    return nn.Sequential(nn.Flatten(), nn.Linear(features, width), nn.Sigmoid(), nn.Linear(width, classes))


@tl.register_rule
def hat(z, width: float = 1.0):
    return (1 - (z / width) ** 2).clamp(min=0)


def boom(features):
    raise KeyError("no")


def number(features):
    return features


def narrow(forward, backward, features):
    return nn.Sequential(nn.Linear(features, 3), tl.Activation(forward, backward))


def deaf(forward, backward, features, classes):
    return nn.Sequential(nn.Linear(features, classes), nn.ReLU())


def linear(features, classes):
    return nn.Linear(features, classes)


def leaves(features, classes):
    class Leaving(nn.Sequential):
        def forward(self, x):
            raise SystemExit(5)

    return Leaving(nn.Linear(features, 4), nn.ReLU(), nn.Linear(4, classes))


def lazy(features, classes):
    return nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.Linear(4, classes))


def untyped(features, classes, width):
    return nn.Linear(features, classes)
"""
STUDY = """\
title: Mine
question: Does it train?
core_hours: 0.1
grid:
  data: ones(d=4, n=50)
  model: mynet.py:Net(width=3)
  forward: relu
  backward: [tied, hat(2)]
  optimiser: adam
  learning_rate: 0.01
  batch: 32
  epochs: 1
  seeds: [0, 1]
"""


@pytest.fixture(autouse=True)
def _a_process_without_imports(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(own, "_LOADED", {})
    monkeypatch.setattr(own._MEMORY, "parts", {})
    (tmp_path / "mynet.py").write_text(NET, encoding="utf-8")
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    with temporary_names():
        yield
    sys.modules.pop("mynet", None)


def invoke(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def refused(result):
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


def run(*arguments):
    result = invoke("study", "run", "study.yaml", "--import", "mynet.py", *arguments)
    assert result.exit_code == 0, result.output
    return result


def ids():
    with Store.open("runs/study") as store:
        return [result.trial.id for result in store.results()], {r.status for r in store.results()}


def test_a_network_and_a_rule_of_ones_own_run_in_workers():
    run("--workers", "2")
    assert ids()[1] == {"done"}
    with Store.open("runs/study") as store:
        plan = store.study()
        assert {trial.model for trial in plan.trials} == {"mynet.py:Net(3)"}
        assert {trial.sources for trial in plan.trials} == {own.read("mynet.py").label}
        assert plan.imports == ("mynet.py",)
        assert plan.command == "tieless study run study.yaml --import=mynet.py"


def test_changed_code_makes_new_trials_and_the_same_code_none(tmp_path):
    run()
    before, _ = ids()
    assert "4 were there before" in run().output
    (tmp_path / "mynet.py").write_text(f"{NET}\n# another comment\n", encoding="utf-8")
    assert "0 failed." in run().output
    after, _ = ids()
    assert not set(before) & set(after)


def test_a_worker_runs_what_was_read_though_the_file_has_changed_since(tmp_path):
    study = load_study("study.yaml", imports=["mynet.py"])
    (tmp_path / "mynet.py").write_text("raise RuntimeError\n", encoding="utf-8")
    from tieless.study import run as run_study

    assert run_study(study, tmp_path / "out").done == 4


def test_studies_without_imports_have_the_ids_that_they_had():
    # Written down before there were imports.
    trials = load_study("paper/suc-ones", check=False).trials
    assert (trials[0].id, trials[-1].id) == ("d016344a17aa4f6c", "722d3b5e82ea7c9e")
    load_study("study.yaml", imports=["mynet.py"])
    assert load_study("paper/suc-ones", check=False).trials == trials


def test_code_in_a_study_file_is_refused_unless_the_command_line_names_it(tmp_path):
    (tmp_path / "mynet.py").write_text("open('ran', 'w')\n", encoding="utf-8")
    assert "nobody has allowed to run. If you trust it: --import mynet.py" in refused(
        invoke("study", "run", "study.yaml", "--set", "backward=tied")
    )
    (tmp_path / "study.yaml").write_text(f"imports: mynet.py\n{STUDY}", encoding="utf-8")
    assert "study.yaml:1: imports: mynet.py is code" in refused(invoke("study", "run", "study.yaml"))
    (tmp_path / "other.py").touch()
    assert "--import mynet.py" in refused(invoke("study", "run", "study.yaml", "--import", "other.py"))
    assert not (tmp_path / "ran").exists()


def test_a_file_that_names_its_imports_is_allowed_by_the_same_name(tmp_path):
    (tmp_path / "study.yaml").write_text(f"imports: [mynet.py]\n{STUDY}", encoding="utf-8")
    run("--set", "seeds=0")
    written = load_study("study.yaml", ["seeds=0"], imports=["./mynet.py"])
    (tmp_path / "again.yaml").write_text(written.yaml, encoding="utf-8")
    assert load_study("again.yaml", imports=["mynet.py"]).trials == written.trials


def test_a_module_without_halves_is_converted():
    run("--set", "model=plain(width=3)", "--set", "forward=logistic")
    assert ids()[1] == {"done"}
    with Store.open("runs/study") as store:
        by_rule = {(r.trial.backward, r.trial.seed): r.epochs[-1].test_loss for r in store.results()}
    assert by_rule["tied", 0] != by_rule["hat(2)", 0]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("Absent", "Absent does not exist. There are: Net, boom"),
        ("tl", "tl is no class or function that it defines"),
        ("register_model", "register_model is no class or function that it defines"),
        ("Net(depth=2)", "Unknown parameter 'depth' in Net(depth=2). Did you mean 'width'? Net takes width"),
        ("Net(3, 4)", "Too many parameters"),
        ("Net(width='wide')", "width must be an integer, got 'wide'"),
        ("Net(", "Cannot read spec 'mynet.py:Net('"),
        ("leaves", "cannot read samples of ones"),
        ("lazy", "has lazy layers: give each its size"),
        ("untyped", "width has no type"),
        ("boom", "boom cannot be built: KeyError: 'no'"),
        ("number", "number must make a torch.nn.Module, got 4"),
        ("narrow", "gives outputs of shape (3,) for a sample, and ones"),
        ("deaf", "has no activation relu with hat(2), as it is asked for"),
        ("linear", "takes neither forward nor backward, and cannot be converted"),
    ],
)
def test_a_network_that_does_not_fit_is_one_line(tmp_path, model, words):
    text = STUDY.replace("mynet.py:Net(width=3)", f'"mynet.py:{model}"')
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    assert words in refused(invoke("study", "run", "study.yaml", "--import", "mynet.py"))


def test_the_report_and_the_status_tell_what_was_imported(tmp_path):
    run()
    label = own.read("mynet.py").label
    assert f"Imported: mynet.py ({label})" in invoke("study", "status", "runs/study").output
    state = json.loads(invoke("study", "status", "runs/study", "--json").output)
    assert (state["imports"], state["sources"]) == (["mynet.py"], [label])
    assert invoke("study", "report", "runs/study", "--import", "mynet.py").exit_code == 0
    page = (tmp_path / "runs" / "study" / "report.html").read_text(encoding="utf-8")
    assert "<code>mynet.py</code>" in page
    assert label in page


def test_a_claim_about_a_rule_of_ones_own_needs_the_rule(tmp_path, monkeypatch):
    claim = "hat(2) is superior to tied by 1 point with mynet.py:Net(3)"
    with temporary_names():
        run()
        assert "undecided" in invoke("study", "ask", "runs/study", claim, "--import", "mynet.py").output
    monkeypatch.setattr(own, "_LOADED", {})
    line = refused(invoke("study", "ask", "runs/study", claim))
    assert line.endswith("The study was run with code of its own: --import mynet.py\n")


def test_a_table_of_own_networks_is_read_back():
    run()
    invoke("study", "export", "runs/study", "--format", "json")
    result = run("--out", "again", "--from", "runs/study/trials.json")
    assert "0 done, 0 diverged, 0 failed, 4 were there before" in result.output
    assert json.loads(invoke("study", "export", "again", "--format", "json", "--out", "-").output)[0]["sources"]


def test_other_commands_take_the_option():
    assert "hat" in invoke("rules", "--import", "mynet.py").output
    assert "hat(2)" in invoke("explain", "mynet.py:Net", "--import", "mynet.py", "--backward", "hat(2)").output
    result = invoke("diagnose", "./mynet.py:Net(8)", "--import", "mynet.py", "--backward", "hat", "--batch", "20")
    assert result.exit_code == 0, result.output
    assert "nobody has allowed" in refused(invoke("explain", "other.py:Net", "--import", "mynet.py"))
    assert "no such file" in refused(invoke("rules", "--import", "absent.py"))
