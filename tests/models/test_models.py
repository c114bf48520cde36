"""The study's networks: their sizes as published, their halves where they belong, and that they learn."""

import pytest
import torch
from torch import nn

from tieless import Activation
from tieless.errors import RuleTypeError, RuleValueError, SpecError
from tieless.models import MLP, SUC, BinaryLeNet5, BinaryMLP, LeNet5, build_model, clip_latent_weights, models


def _native_lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def test_a_tied_lenet_is_the_native_one_weight_for_weight_and_gradient_for_gradient():
    torch.manual_seed(0)
    ours = LeNet5("relu", "tied")
    torch.manual_seed(0)
    native = _native_lenet()
    assert ours.state_dict().keys() == native.state_dict().keys()
    x, labels = torch.rand(8, 1, 28, 28), torch.randint(0, 10, (8,))
    gradients = []
    for net in (ours, native):
        nn.functional.cross_entropy(net(x), labels).backward()
        gradients.append([p.grad for p in net.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_lenet_has_the_published_number_of_weights():
    assert sum(p.numel() for p in LeNet5().parameters()) == 61706


@pytest.mark.parametrize(
    ("net", "count"),
    [
        (SUC(10), 11),
        (MLP(64, (64, 64), 10), 65 * 64 + 65 * 64 + 65 * 10),
        (MLP(64, (), 10), 65 * 10),
        (MLP(4, (3, 5, 2), 2, norm="batch"), 5 * 3 + 4 * 5 + 6 * 2 + 3 * 2 + 2 * (3 + 5 + 2)),
    ],
)
def test_sizes(net, count):
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize(
    "spec", ["lenet5", 'lenet5(norm="batch")', "bnn_lenet5", "mlp(32, 3)", 'mlp(norm="batch")', "bnn_mlp(32)"]
)
def test_every_activation_has_the_two_halves(spec):
    net = build_model(spec, "sign", "rectangular(-1, 1)", features=784, classes=10)
    acts = [module for module in net.modules() if isinstance(module, Activation)]
    assert acts
    assert all(str(act.forward_fn) == "sign" and str(act.rule) == "rectangular(-1, 1)" for act in acts)
    assert net(torch.rand(4, 1, 28, 28)).shape == (4, 10)
    norms = any(isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) for module in net.modules())
    assert norms == ("batch" in spec or "bnn" in spec)


@pytest.mark.parametrize("net", [BinaryMLP(784, (32,), 10), BinaryLeNet5()], ids=["mlp", "lenet"])
def test_binary_layers_multiply_by_plus_and_minus_one(net):
    for layer in net:
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            x = torch.randn(2, layer.weight.shape[1], *([9, 9] if isinstance(layer, nn.Conv2d) else []))
            signs = torch.where(layer.weight >= 0, 1.0, -1.0)
            if isinstance(layer, nn.Conv2d):
                expected = nn.functional.conv2d(x, signs, padding=layer.padding)
            else:
                expected = x @ signs.t()
            torch.testing.assert_close(layer(x), expected)


def test_latent_weights_learn_and_are_clipped():
    net = BinaryMLP(8, (4,), 2)
    latent = net[1].weight
    net(torch.randn(16, 8)).square().sum().backward()
    assert latent.grad.abs().sum() > 0
    with torch.no_grad():
        latent.fill_(3.0)
    clip_latent_weights(net)
    assert (latent == 1).all()
    plain = MLP(8, (4,), 2)
    with torch.no_grad():
        plain[1].weight.fill_(3.0)
    clip_latent_weights(plain)
    assert (plain[1].weight == 3).all()


@pytest.mark.parametrize(
    ("spec", "features", "classes", "error", "says"),
    [
        ("lenet", 784, 10, SpecError, "Did you mean 'lenet5'? There are: bnn_lenet5"),
        ("lenet5", 64, 10, RuleValueError, "images of 28 x 28"),
        ("bnn_lenet5", 64, 10, RuleValueError, "images of 28 x 28"),
        ("suc", 64, 10, RuleValueError, "2 classes"),
        ("mlp(0)", 64, 10, RuleValueError, "width >= 1"),
        ("mlp(norm='layer')", 64, 10, RuleTypeError, "norm must be one of 'none', 'batch'"),
        ("mlp(widht=3)", 64, 10, SpecError, "Did you mean 'width'?"),
    ],
)
def test_what_does_not_fit_is_said(spec, features, classes, error, says):
    with pytest.raises(error) as caught:
        build_model(spec, "relu", "tied", features=features, classes=classes)
    assert says in str(caught.value)


def test_the_catalogue():
    assert list(models()) == ["bnn_lenet5", "bnn_mlp", "lenet5", "mlp", "suc"]
