"""Effect of a step on the loss, against steps made by hand and a loss whose answer is known."""

import copy

import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F

import tieless as tl
from tieless.diagnose import descent
from tieless.errors import RuleTypeError, RuleValueError


def _net(forward="relu", rule="constant"):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), tl.Activation(forward, rule), nn.Dropout(0.2), nn.Linear(32, 3))


def _batch(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(64, 16, generator=generator), torch.randint(0, 3, (64,), generator=generator)


def test_it_is_the_step_made_by_hand():
    net, (x, labels) = _net().eval(), _batch()
    found = descent(net, F.cross_entropy, (x, labels), lengths=[1e-3, 0.1])
    moved = copy.deepcopy(net)
    before = F.cross_entropy(moved(x), labels)
    before.backward()
    flat = nn.utils.parameters_to_vector(moved.parameters()).detach()
    gradient = nn.utils.parameters_to_vector(p.grad for p in moved.parameters())
    for step in found.steps:
        nn.utils.vector_to_parameters(flat - step.length * flat.norm() * gradient / gradient.norm(), moved.parameters())
        after = F.cross_entropy(moved(x), labels).item()
        assert step.untied == pytest.approx(after - before.item(), abs=1e-6)
    assert found.loss == pytest.approx(before.item())


def test_tied_steps_are_as_good_as_themselves_and_a_turned_one_goes_up():
    for step in descent(_net(rule="tied"), F.cross_entropy, _batch()).steps:
        assert step.untied == step.tied < 0
        assert (step.ratio, step.falls) == (1, 1)

    class Below(nn.Module):
        """Only what is below the activation learns."""

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.below, self.act = nn.Linear(16, 3), tl.Activation("linear", "flip(1)")

        def forward(self, x):
            return self.act(self.below(x))

    for step in descent(Below(), F.cross_entropy, _batch(), lengths=[1e-3]).steps:
        assert step.untied > 0 > step.tied
        assert step.ratio == pytest.approx(-1, abs=0.05)
        assert step.falls == 0


def test_on_a_quadratic_the_ratio_of_small_steps_is_the_cosine():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 512), tl.Activation("linear", "full_jam")).double()
    x, target = torch.randn(1, 16).double(), torch.randn(1, 512).double()
    cosine = tl.alignment(net, F.mse_loss, (x, target)).whole.cosine
    (step,) = descent(net, F.mse_loss, (x, target), lengths=[1e-6]).steps
    assert step.ratio == pytest.approx(cosine, rel=1e-3)


def test_a_frozen_net_does_not_move():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 3), tl.Activation("relu", "frozen"))
    (step,) = descent(net, F.cross_entropy, _batch(), lengths=[0.01]).steps
    assert (step.untied, step.ratio, step.falls) == (0, 0, 0)


def test_steps_of_steps_are_those_of_the_model_itself():
    found = descent(_net("heaviside", "rectangular"), F.cross_entropy, [_batch(s) for s in range(4)], lengths=[0.01])
    (step,) = found.steps
    assert step.untied_interval[0] < step.untied < step.untied_interval[1]
    assert step.falls > 0.5
    assert "smoothed by normal noise" in str(found)


def test_sigma_is_of_the_reference_and_confidence_of_the_intervals():
    net, batches = _net("heaviside", "rectangular"), [_batch(seed) for seed in range(4)]
    (usual,) = descent(net, F.cross_entropy, batches, lengths=[0.01]).steps
    (wide,) = descent(net, F.cross_entropy, batches, lengths=[0.01], sigma=2.0).steps
    (half,) = descent(net, F.cross_entropy, batches, lengths=[0.01], confidence=0.5).steps
    assert (wide.untied, half.untied, half.tied) == (usual.untied, usual.untied, usual.tied)
    assert wide.tied != usual.tied
    for one, other in ((half.untied_interval, usual.untied_interval), (half.tied_interval, usual.tied_interval)):
        narrower = stats.t.ppf(0.75, 3) / stats.t.ppf(0.975, 3)
        assert (one[1] - one[0]) / (other[1] - other[0]) == pytest.approx(narrower, rel=1e-6)


def test_the_model_is_bit_for_bit_as_it_was():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.cell, self.act = nn.BatchNorm1d(16), nn.GRU(16, 8), tl.Activation("heaviside", "full_jam")
            self.last = nn.Linear(8, 3)

        def forward(self, x):
            return self.last(self.act(self.cell(self.norm(x)[None])[0][0]))

    torch.manual_seed(0)
    model = Recurrent()
    before = {name: (value, value.clone(), value._version) for name, value in model.state_dict(keep_vars=True).items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    descent(model, F.cross_entropy, _batch())
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in model.state_dict(keep_vars=True).items():
        assert value is before[name][0]
        assert torch.equal(value, before[name][1])
        assert value._version == before[name][2]
    assert all(one is other for one, other in zip(model.cell._flat_weights, model.cell.parameters(), strict=True))


@pytest.mark.parametrize(
    ("lengths", "error", "words"),
    [([0.0], RuleValueError, "finite and positive, got 0.0"), (["1"], RuleTypeError, "must be a number, got '1'")],
)
def test_a_length_is_a_positive_number(lengths, error, words):
    with pytest.raises(error, match=words):
        descent(_net(), F.cross_entropy, _batch(), lengths=lengths)


def test_a_model_in_which_nothing_learns_takes_no_step():
    with pytest.raises(RuleValueError, match="no parameter of Sequential requires a gradient"):
        descent(_net().requires_grad_(False), F.cross_entropy, _batch())
