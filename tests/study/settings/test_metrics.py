"""Metrics and losses against the formulas of scikit-learn and NumPy, and those of the user's own."""

import math

import numpy as np
import pytest
import sklearn.metrics as judges
import torch
from hypothesis import given, strategies as st

from tests.study.fakes import make_trial
from tieless.errors import RuleTypeError, RuleValueError, SpecError, StudyError
from tieless.study import register_loss, register_metric
from tieless.study.settings.losses import LOSSES
from tieless.study.settings.metrics import METRICS, check_kind, scale_of
from tieless.study.trial import DEFAULTS_OF_LATER_FIELDS, Trial


def numbers(width, seed=0):
    random = np.random.default_rng(seed)
    shape = (50,) if width is None else (50, width)
    return random.normal(size=shape).astype("float32"), random.normal(size=shape).astype("float32")


@pytest.mark.parametrize("width", [None, 1, 3])
@pytest.mark.parametrize(
    ("name", "judge"),
    [
        ("mse", judges.mean_squared_error),
        ("mae", judges.mean_absolute_error),
        ("r2", judges.r2_score),
    ],
)
def test_errors_are_those_of_scikit_learn(name, judge, width):
    outputs, targets = numbers(width)
    found = METRICS[name].of(torch.tensor(outputs).reshape(50, -1), torch.tensor(targets))
    assert found == pytest.approx(judge(targets.astype(float), outputs.astype(float)), rel=1e-12)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_macro_f1_is_that_of_scikit_learn(pairs):
    labels, predicted = map(list, zip(*pairs, strict=True))
    outputs = torch.nn.functional.one_hot(torch.tensor(predicted), 5).float()
    judged = judges.f1_score(labels, predicted, average="macro", zero_division=0)
    assert METRICS["macro_f1"].of(outputs, torch.tensor(labels)) == pytest.approx(judged, abs=1e-12)


@pytest.mark.parametrize("width", [None, 2])
def test_chance_is_the_answer_of_the_mean(width):
    _, targets = numbers(width)
    mean = np.broadcast_to(targets.astype(float).mean(0), targets.shape)
    given = torch.tensor(targets)
    assert METRICS["mse"].chance_of(given) == pytest.approx(((targets - mean) ** 2).mean())
    assert METRICS["mae"].chance_of(given) == pytest.approx(abs(targets - mean).mean())
    assert METRICS["r2"].chance_of(given) == pytest.approx(judges.r2_score(targets, mean), abs=1e-9)


def test_chance_of_macro_f1_is_that_of_guesses():
    random = np.random.default_rng(0)
    labels = random.choice(3, 200_000, p=[0.7, 0.2, 0.1])
    judged = judges.f1_score(labels, random.integers(0, 3, 200_000), average="macro")
    assert METRICS["macro_f1"].chance_of(torch.tensor(labels)) == pytest.approx(judged, abs=0.005)


@pytest.mark.parametrize(("name", "judge"), [("mse", "mse_loss"), ("l1", "l1_loss"), ("huber", "huber_loss")])
@pytest.mark.parametrize("width", [None, 3])
def test_losses_of_numbers_are_pytorchs_and_compare_each_with_its_own(name, judge, width):
    outputs, targets = map(torch.tensor, numbers(width))
    expected = getattr(torch.nn.functional, judge)(outputs, targets)
    assert LOSSES[name].mean(outputs.reshape(50, -1), targets) == expected


def test_accuracy_has_no_part_in_an_id_and_another_metric_has():
    plain = make_trial()
    assert (plain.metric, DEFAULTS_OF_LATER_FIELDS["metric"]) == ("accuracy", "accuracy")
    assert make_trial(metric="accuracy").id == plain.id != make_trial(metric="macro_f1").id
    record = {name: value for name, value in plain.to_dict().items() if name != "metric"}
    assert Trial.from_dict(record) == plain


@pytest.mark.parametrize(
    ("what", "name", "targets", "write"),
    [
        ("loss", "cross_entropy", torch.zeros(2), "has numbers to predict, and .* takes classes: write 'loss: mse'"),
        ("metric", "accuracy", torch.zeros(2), "has numbers to predict, .*: write 'metric: mse', or mae or r2"),
        ("metric", "mse", torch.zeros(2, dtype=torch.int64), "has classes, .*: write 'metric: accuracy'"),
    ],
)
def test_targets_of_another_kind_are_refused_with_what_to_write(what, name, targets, write):
    only = (LOSSES if what == "loss" else METRICS)[name].only
    with pytest.raises(StudyError, match=write) as caught:
        check_kind(what, name, only, "./reg.npz", targets)
    assert "\n" not in str(caught.value)


def test_an_own_metric_sees_outputs_in_the_shape_of_the_targets():
    @register_metric(better="lower", chance=lambda targets: targets.abs().max(), unit="cent", step=0.01)
    def worst(outputs, targets):
        assert outputs.shape == targets.shape
        return (outputs - targets).abs().max()

    outputs, targets = numbers(None)
    found = METRICS["worst"]
    assert found.of(torch.tensor(outputs)[:, None], torch.tensor(targets)) == abs(outputs - targets).max()
    assert found.chance_of(torch.tensor(targets)) == abs(targets).max()
    assert (found.higher, found.unit, found.of_units(50), found.in_units(0.5)) == (False, "cent", 0.5, 50)


@pytest.mark.parametrize(
    ("unit", "counted", "expected"),
    [("point", None, True), ("hit", None, False), ("point", False, False), ("hit", True, True)],
)
def test_a_metric_is_a_count_of_samples_in_points_or_where_its_owner_says_so(unit, counted, expected):
    @register_metric(better="higher", chance=0.0, unit=unit, counted=counted)
    def hits(outputs, targets):
        return ((outputs - targets).abs() < 0.1).double().mean()

    assert scale_of("hits").counted is expected


def test_an_own_loss_sees_outputs_in_the_shape_of_the_targets():
    @register_loss
    def own(outputs, targets):
        return (outputs - targets).square().mean()

    outputs, targets = map(torch.tensor, numbers(None))
    expected = LOSSES["mse"].mean(outputs, targets)
    assert LOSSES["own"].mean(outputs[:, None], targets) == expected
    assert LOSSES["own"].mean.__module__ == __name__  # by which its source becomes part of the id


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (math.nan, "is nan: expected a finite number"),
        (torch.tensor(math.inf), "is inf: expected a finite number"),
        (torch.zeros(3), r"is values of shape \(3,\): expected one number"),
        (np.zeros((2, 2)), r"is values of shape \(2, 2\): expected one number"),
        (None, "is None: expected one number"),
        (True, "is True: expected one number"),
        ("0.5", "is '0.5': expected one number"),
    ],
)
def test_what_is_no_number_is_no_metric(value, problem):
    @register_metric(better="higher", chance=0.0)
    def odd(outputs, targets):
        return value

    with pytest.raises(StudyError, match=f"The metric odd {problem}"):
        METRICS["odd"].of(torch.zeros(2), torch.zeros(2))

    @register_metric(better="higher", chance=lambda _: value)
    def even(outputs, targets):
        return 0.0

    with pytest.raises(StudyError, match=f"The chance level of even {problem}"):
        METRICS["even"].chance_of(torch.zeros(2))


def test_a_loss_of_several_numbers_is_refused():
    @register_loss
    def each(outputs, targets):
        return (outputs - targets).abs()

    with pytest.raises(
        StudyError, match=r"The loss each gives values of shape \(4,\): expected a tensor of one number"
    ):
        LOSSES["each"].mean(torch.zeros(4, 1), torch.zeros(4))


def test_a_name_that_is_taken_and_wrong_arguments_are_refused():
    def mse(outputs, targets):
        return 0.0

    for register in (register_loss, register_metric(better="lower", chance=0.0)):
        with pytest.raises(SpecError, match="'mse' exists already"):
            register(mse)
        with pytest.raises(RuleTypeError, match="function"):
            register(3)
    with pytest.raises(RuleValueError, match="better must be 'higher' or 'lower', got 'up'"):
        register_metric(better="up", chance=0.0)
    with pytest.raises(RuleTypeError, match="chance must be a number"):
        register_metric(better="lower", chance="0")
    with pytest.raises(RuleValueError, match="step must be finite and positive"):
        register_metric(better="lower", chance=0.0, step=0)
    with pytest.raises(SpecError, match="cannot hold the unit 'a b'"):
        register_metric(better="lower", chance=0.0, unit="a b")


def test_an_unknown_metric_is_told_those_that_exist():
    with pytest.raises(StudyError, match=r"Unknown metric 'msa'\. Did you mean 'mse'\?"):
        make_trial(metric="msa")
    with pytest.raises(StudyError, match=r"--import FILE\.py"):
        scale_of("msa")
