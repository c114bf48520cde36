"""Models from transformers and PyTorch: values stay, gradients are those of a model changed by hand, and all goes back.

The judge is a copy in which each activation, found by the name of its class alone, is an autograd function written
here.
"""

import copy
import importlib.util
import runpy
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import tieless as tl

KNOWN = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "convert_known_models.py"))
MODELS, build, output_of = KNOWN["MODELS"], KNOWN["build"], KNOWN["output_of"]

COUNTS = {
    "transformers ResNet": {"relu": 7},  # a stem, then three blocks of two
    "transformers ConvNeXt": {"gelu": 3},
    "transformers ViT": {"gelu": 2, "tanh": 1},  # the pooler
    "transformers BERT": {"gelu": 3},  # two layers and the head
    "transformers GPT-2": {"NewGELUActivation": 2},
    "transformers Llama": {"silu": 2},
    "torch.nn.TransformerEncoder": {"gelu": 2},
    "torch.nn.GRU, ReLU, Linear": {"relu": 1},
}

ACTIVATIONS = ("ReLU", "GELUActivation", "NewGELUActivation", "SiLUActivation", "Tanh")


class Triangle(torch.autograd.Function):
    """Any function going forward, ``max(0, 1 - |z| / 2)`` going back."""

    @staticmethod
    def forward(ctx, z, function):
        ctx.save_for_backward(z)
        return function(z)

    @staticmethod
    def backward(ctx, grad_output):
        (z,) = ctx.saved_tensors
        return grad_output * (1 - z.abs() / 2).clamp(min=0), None


class ByHand(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, z):
        return Triangle.apply(z, self.function)


def changed_by_hand(model):
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child).__name__ in ACTIVATIONS:
                setattr(module, name, ByHand(child))
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation = ByHand(module.activation)
    return model


@pytest.fixture(params=sorted(MODELS))
def known(request):
    if request.param.startswith("transformers") and importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a library warns of while it is imported is its own affair
        model, arguments = build(request.param)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # it would draw from the generator that jams draw from
    arguments = {name: a.double() if a.is_floating_point() else a for name, a in arguments.items()}
    return request.param, model.double(), arguments


def convert(name, model, *args, **keywords):
    if "GRU" not in name:
        return tl.convert(model, *args, **keywords)
    with pytest.warns(tl.errors.UnreachedWarning, match=r"gru: sigmoid and tanh of nn\.GRU"):
        return tl.convert(model, *args, **keywords)


def gradients(model, arguments):
    torch.manual_seed(1)
    model.zero_grad()
    y = output_of(model(**arguments))
    y.square().sum().backward()
    return y.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_all(compare, one, other):
    assert one.keys() == other.keys()
    assert len(one) > 2
    for name, gradient in one.items():
        compare(gradient, other[name])


def same(one, other):
    assert torch.equal(one, other)


def test_values_stay_and_gradients_are_those_of_a_model_changed_by_hand(known):
    name, model, arguments = known
    before, native = gradients(model, arguments)
    expected_y, expected = gradients(changed_by_hand(model), arguments)
    assert any(not torch.allclose(native[p], expected[p]) for p in native)  # or the rest would show nothing
    assert convert(name, model, backward="triangular(2)", example=arguments) is model
    y, found = gradients(model, arguments)
    torch.testing.assert_close(y, before, rtol=1e-12, atol=1e-14)  # gelu and silu have kernels of their own
    torch.testing.assert_close(y, expected_y, rtol=1e-12, atol=1e-14)
    assert_all(torch.testing.assert_close, found, expected)


def test_counts_before_and_after(known):
    name, model, _ = known
    before = tl.conversion(model)
    assert before.counts() == {kind: (count, 0, count) for kind, count in COUNTS[name].items()}
    convert(name, model, backward="full_jam")
    after = tl.conversion(model)
    assert after.counts() == {kind: (count, count, 0) for kind, count in COUNTS[name].items()}
    assert bool(after.unreached) == ("GRU" in name)


def test_reverted_it_is_what_it_was(known):
    name, model, arguments = known
    keys, text = list(model.state_dict()), repr(model)
    modules = [(module, type(module), dict(vars(module))) for module in model.modules()]
    _, native = gradients(model, arguments)
    convert(name, model, backward="full_jam")
    assert list(model.state_dict()) == keys
    _, jammed = gradients(model, arguments)
    assert any(not torch.equal(native[p], jammed[p]) for p in native)
    assert tl.revert(model) is model
    assert repr(model) == text
    for module, cls, attributes in modules:
        assert type(module) is cls
        assert vars(module).keys() == attributes.keys()
        assert all(vars(module)[key] is value for key, value in attributes.items())
    assert_all(same, gradients(model, arguments)[1], native)


def test_explain_sees_what_was_converted(known):
    name, model, arguments = known
    convert(name, model, backward="rectangular(-1, 1)")
    found = tl.explain(model, **arguments)
    assert len(found.activations) == sum(COUNTS[name].values())
    assert {a.gate for a in found.activations} == {"-1 <= z <= 1"}
    assert all(a.bits_per_element == 1 for a in found.activations)
    assert all(a.run.calls == 1 for a in found.activations)
