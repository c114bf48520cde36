"""What docs/migration/freegrad.md says of freegrad 1.0 is so: each is seen there. The other tests see it cured here."""

import contextvars
import pickle
import sys
import threading

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.conformance.loading import load

WINDOW, RELU = [0.0, 1.0, 0.0], [0.0, 1.0, 1.0]
SCALED = {"s": 3.0}


@pytest.fixture
def fg():
    modules = load("freegrad")
    if modules is None:
        pytest.skip("freegrad was not fetched: tools/get-peers")
    return modules[0]


@pytest.fixture
def x():
    return torch.tensor([-0.6, 0.2, 3.0], requires_grad=True)


def gradient(act, x):
    return torch.autograd.grad(act(x).sum(), x)[0].tolist()


def test_a_thread_has_no_rule(fg, x):
    found = []
    with fg.use("rectangular"):
        thread = threading.Thread(target=lambda: found.append(gradient(fg.Activation(), x)))
        thread.start()
        thread.join()
    assert found == [RELU]


def test_a_reentrant_checkpoint_has_no_rule(fg, x):
    with fg.use("rectangular"):
        total = checkpoint(fg.Activation(), x, use_reentrant=True).sum()
    total.backward()
    assert x.grad.tolist() == RELU


def test_a_context_entered_twice_fails_and_stays(fg, x):
    def enter():
        context = fg.use("rectangular")
        with pytest.raises(RuntimeError), context, context:
            pass
        return gradient(fg.Activation(), x)

    assert contextvars.copy_context().run(enter) == WINDOW


def test_parameters_are_held_by_reference(fg, x):
    params = {"s": 1.0}
    context = fg.use("scale", params=params)
    params["s"] = 7.0
    with context:
        assert gradient(fg.Activation(), x) == [7.0] * 3


def test_mistakes_pass(fg, x):
    for mistake, expected in [
        ({"rule": "rectangular", "params": {"lo": -9.0}}, WINDOW),
        ({"rule": "rectangular", "params": {"a": 1.0, "b": -1.0}}, [0.0] * 3),
        ({"rule": "triangular", "params": {"width": -1.0}}, [0.0] * 3),
        ({"rule": "rectangular", "scope": "activation"}, RELU),
    ]:
        with fg.use(**mistake):
            assert gradient(fg.Activation(), x) == expected


def test_the_backward_pass_draws(fg, x):
    with fg.use("full_jam"):
        total = fg.Activation()(x).sum()
    first, second = (torch.autograd.grad(total, x, retain_graph=True)[0] for _ in range(2))
    assert not torch.equal(first, second)


def test_jvp_asks_no_rule(fg, x):
    jvp = load("freegrad")[1].jvp
    with_rule, without = (jvp(fg.Activation(), x, torch.ones(3), **given) for given in ({"rule": "d(Linear)"}, {}))
    assert torch.equal(with_rule, without)


def test_a_second_derivative_is_silently_missing(fg, x):
    (first,) = torch.autograd.grad(fg.Activation("Tanh")(x).sum(), x, create_graph=True)
    assert not first.requires_grad


def test_hooks_apply_as_often_as_attached_and_fail_without_an_input(fg):
    attach, net = load("freegrad")[2].attach_param_hooks, nn.Linear(1, 1)
    attach(net)
    attach(net)
    with fg.use("scale", params=SCALED, scope="params"):
        net(torch.ones(1)).sum().backward()
    assert net.weight.grad.item() == 9
    for rule in ("rectangular", "triangular"):
        with fg.use(rule, scope="params"), pytest.raises((TypeError, AttributeError)):
            net(torch.ones(1)).sum().backward()


def test_parameters_that_change_what_a_rule_is(fg):
    g = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    assert fg.transforms.clip_norm(None, g, None, max_norm=0.1, eps=100.0).norm() < 0.01
    rows = fg.transforms.centralize(None, g, None, dim=1, keepdim=False).mean(1)
    assert rows.abs().max() > 1


def test_a_step(fg):
    x = torch.tensor([float("nan")], requires_grad=True)
    y = fg.Activation("Heaviside")(x)
    assert y.item() == 0
    with pytest.raises(RuntimeError, match="not implemented"):
        y.sum().backward()


def test_a_composition_cannot_be_pickled_or_read(fg):
    both = fg.compose("rectangular", "noise")
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(both)
    assert "rectangular" not in repr(both)


@pytest.mark.filterwarnings("ignore")  # of the compiler's own
def test_no_activation_compiles_whole(fg, x, monkeypatch):
    torch.compiler.reset()
    for module in (fg, fg.context, fg.wrappers):  # the compiler imports what it looks into
        monkeypatch.setitem(sys.modules, module.__name__, module)
    whole = torch.compile(fg.Activation(), backend="aot_eager", fullgraph=True)
    with fg.use("rectangular"), pytest.raises(Exception, match="ContextVar"):
        whole(x)
