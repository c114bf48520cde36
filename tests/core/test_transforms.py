"""Guarantee 2, as far as it goes: compile, func.grad, both checkpointings, autocast, pickle, deepcopy; and refusals."""

import copy
import pickle

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from tieless import Activation, FullJam, Rectangular, untie
from tieless.errors import SecondDerivativeError, TransformError

# Torch's own: Dynamo makes an instance of the autograd function while it traces, and jvp loads scripted functions.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
]


def _two_layers(forward, rule):
    """Two activations in a row, so that a key that went to the wrong one is seen."""
    return lambda z: untie(3 * untie(z, forward, rule), forward, rule)


def _gradient(function, z):
    leaf = z.clone().requires_grad_()
    torch.manual_seed(7)
    function(leaf).sin().sum().backward()
    return leaf.grad


def _same(one, other, rule):
    """Bit for bit; but the kernel of the sigmoid surrogate computes exp to an ulp that PyTorch's own may not hit."""
    if rule.startswith("sigmoid"):
        torch.testing.assert_close(one, other, rtol=2e-6, atol=1e-12)
    else:
        assert torch.equal(one, other)


def _z():
    return torch.linspace(-3, 3, 48).view(4, 12)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_nothing(forward, rule, reentrant):
    layers = _two_layers(forward, rule)
    expected = _gradient(layers, _z())
    assert torch.equal(_gradient(lambda z: checkpoint(layers, z, use_reentrant=reentrant), _z()), expected)


def test_func_grad_is_backward(forward, rule):
    layers = _two_layers(forward, rule)
    torch.manual_seed(7)
    _same(torch.func.grad(lambda z: layers(z).sin().sum())(_z()), _gradient(layers, _z()), rule)


def test_compiled_is_eager(rule, fitting_forwards):
    """One graph for all forwards: their gradients, bit for bit."""

    def all_forwards(z):
        return torch.stack([_two_layers(forward, rule)(z[i]) for i, forward in enumerate(fitting_forwards)])

    z = torch.stack([_z()] * len(fitting_forwards))
    torch._dynamo.reset()
    compiled = torch.compile(all_forwards, fullgraph=True, backend="aot_eager")
    expected = _gradient(all_forwards, z)
    for one, other in zip(_gradient(compiled, z), expected, strict=True):
        _same(one, other, rule)


def test_compiled_modules_and_rule_objects_are_eager():
    """The halves as specs, as values and inside modules: what a compiler sees differs, what runs does not."""
    rule = Rectangular(-1, 1) >> FullJam()
    first, second = Activation("relu", rule), Activation(torch.sin, "positive_jam >> tied")

    def layers(z):
        return untie(second(first(z)), "tanh", rule)

    torch._dynamo.reset()
    compiled = torch.compile(layers, fullgraph=True, backend="aot_eager")
    assert torch.equal(_gradient(compiled, _z()), _gradient(layers, _z()))


def test_a_compiled_network_trains_as_the_eager_one():
    steps = []
    for compiled in (False, True):
        torch._dynamo.reset()
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(12, 8), Activation("relu", "full_jam"), torch.nn.Linear(8, 3))
        run = torch.compile(net, fullgraph=True, backend="aot_eager") if compiled else net
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(3):
            optimiser.zero_grad()
            run(_z()).square().mean().backward()
            optimiser.step()
        steps.append([parameter.detach().clone() for parameter in net.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*steps, strict=True))


@pytest.mark.parametrize("layout", [torch.clone, lambda z: z.t().contiguous().t()], ids=["plain", "transposed"])
def test_compiled_checkpoint_is_eager(rule, layout):
    layers = _two_layers("leaky_relu", rule)
    torch._dynamo.reset()
    compiled = torch.compile(lambda z: checkpoint(layers, z, use_reentrant=False), fullgraph=True, backend="aot_eager")
    _same(_gradient(compiled, layout(_z())), _gradient(layers, layout(_z())), rule)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_keeps_the_dtype_and_the_numbers(forward, rule, dtype):
    torch.manual_seed(0)
    z = torch.nn.functional.linear(torch.randn(4, 8), torch.randn(12, 8)).to(dtype)
    results = []
    for enabled in (True, False):
        leaf = z.clone().requires_grad_()
        torch.manual_seed(7)
        with torch.autocast("cpu", dtype=dtype, enabled=enabled):
            y = untie(leaf, forward, rule)
        assert y.dtype == dtype
        y.backward(torch.ones_like(y))
        results.append(leaf.grad)
    assert torch.equal(*results)


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda act: pickle.loads(pickle.dumps(act))], ids=["deepcopy", "pickle"]
)
def test_a_copy_is_the_same_activation(forward, rule, duplicate):
    act = Activation(forward, rule)
    twin = duplicate(act)
    assert (twin.forward_fn, twin.rule) == (act.forward_fn, act.rule)
    assert hash(twin.rule) == hash(act.rule)
    assert repr(twin) == repr(act)
    assert twin.state_dict() == {}
    assert torch.equal(_gradient(twin, _z()), _gradient(act, _z()))


def test_second_derivatives_are_refused_even_where_the_feedback_does_not_depend_on_z(forward, rule):
    z = _z().requires_grad_()
    (gradient,) = torch.autograd.grad(untie(z, forward, rule).sum(), z, create_graph=True)
    with pytest.raises(SecondDerivativeError, match="no derivative"):
        (gradient.sum() + z.sum()).backward()


def test_func_second_derivatives_are_refused(forward, rule):
    def slope(z):
        return torch.func.grad(lambda x: untie(x, forward, rule).sum())(z).sum()

    with pytest.raises(SecondDerivativeError, match="no derivative"):
        torch.func.grad(slope)(_z())


def test_forward_mode_is_refused_not_silently_wrong(forward, rule):
    with pytest.raises(TransformError, match="no forward-mode derivative"):
        torch.func.jvp(lambda z: untie(z, forward, rule), (_z(),), (_z(),))
