"""Measurements of a check-up against hooks and autograd, and its findings on networks that were made ill on purpose."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tieless as tl
from tieless.data import load
from tieless.diagnose.health.cures import _rounded_up
from tieless.errors import RuleTypeError, RuleValueError


def _network(act, *, depth=1, width=32, inputs=16, outputs=3, gain=1.0, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(inputs, width)]
    for _ in range(depth):
        layers += [act(), nn.Linear(width, width)]
    net = nn.Sequential(*layers, act(), nn.Linear(width, outputs))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(gain)
    return net


def _batch(count=64, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 16, generator=generator), torch.randint(0, 3, (count,), generator=generator)


def _act(forward, rule):
    return lambda: tl.Activation(forward, rule)


def test_what_it_measures_is_what_autograd_says():
    net, (x, target) = _network(nn.ReLU), _batch()
    z = [net[0](x)]
    z.append(net[2](F.relu(z[0])))
    y = [F.relu(value) for value in z]
    z_grads = torch.autograd.grad(F.cross_entropy(net[4](y[1]), target), [z[0], z[1]])
    found = tl.checkup(net, (x, target))
    for layer, value, out, grad in zip(found.layers, z, y, z_grads, strict=True):
        assert layer.elements == value.numel()
        assert layer.live == pytest.approx((grad != 0).float().mean().item(), abs=0.02)
        assert layer.saturated == pytest.approx((value <= 0).float().mean().item())
        assert layer.constant == pytest.approx((out == out[:1]).all(0).float().mean().item())
        assert (layer.mean, layer.spread) == pytest.approx((value.mean().item(), value.std(correction=0).item()))
        assert layer.sent == pytest.approx(grad.square().mean().sqrt().item(), rel=1e-4)
        assert layer.low < value.quantile(0.1) < value.quantile(0.9) < layer.high
    first, last = found.layers
    assert first.ratio == pytest.approx(first.sent / last.sent)
    assert last.ratio is None
    assert found.findings == ()
    assert "Nothing is wrong" in str(found)


def test_windows_are_where_the_slope_is():
    windows = {"heaviside": (-0.5, 0.5), "relu": (0, None), "hard_tanh": (-1, 1)}
    for forward, (low, high) in windows.items():
        rule = "rectangular" if forward == "heaviside" else "tied"
        (layer,) = tl.checkup(nn.Sequential(tl.Activation(forward, rule)), 2 * torch.randn(64, 8)).layers
        assert layer.window[0] == pytest.approx(low, abs=0.02)
        assert layer.window[1] == (None if high is None else pytest.approx(high, abs=0.02))


def test_the_model_is_as_it_was():
    net = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(8, 3))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    tl.checkup(net, _batch())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert "forward" not in vars(net[2])
    assert net[2].inplace


def test_untied_calls_of_functions_are_seen_and_cured():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.below, self.above = nn.Linear(16, 32), nn.Linear(32, 3)

        def forward(self, x):
            return self.above(F.relu(self.below(x) - 9))

    net = tl.convert(Block(), backward="positive_jam")
    found = tl.checkup(net, _batch())
    assert [finding.cause for finding in found.findings] == ["outside the window"]
    (layer,) = tl.checkup(tl.convert(net, found.rules), _batch()).layers
    assert layer.live > 0.8


def test_a_converted_module_is_seen_once_with_its_rule():
    net = tl.convert(_network(nn.ReLU), backward="constant")
    assert [(layer.name, layer.backward) for layer in tl.checkup(net, _batch()).layers] == [
        ("1", "constant(1)"),
        ("3", "constant(1)"),
    ]


def test_a_residual_connection_is_not_what_the_activation_sends():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.below, self.act = nn.Linear(16, 16), tl.Activation("heaviside", "rectangular(-1e-3, 1e-3)")

        def forward(self, x):
            z = self.below(x)
            return z + self.act(z)

    (layer,) = tl.checkup(Residual(), _batch()[0]).layers
    assert layer.arrives == 1
    assert layer.live < 0.01


@pytest.mark.parametrize(
    ("forward", "rule", "gain", "cause"),
    [
        ("heaviside", "rectangular(-0.001, 0.001)", 3, "outside the window"),
        ("sign", "triangular(0.001)", 3, "outside the window"),
        ("relu", "rectangular_jam(5, 6)", 1, "outside the window"),
        ("relu", "rectangular(5, 6) >> clip_norm(1.0)", 1, "outside the window"),
        ("logistic", "tied", 1, "vanishing"),
        (nn.Sigmoid(), "tied", 1, "vanishing"),
        ("relu", "constant", 4, "exploding"),
    ],
)
def test_causes_are_named_and_the_proposal_takes_them_away(forward, rule, gain, cause):
    act = (lambda: copy.deepcopy(forward)) if isinstance(forward, nn.Module) else _act(forward, rule)
    net = _network(act, depth=8, gain=gain)
    found = tl.checkup(net, _batch())
    named = [finding for finding in found.findings if finding.cause == cause]
    assert named
    assert all(finding.proposal for finding in named)
    again = tl.checkup(tl.convert(net, found.rules), _batch())
    if cause == "outside the window":
        assert not [finding for finding in again.findings if finding.cause in {cause, "nothing arrives"}]
    else:
        assert abs(_decades(again)) < abs(_decades(found)) / 2
        # Which sample sends how much is not a range, and stays.
        assert all(rule.endswith('normalize(per="tensor")') for rule in map(str, found.rules.values()))


def _decades(found):
    """By how many powers of ten feedback grows from the last activation to the first."""
    return math.log10(found.layers[0].sent / found.layers[-1].sent)


def test_a_proposal_is_of_the_same_kind():
    kinds = {
        "rectangular(-0.001, 0.001)": tl.Rectangular,
        "triangular(0.001)": tl.Triangular,
        "rectangular_jam(9, 10, maximum=2)": tl.RectangularJam,
        "atan(0.0001)": tl.ATan,
    }
    for spec, kind in kinds.items():
        found = tl.checkup(_network(_act("heaviside", spec), gain=3), _batch())
        rule = tl.rule(found.rules["1"])
        assert isinstance(rule, kind), spec
        assert getattr(rule, "maximum", 2) == 2


def test_what_is_frozen_was_asked_for_and_what_gets_nothing_looks_up():
    net = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 8), tl.Activation("relu", "frozen"), nn.Linear(8, 3))
    found = tl.checkup(net, _batch())
    assert [(finding.name, finding.cause, finding.proposal) for finding in found.findings] == [
        ("1", "nothing arrives", None)
    ]
    lines = str(found).splitlines()
    assert any("3 above receives some and sends none" in line for line in lines)
    assert "look at what is above it" in str(found)
    assert "Frozen, so that nothing is sent below: 3." in lines


@pytest.mark.parametrize("rule", ["frozen", "full_jam >> frozen"])
def test_of_what_is_frozen_it_is_not_said_that_nothing_is_wrong(rule):
    net = nn.Sequential(nn.Linear(16, 8), tl.Activation("relu", rule), nn.Linear(8, 3))
    assert str(tl.checkup(net, _batch())).endswith("Frozen, so that nothing is sent below: 1.")
    net = nn.Sequential(net[:2], nn.Linear(8, 8), nn.Tanh(), net[2])
    assert str(tl.checkup(net, _batch())).endswith("Nothing is wrong with the feedback of the other activations.")


@pytest.mark.parametrize("rule", ["constant >> scale(0)", "constant(0)", "scale(0)", "rectangular(50, 60)"])
def test_a_rule_that_sends_nothing_whatever_its_window_is_named_and_cured(rule):
    net = nn.Sequential(nn.Linear(16, 8), tl.Activation("relu", rule), nn.Linear(8, 3))
    (finding,) = tl.checkup(net, _batch()).findings
    assert finding.cause == "sends nothing"
    assert finding.cured.live > 0.8


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("everywhere", [True, False])
def test_numbers_that_are_not_finite_are_a_finding(number, everywhere):
    net, (x, target) = _network(_act("heaviside", "rectangular"), depth=0), _batch()
    x = torch.full_like(x, number) if everywhere else torch.where(x == x.max(), number, x)
    found = tl.checkup(net, (x, target))
    assert [finding.cause for finding in found.findings] == ["not finite"]
    assert "no rule mends numbers" in str(found)
    assert not found.rules


class _Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.top = nn.ReLU(), nn.ReLU(), nn.Linear(16, 3)

    def forward(self, x):
        return self.top(torch.cat([self.first(x), self.second(x[:0])]))


def test_what_is_called_with_no_elements_is_not_called():
    x, target = _batch()
    net = _Experts()
    net.below = nn.Linear(16, 16)
    assert tl.checkup(net, (x, target)).uncalled == ("second",)
    with pytest.raises(RuleValueError, match="Give a batch that is not empty"):
        tl.checkup(net, (x[:0], target[:0]))


def test_constant_outputs_are_no_matter_of_the_rule():
    net = _network(_act("heaviside", "constant"))
    with torch.no_grad():
        net[0].bias.fill_(100.0)
    (finding,) = [finding for finding in tl.checkup(net, _batch()).findings if finding.name == "1"]
    assert (finding.cause, finding.proposal) == ("constant outputs", None)


def _accuracy(net, data, steps=300):
    torch.manual_seed(0)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(steps):
        chosen = torch.randint(0, len(data.train_x), (64,))
        optimiser.zero_grad()
        F.cross_entropy(net(data.train_x[chosen].flatten(1)), data.train_y[chosen]).backward()
        optimiser.step()
    return (net(data.test_x.flatten(1)).argmax(1) == data.test_y).float().mean().item()


def test_a_network_made_dead_on_purpose_trains_by_the_proposal():
    """Only the last layer of the dead one learns, from features that stay random and few."""
    data = load("digits", seed=0)
    narrow = _act("heaviside", "rectangular(-0.0001, 0.0001)")

    def dead():
        return _network(narrow, depth=2, inputs=64, outputs=10, width=24, gain=3)

    found = tl.checkup(dead(), (data.train_x[:256].flatten(1), data.train_y[:256]))
    assert {finding.cause for finding in found.findings} == {"outside the window"}
    before, after = _accuracy(dead(), data), _accuracy(tl.convert(dead(), found.rules), data)
    assert after > before + 0.15
    assert after > 0.8


def test_losses():
    net, (x, target) = _network(nn.ReLU), _batch()
    for batch, loss in (
        (x, None),
        ((x, target), None),
        ((x, torch.randn(64, 3)), None),
        ((x, target), nn.CrossEntropyLoss()),
        (x, lambda y: y.square().mean()),
    ):
        assert tl.checkup(net, batch, loss).layers[0].arrives > 0
    assert tl.checkup(net, x).layers == tl.checkup(net, x).layers
    with pytest.raises(RuleTypeError, match=r"a scalar loss, got a tensor of shape \(64,\)"):
        tl.checkup(net, (x, target), nn.CrossEntropyLoss(reduction="none"))
    with pytest.raises(RuleTypeError, match="Give loss=, a function of it"):
        tl.checkup(nn.Sequential(nn.ReLU(), nn.LSTM(16, 4)), x)
    with pytest.raises(RuleTypeError, match="got 3 of them"):
        tl.checkup(net, (x, target, target))


def test_what_is_no_model_or_has_no_activation_is_refused():
    with pytest.raises(RuleTypeError, match=r"needs a torch.nn.Module"):
        tl.checkup(torch.relu, torch.rand(3))
    with pytest.raises(RuleValueError, match="found no activation in Linear"):
        tl.checkup(nn.Linear(3, 3), torch.rand(3, 3))
    with pytest.raises(RuleValueError, match="checkup needs the shapes of Sequential, which has lazy layers"):
        tl.checkup(nn.Sequential(nn.LazyLinear(3), nn.ReLU()), torch.rand(3, 3))

    class Elsewhere(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.act = nn.Linear(3, 3), nn.ReLU()

        def forward(self, x):
            return self.used(x)

    with pytest.raises(RuleValueError, match="none of the activations of Elsewhere was called"):
        tl.checkup(Elsewhere(), torch.rand(3, 3))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, 0.0), (1.0, 1.0), (1.01, 1.1), (-1.09, -1.0), (0.00123, 0.0013), (987, 990), (0.3, 0.3)],
)
def test_ends_are_rounded_outwards(value, expected):
    assert _rounded_up(value) == expected
    assert math.copysign(1, _rounded_up(value)) == math.copysign(1, value)
