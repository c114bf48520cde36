"""The study's networks: their sizes as published, their halves where they belong, and that they learn."""

import pytest
import torch
from torch import nn

from tieless import Activation
from tieless.errors import RuleTypeError, RuleValueError, SpecError
from tieless.models import (
    MLP,
    SUC,
    BinaryLeNet5,
    BinaryMLP,
    LeNet5,
    ResidualCNN,
    SeriesCNN,
    SeriesGRU,
    SpikingCNN,
    build_model,
    models,
)
from tieless.nn import LIF, freeze, latent_weights, quantize_weights


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


def test_a_tied_network_of_series_is_the_native_one():
    torch.manual_seed(0)
    ours = SeriesCNN(40, 1, 25, 10, "relu", "tied")
    torch.manual_seed(0)
    native = nn.Sequential(
        nn.Conv1d(1, 25, 5, 2, 1), nn.ReLU(), nn.Conv1d(25, 25, 3, 2, 1), nn.ReLU(), nn.Conv1d(25, 25, 3, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(125, 10),
    )  # fmt: skip
    x = torch.randn(4, 1, 40)
    for one, other in zip(
        *(torch.autograd.grad(net(x).square().sum(), list(net.parameters())) for net in (ours, native)), strict=True
    ):
        torch.testing.assert_close(one, other)
    assert SeriesCNN(6, 3, 4, 2)(torch.randn(2, 3, 6)).shape == (2, 2), "the shortest"


def test_a_tied_recurrent_network_of_series_is_the_native_one():
    torch.manual_seed(0)
    ours, native = SeriesGRU(3, 8, 5, "tanh", "tied"), nn.GRU(3, 8, batch_first=True)
    native.load_state_dict(ours.units.state_dict())
    x = torch.randn(4, 3, 12)
    torch.testing.assert_close(ours(x), ours.head(native(x.transpose(1, 2))[0][:, -1]))


def test_series_of_the_wrong_shape_are_refused():
    with pytest.raises(
        RuleValueError, match=r"series_cnn needs series of 6 values or more .the data has 5., got width"
    ):
        build_model("series_cnn", "relu", "tied", features=5, classes=2)
    with pytest.raises(
        RuleValueError, match=r"series_gru needs as many channels as the data .which has 40 numbers a sample."
    ):
        build_model("series_gru(channels=3)", "relu", "tied", features=40, classes=2)


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
    "spec",
    [
        "lenet5",
        'lenet5(norm="batch")',
        "bnn_lenet5",
        "mlp(32, 3)",
        'mlp(norm="batch")',
        "bnn_mlp(32)",
        "residual_cnn(4)",
        "resnet(8, 4)",
        "vit(8, 2)",
    ],
)
def test_every_activation_has_the_two_halves(spec):
    net = build_model(spec, "sign", "rectangular(-1, 1)", features=784, classes=10)
    acts = [module for module in net.modules() if isinstance(module, Activation)]
    assert acts
    assert all(str(act.forward_fn) == "sign" and str(act.rule) == "rectangular(-1, 1)" for act in acts)
    assert net(torch.rand(4, 1, 28, 28)).shape == (4, 10)
    norms = any(isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) for module in net.modules())
    assert norms == any(word in spec for word in ("batch", "bnn", "cnn", "resnet"))


@pytest.mark.parametrize("net", [BinaryMLP(784, (32,), 10), BinaryLeNet5()], ids=["mlp", "lenet"])
def test_binary_layers_multiply_by_plus_and_minus_one(net):
    for layer in net:
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            x = torch.randn(2, layer.weight.shape[1], *([9, 9] if isinstance(layer, nn.Conv2d) else []))
            signs = torch.where(latent_weights(layer)[0] >= 0, 1.0, -1.0)
            if isinstance(layer, nn.Conv2d):
                expected = nn.functional.conv2d(x, signs, padding=layer.padding)
            else:
                expected = x @ signs.t()
            torch.testing.assert_close(layer(x), expected)


def _seen_by(layer, run):
    """Inputs of a layer while ``run`` runs."""
    seen = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    run()
    handle.remove()
    return torch.cat([x.flatten() for x in seen])


def test_the_binary_cnn_multiplies_signs_by_signs_between_its_ends():
    torch.manual_seed(0)
    net = quantize_weights(ResidualCNN("sign", "rectangular(-1, 1)", width=4))
    convs = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert len(convs) == 6
    for conv in convs[1:]:
        seen = _seen_by(conv, lambda: net(torch.rand(2, 1, 28, 28)))
        assert set(seen.tolist()) == {-1.0, 1.0}
        assert set(conv.weight.flatten().tolist()) == {-1.0, 1.0}
    assert len(convs[0].weight.unique()) == convs[0].weight.numel()
    assert len(net.head.weight.unique()) == net.head.weight.numel()


def test_the_binary_cnn_has_at_most_half_a_million_parameters():
    by_hand = 9 * 64 + 2 * 9 * 64**2 + 9 * 64 * 128 + 2 * 9 * 128**2 + 2 * 3 * 64 + 2 * 3 * 128 + 128 * 10 + 10
    assert sum(p.numel() for p in ResidualCNN().parameters()) == by_hand
    assert by_hand <= 500_000


def test_a_residual_layer_is_the_sum_written_by_hand():
    torch.manual_seed(0)
    net = ResidualCNN("relu", "tied", width=3, depths=(1, 1)).double().eval()
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    first, second = net.stages[0][0], net.stages[1][1]
    z = nn.functional.max_pool2d(nn.functional.conv2d(x, net.stem[0].weight, padding=1), 2) / (1 + 1e-5) ** 0.5
    z = z + nn.functional.conv2d(z.relu(), first.conv.weight, padding=1) / (1 + 1e-5) ** 0.5
    z = nn.functional.max_pool2d(z, 2)
    z = torch.cat([z, z], 1) + nn.functional.conv2d(z.relu(), second.conv.weight, padding=1) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(net(x), net.head(z.mean((2, 3))))


def _settled(net, x):
    """In evaluation mode, with the statistics of ``x`` in batch norm: without them hardly a neuron fires."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    for _ in range(3):
        net(x)
    return net.eval()


def test_a_spiking_network_sends_only_spikes_and_remembers_nothing():
    torch.manual_seed(0)
    x = torch.rand(3, 1, 28, 28)
    net = _settled(SpikingCNN("heaviside", "atan", width=4), x)
    first = net(x)
    for layer in (net.between[0], net.flat[1]):
        assert set(_seen_by(layer, lambda: net(x)).tolist()) == {0.0, 1.0}
    assert torch.equal(net(x), first)
    torch.testing.assert_close(net(x[1:2]), first[1:2])


def test_a_spiking_network_over_one_step_is_a_network_of_steps():
    torch.manual_seed(0)
    x = torch.rand(3, 1, 28, 28)
    net = _settled(SpikingCNN("heaviside", "atan", width=4, steps=1), x)
    planes = (net.seen(x) > 1).float()
    planes = (net.between(planes) > 1).float()
    assert 0 < planes.mean() < 1
    torch.testing.assert_close(net(x), net.scores((net.flat(planes) > 1).float()))
    assert sum(isinstance(module, LIF) for module in net.modules()) == 3


def test_a_frozen_zoo_model_loads_into_the_one_that_was_never_quantised():
    net = freeze(quantize_weights(ResidualCNN("sign", "rectangular(-1, 1)", width=4)))
    twin = ResidualCNN("sign", "rectangular(-1, 1)", width=4)
    twin.load_state_dict(net.state_dict())
    x = torch.rand(4, 1, 28, 28)
    assert torch.equal(net(x), twin(x))


@pytest.mark.parametrize(
    ("spec", "features", "classes", "error", "says"),
    [
        ("lenet", 784, 10, SpecError, "Did you mean 'lenet5'? There are: bnn_lenet5"),
        ("lenet5", 64, 10, RuleValueError, "images of 28 x 28"),
        ("bnn_lenet5", 64, 10, RuleValueError, "images of 28 x 28"),
        ("residual_cnn", 64, 10, RuleValueError, "images of 28 x 28"),
        ("snn_cnn", 64, 10, RuleValueError, "images of 28 x 28"),
        ("residual_cnn(0)", 784, 10, RuleValueError, "width, first and second >= 1"),
        ("snn_cnn(beta=1.5)", 784, 10, RuleValueError, "beta from 0 to 1"),
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
    assert list(models()) == [
        *("bnn_lenet5", "bnn_mlp", "gpt", "gru", "lenet5", "mlp"),
        *("residual_cnn", "resnet", "series_cnn", "series_gru", "snn_cnn", "suc", "vit"),
    ]
