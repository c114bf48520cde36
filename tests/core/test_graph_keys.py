"""A captured graph draws as the calls that it holds are written: other numbers at each replay, and the same ones for a seed."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from tests.core.test_randomness import JAMS
from tieless import Activation, GraphKeys, untie
from tieless.errors import TransformError
from tieless.ops import keys as keys_of

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class _Graph:
    """Replay of a graph, on a CPU: a backward pass."""

    def __init__(self, y, z):
        self.y, self.z = y, z

    def replay(self):
        (self.sent,) = torch.autograd.grad(self.y, self.z, torch.ones_like(self.y), retain_graph=True)


@pytest.fixture
def capturing(monkeypatch):
    """Takes the CPU for a GPU on which a graph is being captured."""
    monkeypatch.setattr(keys_of, "capturing", lambda _: True)


def _z():
    return torch.linspace(-4, 4, 1000).requires_grad_()


def _written(rules, generator=None):
    """Gradient that a pass sends."""
    z = _z()
    y = z
    for rule in rules:
        y = untie(y, "linear", rule, generator=generator)
    return torch.autograd.grad(y, z, torch.ones_like(y))[0]


@pytest.mark.parametrize(
    "rules", [["full_jam"], ["positive_jam", "noise(1)", "drop(0.5) >> full_jam"], ["noise(1)"] * 300]
)
def test_each_replay_is_the_pass_that_is_written(capturing, monkeypatch, rules):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    z = y = _z()
    keys = GraphKeys()
    with keys:
        for rule in rules:
            y = untie(y, "linear", rule)
    assert torch.equal(before, torch.get_rng_state())  # a capture draws nothing
    graph = _Graph(y, z)
    replayed = []
    for _ in range(3):
        keys.replay(graph)
        replayed.append((graph.sent, torch.get_rng_state()))
    monkeypatch.undo()
    torch.manual_seed(3)
    for sent, state in replayed:
        assert torch.equal(sent, _written(rules))
        assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(replayed[0][0], replayed[1][0])


def test_each_call_has_its_own_generator(capturing, monkeypatch):
    generator = torch.Generator().manual_seed(5)
    z = _z()
    keys = GraphKeys()
    with keys:
        y = untie(untie(z, "linear", "full_jam", generator=generator), "linear", "full_jam")
    graph = _Graph(y, z)
    torch.manual_seed(1)
    keys.replay(graph)
    monkeypatch.undo()
    torch.manual_seed(1)
    twin = _z()
    expected = untie(untie(twin, "linear", "full_jam", generator=generator.manual_seed(5)), "linear", "full_jam")
    assert torch.equal(graph.sent, torch.autograd.grad(expected, twin, torch.ones_like(expected))[0])


def test_without_keys_a_draw_is_refused(capturing):
    with pytest.raises(TransformError, match=r"one key for ever.*GraphKeys"):
        untie(_z(), "relu", "full_jam")
    with GraphKeys(), pytest.raises(TransformError, match="transformed call"):
        torch.func.vmap(lambda z: untie(z, "relu", "full_jam"), randomness="different")(torch.ones(2, 3))
    with GraphKeys(), pytest.raises(TransformError, match="one graph at a time"), GraphKeys():
        pass
    keys = GraphKeys()
    with keys:
        untie(_z(), "relu", "full_jam")
    # Of two graphs each replay would draw the keys of both.
    with pytest.raises(TransformError, match="Make others"), keys:
        pass
    with GraphKeys():  # what was refused is not entered
        untie(_z(), "relu", "full_jam")


def _captured(step):
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step()
    torch.cuda.synchronize()
    graph, keys = torch.cuda.CUDAGraph(), GraphKeys()
    with torch.cuda.graph(graph), keys:
        result = step()
    return lambda: (keys.replay(graph), result.clone())[1]


@needs_gpu
@pytest.mark.parametrize("kept", [False, True], ids=["plain", "checkpoint"])
@pytest.mark.parametrize("jam", JAMS)
@pytest.mark.parametrize("value", ["relu", "bernoulli"])
def test_a_replay_on_a_gpu_is_the_pass_that_is_written(value, jam, kept):
    torch.manual_seed(0)
    block = torch.nn.Sequential(Activation(value, jam), Activation("linear", jam)).cuda()
    z = torch.randn(64, 100, device="cuda", requires_grad=True)
    feedback = torch.randn(64, 100, device="cuda")

    def step():
        y = checkpoint(block, z, use_reentrant=False) if kept else block(z)
        return torch.cat([y.detach(), torch.autograd.grad(y, z, feedback)[0]])

    replay = _captured(step)
    for seed in (1, 2):
        torch.manual_seed(seed)
        found = [replay() for _ in range(3)]
        torch.manual_seed(seed)
        for one in found:
            assert torch.equal(one, step())
    assert not torch.equal(found[0], found[1])


@needs_gpu
def test_a_gpu_refuses_a_draw_whose_key_nobody_holds():
    z = torch.ones(8, device="cuda", requires_grad=True)
    for call in (lambda: untie(z, "relu", "full_jam"), torch.compile(lambda: untie(z, "relu", "full_jam"))):
        call()
        torch.cuda.synchronize()
        with pytest.raises(TransformError, match="one key for ever"), torch.cuda.graph(torch.cuda.CUDAGraph()):
            call()
