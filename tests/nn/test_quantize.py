"""Quantised layers and models: the parametrization comes, works like any other, and goes, leaving plain layers."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint

from tieless import Activation
from tieless.errors import RuleTypeError, RuleValueError
from tieless.nn import (
    BinaryConv1d,
    BinaryConv2d,
    BinaryLinear,
    QuantConv1d,
    QuantConv2d,
    QuantizedWeight,
    QuantLinear,
    TernaryConv1d,
    TernaryConv2d,
    TernaryLinear,
    clip_latent_weights,
    freeze,
    latent_weights,
    quantize_weights,
    restore_weights,
    select_layers,
)

LINEAR, CONV1D, CONV2D = (5, 4), (5, 4, 3), (5, 4, 3)
LAYERS = [
    (BinaryLinear, nn.Linear, LINEAR, {}),
    (BinaryConv1d, nn.Conv1d, CONV1D, {"padding": 1}),
    (BinaryConv2d, nn.Conv2d, CONV2D, {"bias": False, "stride": 2}),
    (TernaryLinear, nn.Linear, LINEAR, {"bias": False}),
    (TernaryConv1d, nn.Conv1d, CONV1D, {"dilation": 2}),
    (TernaryConv2d, nn.Conv2d, CONV2D, {"padding": "same"}),
    (QuantLinear, nn.Linear, LINEAR, {}),
    (QuantConv1d, nn.Conv1d, CONV1D, {"padding_mode": "circular", "padding": 1}),
    (QuantConv2d, nn.Conv2d, CONV2D, {}),
]
QUANTIZERS = {
    BinaryLinear: QuantizedWeight("sign", "rectangular(-1, 1)"),
    TernaryLinear: QuantizedWeight("ternary(0.7)", "constant", scale="mean", unit=1),
    QuantLinear: QuantizedWeight.from_bits(4),
}
each_layer = pytest.mark.parametrize(("kind", "plain", "sizes", "others"), LAYERS, ids=[x[0].__name__ for x in LAYERS])


def _quantizer(kind):
    return QUANTIZERS[{"B": BinaryLinear, "T": TernaryLinear, "Q": QuantLinear}[kind.__name__[0]]]


def _input(plain):
    return torch.randn(3, 5, *{nn.Linear: (), nn.Conv1d: (9,), nn.Conv2d: (9, 9)}[plain])


def _net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), Activation("sign", "rectangular(-1, 1)"),
        nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), Activation("sign", "rectangular(-1, 1)"),
        nn.Flatten(), nn.Linear(96, 8), nn.BatchNorm1d(8), Activation("sign", "rectangular(-1, 1)"), nn.Linear(8, 3),
    )  # fmt: skip


IMAGES = (5, 1, 8, 8)


@each_layer
def test_a_layer_is_the_plain_one_with_the_parametrization(kind, plain, sizes, others):
    torch.manual_seed(0)
    layer = kind(*sizes, **others)
    torch.manual_seed(0)
    twin = plain(*sizes, **others)
    latent = twin.weight.detach().clone()
    assert torch.equal(latent_weights(layer)[0], latent)
    with torch.no_grad():
        twin.weight.copy_(_quantizer(kind)(latent))
    x = _input(plain)
    assert torch.equal(layer(x), twin(x))
    assert isinstance(layer, plain)


@each_layer
def test_a_frozen_layer_is_plain_and_gives_the_same_bits(kind, plain, sizes, others):
    layer = kind(*sizes, **others)
    x = _input(plain)
    before, weight = layer(x).detach(), layer.weight.detach()
    frozen = freeze(layer)
    assert type(frozen) is plain
    assert frozen is layer
    assert torch.equal(frozen(x), before)
    assert torch.equal(frozen.weight, weight)
    assert not frozen.weight.requires_grad
    twin = plain(*sizes, **others)
    twin.load_state_dict(frozen.state_dict(), strict=True)
    assert torch.equal(twin(x), before)
    assert torch.equal(pickle.loads(pickle.dumps(frozen))(x), before)


@pytest.mark.parametrize("scale", ["none", "mean", "per-channel"])
@pytest.mark.parametrize("forward", ["sign", "ternary(0.01)", "signed_staircase(7)"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_frozen_model_gives_the_same_bits(scale, forward, training, dtype):
    net = quantize_weights(_net(), forward, "rectangular(-1, 1)", scale=scale).to(dtype).train(training)
    x = torch.randn(IMAGES, dtype=dtype)
    twin = copy.deepcopy(net)
    assert torch.equal(freeze(net)(x), twin(x))
    values = {"sign": 2, "ternary(0.01)": 3, "signed_staircase(7)": 15}[forward]
    assert all(len(row.unique()) <= values for row in net[3].weight)
    assert [type(module) for module in net] == [type(module) for module in _net()]
    plain = _net(1).to(dtype).train(training)
    plain.load_state_dict(net.state_dict(), strict=True)


def test_frozen_signs_are_plus_and_minus_one():
    net = freeze(quantize_weights(_net()))
    for i in (3, 7):
        assert set(net[i].weight.flatten().tolist()) == {-1.0, 1.0}
    assert freeze(net) is net


def test_the_keys_are_those_of_parametrize_and_a_float_checkpoint_loads_before():
    floats = _net(3).state_dict()
    net = _net(4)
    net.load_state_dict(floats, strict=True)
    quantize_weights(net)
    expected = [name.replace("3.weight", "3.parametrizations.weight.original") for name in floats]
    expected = [name.replace("7.weight", "7.parametrizations.weight.original") for name in expected]
    assert sorted(net.state_dict()) == sorted(expected)
    assert torch.equal(latent_weights(net)[0], floats["3.weight"])
    twin = quantize_weights(_net(5))
    twin.load_state_dict(net.state_dict(), strict=True)
    x = torch.randn(IMAGES)
    assert torch.equal(twin(x), net(x))
    assert list(restore_weights(net).state_dict()) == list(floats)
    assert [name for name, _ in net.named_parameters()] == [name for name, _ in _net().named_parameters()]


def test_a_copy_is_independent_of_what_becomes_of_the_original():
    """PyTorch's own removal takes the weights of every copy with it."""
    for undo in (freeze, restore_weights, lambda net: quantize_weights(net, QuantizedWeight.from_bits(2))):
        net = quantize_weights(_net())
        twin = copy.deepcopy(net)
        x = torch.randn(IMAGES)
        before = twin(x)
        undo(net)
        assert torch.equal(twin(x), before)
        assert torch.equal(freeze(twin)(x), before)


def test_latent_weights_are_the_parameters_that_an_optimiser_already_has():
    net = _net()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    weights = [net[3].weight, net[7].weight]
    quantize_weights(net, scale="mean")
    assert all(a is b for a, b in zip(latent_weights(net), weights, strict=True))
    before = [weight.detach().clone() for weight in weights]
    net(torch.randn(IMAGES)).square().sum().backward()
    optimiser.step()
    assert all(not torch.equal(a, b) for a, b in zip(weights, before, strict=True))
    restore_weights(net)
    assert net[3].weight is weights[0]
    assert not parametrize.is_parametrized(net)


def test_a_second_call_replaces_the_first():
    net = quantize_weights(_net(), "sign", scale="mean")
    latents = latent_weights(net)
    quantize_weights(net, QuantizedWeight.from_bits(2))
    assert all(len(net[i].parametrizations.weight) == 1 for i in (3, 7))
    assert all(a is b for a, b in zip(latent_weights(net), latents, strict=True))
    assert len(net[7].weight.unique()) == 3


@pytest.mark.parametrize(
    ("layers", "keep_ends", "names"),
    [
        (None, True, ["3", "7"]),
        (None, False, ["0", "3", "7", "10"]),
        (nn.Conv2d, True, ["3"]),
        (nn.Linear, False, ["7", "10"]),
        ("[0-3]", False, ["0", "3"]),
        (["3", nn.Linear], True, ["3", "7"]),
        (["3", "10"], False, ["3", "10"]),
    ],
)
def test_layers_are_chosen_by_name_and_by_type(layers, keep_ends, names):
    net = _net()
    assert list(select_layers(net, layers, keep_ends=keep_ends)) == names
    quantize_weights(net, layers=layers, keep_ends=keep_ends)
    assert [name for name, module in net.named_modules() if parametrize.is_parametrized(module)] == names


@pytest.mark.parametrize(
    ("model", "arguments", "error", "says"),
    [
        (_net(), {"layers": "features.*"}, RuleValueError, r"'features.\*' fits; the model has: 0 \(Conv2d\), 3 \(Conv"),
        (_net(), {"layers": "10"}, RuleValueError, "keep_ends=False takes them too"),
        (nn.Linear(2, 2), {}, RuleValueError, r"the model has: the model \(Linear\)"),
        (nn.ReLU(), {}, RuleValueError, "the model has: none"),
        (_net(), {"layers": [3]}, RuleTypeError, "globs of names"),
        (parametrizations.weight_norm(nn.Linear(2, 2)), {"keep_ends": False}, RuleTypeError, "a parametrization already"),
    ],
)  # fmt: skip
def test_what_cannot_be_quantised_is_said(model, arguments, error, says):
    with pytest.raises(error, match=says):
        quantize_weights(model, **arguments)


def test_a_weight_that_two_layers_share_stays_shared():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    net = quantize_weights(nn.Sequential(first, second), keep_ends=False)
    assert latent_weights(net)[0] is latent_weights(net)[1]


def test_clipping_reaches_latent_weights_only():
    net = quantize_weights(_net())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(100)
    clip_latent_weights(net, 0.5)
    assert [latent.abs().max().item() for latent in latent_weights(net)] == [0.5, 0.5]
    assert net[0].weight.abs().max() > 1


def test_a_quantised_model_learns_what_its_latent_weights_do():
    """Straight-through by detaching, written by hand in a twin, as the judge of every gradient."""
    net = quantize_weights(_net(), "sign", "rectangular(-1, 1)", scale="per-channel")
    twin = _net()
    x, labels = torch.randn(IMAGES), torch.tensor([0, 1, 2, 0, 1])
    nn.functional.cross_entropy(net(x), labels).backward()
    weights = {}
    for i in (3, 7):
        w = twin[i].weight
        scale = w.detach().abs().flatten(1).mean(1).reshape(-1, *[1] * (w.dim() - 1))
        passed = w.clamp(-1, 1)
        weights[f"{i}.weight"] = scale * (passed + (torch.where(w >= 0, 1.0, -1.0) - passed).detach())
    nn.functional.cross_entropy(torch.func.functional_call(twin, weights, (x,)), labels).backward()
    ours = dict(net.named_parameters())
    for name, parameter in twin.named_parameters():
        key = name if name in ours else name.replace("weight", "parametrizations.weight.original")
        torch.testing.assert_close(ours[key].grad, parameter.grad)


def test_compiled_in_one_graph_it_gives_the_same():
    net = quantize_weights(nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3)), scale="mean")
    x = torch.randn(7, 6)
    net(x).square().sum().backward()
    expected = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()
    torch.compile(net, fullgraph=True, backend="aot_eager")(x).square().sum().backward()
    for parameter, gradient in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_checkpointed_and_under_vmap_it_gives_the_same():
    net = quantize_weights(nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3)), scale="per-channel")
    x = torch.randn(7, 6)
    latent = latent_weights(net)[0]
    net(x).square().sum().backward()
    expected = latent.grad.clone()
    latent.grad = None
    checkpoint(net, x, use_reentrant=False).square().sum().backward()
    torch.testing.assert_close(latent.grad, expected)
    parameters = {name: parameter.detach() for name, parameter in net.named_parameters()}

    def loss(values, sample):
        return torch.func.functional_call(net, values, (sample,)).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    torch.testing.assert_close(each["1.parametrizations.weight.original"].sum(0), expected)


def test_a_model_under_way_says_how_it_is_saved():
    net = quantize_weights(_net())
    with pytest.raises(RuntimeError, match="state_dict"):
        pickle.dumps(net)
    assert pickle.loads(pickle.dumps(net.state_dict())).keys() == net.state_dict().keys()
    x = torch.randn(IMAGES)
    assert torch.equal(copy.deepcopy(net)(x), net(x))
