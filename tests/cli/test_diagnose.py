"""``tieless diagnose``: what the library finds, of a model that ships, of a file of weights, of a study's trial."""

import pickle

import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional as F

import tieless
from tieless.cli import main
from tieless.data import load
from tieless.diagnose import descent
from tieless.models import build_model
from tieless.study import Store, parse_study
from tieless.study.running.training import run_trial


def invoke(*arguments):
    return CliRunner().invoke(main, ["diagnose", *map(str, arguments)])


def _batches(size, count):
    data = load("digits", seed=0)
    return [(data.train_x[i * size : (i + 1) * size], data.train_y[i * size : (i + 1) * size]) for i in range(count)]


def test_it_prints_what_the_library_finds_and_a_cure():
    result = invoke("mlp(32, 3)", "--forward", "heaviside", "--backward", "rectangular(-1e-4, 1e-4)", "--batch", "100")
    assert result.exit_code == 0
    torch.manual_seed(0)
    network = build_model("mlp(32, 3)", "heaviside", "rectangular(-1e-4, 1e-4)", features=64, classes=10)
    batches = _batches(100, 4)
    found = tieless.checkup(network, batches[0])
    turned, steps = (look(network, F.cross_entropy, batches) for look in (tieless.alignment, descent))
    assert result.output == f"{found}\n\n{turned}\n\n{steps}\n\nRandom weights; 4 x 100 samples of digits.\n"
    assert found.rules
    assert all(f"try {spec}" in result.output for spec in found.rules.values())


def test_gradients_that_are_the_true_ones_are_not_compared_with_themselves():
    result = invoke("mlp(8, 1)", "--batch", "100")
    assert result.exit_code == 0
    assert "\n\nEach gradient is the tied one. To compare another rule with it: --backward SPEC.\n\n" in result.output
    assert "cosine" not in result.output


def test_weights_come_from_a_file(tmp_path):
    torch.manual_seed(5)
    network = build_model("mlp(8, 1)", "relu", "constant", features=64, classes=10)
    file = tmp_path / "weights.pt"
    torch.save(network.state_dict(), file)
    result = invoke("mlp(8, 1)", "--backward", "constant", "--weights", file, "--batches", "2", "--batch", "50")
    assert result.exit_code == 0
    assert str(tieless.alignment(network, F.cross_entropy, _batches(50, 2))) in result.output
    assert f"Weights from {file}; 2 x 50 samples of digits." in result.output


class Trap:
    def __reduce__(self):
        return print, ("the file was run",)


def test_a_file_is_never_run_and_the_wrong_one_is_told(tmp_path, capsys):
    contents = {
        "a pickle": lambda file: file.write_bytes(pickle.dumps(Trap())),
        "a trap": lambda file: torch.save({"weight": Trap()}, file),
        "a text": lambda file: file.write_text("weights"),
        "empty": lambda file: file.write_bytes(b""),
        "a tensor": lambda file: torch.save(torch.zeros(3), file),
        "another net": lambda file: torch.save(torch.nn.Linear(3, 3).state_dict(), file),
    }
    for name, write in contents.items():
        write(tmp_path / name)
        result = invoke("mlp(8, 1)", "--weights", tmp_path / name)
        assert (result.exit_code, result.output.count("\n")) == (2, 1), name
        assert name in result.output
        assert "the file was run" not in result.output + capsys.readouterr().out


STUDY = """
title: Watched
question: Does it keep what was measured?
core_hours: 0
grid: {data: digits, model: "mlp(8, 1)", forward: relu, backward: [tied, constant], optimiser: sgd, learning_rate: 0.1,
       batch: 500, epochs: 2, seeds: 0, monitor: 2, subset: 1000}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, study = tmp_path_factory.mktemp("watched"), parse_study(STUDY, name="watched")
    with Store.create(folder, study) as store:
        for trial in study.trials:
            store.add(run_trial(trial))
    return folder


def test_a_trial_is_looked_at_with_what_its_monitor_has_measured(folder):
    with Store.open(folder) as store:
        result = next(one for one in store.results() if one.trial.backward == "constant(1)")
    printed = invoke(folder, "--trial", result.trial.id[:6], "--batch", "64").output
    assert f"Trial {result.trial.id} at its start: mlp(8, 1), relu, constant(1), seed 0" in printed
    assert "Measured while it trained, 2 times." in printed
    first = [row for row in result.alignments if (row.kind, row.step) == ("weights", 0)]
    assert [row.layer for row in first] == ["", "1", "3"]
    assert f"1               {first[1].cosine:.3f}" in printed
    exported = CliRunner().invoke(main, ["study", "export", str(folder), "--format", "csv", "--alignments"])
    lines = (folder / "alignments.csv").read_text(encoding="utf-8").splitlines()
    assert exported.exit_code == 0
    assert len(lines) == 1 + 2 * 2 * (3 + 2)


def test_plots_are_drawn(folder, tmp_path):
    pytest.importorskip("matplotlib")
    result = invoke("mlp(8, 1)", "--plots", tmp_path / "plots", "--batch", "64")
    assert result.exit_code == 0
    assert sorted(file.name for file in (tmp_path / "plots").iterdir()) == ["alignment.png", "norms.png", "slopes.png"]
    with Store.open(folder) as store:
        trial = store.results()[0].trial.id
    assert invoke(folder, "--trial", trial, "--plots", tmp_path / "more", "--batch", "64").exit_code == 0
    assert (tmp_path / "more" / "history.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "file").touch()
    assert "Choose another --plots" in invoke("mlp(8, 1)", "--plots", tmp_path / "file", "--batch", "64").output


def test_a_study_asks_for_one_trial(folder):
    several, none = invoke(folder), invoke(folder, "--trial", "zzz")
    assert "holds 2 trials: name one with --trial, such as" in several.output
    assert "0 trials of" in none.output
    assert "--forward: a trial has its own" in invoke(folder, "--forward", "relu").output
    assert (several.exit_code, none.exit_code) == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mpl"], "Did you mean 'mlp'?"),
        (["mlp(32, 3)", "--backward", "rectangle"], "Did you mean 'rectangular'?"),
        (["mlp(32, 3)", "--data", "digit"], "Did you mean 'digits'?"),
        (["mlp(32, 3)", "--batch", "1"], "1 is not in the range x>=2"),
        (["mlp(32, 3)", "--trial", "abc"], "--trial needs the folder of a study"),
        (["mlp(32, 3)", "--weights", "nowhere.pt"], "There is no file nowhere.pt"),
    ],
)
def test_a_mistake_is_one_line(arguments, words):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert result.output.count("\n") == 1


def test_a_folder_that_is_no_study_is_no_spec(tmp_path):
    for target in ("runs/nope", str(tmp_path)):
        ended = invoke(target)
        assert ended.exit_code != 0
        assert f"No study in {target}: there is no study.db" in ended.output
