"""Packed networks against the model: bit for bit where sums are integers, and elsewhere but for rounding."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from tieless_runtime import evaluate, read
from torch import nn

import tieless as tl
from tests.alone import run_alone
from tests.deploy.quantised import integers, quantised_input, residual, sequential, spiking, spread, sums_of
from tieless.deploy import pack
from tieless.deploy.grids import rounded_grid
from tieless.errors import DeployError, RuleTypeError
from tieless.models import MLP, BinaryLeNet5, BinaryMLP, LeNet5, ResidualCNN, SpikingCNN
from tieless.nn import LIF, BinaryLinear, TernaryConv2d, freeze, quantize_weights

EXAMPLE = torch.rand(64, 1, 28, 28, generator=torch.Generator().manual_seed(0))


PLACES = {4: 20, 16: 18}
"""Binary places of numbers between layers, the most with which sums fit in 32 bits, by a network's width."""


def with_statistics(model, example=EXAMPLE):
    """Batch norms with gammas of both signs, and statistics of some images."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias, std=0.5)
    model.train()
    with torch.no_grad():
        for _ in range(2):
            model(example)
    return model.eval()


def activations(model, x):
    """Output of each activation, by name, and the scores."""
    found, hooks = {}, []
    for name, module in model.named_modules():
        if isinstance(module, tl.Activation):
            hooks.append(module.register_forward_hook(lambda _, __, y, name=name: found.update({name: y})))
    with torch.no_grad():
        scores = model(x)
    for hook in hooks:
        hook.remove()
    return found, scores


def packed_activations(packed, x):
    """Numbers that the last operation of each layer makes, by the layer's name."""
    values = evaluate(packed.network, x.numpy())
    found = {each.name: torch.from_numpy(values[each.output]) for each in packed.network.operations}
    return found, torch.from_numpy(values[packed.network.output])


def binary(model):
    return quantize_weights(model, "sign", "rectangular(-1, 1)", scale="mean")


MODELS = {
    "bnn-mlp": lambda: binary(MLP(784, (64, 48, 32), 10, "sign", "rectangular", norm="batch")),
    "binary-mlp": lambda: BinaryMLP(784, (64, 32), 10, "heaviside", "rectangular"),
    "binary-lenet": BinaryLeNet5,
    "heaviside-lenet": lambda: LeNet5("heaviside", "rectangular", norm="batch"),
    "staircase-lenet": lambda: LeNet5("staircase(4)", "rectangular", norm="batch"),
    "bnn-cnn": lambda: binary(ResidualCNN("sign", "rectangular", width=8, bend=True)),
    "heaviside-cnn": lambda: ResidualCNN("heaviside", "rectangular", width=8),
    "snn-cnn": lambda: SpikingCNN(width=4),
    "no-norm": lambda: LeNet5("heaviside", "rectangular"),
}


@pytest.mark.parametrize("name", MODELS)
def test_with_float_ends_bits_agree_but_for_rounding(name):
    torch.manual_seed(1)
    model = with_statistics(MODELS[name]())
    packed = pack(model, EXAMPLE)
    x = torch.rand(100, 1, 28, 28)
    expected, scores = activations(model, x)
    found, packed_scores = packed_activations(packed, x)
    for layer, y in expected.items():
        if layer not in found:  # a spike's activation belongs to its cell
            continue
        numbers = found[layer].float() * float(y.abs().max() / found[layer].abs().max())
        pooled = y if y.shape == numbers.shape else nn.functional.max_pool2d(y, 2)
        different = (numbers - pooled).abs() > 1e-3
        assert different.sum() <= 2, layer
    assert (packed_scores.argmax(1) == scores.argmax(1)).all()
    assert (packed_scores - scores).abs().max() < 1e-4 * scores.abs().max() or different.any()


@pytest.mark.parametrize("name", ["bnn-mlp", "binary-lenet", "heaviside-lenet", "staircase-lenet", "no-norm"])
def test_with_integer_ends_every_bit_and_score_is_the_quantised_models(name):
    torch.manual_seed(1)
    model = with_statistics(MODELS[name]() if name != "binary-lenet" else nn.Sequential(*list(BinaryLeNet5())[:-1]))
    packed = pack(model, EXAMPLE, "int8")
    assert not packed.kept_float
    x = torch.rand(100, 1, 28, 28)
    expected, scores, scale = sequential(model, x, EXAMPLE)
    found, packed_scores = packed_activations(packed, x)
    for layer, y in expected.items():
        unit = y[y > 0].min() if "staircase" in name else 1
        assert torch.equal(found[layer], torch.round(y / unit).long()), layer
    assert torch.equal(packed_scores.double(), scores)
    assert packed.network.score_scale == pytest.approx(scale)
    assert packed(x).dtype == torch.int32


@settings(max_examples=30)
@given(
    data=st.data(),
    act=st.sampled_from(["sign", "heaviside", "heaviside(at_zero=1)", "ternary(1)", "staircase(3)", "spike_count(3)"]),
)
def test_at_every_sum_the_threshold_is_pytorchs_evaluation(data, act):
    """Small whole numbers as gamma, beta, mean: so sums meet thresholds exactly, and gamma may be 0."""
    features, channels = 15, 6
    numbers = st.lists(st.integers(-3, 3).map(float), min_size=channels, max_size=channels).map(torch.tensor)
    norm = nn.BatchNorm1d(channels, eps=0).eval()
    norm.weight.data, norm.bias.data, norm.running_mean = (data.draw(numbers) for _ in range(3))
    norm.running_var = data.draw(st.sampled_from([1.0, 4.0, 3.0])) * torch.ones(channels)
    layer = BinaryLinear(features, channels, scale=data.draw(st.sampled_from(["none", "mean", "per-channel"])))
    layer.bias.data = data.draw(numbers)
    net = nn.Sequential(tl.Activation("sign", "rectangular"), layer, norm, tl.Activation(act, "rectangular")).eval()
    latent = layer.parametrizations.weight.original
    latent.data = torch.ones_like(latent) * torch.rand(channels, 1)
    x = torch.tril(torch.ones(features + 1, features), -1) * 2 - 1  # sums -15, -13, ... 15
    # The model with its scale behind the sum, as a packed network has it.
    scale = layer.weight.detach()[:, :1].T
    with torch.no_grad():
        expected = net[3](norm(x.sum(1, keepdim=True) * scale + layer.bias))
    packed = pack(net, x)
    assert torch.allclose(packed(x).float() * packed.network.score_scale, expected, atol=1e-6)


def test_a_falling_norm_behind_a_pool_takes_the_minimum():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(6).eval()
    norm.weight.data = torch.tensor([1.0, -1.0, 2.0, -0.5, 0.0, -3.0])
    norm.bias.data.normal_()
    front = [tl.Activation("sign", "rectangular"), TernaryConv2d(3, 6, 3, padding=1, bias=False), nn.MaxPool2d(2, 2, 1)]
    net = nn.Sequential(*front, norm, tl.Activation("heaviside", "rectangular")).eval()
    x = torch.randn(20, 3, 8, 8)
    packed = pack(net, x)
    assert [each.kind for each in packed.network.operations] == ["threshold", "conv", "threshold", "max_pool"]
    assert packed.network.operations[-1].least.tolist() == [0, 1, 0, 1, 0, 1]
    assert torch.equal(packed(x).float(), net(x).detach())


@pytest.mark.parametrize("width", [4, 16])
def test_a_residual_network_in_integers_is_the_quantised_models(width):
    torch.manual_seed(width)
    model = with_statistics(binary(ResidualCNN("sign", "rectangular", width=width, bend=True)))
    for name, parameter in model.named_parameters():
        if "bend" in name:
            nn.init.normal_(parameter, std=0.3)
    packed, x = pack(model, EXAMPLE, "int8"), torch.rand(40, 1, 28, 28)
    assert not packed.kept_float
    expected, scores, scale = residual(model, x, EXAMPLE, PLACES[width])
    found, packed_scores = packed_activations(packed, x)
    for layer, signs in expected.items():
        assert torch.equal(found[layer].float(), signs), layer
    assert torch.equal(packed_scores.double(), scores)
    assert packed.network.score_scale == pytest.approx(scale)


def test_a_spiking_network_in_integers_is_the_quantised_models():
    torch.manual_seed(1)
    model = with_statistics(SpikingCNN(width=4))
    model.flat[1].weight.data.mul_(8)
    packed, x = pack(model, EXAMPLE, "int8"), torch.rand(40, 1, 28, 28)
    assert not packed.kept_float
    expected, scores, scale = spiking(model, x, EXAMPLE, 20)
    found, packed_scores = packed_activations(packed, x)
    for cell, spikes in expected.items():
        assert 0 < spikes.float().mean() < 1
        assert torch.equal(found[cell].long(), spikes), cell
    assert torch.equal(packed_scores.double(), scores)
    assert packed.network.score_scale == pytest.approx(scale)
    labels, trained = packed(EXAMPLE).argmax(1), model(EXAMPLE).argmax(1)
    assert (labels == trained).float().mean() > 0.9


@pytest.mark.parametrize("settings", [{"reset": "zero"}, {"reset": "none"}, {"delay_reset": True, "gain": 0.5}])
def test_cells_of_every_kind_are_packed(settings):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.front, self.cell, self.head = (
                nn.Linear(5, 4),
                LIF(torch.tensor([0.5, 0.9, 0.25, 1.0]), **settings),
                nn.Linear(4, 2),
            )

        def forward(self, x):
            current = self.front(x).unsqueeze(0).repeat(6, 1, 1)
            return self.head(self.cell.over_time(current)[0].mean(0))

    torch.manual_seed(0)
    net, x = Net(), 2 * torch.randn(50, 5)
    assert torch.allclose(pack(net, x)(x), net(x), atol=1e-5)
    integers = pack(net, x, "int8")
    assert ((integers(x) * integers.network.score_scale) - net(x)).abs().max() < 0.3


def test_the_model_is_left_as_it_was():
    model = BinaryMLP(8, (4,), 2)
    before = copy.deepcopy(model.state_dict())
    pack(model, torch.rand(3, 8))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_binary_network_is_at_most_a_25th_of_its_float_file(tmp_path):
    model = BinaryMLP(784, (512, 512), 10)
    pack(model, EXAMPLE).save(tmp_path / "packed.safetensors")
    torch.save(freeze(copy.deepcopy(model)).state_dict(), tmp_path / "float.pt")
    sizes = [(tmp_path / name).stat().st_size for name in ("packed.safetensors", "float.pt")]
    assert 25 * sizes[0] <= sizes[1]
    assert torch.equal(
        torch.from_numpy(evaluate(read(tmp_path / "packed.safetensors"), EXAMPLE.numpy())["v0"]), EXAMPLE.flatten(1)
    )


def test_what_stays_float_is_named_with_its_reason():
    packed = pack(LeNet5("heaviside", "rectangular"), EXAMPLE)
    reasons = dict(packed.kept_float)
    assert list(reasons) == ["0", "3", "7", "9", "11"]
    assert "first layer" in reasons["0"]
    assert "weight_bits=8" in reasons["3"]
    assert "last layer" in reasons["11"]
    assert list(dict(pack(LeNet5("heaviside", "rectangular"), EXAMPLE, weight_bits=4).kept_float)) == ["0", "11"]
    assert "its input is float" in dict(pack(LeNet5(), EXAMPLE).kept_float)["3"]


def test_explain_prints_bytes_and_bit_operations():
    packed = pack(BinaryMLP(784, (64, 32), 10), EXAMPLE)
    printed = str(packed.explain())
    layer = next(each for each in packed.explain().layers if each.name == "4" and each.weights)
    assert (layer.weights, layer.takes, layer.bit_operations) == ("binary", "1 bit", 64 * 32)
    assert layer.stored_bytes == 64 * 32 // 8
    assert "1/32.0" in printed
    assert "1 stays float: it is the first layer" in printed
    assert tl.explain(packed) == packed.explain()
    with pytest.raises(RuleTypeError, match="explain takes no inputs for a Packed"):
        tl.explain(packed, EXAMPLE)


class Odd(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.act = tl.Activation("sign", "rectangular")
        self.function = function

    def forward(self, x):
        return self.function(self, x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda net, x: torch.softmax(net.layer(x), 1), "No packed network can do softmax"),
        (lambda net, x: net.layer(x) * net.act(x), "can do mul of two values"),
        (lambda net, x: net.layer(x)[:, :2], "No packed network can do slice"),
        (lambda net, x: net.layer(x).reshape(-1, 2, 2), "changes a shape"),
        (lambda net, x: (net.layer(x), x), "one input and one output"),
        (lambda net, x: net.layer(x) if x.sum() > 0 else x, "torch.export cannot read the model"),
        (lambda net, x: tl.untie(net.layer(x), "sign", "rectangular"), "No packed network can do"),
        (lambda net, x: nn.functional.batch_norm(net.layer(x), None, None, training=True), "running statistics"),
        (lambda net, x: net.act(net.layer(x).int().float()), "turns numbers into torch.int32"),
        (lambda net, x: net.act(net.layer(x).bool().float()), "turns numbers into torch.bool"),
        (lambda net, x: net.act(net.layer(x).half().float()), "turns numbers into torch.float16"),
        (lambda net, x: nn.functional.dropout(net.layer(x), 0.5, training=True), "drops numbers in evaluation mode"),
        (lambda net, x: net.act(net.layer(x).double()).float(), "turns numbers into torch.float64"),
        (lambda net, x: net.layer(x) + torch.rand(4, generator=torch.Generator()), "which is no tensor"),
        (lambda net, x: net.layer(x) + net.layer(x).mean(), "over dimensions [0, 1]"),
        (lambda net, x: torch.div(net.layer(x), 2, rounding_mode="floor"), "an alpha or a rounding_mode"),
        (lambda net, x: net.act(net.layer(x) * float("nan")), "mul has numbers that are NaN or infinite"),
        (lambda net, x: net.act(net.layer(x) / 0.0), "div divides by 0, or has a negative variance"),
    ],
)
def test_what_cannot_be_packed_is_refused_in_one_line(function, message):
    with pytest.raises(DeployError) as error:
        pack(Odd(function), torch.rand(3, 4))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("ends", ["float", "int8"])
@pytest.mark.parametrize("broken", ["0.weight", "1.weight", "1.running_var", "3.weight", "3.bias", "5.weight"])
def test_a_model_with_nan_is_refused(broken, ends):
    """The model's scores are NaN; a packed network would give labels all the same."""
    net = nn.Sequential(
        nn.Linear(4, 4),
        nn.BatchNorm1d(4),
        tl.Activation("sign", "rectangular"),
        nn.Linear(4, 4),
        tl.Activation("sign", "rectangular"),
        nn.Linear(4, 2),
    ).eval()
    pack(net, torch.rand(3, 4), ends)
    net.state_dict()[broken].flatten()[0] = float("nan")
    with pytest.raises(DeployError, match=r"^\d has numbers that are NaN or infinite\.$"):
        pack(net, torch.rand(3, 4), ends)


@pytest.mark.parametrize("hook", ["forward", "forward_pre"])
def test_an_activation_that_gives_something_else_is_refused(hook):
    net = BinaryMLP(4, (8, 8), 2)
    name, act = next((name, act) for name, act in net.named_modules() if isinstance(act, tl.Activation))
    if hook == "forward":
        act.register_forward_hook(lambda _, __, y: 1 - y)
    else:
        act.register_forward_pre_hook(lambda _, given: (-given[0],))
    with pytest.raises(DeployError, match=rf"^{name} does not give what its forward \S+ says: remove its hooks"):
        pack(net, torch.randn(16, 4))


class Spiking(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.front, self.cell, self.head = nn.Linear(4, 8), cell, nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.cell.over_time(self.front(x).unsqueeze(0).repeat(4, 1, 1))[0].mean(0))


class Leaking(LIF):
    def forward(self, x, state=None):
        spikes, v = super().forward(x, state)
        return spikes, v / 2


HOOKS = {
    "spike": lambda cell: cell.spike.register_forward_hook(lambda _, __, y: 1 - y),
    "pre": lambda cell: cell.register_forward_pre_hook(lambda _, given: (-given[0], *given[1:])),
    "gives": lambda cell: cell.register_forward_hook(lambda _, __, y: (1 - y[0], y[1])),
    "nothing": lambda cell: cell.register_forward_hook(lambda *_: None),
}


@pytest.mark.parametrize("hook", [*HOOKS, "class"])
def test_a_cell_that_gives_something_else_is_refused(hook):
    torch.manual_seed(0)
    cell = Leaking(0.5) if hook == "class" else LIF(0.5)
    HOOKS.get(hook, lambda _: None)(cell)
    net, x = Spiking(cell), torch.randn(16, 4)
    if hook == "nothing":
        assert torch.allclose(pack(net, x)(x), net(x), atol=1e-5)
    else:
        with pytest.raises(DeployError, match=r"^cell (does not give what LIF says|must take one value).*hooks"):
            pack(net, x)


def test_an_activation_that_draws_is_refused_by_its_name():
    with pytest.raises(DeployError, match=r"^1 has the forward bernoulli\(1\), which no packed network can do"):
        pack(nn.Sequential(nn.Linear(4, 8), tl.Activation("bernoulli", "sigmoid")), torch.rand(5, 4))


def test_what_cannot_be_packed_in_integers_says_why():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=3), tl.Activation("sign", "rectangular"))
    with pytest.raises(DeployError, match=r"^The model cannot be packed in integers: 0: padding must be 0 to 2"):
        pack(net, torch.rand(5, 1, 4, 4), "int8")


SIGN = tl.Activation("sign", "rectangular")


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (
            nn.Sequential(nn.Linear(6, 8), SIGN),
            "features come first use Conv1d or Conv2d with a kernel of 1",
        ),
        (nn.Sequential(SIGN, nn.AvgPool2d(3, 2, 1, count_include_pad=False)), "Train it with count_include_pad=True"),
        (nn.Sequential(SIGN, nn.AvgPool2d(3, divisor_override=2)), "has a divisor.*Multiply behind the pool"),
        (nn.Sequential(SIGN, nn.MaxPool2d(3, 2, ceil_mode=True)), r"beyond the border.*Train it with ceil_mode=False"),
        (nn.Sequential(nn.ConstantPad2d(1, -1.0), nn.Conv2d(2, 2, 3)), "pads by something else than zeros"),
        (nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(2, 2, 3)), "pads by something else than zeros"),
        (nn.Sequential(nn.ZeroPad2d(-1), nn.Conv2d(2, 2, 3)), "pads by something else than zeros"),
        (nn.Sequential(nn.ConstantPad1d(1, 0.0), nn.Flatten()), "takes a value that is padded"),
        (nn.Sequential(SIGN, nn.ZeroPad2d(1)), "output takes a value that is padded"),
        (nn.Sequential(nn.ZeroPad2d(1), SIGN), "takes a value that is padded. Pad directly in front of a conv"),
        (nn.Sequential(nn.ZeroPad2d((1, 0, 0, 0)), nn.Conv2d(2, 2, 3, dilation=2)), "do not differ by a multiple"),
        (nn.Sequential(nn.Conv2d(2, 2, 4, padding="same", dilation=3), SIGN), "do not differ by a multiple"),
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_a_refusal_says_what_to_do(net, message):
    with pytest.raises(DeployError, match=f"^([01]|The) .*{message}"):
        pack(net, torch.rand(5, 2, 6, 6))


@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_samples_that_a_norm_makes_0_are_refused_in_integers(gamma):
    """Behind a gamma of 0 no step of 8 bits is that of a number."""
    norm = nn.BatchNorm2d(2)
    norm.weight.data[1] = gamma
    net = nn.Sequential(norm, nn.Conv2d(2, 2, 3), SIGN, nn.Flatten(), nn.Linear(32, 2))
    if gamma:
        pack(net, torch.rand(5, 2, 6, 6), "int8")
    else:
        with pytest.raises(DeployError, match=r"^1 takes samples of which a channel is multiplied by 0"):
            pack(net, torch.rand(5, 2, 6, 6), "int8")


def test_a_norm_of_the_samples_is_a_zero_point():
    """Whole steps of 8 bits in the place of the norm's offset, its factors in the weights; all else is PyTorch's."""
    torch.manual_seed(0)
    norm, conv = nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3, padding=1)
    norm.weight.data = torch.tensor([1.3, -0.7, 2.1])
    norm.bias.data, norm.running_mean = torch.randn(3), torch.rand(3)
    net = nn.Sequential(norm, conv, SIGN, nn.Flatten(), nn.Linear(8 * 49, 4)).eval().requires_grad_(False)
    x = torch.rand(50, 3, 7, 7)
    packed = pack(net, x, "int8")
    codes, scale = quantised_input(x, x)
    slope = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    zero = torch.round((norm.bias.double() / slope - norm.running_mean.double()) / scale)
    scaled = copy.deepcopy(conv)
    scaled.weight.data = (conv.weight.detach() * (slope / slope.abs().max())[:, None, None]).float()
    weights, unit = integers(scaled)
    sums = sums_of(conv, codes + spread(zero, codes), weights)
    signs = SIGN(sums.float() * spread(unit * (scale * float(slope.abs().max())), sums) + spread(conv.bias, sums))
    found, _ = packed_activations(packed, x)
    assert torch.equal(found["2"].float(), signs)
    assert (signs == net[:3](x)).float().mean() > 0.98


def test_an_activation_in_two_places_is_packed():
    act = tl.Activation("sign", "rectangular")
    net = nn.Sequential(nn.Linear(4, 8), act, nn.Linear(8, 8), act, nn.Linear(8, 2)).eval()
    x = torch.randn(16, 4)
    assert torch.allclose(pack(net, x)(x), net(x), atol=1e-5)


def test_a_hook_that_changes_nothing_is_packed():
    net = BinaryMLP(4, (8, 8), 2).eval()
    for act in net.modules():
        act.register_forward_hook(lambda *_: None)
    x = torch.randn(16, 4)
    assert torch.allclose(pack(net, x)(x), net(x), atol=1e-5)


@pytest.mark.parametrize("slope", [2.0**16, 2.0**17, 1e9])
def test_a_slope_that_32_bits_do_not_hold_is_refused(slope):
    act = tl.Activation("sign", "rectangular")
    net = nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 4), nn.PReLU(init=slope), act, nn.Linear(4, 2))
    with pytest.raises(DeployError, match="do not fit in integers of 32 bits"):
        pack(net, torch.randn(16, 4), "int8")


def test_a_part_of_the_time_steps_is_not_taken_for_all():
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = LIF(beta=0.5), nn.Linear(4, 2)

        def forward(self, x):
            spikes, _ = self.cell.over_time(x.expand(5, -1, -1))
            return self.head(torch.stack(spikes.unbind(0)[:3]).sum(0))

    with pytest.raises(DeployError, match="not all time steps of one"):
        pack(Late(), torch.rand(3, 4))


def test_a_bias_beside_weights_of_few_values_is_not_rounded_to_their_unit():
    """Of the last layer; the first is exact in 8 bits here."""
    head = nn.Linear(8, 3)
    head.weight.data = torch.sign(head.weight.data)
    head.bias.data = torch.tensor([0.4, 0.3, -0.45])
    front = nn.Linear(4, 8, bias=False)
    front.weight.data = torch.sign(front.weight.data)
    net = nn.Sequential(front, tl.Activation("sign", "rectangular"), head).eval()
    x = torch.cat([torch.full((1, 4), 255.0), torch.randint(0, 256, (200, 4)).float()])
    packed = pack(net, x, "int8")
    assert torch.allclose(packed(x) * packed.network.score_scale, net(x), atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 2.0**-20, 2.0**-40])
@pytest.mark.parametrize("middle", ["prelu", "residual", "scores"])
def test_small_numbers_keep_their_bits_in_integers(scale, middle):
    """A power of two on all of them changes no label of PyTorch's."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.front, self.act = nn.Linear(16, 32), tl.Activation("sign", "rectangular")
            self.layer, self.norm, self.bend = BinaryLinear(32, 32), nn.BatchNorm1d(32), nn.PReLU()
            self.again, self.head = BinaryLinear(32, 32), nn.Linear(32, 4)

        def forward(self, x):
            y = self.norm(self.layer(self.act(self.front(x))))
            if middle == "prelu":
                return self.head(self.act(self.bend(y)))
            if middle == "residual":
                return self.head(self.act(y + scale * self.again(self.act(y))))
            return y

    torch.manual_seed(0)
    net, x = Net(), torch.randn(300, 16)
    nn.init.normal_(net.norm.weight)
    nn.init.normal_(net.norm.bias)
    net(x)
    net.eval()
    for parameter in net.norm.parameters():
        parameter.data *= scale
    labels = net(x).argmax(1)
    assert len(labels.unique()) > 1
    assert (pack(net, x)(x).argmax(1) == labels).float().mean() > 0.99
    assert (pack(net, x, "int8")(x).argmax(1) == labels).float().mean() > 0.9  # without fixed points of their own 0.5


def test_factors_that_are_large_are_packed_in_integers():
    torch.manual_seed(0)
    act = tl.Activation("sign", "rectangular")
    net = nn.Sequential(
        nn.Linear(4, 8), act, BinaryLinear(8, 8), nn.BatchNorm1d(8), nn.PReLU(), act, nn.Linear(8, 2)
    ).eval()
    net[3].weight.data = 1e7 + torch.rand(8)
    x = torch.randn(100, 4)
    packed = pack(net, x, "int8")
    assert any(each.kind == "rescale" and each.shift == 0 for each in packed.network.operations)
    assert (packed(x).argmax(1) == net(x).argmax(1)).float().mean() > 0.95


def test_wrong_arguments_are_refused():
    net, x = BinaryMLP(4, (4,), 2), torch.rand(3, 4)
    for arguments, message in (
        ((net, x, "int4"), "ends must be one of float, int8, got 'int4'"),
        ((net, x[0]), "must be a batch of samples"),
        ((net, None), "must be a batch of samples"),
        ((net, x * float("nan")), "The example has numbers that are NaN or infinite"),
        ((net, x.double() * 1e300), "The example has numbers that are NaN or infinite"),
        ((net, x.to("meta")), r"with memory of its own; got a tensor of shape \(3, 4\), float32, strided, on meta"),
        ((net, x.to_sparse()), "a dense tensor of real numbers"),
        ((net, x.to(torch.complex64)), "a dense tensor of real numbers"),
        ((nn.Identity(), x[:, :0]), r"got a tensor of shape \(3, 0\)"),
        ((nn.Linear(4, 2, device="meta"), x), "The model has no copy in float32 on the CPU.*meta tensor"),
        ((nn.LazyLinear(2), x), "The model has no copy in float32 on the CPU.*uninitialized"),
        ((lambda y: y, x), "A model is packed, a torch.nn.Module; got function"),
    ):
        with pytest.raises(DeployError, match=message):
            pack(*arguments)
    with pytest.raises(DeployError, match="weight_bits must be 2 to 8, or None, got 1"):
        pack(net, x, weight_bits=1)
    with pytest.raises(DeployError, match="has the forward gelu"):
        pack(nn.Sequential(tl.Activation("gelu", "constant")), x)


def test_samples_are_tensors_of_any_real_dtype():
    net, x = BinaryMLP(4, (4,), 2).eval(), torch.randint(0, 4, (3, 4)).float()
    packed = pack(net, x)
    for dtype in (torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.uint8):
        assert torch.equal(packed(x.to(dtype)), packed(x))
    for wrong in (x.numpy(), [[1.0] * 4], x.to("meta"), x.to_sparse(), x.to(torch.complex64)):
        with pytest.raises(DeployError, match="The samples must be a dense tensor of real numbers"):
            packed(wrong)


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path):
    """A limit on the size of files is what a full disk is."""
    program = f"""
import resource, signal, torch
from pathlib import Path
from tieless.deploy import pack
from tieless.models import BinaryMLP
path = Path({str(tmp_path / "net.safetensors")!r})
pack(BinaryMLP(4, (4,), 2), torch.rand(3, 4)).save(path)
before, large = path.read_bytes(), pack(BinaryMLP(400, (400,), 2), torch.rand(3, 400))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    large.save(path)
except OSError:
    print(path.read_bytes() == before, len(list(path.parent.iterdir())))
"""
    assert run_alone(program, warnings="default") == "True 1\n"


def test_rounded_weights_lose_least_for_their_bits():
    """No other scale of a finer grid has a squared error that is smaller by more than a twentieth."""
    weights = torch.randn(3, 200, generator=torch.Generator().manual_seed(0))
    for bits in (2, 4, 8):
        grid, steps = rounded_grid(weights, bits), 2 ** (bits - 1) - 1
        error = (weights - torch.from_numpy(grid.weight.values) * grid.scale[:, None]).square().sum(1)
        for scale in np.linspace(0.1, 1, 500):
            unit = scale * weights.abs().amax(1, keepdim=True) / steps
            other = (weights - unit * torch.round(weights / unit).clamp(-steps, steps)).square().sum(1)
            assert (error <= 1.05 * other).all()
