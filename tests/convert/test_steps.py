"""Steps that are called in code: those that cut off a gradient are named, by reading where it is plain, by a run in any case.

The judge is autograd: where a step is named, the layer below gets no gradient, and it gets one where none is.
"""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tieless as tl
from tieless.errors import ConversionError

X = torch.linspace(-2.0, 3.0, 12).reshape(3, 4)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()
        self.below, self.above = nn.Linear(4, 4), nn.Linear(4, 4)
        self.layers = nn.ModuleList([self.below])


class Sign(Net):
    def forward(self, x):
        return self.above(torch.sign(self.act(self.below(x))))


class RoundOfName(Net):
    def forward(self, x):
        h = self.below(x)
        h = 255 * self.layers[0](x).clamp(-1, 2) + h
        return self.above(h.round() / 255)


class FloorOfGiven(Net):
    def forward(self, x):
        return torch.floor(-x)


class Heaviside(Net):
    def forward(self, x):
        return self.above(torch.heaviside(F.gelu(self.below(x)), x[0] * 0))


class Compared(Net):
    def forward(self, x):
        return self.above((self.below(x) > 0).float())


class ComparedToType(Net):
    def forward(self, x):
        return self.above((torch.tanh(self.below(x)) <= 0.5).to(x.dtype))


class InAttribute(Net):
    def __init__(self):
        super().__init__()
        self.step = torch.sign

    def forward(self, x):
        return self.above(self.step(self.below(x)))


class PartialInAttribute(Net):
    def __init__(self):
        super().__init__()
        self.step = partial(torch.round, decimals=1)

    def forward(self, x):
        return self.above(self.step(self.below(x)))


READ = [Sign, RoundOfName, FloorOfGiven, Heaviside, Compared, ComparedToType, InAttribute, PartialInAttribute]


class AfterLoop(Net):
    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.above(x.sign_())


class Window(Net):
    def forward(self, x):
        (z,) = [self.below(x)]
        inside = (z > -1) & (z < 1)
        return self.above(torch.where(inside, 1.0, -1.0))


class OfWeights(Net):
    def forward(self, x):
        return self.above(F.linear(x, self.below.weight.sign()))


class InDictionary(Net):
    def forward(self, x):
        (h,) = [self.below(x)]
        return {"logits": [torch.ceil(h) + self.above(x)]}


RUN = [AfterLoop, Window, OfWeights, InDictionary]


class Indices(Net):
    def forward(self, x):
        ids = torch.round(x * 3)
        lengths = torch.floor(torch.tensor([4, 3]) / 2)
        kept = (ids.long() > 0).float() * (lengths.sum() > 0)
        return self.above(self.below(x)) * kept


class Lengths(nn.Module):
    def forward(self, x, lengths):
        return F.relu(x) * (torch.ceil(lengths / 2) > 0).float()


class Mask(Net):
    def forward(self, ids):
        mask = (ids > 0).float()
        h = self.below(ids)
        kept = h > 0
        return self.above(h * kept.to(h.dtype)) * mask


class StraightThrough(Net):
    def forward(self, x):
        h = self.below(x)
        rounded = torch.round(h)
        return self.above(h + (rounded - h).detach())


class Watched(Net):
    def forward(self, x):
        h = self.below(x)
        with torch.no_grad():
            self.fired = (h > 0).float().mean()
        return self.above(h)


HARMLESS = [Indices, Mask, StraightThrough, Watched]


class SignedRoot(Net):
    def forward(self, x):
        h = self.below(x)
        return self.above(torch.sign(h) * torch.sqrt(h.abs() + 1))


class Binarised(Net):
    def forward(self, x):
        return self.above(self.below(torch.sign(x)))


class Aside(Net):
    def forward(self, x):
        h = self.below(x)
        self.fired = (h > 0).float().mean()
        return self.above(h)


SHOWN_HARMLESS = [SignedRoot, Binarised, Aside]


def below(net):
    outputs = net(X.clone())
    (outputs["logits"][0] if isinstance(outputs, dict) else outputs).sum().backward()
    grad = net.below.weight.grad
    return grad is not None and bool(grad.any())


@pytest.mark.parametrize("net", READ)
@pytest.mark.parametrize("example", [None, X], ids=["read", "run"])
def test_a_step_that_cuts_a_gradient_is_named_by_reading(net, example):
    net = nn.Sequential(nn.Linear(4, 4), net())
    (found,) = tl.conversion(net, example=example).unreached
    assert "call tieless.untie(z, forward, backward) there" in found.why
    with pytest.raises(ConversionError, match="cannot reach 1 activation"):
        tl.convert(nn.Sequential(nn.ReLU(), net), backward="full_jam", strict=True, example=example)


@pytest.mark.parametrize("net", [*READ[:2], *READ[4:], *RUN[:3]])
def test_no_gradient_comes_below_what_is_named(net):
    assert not below(net())


@pytest.mark.parametrize("net", RUN)
def test_a_run_names_what_reading_leaves_open(net):
    assert not tl.conversion(net()).unreached
    (found,) = tl.conversion(net(), example=X).unreached
    assert found.what in {"sign", "ceil", "comparison"}
    assert "/test_steps.py:" in found.where


@pytest.mark.parametrize("net", HARMLESS)
@pytest.mark.parametrize("example", [None, X], ids=["read", "run"])
def test_indices_masks_and_what_has_its_gradient_otherwise_are_not_named(net, example):
    tl.convert(net(), backward="tied", strict=True, example=example)
    assert below(net())


def test_lengths_are_not_named():
    tl.convert(Lengths(), backward="tied", strict=True)
    tl.convert(Lengths(), backward="tied", strict=True, example=(X, torch.tensor([4.0])))


@pytest.mark.parametrize("net", SHOWN_HARMLESS)
def test_a_run_takes_back_what_reading_has_named_in_vain(net):
    assert tl.conversion(net()).unreached
    tl.convert(net(), backward="tied", strict=True, example=X)
    assert below(net())


def test_where_nothing_learns_what_is_given_may():
    model = nn.Sequential(nn.ReLU(), Net())
    model[1].forward = lambda x: x.round()
    assert [one.what for one in tl.conversion(model.requires_grad_(False), example=X).unreached] == ["round"]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_run_needs_no_mode_and_leaves_the_example(mode):
    with mode():
        example = X.clone()
        before = example.clone()
        model = nn.Sequential(nn.ReLU(inplace=True), Sign())
        assert len(tl.conversion(model, example=example).unreached) == 1
        tl.convert(Mask(), backward="tied", strict=True, example=example)
        assert torch.equal(example, before)
        assert not any(parameter.grad is not None for parameter in model.parameters())
