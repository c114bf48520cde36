"""The neurons of snnTorch and SpikingJelly spike and learn with our rules as with their own surrogates."""

import copy
import pickle

import pytest
import torch
from torch import nn

import tieless as tl
from tests.compat.neurons import importable
from tieless.compat.snntorch import spike_grad
from tieless.compat.spikingjelly import SurrogateFunction

STEPS = 12

# Of random z, none lies on an edge.
SNNTORCH = {
    "atan": ({"alpha": 2.0}, tl.ATan.from_alpha(2)),
    "fast_sigmoid": ({"slope": 25}, tl.FastSigmoid.from_slope(25)),
    "sigmoid": ({"slope": 5}, tl.Sigmoid.from_alpha(5)),
    "straight_through_estimator": ({}, tl.Constant()),
    "heaviside": ({}, tl.LeakyReLU()),
    "spike_rate_escape": ({"beta": 1, "slope": 2}, tl.PiecewiseExp.from_escape_rate(1, 2)),
    "SFS": ({"slope": 2, "B": 0}, tl.SparseFastSigmoid.from_slope(2, 0)),
}
SPIKINGJELLY = {
    "PiecewiseQuadratic": ({"alpha": 1.5}, tl.Triangular.from_alpha(1.5)),
    "PiecewiseExp": ({"alpha": 1.5}, tl.PiecewiseExp.from_alpha(1.5)),
    "Sigmoid": ({"alpha": 4.0}, tl.Sigmoid.from_alpha(4)),
    "SoftSign": ({"alpha": 2.0}, tl.FastSigmoid.from_soft_sign(2)),
    "SuperSpike": ({"alpha": 1.0}, tl.FastSigmoid.from_super_spike(1)),
    "ATan": ({"alpha": 2.0}, tl.ATan.from_alpha(2)),
    "NonzeroSignLogAbs": ({"alpha": 1.0}, tl.SignLogAbs.from_alpha(1)),
    "Erf": ({"alpha": 2.0}, tl.Erf.from_alpha(2)),
    "PiecewiseLeakyReLU": ({"w": 1.0, "c": 0.01}, tl.PiecewiseLeakyReLU.from_w(1, 0.01)),
    "SquarewaveFourierSeries": ({"n": 3, "T_period": 8.0}, tl.SquareWaveSeries.from_period(3, 8)),
    "S2NN": ({"alpha": 4.0, "beta": 1.0}, tl.S2NN.from_alpha(4, 1)),
    "QPseudoSpike": ({"alpha": 2.0}, tl.QPseudoSpike.from_alpha(2)),
    "LeakyKReLU": ({"leak": 0.1, "k": 0.5}, tl.LeakyReLU(0.1, 0.5)),
    "FakeNumericalGradient": ({"alpha": 0.3}, tl.FakeNumericalGradient.from_alpha(0.3)),
    "LogTailedReLU": ({"alpha": 0.1}, tl.LogTailedReLU(leak=0.1)),
    "Rect": ({"alpha": 0.8}, tl.Rectangular.from_alpha(0.8)),
    "DeterministicPass": ({}, tl.Constant()),
}


@pytest.fixture(scope="module")
def snntorch():
    with importable("snntorch"):
        import snntorch
        import snntorch.surrogate
        import snntorch.utils

        yield snntorch


@pytest.fixture(scope="module")
def spikingjelly():
    with importable("spikingjelly"):
        from spikingjelly.activation_based import neuron, surrogate

        yield neuron, surrogate


def learn(neuron, dtype=torch.float64, *, step=lambda neuron, current, state: (neuron(current), state)):
    """The spikes of a layer over some steps, and the gradients of its weights and input."""
    torch.manual_seed(0)
    layer = nn.Linear(6, 10, dtype=dtype)
    x = torch.randn(STEPS, 4, 6, dtype=dtype).mul_(2).requires_grad_()
    target = torch.randn(STEPS, 4, 10, dtype=dtype)
    state, spikes = None, []
    for current in layer(x):
        spike, state = step(neuron, current, state)
        spikes.append(spike.to(dtype))
    fired = torch.stack(spikes)
    (fired * target).sum().backward()
    assert 0.05 < fired.detach().mean() < 0.95
    return fired.detach(), layer.weight.grad, x.grad


def same(ours, theirs, rtol=1e-6):
    assert torch.equal(ours[0], theirs[0])
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=rtol, atol=rtol * other.abs().max().item())


def leaky(neuron, current, state):
    return neuron(current, neuron.reset_mem() if state is None else state)


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("name", SNNTORCH)
def test_leaky_learns_as_with_its_own_surrogate(snntorch, name, reset):
    parameters, rule = SNNTORCH[name]
    its_own = getattr(snntorch.surrogate, name)(**parameters)
    theirs, ours = (
        learn(snntorch.Leaky(beta=0.9, spike_grad=spike, reset_mechanism=reset).double(), step=leaky)
        for spike in (its_own, spike_grad(rule))
    )
    same(ours, theirs)


@pytest.mark.parametrize("kind", ["Synaptic", "RLeaky", "Lapicque", "Alpha"])
def test_other_neurons_take_it_too(snntorch, kind):
    needs = {
        "Synaptic": {"alpha": 0.8, "beta": 0.9},
        "RLeaky": {"beta": 0.9, "all_to_all": False},
        "Lapicque": {"beta": 0.9},
        "Alpha": {"alpha": 0.9, "beta": 0.8},
    }[kind]

    def run(spike):
        torch.manual_seed(1)
        neuron = getattr(snntorch, kind)(**needs, spike_grad=spike, init_hidden=True).double()
        torch.manual_seed(0)
        x = (3 * torch.rand(STEPS, 4, 5, dtype=torch.float64)).requires_grad_()
        spikes = torch.stack([neuron(current).double() for current in x])
        (spikes * torch.randn_like(spikes)).sum().backward()
        return spikes.detach(), x.grad

    same(run(spike_grad(tl.ATan.from_alpha(2))), run(snntorch.surrogate.atan(alpha=2.0)))


def test_a_neuron_of_snntorch_keeps_its_dtype_pickles_and_is_converted(snntorch):
    net = nn.Sequential(nn.Linear(3, 3), snntorch.Leaky(beta=0.9, spike_grad=spike_grad("atan"), init_hidden=True))
    net.double()
    assert net(torch.randn(2, 3, dtype=torch.float64)).dtype == torch.float64
    snntorch.utils.reset(net)
    assert set(net.state_dict()) == set(nn.Sequential(net[0], snntorch.Leaky(beta=0.9)).state_dict())
    assert str(pickle.loads(pickle.dumps(net[1].spike_grad))) == "Activation(heaviside, atan(1, 1))"
    tl.convert(net, {"*.spike_grad": "triangular(2)"})
    assert str(net[1].spike_grad.rule) == "triangular(2)"


def single(neuron, current, state):
    return neuron(current), state


@pytest.mark.parametrize("name", SPIKINGJELLY)
def test_a_lif_node_learns_as_with_its_own_surrogate(spikingjelly, name):
    neuron, surrogate = spikingjelly
    parameters, rule = SPIKINGJELLY[name]
    its_own = getattr(surrogate, name)(**parameters)
    for settings in ({}, {"v_reset": None}, {"detach_reset": True, "decay_input": False}):
        theirs, ours = (
            learn(neuron.LIFNode(tau=2.0, v_threshold=0.3, surrogate_function=spike, **settings), step=single)
            for spike in (its_own, SurrogateFunction(rule))
        )
        same(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["LIFNode", "IFNode", "ParametricLIFNode"])
def test_many_steps_at_once_are_the_same(spikingjelly, kind, dtype):
    neuron, surrogate = spikingjelly

    def run(spike):
        node = getattr(neuron, kind)(v_threshold=0.5, surrogate_function=spike, step_mode="m").to(dtype)
        torch.manual_seed(0)
        x = torch.randn(STEPS, 4, 5, dtype=dtype).mul_(2).requires_grad_()
        spikes = node(x)
        (spikes * torch.randn_like(spikes)).sum().backward()
        return spikes.detach(), x.grad

    ours, theirs = run(SurrogateFunction(tl.ATan.from_alpha(2))), run(surrogate.ATan(alpha=2.0))
    same(ours, theirs, rtol=1e-6 if dtype == torch.float64 else 1e-5)


def test_both_fire_at_the_threshold_as_their_neurons_do(snntorch, spikingjelly):
    z = torch.tensor([-1.0, -0.0, 0.0, 1e-30, 1.0])
    assert torch.equal(spike_grad("atan")(z), snntorch.surrogate.atan()(z))
    assert torch.equal(SurrogateFunction("atan")(z), spikingjelly[1].ATan()(z))


def test_the_smooth_mode_is_theirs(spikingjelly):
    theirs = spikingjelly[1].Sigmoid(alpha=4.0, spiking=False)
    ours = SurrogateFunction(tl.Sigmoid.from_alpha(4), spiking=False, primitive=lambda x: (4 * x).sigmoid())
    x = torch.linspace(-3, 3, 50, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(*(torch.autograd.grad(f(x).sum(), x) for f in (ours, theirs)), rtol=1e-6, atol=1e-9)
    ours.set_spiking_mode(True)
    theirs.set_spiking_mode(True)
    assert torch.equal(ours(x), theirs(x))
    with pytest.raises(tl.errors.RuleTypeError, match="primitive"):
        SurrogateFunction("atan").set_spiking_mode(False)


def test_a_spike_has_no_derivative_to_be_tied_to():
    for make in (spike_grad, SurrogateFunction):
        with pytest.raises(tl.errors.UntrainableError):
            make("tied")


def test_a_surrogate_can_be_copied():
    fire = SurrogateFunction("atan(0.3)", primitive="logistic")
    for again in (copy.deepcopy(fire), pickle.loads(pickle.dumps(fire))):
        assert str(again) == "SurrogateFunction(atan(0.3, 1), spiking=True)"
        again.set_spiking_mode(False)
        assert again(torch.zeros(1)).item() == 0.5
