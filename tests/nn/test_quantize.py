"""Quantised layers and models: the parametrization comes, works like any other, and goes, leaving plain layers."""

import copy
import io
import math
import pickle

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils import parametrizations, parametrize, prune, weight_norm
from torch.utils.checkpoint import checkpoint

from tieless import Activation, convert_feedback, revert_feedback
from tieless.errors import RuleTypeError, RuleValueError
from tieless.nn import (
    LIF,
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
    load_float,
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
        (lambda name, module: name == "7", True, ["7"]),
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
        (_net(), {"layers": [3]}, RuleTypeError, "by its name, a module class or a function, got 3"),
        (_net(), {"layers": nn.ReLU()}, RuleTypeError, r"by its name, a module class or a function, got ReLU\(\)"),
        (_net(), {"layers": lambda name: name}, RuleTypeError, r"takes a name and a module, got .* which takes \(name\)"),
        (_net(), {"layers": ["3", "featurs.*"]}, RuleValueError, r"that 'featurs\.\*' fits"),
        (parametrizations.weight_norm(nn.Linear(2, 2)), {"keep_ends": False}, RuleTypeError, "a parametrization already"),
    ],
)  # fmt: skip
def test_what_cannot_be_quantised_is_said(model, arguments, error, says):
    with pytest.raises(error, match=says):
        quantize_weights(model, **arguments)


def _pruned():
    return prune.l1_unstructured(nn.Linear(3, 3), "weight", 0.5)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: parametrizations.weight_norm(nn.Linear(3, 3)), "The weight of 1 .* has a parametrization already"),
        (lambda: weight_norm(nn.Linear(3, 3)), r"The weight of 1 \(Linear\) is no parameter: .*remove_weight_norm"),
        (_pruned, r"is no parameter: weight_norm, pruning .*prune\.remove"),
        (lambda: nn.LazyLinear(3), "The weight of 1 .* is lazy"),
        (lambda: nn.Linear(3, 3, dtype=torch.complex64), "must have a floating dtype, got torch.complex64"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*(weight_norm|Lazy modules)")
def test_a_weight_that_is_no_parameter_is_refused_before_anything_is_changed(made, says):
    model = nn.Sequential(nn.Linear(3, 3), made(), BinaryLinear(3, 3))
    before = [(type(module), set(vars(module))) for module in model.modules()]
    with pytest.raises(RuleTypeError, match=says) as refusal:
        quantize_weights(model, keep_ends=False)
    assert "\n" not in str(refusal.value)
    assert [(type(module), set(vars(module))) for module in model.modules()] == before


@pytest.mark.parametrize("limit", [-1.0, 0, math.nan, math.inf, 10**400])
def test_a_limit_that_would_destroy_latent_weights_is_refused(limit):
    layer = BinaryLinear(2, 2)
    before = latent_weights(layer)[0].detach().clone()
    with pytest.raises(RuleValueError, match="limit must be finite and positive"):
        clip_latent_weights(layer, limit)
    assert torch.equal(latent_weights(layer)[0], before)


def test_what_is_frozen_in_inference_mode_can_be_trained_through():
    model = nn.Sequential(BinaryLinear(2, 2), nn.Linear(2, 2))
    with torch.inference_mode():
        freeze(model)
    model(torch.ones(3, 2)).sum().backward()
    assert model[1].weight.grad is not None


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: quantize_weights("x"), "needs a torch.nn.Module, got str"),
        (lambda: freeze("x"), "freeze needs a torch.nn.Module, got str"),
        (lambda: restore_weights(None), "restore_weights needs"),
        (lambda: latent_weights([]), "latent_weights needs"),
        (lambda: clip_latent_weights(BinaryLinear(2, 2), "1"), "limit must be a number, got '1'"),
        (lambda: load_float(BinaryLinear(2, 2), None), "load_float needs a state_dict, got None"),
        (
            lambda: load_float(BinaryLinear(2, 2), "float.pt"),
            r"needs a state_dict, got 'float\.pt'. Read a file with torch",
        ),
        (lambda: load_float(None, {}), "load_float needs a torch.nn.Module"),
    ],
)
def test_what_is_no_model_limit_or_state_is_said(call, says):
    with pytest.raises(RuleTypeError, match=says):
        call()


def test_a_weight_that_two_layers_share_stays_shared():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    net = quantize_weights(nn.Sequential(first, second), keep_ends=False)
    assert latent_weights(net)[0] is latent_weights(net)[1]


REDUCING = {
    "absmax": lambda w: (w / (w.abs().max() / 127)).round() * (w.abs().max() / 127),
    "min-max": lambda w: ((w - w.min()) / (w.max() - w.min()) * 15).round() / 15 * (w.max() - w.min()) + w.min(),
    "columns": lambda w: (w / w.abs().amax(0, keepdim=True)).round(),
    "median": lambda w: w * (w >= w.flatten().kthvalue(w.numel() // 2).values),
}


@pytest.mark.parametrize("quantiser", REDUCING.values(), ids=REDUCING)
def test_a_callable_that_looks_at_all_weights_together_quantises(quantiser):
    """Straight-through by detaching is the judge."""
    linear = nn.Linear(4, 4)
    latent = linear.weight.detach().clone().requires_grad_()
    net = quantize_weights(nn.Sequential(linear), quantiser, "constant", keep_ends=False)
    x = torch.randn(3, 4)
    nn.functional.linear(x, latent + (quantiser(latent) - latent).detach(), linear.bias).square().sum().backward()
    net(x).square().sum().backward()
    torch.testing.assert_close(latent_weights(net)[0].grad, latent.grad)


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


@pytest.mark.parametrize("kind", [*QUANTIZERS, nn.Sequential])
def test_a_quantised_model_is_pickled_saved_and_copied(kind):
    """Every copy is whole: it gives the same, learns by itself, and is frozen by itself."""
    net = quantize_weights(_net()).eval() if kind is nn.Sequential else nn.Sequential(kind(8, 3))
    x = torch.randn(IMAGES) if kind is nn.Sequential else torch.randn(5, 8)
    stored = io.BytesIO()
    torch.save(net, stored)
    stored.seek(0)
    twins = [pickle.loads(pickle.dumps(net)), copy.deepcopy(net), torch.load(stored, weights_only=False)]
    twins.append(pickle.loads(pickle.dumps(twins[0])))
    expected = net(x)
    for twin in twins:
        assert type(twin) is type(net)
        assert repr(twin) == repr(net)
        assert list(twin.state_dict()) == list(net.state_dict())
        assert torch.equal(twin(x), expected)
        nn.init.zeros_(latent_weights(twin)[0])
        assert torch.equal(net(x), expected)
        assert not torch.equal(twin(x), expected)
        assert not parametrize.is_parametrized(freeze(twin))
    assert torch.equal(freeze(pickle.loads(pickle.dumps(net)))(x), expected)


def test_a_layer_with_other_parametrizations_is_pickled_with_them():
    layer = parametrize.register_parametrization(nn.Linear(3, 3), "bias", nn.Tanh())
    net = quantize_weights(nn.Sequential(layer), keep_ends=False)
    x = torch.randn(2, 3)
    twin = pickle.loads(pickle.dumps(net))
    assert torch.equal(twin(x), net(x))
    assert torch.equal(pickle.loads(pickle.dumps(restore_weights(twin)))(x), restore_weights(net)(x))


@pytest.mark.parametrize("order", [("quantize", "feedback"), ("feedback", "quantize")])
def test_a_layer_with_feedback_weights_too_is_pickled(order):
    changes = {
        "quantize": lambda net: quantize_weights(net, keep_ends=False),
        "feedback": lambda net: convert_feedback(net, "usf"),
    }
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    for name in order:
        changes[name](net)
    x = torch.randn(5, 4, requires_grad=True)
    twin = pickle.loads(pickle.dumps(net))
    expected, found = (torch.autograd.grad(one(x).square().sum(), x)[0] for one in (net, twin))
    assert torch.equal(found, expected)
    assert [type(one).__name__ for one in twin.modules()] == [type(one).__name__ for one in net.modules()]


@pytest.mark.parametrize("undo", [freeze, restore_weights, lambda net: quantize_weights(net, keep_ends=False)])
def test_a_layer_that_got_feedback_weights_since_is_refused_until_they_are_reverted(undo):
    net = quantize_weights(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), keep_ends=False)
    convert_feedback(net, "usf", only="1")
    x = torch.randn(2, 3)
    before = net(x)
    with pytest.raises(
        RuleTypeError, match=r"to FeedbackParametrizedLinear\. Undo that first: tieless\.revert_feedback"
    ):
        undo(net)
    assert torch.equal(net(x), before)
    undo(revert_feedback(net))


def _float_names(net):
    return [name.replace("parametrizations.weight.original", "weight") for name in net.state_dict()]


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("load", [load_float, nn.Module.load_state_dict])
def test_a_float_state_loads_into_a_quantised_model(load, strict):
    floats = _net(3)
    net = quantize_weights(_net(4))
    missing, unexpected = load(net, floats.state_dict(), strict=strict)
    assert (missing, unexpected) == ([], [])
    twin = quantize_weights(floats)
    x = torch.randn(IMAGES)
    assert torch.equal(net.eval()(x), twin.eval()(x))
    latents = [floats[3].parametrizations.weight.original, floats[7].parametrizations.weight.original]
    assert all(torch.equal(one, other) for one, other in zip(latent_weights(net), latents, strict=True))


def test_a_frozen_state_loads_too_and_a_state_of_the_model_itself_as_ever():
    net = quantize_weights(_net(3))
    state = {name: value.clone() for name, value in net.state_dict().items()}
    signs = freeze(copy.deepcopy(net)).state_dict()
    load_float(net, signs)
    assert torch.equal(latent_weights(net)[0], signs["3.weight"])
    net.load_state_dict(state, strict=True)
    assert torch.equal(latent_weights(net)[0], state["3.parametrizations.weight.original"])


def test_what_a_float_state_lacks_or_has_too_much_is_named_as_in_the_float_model():
    net = quantize_weights(_net())
    floats = _net().state_dict()
    assert sorted(_float_names(net)) == sorted(floats)
    floats["extra"] = floats.pop("3.weight")
    with pytest.raises(RuleValueError, match=r"of Sequential in float: it lacks 3\.weight and has also extra\. Use"):
        load_float(net, floats)
    assert load_float(net, floats, strict=False) == (["3.weight"], ["extra"])
    with pytest.raises(RuleValueError, match=r"lacks 3\.weight, 7\.weight and has also 3\.parametrizations"):
        load_float(net, net.state_dict())
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_float(net, {**_net().state_dict(), "3.weight": torch.zeros(1)})


class _Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.body, self.head = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, numbers):
        return self.head(self.body(self.embedding(numbers)))


def test_a_head_that_is_tied_to_an_embedding_is_not_frozen_until_it_is_its_own():
    net = quantize_weights(_Tied(), keep_ends=False)
    numbers = torch.arange(7)
    before = net(numbers).detach()
    names = list(net.state_dict())
    with pytest.raises(
        RuleValueError, match=r"weights of head are also embedding\.weight.*layer\.weight = torch\.nn\.Par"
    ):
        freeze(net)
    assert list(net.state_dict()) == names
    assert latent_weights(net.head)[0] is net.embedding.weight
    net.head.weight = nn.Parameter(latent_weights(net.head)[0].detach().clone())
    assert torch.equal(freeze(net)(numbers), before)
    beside = quantize_weights(_Tied(), layers="body", keep_ends=False)
    assert freeze(beside).head.weight is beside.embedding.weight


def test_a_tie_is_made_anew_by_assigning_as_transformers_does_it():
    net = quantize_weights(_Tied(), keep_ends=False)
    net.embedding.weight = nn.Parameter(torch.randn(7, 4))
    net.head.weight = net.embedding.weight
    assert latent_weights(net.head)[0] is net.embedding.weight
    assert restore_weights(net).head.weight is net.embedding.weight


def test_layers_that_share_latent_weights_are_frozen_to_one_parameter_if_they_are_alike():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    x = torch.randn(3, 4)
    quantize_weights(net, scale="mean", keep_ends=False)
    before = net(x).detach()
    unlike = quantize_weights(copy.deepcopy(net), "ternary(0.7)", "constant", layers="1", keep_ends=False)
    assert latent_weights(unlike)[0] is latent_weights(unlike)[1]
    with pytest.raises(RuleValueError, match=r"weights of 0 are also 1\.parametrizations"):
        freeze(unlike)
    assert torch.equal(freeze(net)(x), before)
    assert net[0].weight is net[1].weight


@pytest.mark.parametrize("mode", [lambda: torch.device("meta"), FakeTensorMode, torch.inference_mode, torch.no_grad])
def test_layers_are_made_in_any_mode_and_filled_later(mode):
    with mode():
        made = nn.Sequential(BinaryLinear(4, 4), TernaryLinear(4, 4), QuantLinear(4, 4), nn.Linear(4, 4))
        quantize_weights(made, scale="per-channel", unit=2, layers="3", keep_ends=False)
    whole = nn.Sequential(BinaryLinear(4, 4), TernaryLinear(4, 4), QuantLinear(4, 4), nn.Linear(4, 4))
    quantize_weights(whole, scale="per-channel", unit=2, layers="3", keep_ends=False)
    made.load_state_dict(whole.state_dict(), strict=True, assign=True)
    x = torch.randn(2, 4, requires_grad=True)
    expected, found = (torch.autograd.grad(one(x).square().sum(), x)[0] for one in (whole, made))
    assert torch.equal(found, expected)


def _conv1d():
    """The Conv1D of transformers as it is there, which is how a layer is recognised."""

    class Conv1D(nn.Module):
        def __init__(self, outputs, inputs):
            super().__init__()
            self.nf, self.nx = outputs, inputs
            self.weight = nn.Parameter(torch.randn(inputs, outputs))
            self.bias = nn.Parameter(torch.zeros(outputs))

        def forward(self, x):
            return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], self.nf)

    Conv1D.__module__ = "transformers.pytorch_utils"
    return Conv1D


@pytest.mark.parametrize(
    "quantizer",
    [
        QuantizedWeight("sign", "rectangular(-1, 1)", scale="per-channel"),
        QuantizedWeight("magnitude_aware_sign", "constant"),
        QuantizedWeight("ternary(0.7)", "constant", scale="mean", unit=1),
    ],
    ids=str,
)
def test_the_conv1d_of_gpt_2_is_the_linear_layer_with_the_transposed_weight(quantizer):
    conv, linear = _conv1d()(3, 5), nn.Linear(5, 3)
    linear.load_state_dict({"weight": conv.weight.detach().T, "bias": conv.bias.detach()})
    net, twin = (quantize_weights(nn.Sequential(one), quantizer, keep_ends=False) for one in (conv, linear))
    x = torch.randn(2, 4, 5)
    torch.testing.assert_close(net(x), twin(x))
    for one in (net, twin):
        one(x).square().sum().backward()
    torch.testing.assert_close(latent_weights(net)[0].grad.T, latent_weights(twin)[0].grad)
    expected = net(x)
    assert torch.equal(freeze(net)(x), expected)
    torch.testing.assert_close(net[0].weight.T, freeze(twin)[0].weight)


def test_from_pretrained_fills_quantised_layers_and_cells(tmp_path):
    """transformers makes the model on meta, loads what was saved, and initialises what was not."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")

    class Config(transformers.PretrainedConfig):
        model_type = "few_values"

    class Model(transformers.PreTrainedModel):
        config_class = Config

        def __init__(self, config):
            super().__init__(config)
            self.first, self.cell, self.learnt = BinaryLinear(4, 8), LIF(0.9), LIF(0.8, threshold=0.5, learn_beta=True)
            self.last = QuantLinear(8, 2)
            self.post_init()

        def forward(self, x):
            return self.last(self.learnt(self.cell(3 * self.first(x))[0])[0])

    torch.manual_seed(0)
    model = Model(Config()).eval()
    model.save_pretrained(tmp_path)
    x = torch.randn(6, 4)
    assert model(x).count_nonzero()
    again = Model.from_pretrained(tmp_path).eval()
    assert torch.equal(again(x), model(x))
    assert all(torch.equal(a, b) for a, b in zip(latent_weights(again), latent_weights(model), strict=True))
