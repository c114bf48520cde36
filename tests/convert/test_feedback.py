"""Feedback is carried by other weights: the gradients are those of the formula, and the model stays the model that it was."""

import copy
import io
import math
import pickle

import pytest
import torch
from hypothesis import assume, given, settings, strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import tieless as tl
from tieless.errors import ConversionError, RuleTypeError, TransformError
from tieless.feedback import Feedback, feedback, key_of
from tieless.models import LeNet5
from tieless.nn import FeedbackLayer, feedback_of, quantize_weights
from tieless.nn.feedback import CARRIER

KINDS = ["fa", "usf", "brsf", "frsf", "dfa"]
LOCAL = KINDS[:4]
COMPILED = ["fa", "brsf", "dfa"]
"""Those that differ to a compiler; usf and frsf are no other graphs than brsf."""


class Mirror(Feedback):
    """``B = W``: backpropagation, the long way round."""

    __slots__ = ()
    name = "mirror"
    __dataclass_fields__ = {}  # noqa: RUF012 - it has none
    reads_weight = True

    def weights(self, shape, weight, key, device):
        return weight.detach()


def net(act=nn.Tanh, norm=False):
    torch.manual_seed(0)
    extra = [nn.BatchNorm2d(4)] if norm else []
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), *extra, act(), nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2)),
        *(act(), nn.Flatten(), nn.Linear(64, 10), act(), nn.Linear(10, 3)),
    )


X = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
T = torch.tensor([0, 1, 2, 0, 1, 2])


def gradients(model, run=None, x=X):
    torch.manual_seed(1)
    model.zero_grad()
    F.cross_entropy((run or model)(x), T).backward()
    return [p.grad.clone() for p in model.parameters()]


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def close(one, other, **tolerance):
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def weights_of(layer, name, spec, seed=0):
    shape, kind = tuple(layer.weight.shape), vars(layer)[CARRIER].feedback
    assert kind == feedback(spec)
    return kind.weights(shape, layer.weight, key_of(seed, name), torch.device("cpu"))


# What is computed


@pytest.mark.parametrize("spec", ["fa", "usf", "frsf", 'fa("weights")', 'usf("weights")'])
def test_gradients_are_those_written_out_by_hand(spec):
    torch.manual_seed(0)
    first, second, third = nn.Linear(5, 7), nn.Linear(7, 6), nn.Linear(6, 3)
    model = nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), third)
    tl.convert_feedback(model, spec, seed=3)
    x, t = torch.randn(4, 5), torch.randn(4, 3)
    (0.5 * (model(x) - t).square().sum()).backward()
    with torch.no_grad():
        h1 = torch.tanh(F.linear(x, first.weight, first.bias))
        h2 = torch.tanh(F.linear(h1, second.weight, second.bias))
        error = F.linear(h2, third.weight, third.bias) - t
        back2 = (error @ weights_of(third, "4", spec, 3)) * (1 - h2**2)
        back1 = (back2 @ weights_of(second, "2", spec, 3)) * (1 - h1**2)
    wanted = [back1.T @ x, back1.sum(0), back2.T @ h1, back2.sum(0), error.T @ h2, error.sum(0)]
    close([p.grad for p in model.parameters()], wanted)


def test_with_its_own_weights_it_is_backpropagation_to_the_last_bit():
    model = net()
    tied = gradients(model)
    tl.convert_feedback(model, Mirror())
    assert equal(gradients(model), tied)


@st.composite
def convolutions(draw):
    dims, groups = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 2]))
    kernel = draw(st.integers(1, 3))
    stride = draw(st.integers(1, 2))
    padding = draw(st.sampled_from([0, 1, 2, "same", "valid"]))
    assume(not (padding == "same" and stride > 1))
    make = {1: nn.Conv1d, 2: nn.Conv2d}[dims]
    layer = make(
        2 * groups, 3 * groups, kernel, stride=stride, padding=padding, dilation=draw(st.integers(1, 2)), groups=groups,
        padding_mode=draw(st.sampled_from(["zeros", "circular", "reflect"])), bias=draw(st.booleans()),
    )  # fmt: skip
    size = (2 * groups, *(7 - i for i in range(dims)))
    return layer, size if draw(st.booleans()) else (3, *size)


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # slow for even windows, PyTorch says
@settings(deadline=None, max_examples=40)
@given(case=convolutions(), spec=st.sampled_from(["fa", "usf", "frsf"]))
def test_the_input_of_any_convolution_gets_what_a_layer_with_the_other_weights_would_send(case, spec):
    layer, size = case
    twin, plain = copy.deepcopy(layer), copy.deepcopy(layer)
    tl.convert_feedback(layer, spec)
    with torch.no_grad():
        twin.weight.copy_(weights_of(layer, "", spec))
    x, grad = torch.randn(size), None
    found = {}
    for name, one in {"layer": layer, "twin": twin, "plain": plain}.items():
        z = x.clone().requires_grad_()
        y = one(z)
        grad = torch.randn_like(y) if grad is None else grad
        y.backward(grad)
        found[name] = (y.detach(), z.grad)
    assert torch.equal(found["layer"][0], found["plain"][0])
    torch.testing.assert_close(found["layer"][1], found["twin"][1])
    assert equal([p.grad for p in layer.parameters()], [p.grad for p in plain.parameters()])


def test_each_call_of_brsf_has_other_magnitudes_and_each_of_the_others_the_same():
    for spec in LOCAL:
        layer, x = tl.convert_feedback(nn.Linear(20, 30), spec), torch.randn(1, 20, requires_grad=True)
        sent = [torch.autograd.grad(layer(x).sum(), x)[0] for _ in range(2)]
        assert torch.equal(*sent) == (spec != "brsf")


def test_linear_layers_align_with_their_feedback():
    """Lillicrap et al., figure 1: a linear network learns a linear function, and the angle falls from a right one."""
    torch.manual_seed(0)
    target = torch.randn(10, 30) / math.sqrt(30)
    model = nn.Sequential(nn.Linear(30, 20, bias=False), nn.Linear(20, 10, bias=False))
    for layer in model:
        nn.init.uniform_(layer.weight, -0.01, 0.01)
    tl.convert_feedback(model, "fa(gain=2)")
    back = weights_of(model[1], "1", "fa(gain=2)")

    def degrees():
        return math.degrees(math.acos(torch.cosine_similarity(model[1].weight.flatten(), back.flatten(), 0).item()))

    start, optimiser, losses = degrees(), torch.optim.SGD(model.parameters(), 0.05), []
    for _ in range(250):
        x = torch.randn(16, 30)
        loss = (model(x) - x @ target.T).square().sum(1).mean() / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert 80 < start < 100
    assert degrees() < 60
    assert losses[-1] < losses[0] / 20


# What it goes with


@pytest.mark.parametrize("spec", KINDS)
def test_copies_pickles_checkpoints_and_compilers_give_the_same(spec, compiled):
    model = tl.convert_feedback(net(), spec)
    known = gradients(model)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert equal(gradients(other), known)
        assert type(tl.revert_feedback(other)[0]) is nn.Conv2d
        assert not other._forward_hooks
    for reentrant in (False, True):
        x = X.clone().requires_grad_()
        assert equal(gradients(model, lambda z, r=reentrant: checkpoint(model, z, use_reentrant=r), x), known)
    if spec in COMPILED:
        close(gradients(model, compiled(model)), known)


@pytest.mark.parametrize("spec", KINDS)
def test_transforms_of_torch_func_see_the_feedback_weights(spec, compiled):
    model = tl.convert_feedback(net(), spec)
    known = gradients(model)
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters, x, t):
        return F.cross_entropy(torch.func.functional_call(model, parameters, (x,)), t)

    gradient = torch.func.grad(loss)
    for run in (gradient, compiled(gradient)) if spec in COMPILED else (gradient,):
        torch.manual_seed(1)
        close(run(parameters, X, T).values(), known)
    torch.manual_seed(1)
    single = torch.func.vmap(torch.func.grad(loss), (None, 0, 0), randomness="same")(parameters, X[:, None], T[:, None])
    close([one.mean(0) for one in single.values()], known)


@pytest.fixture
def compiled():
    torch._dynamo.reset()
    return lambda function: torch.compile(function, fullgraph=True, backend="aot_eager")


@pytest.mark.parametrize("spec", KINDS)
def test_distributed_data_parallel_takes_it_and_exporters_write_the_forward_down(spec, tmp_path):
    if not torch.distributed.is_gloo_available():
        pytest.skip("this PyTorch has no gloo")
    model = tl.convert_feedback(net(), spec)
    expected = gradients(model)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        assert equal(gradients(nn.parallel.DistributedDataParallel(model)), expected)
    finally:
        torch.distributed.destroy_process_group()
    assert torch.equal(torch.fx.symbolic_trace(model)(X), model(X))
    if spec in ("fa", "dfa"):
        assert torch.equal(torch.export.export(model, (X,)).module()(X), model(X))


@pytest.mark.parametrize("spec", KINDS)
def test_what_is_sent_has_the_derivative_of_a_linear_function(spec):
    model = tl.convert_feedback(net(), spec).double()
    x = X[:2].double().requires_grad_()
    feedback = torch.randn_like(model(x)).requires_grad_()

    def send(feedback):
        torch.manual_seed(5)
        return torch.autograd.grad(model(x), x, feedback, create_graph=True)[0]

    product = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    torch.autograd.gradcheck(lambda g: (send(g) * product).sum(), feedback)
    torch.autograd.grad(F.cross_entropy(model(x), T[:2]), list(model.parameters()), create_graph=True)[
        0
    ].sum().backward()


@pytest.mark.parametrize("spec", KINDS)
def test_forward_mode_is_refused(spec):
    with pytest.raises(TransformError, match="revert_feedback"):
        torch.func.jvp(tl.convert_feedback(net(), spec), (X,), (X,))


@pytest.mark.parametrize("spec", KINDS)
def test_autocast_and_half_types(spec):
    wide, layers = tl.convert_feedback(net(), spec), 6
    known = gradients(wide)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(wide)
    assert {one.dtype for one in found} == {torch.float32}
    half = tl.convert_feedback(net().bfloat16(), spec)
    halved = gradients(half, x=X.bfloat16())
    assert {one.dtype for one in halved} == {torch.bfloat16}
    for one in (found, halved):
        for a, b in zip(one[-layers:], known[-layers:], strict=True):
            assert torch.cosine_similarity(a.float().flatten(), b.flatten(), 0) > 0.99


def test_with_its_own_weights_autocast_is_backpropagations_too():
    model = net()
    with torch.autocast("cpu", torch.bfloat16):
        tied = gradients(model)
        tl.convert_feedback(model, Mirror())
        assert equal(gradients(model), tied)


def test_activations_may_write_in_place_and_be_untied():
    model = tl.convert_feedback(net(lambda: nn.ReLU(inplace=True)), "fa")
    twin = tl.convert_feedback(net(nn.ReLU), "fa")
    assert equal(gradients(model), gradients(twin))
    tl.convert(model, backward="frozen")
    first, second = model[0], model[2]
    assert isinstance(first, FeedbackLayer)
    gradients(model)
    assert not first.weight.grad.any()
    assert not second.weight.grad.any()  # nothing below the last activation learns
    tl.revert_feedback(model)
    assert isinstance(model[1], tl.Activation)
    tl.convert_feedback(model, "usf")
    assert str(tl.revert(model)) == str(net(lambda: nn.ReLU(inplace=True)))


def test_quantised_weights_have_their_signs_mirrored():
    model = quantize_weights(net(), "sign", keep_ends=False)
    tied = gradients(model)
    tl.convert_feedback(model, "usf(scale='weights')")
    close(gradients(model), tied)  # signs as large as the weights are the weights, if these are signs
    tl.revert_feedback(model)
    assert equal(gradients(model), tied)


def test_alignment_is_with_the_gradient_of_the_models_own_weights():
    model = tl.convert(net(), backward="tied")
    found = tl.alignment(model, F.cross_entropy, (X, T))
    assert found.whole.cosine == pytest.approx(1)
    tied = gradients(model)
    tl.convert_feedback(model, "fa")
    found = tl.alignment(model, F.cross_entropy, (X, T))
    mine = gradients(model)
    for layer, place in (("0", slice(0, 2)), ("2", slice(2, 4)), ("7", slice(6, 8))):
        own, true = (torch.cat([one.flatten() for one in some[place]]) for some in (mine, tied))
        assert found.layers[layer].cosine == pytest.approx(torch.cosine_similarity(own, true, 0).item(), abs=1e-5)


# What stays, and what is undone


@pytest.mark.parametrize("spec", KINDS)
def test_state_dicts_load_both_ways_strictly_and_a_resumed_run_is_the_same(spec):
    model, other = tl.convert_feedback(net(norm=True), spec, seed=4), net(norm=True)
    assert list(model.state_dict()) == list(other.state_dict())
    gradients(model)
    other.load_state_dict(model.state_dict(), strict=True)
    stored = io.BytesIO()
    torch.save(model.state_dict(), stored)
    stored.seek(0)
    resumed = tl.convert_feedback(net(norm=True), spec, seed=4)
    resumed.load_state_dict(torch.load(stored), strict=True)
    assert equal(gradients(resumed), gradients(model))
    if spec in ("fa", "frsf", "dfa"):
        assert not equal(gradients(tl.convert_feedback(net(norm=True), spec, seed=5)), gradients(resumed))


@pytest.mark.parametrize("spec", KINDS)
def test_gradients_after_reverting_are_the_same_bits(spec):
    model, calls = net(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    modules, before = list(model.modules()), gradients(model)
    attributes = [set(vars(module)) for module in modules]
    tl.convert_feedback(tl.convert_feedback(model, spec), spec)
    assert all(one is other for one, other in zip(model.modules(), modules, strict=True))
    assert tl.revert_feedback(model) is model
    assert equal(gradients(model), before)
    assert [set(vars(module)) for module in modules] == attributes
    assert not any(isinstance(module, FeedbackLayer) for module in modules)
    assert (len(model._forward_hooks), len(model._forward_pre_hooks), len(calls)) == (1, 0, 2)


def test_a_second_conversion_replaces_and_layers_are_chosen_as_in_convert():
    model = tl.convert_feedback(net(), "dfa")
    tl.convert_feedback(model, {"0": "fa", nn.Conv2d: "usf", "7": None})
    kinds = {name: str(kind) for name, kind in feedback_of(model).items()}
    assert kinds == {"0": "fa", "2": "usf", "5": "dfa"}


def test_the_ends_can_be_kept():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    tl.convert_feedback(model, "fa", keep_ends=True)
    assert [type(layer).__name__ for layer in model] == ["Linear", "FeedbackLinear", "FeedbackLinear", "Linear"]


def test_feedback_weights_follow_from_the_layer_not_from_what_else_is_converted():
    one = tl.convert_feedback(net(), "fa", only="5", seed=2)
    every = tl.convert_feedback(net(), "fa", seed=2)
    assert vars(one[5])[CARRIER] == vars(every[5])[CARRIER]


class Own(nn.Linear):
    def forward(self, x):
        return F.relu(super().forward(x))


@pytest.mark.parametrize(
    ("model", "arguments", "error", "says"),
    [
        (
            nn.Sequential(nn.GRU(2, 2)),
            ("fa",),
            ConversionError,
            "found none in Sequential, which has: GRU, Sequential.",
        ),
        (nn.Sequential(Own(2, 2)), ("fa",), ConversionError, r"Out of reach: 0 \(Own: its forward is its own\)"),
        (nn.Sequential(nn.LazyLinear(2)), ("fa",), ConversionError, "no weights before the model has seen a batch"),
        (nn.MultiheadAttention(4, 2), ("fa",), ConversionError, "MultiheadAttention reads its weights"),
        (
            nn.Linear(2, 2),
            ({"x": "fa"},),
            ConversionError,
            r"'x' selects no layer. There are: \(the model\) \(Linear\)",
        ),
        (nn.Sequential(nn.Linear(2, 2)), ({"0*": "fa", "*0": "usf"},), ConversionError, "neither is narrower"),
        (
            nn.Sequential(*[nn.Linear(2, 2)] * 2),
            ({"0": "fa"},),
            ConversionError,
            "cannot have different feedback weights",
        ),
        (nn.Linear(2, 2), ({},), ConversionError, "empty mapping"),
        (nn.Linear(2, 2), ({3: "fa"},), RuleTypeError, "selected by its name"),
        (nn.Linear(2, 2), ("fa", 1.5), RuleTypeError, "integer as its seed, got 1.5"),
        (torch.relu, ("fa",), RuleTypeError, "needs a torch.nn.Module"),
    ],
)
def test_what_cannot_be_converted_is_said_on_one_line(model, arguments, error, says):
    with pytest.raises(error, match=says) as raised:
        tl.convert_feedback(model, arguments[0], seed=arguments[1] if len(arguments) > 1 else 0)
    assert "\n" not in str(raised.value)
    assert not isinstance(model, nn.Module) or not feedback_of(model)


def test_a_layer_out_of_reach_is_left_unless_it_is_named():
    model = nn.Sequential(nn.Linear(2, 2), Own(2, 2))
    assert list(feedback_of(tl.convert_feedback(model, "fa"))) == ["0"]
    with pytest.raises(ConversionError, match="its forward is its own"):
        tl.convert_feedback(model, {"1": "fa"})
    with pytest.raises(ConversionError, match="only="):
        tl.convert_feedback(model, {"0": "fa"}, only="0")


def test_lenet_is_converted_as_a_whole():
    model = tl.convert_feedback(LeNet5(), "frsf")
    assert list(feedback_of(model)) == ["0", "3", "7", "9", "11"]


class Conv1D(nn.Module):
    """That of GPT-2 in transformers, by whose name and module a layer is recognised."""

    def __init__(self, outputs, inputs):
        super().__init__()
        self.nf = outputs
        self.weight, self.bias = nn.Parameter(torch.randn(inputs, outputs)), nn.Parameter(torch.randn(outputs))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], self.nf)


@pytest.mark.parametrize("spec", [*KINDS, "fa(scale='weights')"])
def test_the_conv1d_of_gpt_2_is_the_linear_layer_with_the_transposed_weight(monkeypatch, spec):
    monkeypatch.setattr(Conv1D, "__module__", "transformers.pytorch_utils")
    torch.manual_seed(0)
    conv, linear = Conv1D(3, 5), nn.Linear(5, 3)
    linear.load_state_dict({"weight": conv.weight.detach().T, "bias": conv.bias.detach()})
    x = torch.randn(4, 5)
    found = []
    for model in (nn.Sequential(conv), nn.Sequential(linear)):
        tl.convert_feedback(model, spec)
        z = x.clone().requires_grad_()
        torch.manual_seed(1)
        model(z).square().sum().backward()
        found.append([z.grad, model[0].bias.grad, model[0].weight.grad])
        assert isinstance(model[0], FeedbackLayer)
        assert not isinstance(tl.revert_feedback(model)[0], FeedbackLayer)
    found[0][2] = found[0][2].T
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("spec", [*KINDS, "fa(scale='weights')"])
def test_moved_and_made_elsewhere_it_has_the_same_feedback_weights(spec):
    """On meta, in another dtype, copied and pickled: they follow from the layer's name alone."""
    model = tl.convert_feedback(net(), spec, seed=3)
    expected = gradients(model)
    with torch.device("meta"):
        empty = tl.convert_feedback(net(), spec, seed=3)
        assert equal(gradients(model), expected)
    assert all(one.is_meta for one in gradients_of_sum(empty, X.to("meta")))
    filled = pickle.loads(pickle.dumps(empty)).to_empty(device="cpu")
    filled.load_state_dict(model.state_dict(), strict=True)
    assert equal(gradients(filled), expected)
    with FakeTensorMode():
        gradients_of_sum(tl.convert_feedback(net(), spec, seed=3), torch.randn(X.shape))
    back = copy.deepcopy(model).double().float()
    assert equal(gradients(back), expected)
    wide = gradients(copy.deepcopy(model).double(), x=X.double())
    torch.testing.assert_close([one.float() for one in wide], expected, rtol=1e-3, atol=1e-5)


def gradients_of_sum(model, x):
    model(x).sum().backward()
    return [p.grad for p in model.parameters()]
