"""Initial weights: their variances by formula, and what they are for, variances that stay from layer to layer."""

import math
from types import SimpleNamespace

import mpmath
import pytest
import torch
from torch import nn

from tests.study.fakes import make_trial
from tieless.data import load
from tieless.errors import RuleValueError
from tieless.grammar import parse_call
from tieless.models import MLP, LeNet5
from tieless.nn import Activation
from tieless.study.network import start_of
from tieless.study.running.training import run_trial
from tieless.study.settings.initial import INITIALS, Circumstances, mean_squared_slope, moments

WIDE = 600


def drawn(spec, model, forward="relu", backward="tied", samples=None):
    torch.manual_seed(0)
    samples = torch.randn(2000, WIDE) * 3 + 1 if samples is None else samples
    INITIALS.build(parse_call(spec)).apply(model, Circumstances(forward, backward, samples))
    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    return [SimpleNamespace(**layer.state_dict()) for layer in layers]


def expectation(function):
    """Mean of a function of a normal number, by mpmath."""
    return float(mpmath.quad(lambda z: function(z) * mpmath.npdf(z), [-mpmath.inf, -1, 0, 1, mpmath.inf]))


def test_moments_are_those_of_a_normal_number():
    assert moments("relu") == pytest.approx((1 / math.sqrt(2 * math.pi), 1 / 2 - 1 / (2 * math.pi)), rel=1e-4)
    square = expectation(lambda z: (1 / (1 + mpmath.exp(-z))) ** 2)
    assert moments("logistic") == pytest.approx((0.5, square - 0.25), rel=1e-6)
    slope = expectation(lambda z: (mpmath.exp(-z) / (1 + mpmath.exp(-z)) ** 2) ** 2)
    assert mean_squared_slope("logistic", "tied") == pytest.approx(slope, rel=1e-6)
    assert mean_squared_slope("relu", "tied") == pytest.approx(1 / 2, rel=1e-4)
    assert mean_squared_slope("relu", "constant(2)") == pytest.approx(4)
    assert mean_squared_slope("relu", "full_jam") == pytest.approx(1 / 3, rel=0.02)


def test_normal_weights_are_what_they_say():
    """W ~ N(0, 16 / n) and a bias of minus half the sum of a row."""
    for layer in drawn("normal(gain=4, center=0.5)", MLP(WIDE, (WIDE, WIDE), 500, "logistic")):
        assert float(layer.weight.std()) == pytest.approx(4 / math.sqrt(WIDE), rel=0.02)
        torch.testing.assert_close(layer.bias, -layer.weight.sum(1) / 2)
    (plain, *_) = drawn("normal(gain=1)", MLP(WIDE, (10,), 10))
    assert not plain.bias.any()


@pytest.mark.parametrize("spec", ["gain_matched", "orthogonal"])
@pytest.mark.parametrize("forward", ["logistic", "tanh", "relu", "heaviside"])
def test_the_variance_of_z_stays_from_layer_to_layer(spec, forward):
    samples = torch.randn(500, WIDE) * 3 + 1
    model = MLP(WIDE, (WIDE,) * 10, WIDE, forward, "constant")
    drawn(spec, model, forward, "constant", samples)
    seen = []
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(lambda _, __, z: seen.append(z.detach()))
    model(samples)
    assert len(seen) == 11
    for z in seen:
        assert float(z.var()) == pytest.approx(1, rel=0.25)
        assert abs(float(z.mean())) < 0.1


@pytest.mark.parametrize("spec", ['gain_matched(keeps="feedback")', 'orthogonal(keeps="feedback")'])
@pytest.mark.parametrize("backward", ["constant", "full_jam"])
def test_the_variance_of_the_feedback_stays_from_layer_to_layer(spec, backward):
    model = MLP(WIDE, (WIDE, 400, WIDE, 400, WIDE), WIDE, "tanh", backward)
    samples = torch.randn(200, WIDE)
    drawn(spec, model, "tanh", backward, samples)
    sent = []
    for layer in model.modules():
        if isinstance(layer, Activation):
            layer.register_full_backward_hook(lambda _, grad_input, __: sent.append(grad_input[0]))
    model(samples).backward(torch.randn(200, WIDE))
    assert len(sent) == 5
    for feedback in sent:
        assert float(feedback.var()) == pytest.approx(1, rel=0.4)


def test_a_layer_without_bias_counts_the_mean_of_what_it_reads():
    model = nn.Sequential(nn.Linear(WIDE, WIDE), nn.ReLU(), nn.Linear(WIDE, 500, bias=False))
    _, last = drawn("gain_matched", model)
    assert float(last.weight.var()) == pytest.approx(2 / WIDE, rel=0.02), "He et al. 2015"


def test_orthogonal_weights_are_orthogonal():
    first, second, *_ = drawn("orthogonal", MLP(WIDE, (200, WIDE), 10, "tanh"), "tanh")
    rows = first.weight @ first.weight.T
    torch.testing.assert_close(rows, torch.eye(200) * float(rows[0, 0]), atol=1e-5, rtol=1e-4)
    columns = second.weight.T @ second.weight
    torch.testing.assert_close(columns, torch.eye(200) * float(columns[0, 0]), atol=1e-5, rtol=1e-4)


def test_convolutions_have_the_inputs_of_their_window():
    convolutions = drawn("gain_matched", LeNet5("relu"), samples=torch.rand(100, 1, 28, 28))
    # Inputs: a window of 25 in 6 channels.
    assert float(convolutions[1].weight.var()) == pytest.approx(1 / (0.3408 * 150), rel=0.1)


def test_the_default_changes_nothing_and_others_are_drawn_by_the_seed():
    trial = make_trial(model="mlp(8, 2)")
    torch.manual_seed(trial.seed)
    plain = start_of(trial)[0].state_dict()
    first, again = (start_of(make_trial(model="mlp(8, 2)", init="orthogonal"))[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(plain["1.weight"], first["1.weight"])
    jammed = start_of(make_trial(model="mlp(8, 2)", init="orthogonal", backward="full_jam"))[0].state_dict()
    assert all(torch.equal(first[name], jammed[name]) for name in first), "the same for every rule of a seed"


def test_what_has_no_gain_is_refused():
    with pytest.raises(RuleValueError, match="has no gain beside relu and frozen: the mean squared slope is 0"):
        drawn('gain_matched(keeps="feedback")', MLP(WIDE, (4,), 2), "relu", "frozen")
    with pytest.raises(RuleValueError, match="these samples are codes"):
        drawn("orthogonal", MLP(WIDE, (4,), 2), samples=torch.zeros(3, WIDE).long())


def test_deep_logistic_networks_train_by_their_own_derivative_once_the_gain_fits():
    """PyTorch's default leaves eight logistic layers at chance; the data are held out digits."""
    assert load("digits", seed=0).classes == 10
    accuracies = {}
    for init in ("default", "gain_matched", "orthogonal", "normal(gain=4, center=0.5)"):
        trial = make_trial(
            data="digits",
            loss="cross_entropy",
            model="mlp(64, 8)",
            optimiser="adam",
            learning_rate=3e-3,
            batch=32,
            epochs=5,
            init=init,
        )
        result = run_trial(trial)
        assert result.error is None
        accuracies[init] = result.epochs[-1].test_accuracy
    assert accuracies.pop("default") < 0.35
    assert min(accuracies.values()) > 0.85
