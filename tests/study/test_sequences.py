"""Trials on data with a label for each position of a sample: losses, accuracies and what is held out, counted by label."""

import dataclasses
import re

import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.nn import functional as F

import tieless as tl
from tieless.cli import main
from tieless.data import Dataset
from tieless.errors import DataError, StudyError
from tieless.models import build_model
from tieless.study import load_study, network
from tieless.study.network import check_fit
from tieless.study.running.steps import Step
from tieless.study.running.training import hold_out, run_trial
from tieless.study.settings.losses import LOSSES
from tieless.study.trial import Trial

CLASSES, CONTEXT = 5, 7
TRIAL = Trial(
    data="brown(7)", model="mlp(16, 1)", forward="relu", backward="full_jam", optimiser="adam", learning_rate=0.05,
    batch=20, epochs=3, seed=0,
)  # fmt: skip


class NextCode(nn.Module):
    """Scores of the code after each, from that code alone: ``(n, context)`` to ``(n, classes, context)``."""

    def __init__(self, forward="relu", backward="full_jam"):
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, 8)
        self.hidden = nn.Linear(8, 16)
        self.activation = tl.Activation(forward, backward)
        self.scores = nn.Linear(16, CLASSES)

    def forward(self, codes):
        return self.scores(self.activation(self.hidden(self.embedding(codes)))).movedim(-1, 1)


def counting(samples, generator):
    """Windows in which three codes of four are one more than the one before."""
    steps = (torch.rand(samples, CONTEXT + 1, generator=generator) < 0.75).long()
    codes = (steps.cumsum(1) + torch.randint(CLASSES, (samples, 1), generator=generator)) % CLASSES
    return codes[:, :-1], codes[:, 1:]


@pytest.fixture
def data(monkeypatch):
    """Data of a trial for Brown, and the model of its spec."""
    generator = torch.Generator().manual_seed(0)
    found = Dataset("brown(7)", *counting(90, generator), *counting(1100, generator), CLASSES)
    monkeypatch.setattr(network, "load", lambda spec, **_: found)
    monkeypatch.setattr(network, "build_model", lambda spec, forward, backward, **_: NextCode(forward, backward))
    return found


def test_a_trial_learns_and_its_numbers_are_those_of_all_positions(data):
    models = []
    result = run_trial(TRIAL, on_step=lambda step, model, batch: models.append(model))
    assert result.error is None
    model = models[-1]
    with torch.no_grad():
        scores = model(data.test_x)
    loss, accuracy = result.epochs[-1].test_loss, result.epochs[-1].test_accuracy
    flat, labels = scores.movedim(1, -1).reshape(-1, CLASSES), data.test_y.reshape(-1)
    assert loss == pytest.approx(F.cross_entropy(flat, labels).item(), rel=1e-5)
    assert accuracy == (flat.argmax(1) == labels).sum().item() / (1100 * CONTEXT)
    assert 0.7 < accuracy < 0.8
    assert result.predicted_classes == result.classes == CLASSES


def test_the_numbers_of_training_are_means_over_all_labels(data):
    seen = []

    def look(step, model, batch):
        with torch.no_grad():
            scores = model(batch[0])
        seen.append((F.cross_entropy(scores, batch[1], reduction="sum"), (scores.argmax(1) == batch[1]).sum()))

    (record,) = run_trial(dataclasses.replace(TRIAL, epochs=1), on_step=look).epochs
    losses, right = zip(*seen, strict=True)
    assert record.train_loss == pytest.approx(sum(losses).item() / (90 * CONTEXT), rel=1e-5)
    assert record.train_accuracy == sum(right).item() / (90 * CONTEXT)


def test_whole_samples_are_held_out(data):
    rest, (x, y) = hold_out(data, 1 / 3, seed=0)
    assert (rest.train_x.shape, rest.train_y.shape) == ((60, CONTEXT), (60, CONTEXT))
    assert x.shape == y.shape == (30, CONTEXT)
    rows = torch.cat([torch.cat([rest.train_x, x]), torch.cat([rest.train_y, y])], 1)
    assert sorted(rows.tolist()) == sorted(torch.cat([data.train_x, data.train_y], 1).tolist())
    result = run_trial(dataclasses.replace(TRIAL, validation=1 / 3, test="never"))
    assert result.error is None
    count = result.epochs[-1].validation_accuracy * 30 * CONTEXT
    assert 0 < count == pytest.approx(round(count))


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_a_loss_of_windows_is_that_of_their_positions_as_samples(loss):
    torch.manual_seed(0)
    outputs, labels = torch.randn(4, CLASSES, CONTEXT), torch.randint(CLASSES, (4, CONTEXT))
    flat = outputs.movedim(1, -1).reshape(-1, CLASSES)
    found = LOSSES[loss]
    torch.testing.assert_close(found.mean(outputs, labels), found.mean(flat, labels.reshape(-1)))
    assert found.classes(outputs).shape == labels.shape
    assert torch.equal(found.classes(outputs).reshape(-1), flat.argmax(1))


def test_both_losses_train(data):
    for loss in ("cross_entropy", "mse"):
        result = run_trial(dataclasses.replace(TRIAL, loss=loss, epochs=6))
        assert result.epochs[-1].train_accuracy > result.epochs[0].train_accuracy > 1 / CLASSES


def test_bce_takes_one_output_a_label(data):
    with pytest.raises(StudyError, match=r"got outputs of shape \(4, 5, 7\) for labels of shape \(4, 7\): use cross"):
        LOSSES["bce"].mean(torch.rand(4, 5, 7), torch.zeros(4, 7, dtype=torch.int64))
    result = run_trial(dataclasses.replace(TRIAL, loss="bce"))
    assert result.status == "failed"
    assert result.error.startswith("StudyError: bce takes one output for each label")


def test_a_step_counts_right_labels(data):
    torch.manual_seed(0)
    model = NextCode("relu", "tied")
    with torch.no_grad():
        expected = (model(data.train_x).argmax(1) == data.train_y).sum()
    step = Step(model, LOSSES["cross_entropy"], [torch.optim.SGD(model.parameters(), 0.1)])
    loss, right = step(data.train_x, data.train_y)
    assert loss.shape == ()
    assert right == expected


def test_a_monitor_measures_on_codes(data):
    watched = dataclasses.replace(TRIAL, monitor=4)
    result = run_trial(watched)
    assert result.error is None
    assert sorted({row.step for row in result.alignments}) == [0, 4, 8, 12]  # three epochs of five steps
    assert {row.layer for row in result.alignments} >= {"", "embedding", "hidden", "scores", "activation"}
    plain = run_trial(TRIAL)
    assert [record.test_loss for record in result.epochs] == [record.test_loss for record in plain.epochs]


@pytest.mark.parametrize("command", ["explain", "diagnose"])
def test_a_model_that_cannot_read_codes_is_one_line_of_each_command(data, monkeypatch, command):
    monkeypatch.setattr(network, "build_model", build_model)
    monkeypatch.setattr("tieless.cli.explain.load", lambda spec, **_: data)
    monkeypatch.setattr("tieless.cli.target.load", lambda spec, **_: data)
    result = CliRunner().invoke(main, [command, "mlp(4, 1)", "--data", "brown(7)"])
    assert result.exit_code == 2
    assert re.fullmatch(
        r"Error: mlp\(4, 1\) cannot read samples of brown\(7\), int64 of shape \(7,\): .*\n", result.stderr
    )


def test_what_was_made_sure_of_leaves_the_model_as_it_was():
    x = torch.rand(20, 3, generator=torch.Generator().manual_seed(0))
    numbers = Dataset("numbers", x, torch.arange(20) % 2, x, torch.arange(20) % 2, 2)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout(), tl.Activation("relu", "full_jam"))
    state, random = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    check_fit("it", model, numbers)
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    with pytest.raises(StudyError, match=r"it cannot read samples of numbers, float32 of shape \(3,\): "):
        check_fit("it", NextCode(), numbers)


@pytest.fixture
def study_file(tmp_path):
    file = tmp_path / "codes.yaml"
    file.write_text(
        "title: t\nquestion: q\ncore_hours: 0\n"
        "grid: {data: brown(7), model: 'mlp(4)', forward: relu, backward: tied, optimiser: sgd, learning_rate: 0.1,"
        " batch: 32, epochs: 1, seeds: 0}",
        encoding="utf-8",
    )
    return file


def test_a_model_that_cannot_read_codes_is_told_before_the_start(data, study_file, monkeypatch):
    monkeypatch.setattr(network, "build_model", build_model)
    monkeypatch.setattr("tieless.study.file.library.is_available", lambda spec: True)
    monkeypatch.setattr("tieless.study.file.library.load", lambda spec, **_: data)
    complaint = r"mlp\(4, 2\) cannot read samples of brown\(7\), int64 of shape \(7,\): "
    with pytest.raises(StudyError, match=complaint) as refused:
        load_study(str(study_file))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("spec", ["gru(4)", "gpt(4, 1)"])
def test_a_model_of_codes_trains_on_them_and_cannot_read_numbers(data, monkeypatch, spec):
    monkeypatch.setattr(network, "build_model", build_model)
    result = run_trial(dataclasses.replace(TRIAL, model=spec, backward="constant", epochs=2))
    assert result.error is None
    with pytest.raises(StudyError, match="cannot read samples of digits, float32 of shape"):
        load_study("paper/mlp-digits", [f"model={spec}"])


def test_missing_codes_are_got_by_their_name_alone(study_file, monkeypatch, tmp_path):
    """Parentheses would be the shell's."""
    monkeypatch.delenv("TIELESS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"brown\(7\) is not on this machine: get it with 'tieless data get brown'"):
        load_study(str(study_file))
