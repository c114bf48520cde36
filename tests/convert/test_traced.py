"""Code without source, such as a class typed at a prompt: FX steps in where its record is exact, and else says why not."""

import copy
import pickle
import sys
import types

import pytest
import torch
from torch import nn

import tieless as tl
from tieless.errors import ConversionError, UnreachedWarning

X = torch.linspace(-3, 3, 24, dtype=torch.float64).reshape(4, 6)

CODE = """
import torch
from torch import nn
import torch.nn.functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second, self.slope = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4), 0.1
        self.own = nn.ReLU()

    def tail(self, x):
        return x.tanh()

    def forward(self, x):
        x = F.relu(self.norm(self.first(x)))
        x = F.dropout(x, 0.5, self.training)
        x = F.leaky_relu(self.own(x - 0.5), self.slope)
        return self.tail(self.second(x))

class Branch(nn.Module):
    def forward(self, x):
        return F.relu(x) if x.sum() > 0 else torch.tanh(x)

class Optional(nn.Module):
    def forward(self, x, scale=None):
        return F.relu(x) if scale is None else F.relu(x) * scale

class Counting(nn.Module):
    calls = 0
    def forward(self, x):
        self.calls = self.calls + 1
        return F.relu(x)

class Depends(nn.Module):
    def forward(self, x):
        return F.relu(x) if self.training else torch.tanh(x)

class Listed(nn.Module):
    def __init__(self):
        super().__init__()
        self.sizes = [1, 2]

    def forward(self, x):
        return F.relu(x) * self.sizes[0]
"""


@pytest.fixture
def typed(monkeypatch):
    """The classes above, as if they had been typed."""
    module = types.ModuleType("typed_at_a_prompt")
    exec(compile(CODE, "<prompt>", "exec"), vars(module))  # noqa: S102  the point of these tests
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def gradient(model):
    x = X.clone().requires_grad_()
    torch.manual_seed(0)
    model(x).square().sum().backward()
    return x.grad


def test_calls_are_reached_without_source(typed):
    torch.manual_seed(0)
    model = typed.Net().double()
    native = copy.deepcopy(model)
    tl.convert(model, backward="constant(0.5)", strict=True)
    assert [one.name for one in tl.conversion(model).converted] == ["relu@1", "leaky_relu@1", "tanh@1", "own"]
    for mode in (True, False):
        model.train(mode)
        native.train(mode)
        torch.manual_seed(1)
        y = model(X)
        torch.manual_seed(1)
        assert torch.equal(y, native(X))
    assert not torch.allclose(gradient(model), gradient(native))
    # Of the last activation alone the gradient is known: half of what is sent.
    tl.convert(tl.revert(model), {"tanh@1": "constant(0.5)"})
    below = model.second.register_full_backward_pre_hook(lambda _, sent: found.append(sent[0]))
    found = []
    y = model(X)
    y.sum().backward()
    torch.testing.assert_close(found[0], torch.full_like(y, 0.5))
    below.remove()
    tl.revert(model)
    assert type(model) is typed.Net
    assert torch.equal(gradient(model), gradient(native))


def test_tied_is_what_it_was(typed):
    model = typed.Net().double().eval()
    expected = gradient(model)
    torch.testing.assert_close(gradient(tl.convert(model, backward="tied")), expected)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])
def test_a_copy_is_converted_too(typed, again):
    model = tl.convert(typed.Net().double().eval(), backward="constant(0.5)")
    other = again(model)
    assert torch.equal(gradient(other), gradient(model))
    assert torch.equal(gradient(tl.revert(other)), gradient(tl.revert(model)))


def test_it_compiles_whole(typed):
    model = tl.convert(typed.Net().double().eval(), backward="constant(0.5)")
    torch.compiler.reset()
    torch.testing.assert_close(gradient(torch.compile(model, fullgraph=True, backend="aot_eager")), gradient(model))


def test_a_second_conversion_replaces_the_first(typed):
    model = typed.Net().double().eval()
    once = gradient(tl.convert(model, backward="constant(0.5)"))
    tl.convert(model, backward="constant(0.25)")
    assert torch.equal(gradient(tl.convert(model, backward="constant(0.5)")), once)


def test_an_attribute_that_changes_is_refused_not_ignored(typed):
    model = tl.convert(typed.Net().double(), backward="constant(0.5)")
    model.slope = 0.2
    with pytest.raises(ConversionError, match=r"Net\.slope was 0\.1 when its forward was traced, and now is 0\.2"):
        model(X)
    tl.revert(model)(X)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Branch", "FX cannot trace it"),
        ("Optional", "arguments of its forward that need not be given"),
        ("Counting", "it changes something when it runs"),
        ("Depends", "other activations in evaluation"),
        ("Listed", "FX would fix its attribute sizes"),
    ],
)
def test_what_a_record_would_fix_is_named_and_left(typed, name, why):
    model = nn.Sequential(nn.Tanh(), getattr(typed, name)())
    expected = model(X)
    with pytest.warns(UnreachedWarning, match=why):
        tl.convert(model, backward="constant(0.5)")
    done = tl.conversion(model)
    assert [one.name for one in done.converted] == ["0"]
    assert {one.name for one in done.unreached} == {"1"}
    assert torch.equal(model(X), expected)
