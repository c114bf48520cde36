"""Direct feedback alignment: the error at the output reaches every layer, as in a program written out by hand."""

import copy
import itertools
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import tieless as tl
from tieless.errors import ConversionError, RuleTypeError
from tieless.feedback import feedback, key_of
from tieless.nn import feedback_of

CPU = torch.device("cpu")


def carried(outputs, inputs, name, seed=0):
    """The feedback weights of a layer: a row for each number of the output, a column for each of its input."""
    return feedback("dfa").weights((outputs, inputs), None, key_of(seed, name), CPU)


def test_a_perceptron_trains_as_one_written_out_by_hand():
    torch.manual_seed(0)
    sizes, rate = (6, 9, 8, 4), 0.3
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    weights = [layer.weight.detach().clone() for layer in layers]
    biases = [layer.bias.detach().clone() for layer in layers]
    model = nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])
    tl.convert_feedback(model, "dfa", seed=2)
    optimiser = torch.optim.SGD(model.parameters(), rate)
    back = [carried(4, 9, "2", 2), carried(4, 8, "4", 2)]
    for _ in range(20):
        x, t = torch.randn(5, 6), torch.randint(0, 4, (5,))
        optimiser.zero_grad()
        F.cross_entropy(model(x), t).backward()
        optimiser.step()
        h = [x]
        for w, b in zip(weights[:2], biases[:2], strict=True):
            h.append(torch.tanh(h[-1] @ w.T + b))
        error = (torch.softmax(h[2] @ weights[2].T + biases[2], 1) - F.one_hot(t, 4)) / 5
        deltas = [error @ back[0] * (1 - h[1] ** 2), error @ back[1] * (1 - h[2] ** 2), error]
        for w, b, delta, below in zip(weights, biases, deltas, h, strict=True):
            w.sub_(rate * delta.T @ below)
            b.sub_(rate * delta.sum(0))
    for layer, w, b in zip(layers, weights, biases, strict=True):
        torch.testing.assert_close(layer.weight, w)
        torch.testing.assert_close(layer.bias, b)


def test_a_convolution_gets_the_error_over_its_whole_map():
    torch.manual_seed(0)
    first, second, last = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 2, 3, padding=1), nn.Linear(2 * 9, 4)
    model = nn.Sequential(first, nn.Tanh(), nn.AvgPool2d(2), second, nn.Tanh(), nn.Flatten(), last)
    tl.convert_feedback(model, "dfa")
    x, grad = torch.randn(5, 1, 8, 8), torch.randn(5, 4)
    model(x).backward(grad)
    a = torch.tanh(first(x).detach().requires_grad_())
    z = first(x).detach().requires_grad_()
    pooled = F.avg_pool2d(torch.tanh(z), 2)
    (down,) = torch.autograd.grad(pooled, z, (grad @ carried(4, 27, "3")).reshape(5, 3, 3, 3))
    wanted = torch.nn.grad.conv2d_weight(x, first.weight.shape, down)
    torch.testing.assert_close(first.weight.grad, wanted)
    torch.testing.assert_close(last.weight.grad, grad.T @ torch.tanh(second(F.avg_pool2d(a, 2))).flatten(1).detach())


def test_no_layer_hears_of_what_lies_above_it():
    torch.manual_seed(0)
    model = tl.convert_feedback(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 6), nn.Linear(6, 3)), "dfa")
    x, grad = torch.randn(7, 4), torch.randn(7, 3)
    model(x).backward(grad)
    before = model[0].weight.grad.clone()
    with torch.no_grad():
        model[2].weight.mul_(-3)
        model[3].weight.zero_()
    model.zero_grad()
    model(x).backward(grad)
    assert torch.equal(model[0].weight.grad, before)


class Inside(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 5))
        self.head = nn.Linear(5, 3)
        self.reentrant = reentrant

    def forward(self, x):
        y = self.block(x) if self.reentrant is None else checkpoint(self.block, x, use_reentrant=self.reentrant)
        return self.head(torch.tanh(y))


def test_a_checkpoint_inside_gives_the_same_or_is_refused():
    found = {}
    x = torch.randn(6, 4, requires_grad=True)
    for reentrant in (None, False, True):
        torch.manual_seed(0)
        model = tl.convert_feedback(Inside(reentrant), "dfa")
        out = model(x).square().sum()
        if reentrant:
            with pytest.raises(ConversionError, match="use_reentrant=False"):
                out.backward()
        else:
            out.backward()
            found[reentrant] = [p.grad for p in model.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(*found.values(), strict=True))


def test_a_layer_that_runs_by_itself_refuses_a_backward_pass_and_nothing_else():
    model = tl.convert_feedback(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), "dfa")
    h = torch.randn(5, 4, requires_grad=True)
    y = model[2](h)
    assert torch.equal(y, F.linear(h, model[2].weight, model[2].bias))
    with pytest.raises(ConversionError, match="Call that model"):
        y.sum().backward()
    model[2](h.detach()).sum().backward()  # nothing below it asks for anything


def test_an_interrupted_call_leaves_nothing_behind():
    class Fails(nn.Module):
        broken = True

        def forward(self, x):
            if self.broken:
                raise KeyboardInterrupt
            return x

    model = tl.convert_feedback(nn.Sequential(nn.Linear(3, 4), Fails(), nn.Linear(4, 2)), "dfa")
    twin, x = copy.deepcopy(model), torch.randn(5, 3)
    with pytest.raises(KeyboardInterrupt):
        model(x)
    Fails.broken = False
    for one in (model, twin):
        one(x).square().sum().backward()
    assert torch.equal(model[0].weight.grad, twin[0].weight.grad)


def test_outputs_that_have_no_one_error_are_refused():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(x), x

    model = tl.convert_feedback(Pair(), "dfa")
    with pytest.raises(RuleTypeError, match="Pair returns tuple"):
        model(torch.randn(4, 3))
    tl.revert_feedback(model)
    assert len(model(torch.randn(4, 3))) == 2
    folded = tl.convert_feedback(nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Flatten(0, 1), nn.Linear(3, 2)), "dfa")
    folded.append(nn.Unflatten(0, (4, 2)))
    with pytest.raises(RuleTypeError, match=r"input of shape \(8, 3\) where the output has \(4, 2, 2\)"):
        folded(torch.randn(4, 6))


def test_threads_do_not_mix():
    inside, done = threading.Event(), threading.Event()

    class Waits(nn.Module):
        def forward(self, x):
            if threading.current_thread() is not threading.main_thread():
                inside.set()
                done.wait(30)
            return x

    model = tl.convert_feedback(nn.Sequential(nn.Linear(3, 4), Waits(), nn.Linear(4, 2)), "dfa")
    other = threading.Thread(target=lambda: model(torch.randn(2, 3)))
    other.start()
    assert inside.wait(30)
    with pytest.raises(ConversionError, match="one thread at a time"):
        model(torch.randn(2, 3))
    done.set()
    other.join()
    model(torch.randn(2, 3)).sum().backward()


def test_a_part_may_be_direct_and_a_whole_take_it_over():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)), nn.Tanh(), nn.Linear(4, 2))
    tl.convert_feedback(model[0], "dfa")
    x = torch.randn(6, 3)
    model(x).square().sum().backward()
    tl.convert_feedback(model, {"2": "dfa"})
    model(x).square().sum().backward()  # two at once: the part has the error at its own output
    tl.convert_feedback(model, "dfa")
    assert not model[0]._forward_hooks
    tl.convert_feedback(model, "fa")
    assert not model._forward_hooks
    assert {str(kind) for kind in feedback_of(model).values()} == {"fa"}


class _Reducing(nn.Module):
    def __init__(self, reduce):
        super().__init__()
        self.below, self.above, self.reduce = nn.Linear(8, 8), nn.Linear(8, 2), reduce

    def forward(self, x):
        return self.reduce(self.above(torch.relu(self.below(x))))


@pytest.mark.parametrize(
    ("reduce", "says"),
    [
        (lambda y: y.square().mean(), r"returned one number, such as a mean loss\. Let it return"),
        (lambda y: y.sum(1), r"Keep the samples in dimension 0"),
    ],
    ids=["loss", "numbers"],
)
def test_an_output_that_has_no_samples_is_refused_when_it_runs(reduce, says):
    net = _Reducing(reduce)
    tl.convert_feedback(net, "dfa")
    with pytest.raises(RuleTypeError, match=says):
        net(torch.randn(16, 8))
