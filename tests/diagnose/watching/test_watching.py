"""Diagnoses measure the network as it runs plainly, and leave it as it was. Judge: PyTorch's functions and autograd."""

import copy
import random

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import tieless as tl
from tieless.diagnose import bounds, descent, slope_profiles
from tieless.errors import RuleValueError
from tieless.nn import LearnableActivation

CALLS = {
    "leaky_relu": lambda z: F.leaky_relu(z, 0.2),
    "leaky_relu, named": lambda z: F.leaky_relu(z, negative_slope=0.2, inplace=True),
    "gelu": lambda z: F.gelu(z, approximate="tanh"),
    "hardtanh": lambda z: F.hardtanh(z, -0.3, 0.4),
    "hardtanh, in place": lambda z: F.hardtanh_(z, -0.3, 0.4),
    "elu": lambda z: F.elu(z, 0.5, inplace=True),
    "softplus": lambda z: F.softplus(z, beta=3),
    "threshold": lambda z: F.threshold(z, 0.2, -1.0),
    "relu_": lambda z: z.relu_(),
    "tanh": lambda z: torch.tanh(input=z),
}
SOURCES = {
    "leaky_relu": "F.leaky_relu(h, self.slope)",
    "leaky_relu, named": "F.leaky_relu(h, negative_slope=self.slope, inplace=True)",
    "gelu": "F.gelu(h, approximate=self.kind)",
    "hardtanh": "F.hardtanh(h, self.low, self.high)",
    "hardtanh, in place": "F.hardtanh_(h, self.low, self.high)",
    "elu": "F.elu(h, 0.5, inplace=True)",
    "softplus": "F.softplus(h, beta=self.beta)",
    "threshold": "F.threshold(h, self.slope, -1.0)",
    "relu_": "h.relu_()",
    "tanh": "torch.tanh(input=h)",
}
"""The same in code, where most parameters are known only when it runs."""


@pytest.fixture
def networks(tmp_path, monkeypatch):
    """By the call in its code, a class whose module is a file, as ``convert`` reads it."""
    lines = ["import torch", "from torch import nn", "from torch.nn import functional as F"]
    for number, source in enumerate(SOURCES.values()):
        lines += [
            f"class Net{number}(nn.Module):",
            "    slope, low, high, beta, kind = 0.2, -0.3, 0.4, 3, 'tanh'",
            "    def __init__(self):",
            "        super().__init__()",
            "        self.below, self.above = nn.Linear(8, 12), nn.Linear(12, 3)",
            "    def forward(self, x):",
            "        h = self.below(x) * 1",
            f"        y = {source}",
            "        return self.above(y + 3 * h)",  # others read what was written in place
        ]
    (tmp_path / "nets_of_calls.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    module = __import__("nets_of_calls")
    return {call: getattr(module, f"Net{number}") for number, call in enumerate(SOURCES)}


def _batch(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(32, 8, generator=generator), torch.randint(0, 3, (32,), generator=generator)


@pytest.mark.parametrize("call", CALLS)
def test_calls_run_with_their_parameters_and_in_place(networks, call):
    torch.manual_seed(0)
    net, batch, function = networks[call](), _batch(), CALLS[call]
    z = (net.below(batch[0]) * 1).detach()
    expected = torch.autograd.grad(F.cross_entropy(net(batch[0]), batch[1]), list(net.below.parameters()))
    # By hand: y = f(z) takes feedback g; what is written in place is read by the other branch.
    start = z.clone().requires_grad_()
    y = function(start * 1)
    written = "inplace=True" in SOURCES[call] or "_(" in SOURCES[call]
    other = y if written else z
    kept = y.detach().requires_grad_()
    beside = kept if written else z
    (received,) = torch.autograd.grad(F.cross_entropy(net.above(kept + 3 * beside), batch[1]), kept)
    (sent,) = torch.autograd.grad(y, start, received)
    assert torch.equal(net(batch[0]), net.above(y + 3 * other))

    tl.convert(net, backward="tied")
    (layer,) = tl.checkup(net, batch).layers
    assert layer.received == pytest.approx(_rms(received), rel=1e-5)
    assert layer.sent == pytest.approx(_rms(sent), rel=1e-5)
    assert (layer.mean, layer.spread) == pytest.approx(
        (z.mean().item(), z.std(correction=0).item()), rel=1e-4, abs=1e-6
    )
    found = tl.alignment(net, F.cross_entropy, batch)
    assert found.layers["below"].norm == pytest.approx(
        torch.cat([one.flatten() for one in expected]).norm().item(), rel=1e-5
    )
    assert found.feedback.whole.norm == pytest.approx(sent.norm().item(), rel=1e-5)
    # Tied beside tied, with the parameters of the call.
    (bound,) = bounds(net, batch).parts
    assert (bound.low, bound.high, bound.cosine) == pytest.approx((1, 1, 1), rel=1e-4)
    (profile,) = slope_profiles(net, batch[0])
    at = torch.tensor(profile.at, requires_grad=True)
    (slopes,) = torch.autograd.grad(function(at * 1).sum(), at)
    torch.testing.assert_close(torch.tensor(profile.tied), slopes, rtol=1e-4, atol=1e-5)
    (row,) = tl.explain(net, batch[0]).activations
    passes = torch.autograd.grad(function((again := z.clone().requires_grad_()) * 1).sum(), again)[0] != 0
    assert row.run.fired == pytest.approx(passes.float().mean().item(), abs=1e-6)


def _rms(values):
    return values.double().square().mean().sqrt().item()


def test_what_fires_is_asked_before_it_is_written_over():
    net = tl.convert(nn.Sequential(nn.Linear(8, 12), nn.ReLU(inplace=True)), backward="rectangular(-0.5, -0.1)")
    (x, _), z = _batch(), None
    z = net[0](x)
    (row,) = tl.explain(net, x).activations
    assert row.run.fired == pytest.approx(((z >= -0.5) & (z <= -0.1)).float().mean().item())
    assert row.run.fired > 0


class Often(nn.Module):
    """One activation called three times: with gradients, without, and in a checkpoint; a branch that nothing trains."""

    def __init__(self, act, reentrant=None):
        super().__init__()
        self.below, self.middle, self.above, self.act = nn.Linear(8, 12), nn.Linear(12, 12), nn.Linear(12, 3), act
        self.reentrant = reentrant

    def forward(self, x):
        h = self.act(self.below(x))
        with torch.no_grad():
            target = self.act(self.middle(h))
        if self.reentrant is None:
            h = self.act(self.middle(h))
        else:
            h = checkpoint(lambda h: self.act(self.middle(h)), h, use_reentrant=self.reentrant)
        return self.above(h - target * 0.5)


@pytest.mark.parametrize("reentrant", [None, False])
@pytest.mark.parametrize("act", [nn.Tanh, lambda: tl.Activation("tanh", "tied")], ids=["PyTorch's", "ours"])
def test_one_that_is_called_often_and_not_always_with_gradients(act, reentrant):
    torch.manual_seed(0)
    net, (x, labels) = Often(act(), reentrant), _batch()
    z = [net.below(x)]
    z.append(net.middle(torch.tanh(z[0])))
    target = torch.tanh(z[1]).detach()
    y = [torch.tanh(one) for one in z]
    loss = F.cross_entropy(net.above(y[1] - target * 0.5), labels)
    # The first output goes to the branch without gradients too, which sends nothing back.
    sent = torch.autograd.grad(loss, z)
    silent = torch.zeros_like(z[1])
    (layer,) = tl.checkup(net, (x, labels)).layers
    assert layer.elements == 3 * 32 * 12
    assert layer.sent == pytest.approx(_rms(torch.cat([sent[0], silent, sent[1]])), rel=1e-5)
    assert layer.live == pytest.approx(2 / 3, abs=0.01)
    weights = torch.autograd.grad(F.cross_entropy(net(x), labels), list(net.middle.parameters()))
    found = tl.alignment(net, F.cross_entropy, (x, labels))
    assert found.layers["middle"].norm == pytest.approx(
        torch.cat([one.flatten() for one in weights]).norm().item(), rel=1e-5
    )
    assert found.whole.deviation == pytest.approx(0, abs=1e-6)
    assert tl.explain(tl.convert(net, backward="tied"), x).activations[0].run.calls == 3


def test_a_checkpoint_that_pytorch_refuses_is_refused_in_one_line():
    net = Often(tl.Activation("tanh", "constant"), reentrant=True)
    for asker in (lambda: tl.checkup(net, _batch()), lambda: tl.alignment(net, F.cross_entropy, _batch())):
        with pytest.raises(RuleValueError, match="use_reentrant=False") as caught:
            asker()
        assert "\n" not in str(caught.value)
    assert tl.explain(net, _batch()[0]).activations[0].run.calls == 3


def test_a_frozen_part_in_eval_mode_sends_what_it_would():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(8, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.5), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 3)
    )
    net[1].running_mean.normal_()
    for parameter in net[:5].parameters():
        parameter.requires_grad_(False)
    net[:4].eval()
    x, labels = _batch()
    z = [net[:2](x).requires_grad_()]
    z.append(net[4](F.relu(z[0])).detach().requires_grad_())
    (second,) = torch.autograd.grad(F.cross_entropy(net[6](torch.tanh(z[1])), labels), z[1])
    (first,) = torch.autograd.grad(net[4](F.relu(z[0])), z[0], second)
    layers = tl.checkup(net, (x, labels)).layers
    assert [layer.sent for layer in layers] == pytest.approx([_rms(first), _rms(second)], rel=1e-5)
    assert list(tl.alignment(net, F.cross_entropy, (x, labels)).layers) == ["6"]


def test_dropout_draws_as_after_the_seed_and_jams_from_elsewhere():
    net, (x, labels) = (
        nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 12), tl.Activation("relu", "full_jam"), nn.Linear(12, 3)),
        _batch(),
    )
    torch.manual_seed(0)
    z = net[1](F.dropout(x)).detach()
    (layer,) = tl.checkup(net, (x, labels)).layers
    assert layer.mean == pytest.approx(z.mean().item(), rel=1e-5)


class Everything(nn.Module):
    """All that a diagnosis could leave changed, and an activation that writes to the batch itself."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.ReLU(inplace=True), nn.BatchNorm1d(8)
        self.below, self.act, self.drop = nn.Linear(8, 12), LearnableActivation("tanh"), nn.Dropout()
        self.middle, self.above = nn.Linear(12, 12), nn.Linear(12, 3)
        self.seen, self.count = [], {"calls": 0}
        self.fails = False

    def forward(self, x):
        x = self.first(x)
        h = F.leaky_relu(self.below(self.norm(x)), 0.3, inplace=True)
        h = self.drop(self.act(self.middle(h)))
        self.seen.append(h)
        self.count["calls"] += 1
        if self.fails:
            raise ZeroDivisionError
        return self.above(h)


DIAGNOSES = {
    "checkup": tl.checkup,
    "explain": lambda net, batch: tl.explain(net, batch[0]),
    "alignment": lambda net, batch: tl.alignment(net, F.cross_entropy, batch),
    "perturbation": lambda net, batch: tl.alignment(net, F.cross_entropy, batch, reference="perturbation", draws=2),
    "bounds": bounds,
    "descent": lambda net, batch: descent(net, F.cross_entropy, batch),
    "slope_profiles": lambda net, batch: slope_profiles(net, batch[0]),
}


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("diagnosis", DIAGNOSES)
def test_everything_is_left_as_it_was(diagnosis, fails):
    torch.manual_seed(0)
    net, batch = tl.convert(Everything(), {"leaky*": "full_jam"}), _batch()
    net.drop.eval()
    net.fails = fails
    net.below.weight.requires_grad_(False)
    hooked = []
    net.first.register_forward_hook(lambda *_: hooked.append("run"))
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    waiting = net.above(torch.ones(2, 12)).sum()  # a graph that is still to be run backward

    tensors = [*net.parameters(), *net.buffers(), *(parameter.grad for parameter in net.parameters()), *batch]
    before = copy.deepcopy([tensor.detach() for tensor in tensors]), [tensor._version for tensor in tensors]
    flags = [(tensor.requires_grad, tensor.grad_fn) for tensor in tensors]
    modes = [module.training for module in net.modules()]
    attributes = [(module, dict(vars(module))) for module in net.modules()]
    hooks = [list(module._forward_hooks) for module in net.modules()]
    states = torch.get_rng_state(), random.getstate(), len(torch.cuda._queued_calls)

    if fails:
        with pytest.raises(ZeroDivisionError):
            DIAGNOSES[diagnosis](net, batch)
    else:
        DIAGNOSES[diagnosis](net, batch)
    assert hooked

    now = [*net.parameters(), *net.buffers(), *(parameter.grad for parameter in net.parameters()), *batch]
    assert all(one is other for one, other in zip(now, tensors, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(now, before[0], strict=True))
    assert [tensor._version for tensor in now] == before[1]
    assert [(tensor.requires_grad, tensor.grad_fn) for tensor in now] == flags
    assert [module.training for module in net.modules()] == modes
    assert [list(module._forward_hooks) for module in net.modules()] == hooks
    assert (net.seen, net.count) == ([], {"calls": 0})
    for module, kept in attributes:
        assert vars(module).keys() == kept.keys()
        assert all(vars(module)[name] is value for name, value in kept.items())
    assert torch.equal(torch.get_rng_state(), states[0])
    # Not those of devices that the model is not on, not even of one that is started later.
    assert (random.getstate(), len(torch.cuda._queued_calls)) == states[1:]
    waiting.backward()


def test_hooks_of_a_model_run_once_for_each_pass():
    for act in (nn.ReLU(), tl.Activation("relu", "tied"), LearnableActivation("tanh")):
        net, hooked = nn.Sequential(nn.Linear(8, 12), act, nn.Linear(12, 3)), []
        act.register_forward_hook(lambda *_, hooked=hooked: hooked.append(torch.is_grad_enabled()))
        slope_profiles(net, _batch()[0])
        assert hooked == [False]
        tl.alignment(net, F.cross_entropy, _batch())
        assert hooked == [False, True, True]
