"""Alignments whose answer is known, figures against autograd and SciPy's like, and the model as it was."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import tieless as tl
from tieless.data import is_available, load
from tieless.diagnose import AlignmentMonitor, bounds, descent, expected_cosine, slope_profiles
from tieless.errors import RuleTypeError, RuleValueError
from tieless.models import LeNet5, build_model
from tieless.nn import LIF, quantize_weights


def _net(forward, rule, *, depth=2, inputs=16, width=32, outputs=3, dtype=torch.float32):
    torch.manual_seed(0)
    layers = [nn.Linear(inputs, width)]
    for _ in range(depth - 1):
        layers += [tl.Activation(forward, rule), nn.Linear(width, width)]
    return nn.Sequential(*layers, tl.Activation(forward, rule), nn.Linear(width, outputs)).to(dtype)


def _batch(count=64, seed=1, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 16, generator=generator, dtype=dtype), torch.randint(0, 3, (count,), generator=generator)


def _every(found):
    return [found.whole, *found.layers.values(), found.feedback.whole, *found.feedback.layers.values()]


def test_linear_with_a_constant_slope_is_tied():
    for one in _every(tl.alignment(_net("linear", "constant"), F.cross_entropy, _batch())):
        assert one.cosine == pytest.approx(1, abs=1e-12)
        assert (one.sign_agreement, one.norm_ratio, one.deviation) == (1, 1, 0)


def test_a_scaled_slope_has_the_same_direction():
    found = tl.alignment(_net("linear", "constant(3)", depth=1), F.cross_entropy, _batch(dtype=torch.float32))
    assert found.layers["0"].cosine == pytest.approx(1, abs=1e-9)
    assert (found.layers["0"].norm_ratio, found.layers["0"].deviation) == pytest.approx((3, 2), rel=1e-5)
    assert found.layers["2"].deviation == 0


@pytest.mark.parametrize("rule", ["full_jam", "full_jam(0.5, 2)", "drop(0.5)"])
def test_a_jam_on_a_linear_layer_has_the_cosine_in_closed_form(rule):
    found = tl.alignment(_net("linear", rule, depth=1, width=512), F.cross_entropy, _batch(512))
    assert found.feedback.layers["1"].cosine == pytest.approx(expected_cosine(rule), abs=0.01)
    # Of one sample the gradient of the weights is an outer product with the feedback.
    alone = tl.alignment(_net("linear", rule, depth=1, width=20_000), F.cross_entropy, _batch(1))
    assert alone.layers["0"].cosine == pytest.approx(expected_cosine(rule), abs=0.02)


def test_a_single_unit_at_its_start_only_has_another_size():
    """The untied gradient turns from the tied one as the derivative differs, which it does not where all z are 0."""
    unit = nn.Sequential(nn.Linear(10, 1).double(), tl.Activation("logistic", "constant"))
    for parameter in unit.parameters():
        nn.init.zeros_(parameter)
    batch = torch.rand(64, 10, dtype=torch.float64), torch.randint(0, 2, (64, 1)).double()
    found = tl.alignment(unit, F.mse_loss, batch)
    assert (found.whole.cosine, found.whole.norm_ratio) == pytest.approx((1, 4), rel=1e-12)


def test_figures_are_what_autograd_and_their_definitions_say():
    net, batches = _net("relu", "constant", dtype=torch.float64), [_batch(16, s, torch.float64) for s in range(3)]
    native = nn.Sequential(*(nn.ReLU() if isinstance(layer, tl.Activation) else layer for layer in net))
    seen = []
    for x, labels in batches:
        pairs = [torch.autograd.grad(F.cross_entropy(m(x), labels), [m[2].weight, m[2].bias]) for m in (net, native)]
        u, t = (torch.cat([g.flatten() for g in grads]) for grads in pairs)
        some = (u != 0) | (t != 0)
        seen.append(
            (
                F.cosine_similarity(u, t, dim=0),
                (u.sign() == t.sign())[some].double().mean(),
                u.norm() / t.norm(),
                (u - t).norm() / t.norm(),
            )
        )
    seen = torch.tensor(seen, dtype=torch.float64)
    layer = tl.alignment(net, F.cross_entropy, iter(batches), confidence=0.9).layers["2"]
    figures = (layer.cosine, layer.sign_agreement, layer.norm_ratio, layer.deviation)
    assert figures == pytest.approx(seen.mean(0).tolist(), rel=1e-9)
    half = 2.919986 * seen.std(0) / 3**0.5  # the quantile of t for 2 degrees of freedom, from a table
    for place, name in enumerate(("cosine", "sign_agreement", "norm_ratio", "deviation")):
        low, high = getattr(layer, f"{name}_interval")
        assert (high - low) / 2 == pytest.approx(half[place].item(), rel=1e-6)
    assert layer.elements == 32 * 32 + 32


def test_one_batch_has_no_interval_and_zeros_have_no_direction():
    found = tl.alignment(_net("relu", "frozen"), F.cross_entropy, _batch())
    assert found.whole.cosine_interval is None
    assert (found.layers["0"].cosine, found.layers["0"].norm_ratio, found.layers["0"].deviation) == (0, 0, 1)
    both = tl.alignment(_net("relu", "tied"), lambda y, _: (y * 0).sum(), _batch())
    assert (both.whole.cosine, both.whole.deviation) == (1, 0)


class Everything(nn.Module):
    """Batch norm, dropout, a jam, a converted call in place, a step, a spiking cell, and a weight of two values."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.act = nn.Linear(16, 24), nn.BatchNorm1d(24), tl.Activation("relu", "full_jam")
        self.drop, self.second, self.step = (
            nn.Dropout(0.5),
            nn.Linear(24, 24),
            tl.Activation("heaviside", "rectangular"),
        )
        self.cell, self.last = LIF(0.5), nn.Linear(24, 3)

    def forward(self, x):
        x = self.drop(self.act(self.norm(self.first(x))))
        x = F.relu(self.second(x), inplace=True)
        spikes, _ = self.cell(2 * x)
        return self.last(self.step(x - 0.1) + spikes)


def _everything():
    torch.manual_seed(0)
    model = tl.convert(Everything(), {"relu*": "positive_jam"})
    return quantize_weights(model, layers="second", keep_ends=False)


@pytest.mark.parametrize("reference", ["smoothed", "perturbation"])
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_bit_for_bit_as_it_was(reference, training):
    model = _everything().train(training)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    tensors = [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters())]
    copies, versions = copy.deepcopy([t.detach() for t in tensors]), [t._version for t in tensors]
    attributes = [(module, dict(vars(module))) for module in model.modules()]
    torch.manual_seed(7)
    state = torch.get_rng_state()
    found = tl.alignment(model, F.cross_entropy, _batch(), reference=reference, draws=2)
    assert {"cell.spike", "step", "second"} <= {name for name, _ in found.references}
    now = [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters())]
    assert all(one is other for one, other in zip(now, tensors, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(now, copies, strict=True))
    assert [t._version for t in now] == versions
    assert torch.equal(torch.get_rng_state(), state)
    for module, before in attributes:
        assert vars(module).keys() == before.keys()
        assert all(vars(module)[name] is value for name, value in before.items())


def test_a_failing_loss_leaves_it_too():
    model = _net("relu", "full_jam")
    with pytest.raises(ZeroDivisionError):
        tl.alignment(model, lambda *_: 1 / 0, _batch())
    assert all("forward" not in vars(module) for module in model.modules())
    assert str(model[1].rule) == "full_jam"


def test_training_goes_on_as_if_nobody_had_looked():
    def trained(looked):
        model = _everything()
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        for seed in range(3):
            x, labels = _batch(seed=seed)
            if looked:
                tl.alignment(model, F.cross_entropy, (x, labels))
            optimiser.zero_grad()
            F.cross_entropy(model(x), labels).backward()
            optimiser.step()
        return model.state_dict()

    quiet, looked = trained(looked=False), trained(looked=True)
    assert all(torch.equal(value, looked[name]) for name, value in quiet.items())


def test_dropout_draws_the_same_on_both_sides():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(16, 32), tl.Activation("relu", "full_jam"), nn.Dropout(), nn.Linear(32, 3), nn.Dropout(0.1)
    )
    found = tl.alignment(net, F.cross_entropy, _batch())
    assert found.layers["3"].deviation == 0
    assert found.layers["0"].deviation > 0.1


def test_what_is_written_in_place_is_read_by_others():
    class Residual(nn.Module):
        def __init__(self, act):
            super().__init__()
            self.below, self.act, self.above = nn.Linear(16, 16), act, nn.Linear(16, 3)

        def forward(self, x):
            z = self.below(x) * 1
            return self.above(self.act(z) + 2 * z)

    torch.manual_seed(0)
    native = Residual(nn.ReLU(inplace=True))
    net = tl.convert(copy.deepcopy(native), backward="constant")
    x, labels = _batch()
    grads = [torch.autograd.grad(F.cross_entropy(m(x), labels), m.below.weight)[0] for m in (net, native)]
    found = tl.alignment(net, F.cross_entropy, (x, labels)).layers["below"]
    assert found.norm == pytest.approx(_norm(net, x, labels), rel=1e-5)
    assert found.reference_norm == pytest.approx(_norm(native, x, labels), rel=1e-5)
    assert not torch.equal(*grads)
    assert net.act.inplace


def _norm(model, x, labels):
    grads = torch.autograd.grad(F.cross_entropy(model(x), labels), list(model.below.parameters()))
    return torch.cat([grad.flatten() for grad in grads]).norm().item()


def test_calls_keep_their_own_parameters():
    class Leaky(nn.Module):
        def __init__(self):
            super().__init__()
            self.below, self.above = nn.Linear(16, 16), nn.Linear(16, 3)

        def forward(self, x):
            return self.above(F.leaky_relu(self.below(x), 0.7))

    torch.manual_seed(0)
    net, (x, labels) = Leaky(), _batch()
    expected = _norm(net, x, labels)
    found = tl.alignment(tl.convert(net, backward="full_jam"), F.cross_entropy, (x, labels))
    assert found.layers["below"].reference_norm == pytest.approx(expected, rel=1e-5)


def test_checkpoints_and_compiled_models_are_measured_as_others():
    class Checkpointed(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return checkpoint(self.net, x, use_reentrant=False)

    net, batch = _net("relu", "full_jam"), _batch()
    found = tl.alignment(net, F.cross_entropy, batch)
    for other in (Checkpointed(net), torch.compile(net, backend="eager")):
        again = tl.alignment(other, F.cross_entropy, batch)
        assert [part.cosine for part in again.weights.parts] == [part.cosine for part in found.weights.parts]
        assert again.feedback.whole == found.feedback.whole


def test_pytorchs_own_activations_are_tied():
    found = tl.alignment(nn.Sequential(nn.Linear(16, 8), nn.GELU(), nn.Linear(8, 3)), F.cross_entropy, _batch())
    assert found.whole.deviation == 0
    assert list(found.feedback.layers) == ["1"]


def test_a_model_of_the_zoo_of_each_kind():
    for spec, forward in (("bnn_lenet5", "sign"), ("snn_cnn(4)", "heaviside"), ("residual_cnn(4, 1, 1)", "relu")):
        torch.manual_seed(0)
        net = build_model(spec, forward, "rectangular", features=784, classes=10)
        x, labels = torch.rand(8, 1, 28, 28), torch.randint(0, 10, (8,))
        found = tl.alignment(net, F.cross_entropy, (x, labels))
        assert 0 < found.whole.cosine < 1
        assert len(found.layers) == len({name.partition(".parametrizations")[0] for name in found.layers})


@pytest.mark.skipif(not is_available("fashion-mnist"), reason="needs Fashion-MNIST: tieless data get fashion-mnist")
@pytest.mark.parametrize(
    ("forward", "rule", "expected"),
    [
        ("relu", "constant", (-0.05, 0.25, 0.52, 0.66)),
        ("relu", "positive_jam", (0.57, 0.76, 0.84, 0.90)),
        ("logistic", "constant", (1, 1, 1, 1)),
    ],
)
def test_lenet5_at_its_start_has_the_cosines_that_were_measured_before(forward, rule, expected):
    """By another program, with other weights and batches, hence the tolerance."""
    data = load("fashion-mnist", seed=0)
    torch.manual_seed(0)
    net = LeNet5(forward, rule)
    batches = [(data.train_x[i : i + 64], data.train_y[i : i + 64]) for i in range(0, 256, 64)]
    found = tl.alignment(net, F.cross_entropy, batches)
    assert [found.layers[name].cosine for name in "0379"] == pytest.approx(expected, abs=0.2)


def test_it_prints_as_a_table():
    text = str(tl.alignment(_net("relu", "constant"), F.cross_entropy, [_batch(seed=s) for s in range(2)]))
    assert "Means over 2 batches, with 95 % intervals." in text
    assert "The reference is the tied gradient." in text
    assert "One batch" in str(tl.alignment(_net("relu", "constant"), F.cross_entropy, _batch()))


def test_records_are_values():
    found = tl.alignment(_net("relu", "constant"), F.cross_entropy, _batch())
    assert found == tl.alignment(_net("relu", "constant"), F.cross_entropy, _batch())
    assert hash(found) == hash(copy.deepcopy(found))
    jam = _net("relu", "full_jam")
    assert tl.alignment(jam, F.cross_entropy, _batch()) == tl.alignment(jam, F.cross_entropy, _batch())
    assert tl.alignment(jam, F.cross_entropy, _batch()) != tl.alignment(jam, F.cross_entropy, _batch(), seed=1)


class CallsUntie(nn.Module):
    def __init__(self):
        super().__init__()
        self.below, self.act = nn.Linear(16, 3), nn.ReLU()

    def forward(self, x):
        return self.act(tl.untie(self.below(x), "relu", "constant"))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"batch": torch.zeros(3)}, RuleTypeError, "A batch is a pair .* got Tensor"),
        ({"batch": []}, RuleValueError, "got an empty one"),
        ({"batch": (torch.zeros(0, 4), torch.zeros(0))}, RuleValueError, r"needs samples, got .* shape \(0, 4\)"),
        ({"batch": [(1, 2, 3)]}, RuleTypeError, "got tuple in it"),
        ({"loss_fn": nn.CrossEntropyLoss(reduction="none")}, RuleTypeError, r"scalar, got a tensor of shape \(64,\)"),
        ({"loss_fn": lambda y, _: y.detach().sum()}, RuleValueError, "depends on nothing that has a gradient"),
        ({"model": torch.relu}, RuleTypeError, "alignment needs a torch.nn.Module"),
        ({"model": nn.Sequential(nn.LazyLinear(3), nn.ReLU())}, RuleValueError, "which has lazy layers. Call it once"),
        ({"model": nn.Linear(16, 3)}, RuleValueError, "alignment found no activation in Linear"),
        ({"model": CallsUntie()}, RuleValueError, "CallsUntie calls untie by itself, with the rule constant"),
        ({"confidence": 1}, RuleValueError, "confidence must lie between 0 and 1"),
        ({"sigma": 0}, RuleValueError, "sigma must be finite and positive"),
        ({"sigma": "1"}, RuleTypeError, "sigma must be a number"),
        ({"reference": "tied"}, RuleValueError, "reference must be one of smoothed, perturbation"),
        ({"draws": 1}, RuleValueError, "draws must be 2 or more"),
        ({"draws": 2.5}, RuleTypeError, "draws must be an integer"),
    ],
)
def test_a_mistake_is_one_line(arguments, error, words):
    given = {"model": _net("relu", "constant"), "loss_fn": F.cross_entropy, "batch": _batch(), **arguments}
    with pytest.raises(error, match=words) as caught:
        tl.alignment(given.pop("model"), given.pop("loss_fn"), given.pop("batch"), **given)
    assert "\n" not in str(caught.value)


def test_norms_are_told():
    found = tl.alignment(_net("relu", "tied"), F.cross_entropy, _batch())
    assert found.whole.norm == pytest.approx(math.sqrt(sum(layer.norm**2 for layer in found.layers.values())))


@pytest.mark.parametrize("reference", ["smoothed", "perturbation"])
def test_where_no_weight_learns_there_is_nothing_to_compare(reference):
    net = _net("relu", "full_jam").requires_grad_(False)
    found = tl.alignment(net, F.cross_entropy, _batch(), reference=reference, draws=2)
    assert all(map(math.isnan, (found.whole.cosine, found.whole.sign_agreement, found.whole.norm_ratio)))
    assert math.isnan(found.whole.deviation)
    assert found.feedback.whole.elements > 0
    assert "of weights there is nothing to compare" in str(found)


@pytest.mark.parametrize("seed", ["a", 1.0, True, None])
def test_a_seed_is_an_integer(seed):
    net, batch = _net("relu", "full_jam"), _batch()
    for call in (
        lambda: tl.alignment(net, F.cross_entropy, batch, seed=seed),
        lambda: descent(net, F.cross_entropy, batch, seed=seed),
        lambda: bounds(net, batch, seed=seed),
        lambda: slope_profiles(net, batch[0], seed=seed),
        lambda: AlignmentMonitor(net, F.cross_entropy, seed=seed),
    ):
        with pytest.raises(RuleTypeError, match="seed must be an integer, got"):
            call()
    with pytest.raises(RuleValueError, match="below"):
        tl.alignment(net, F.cross_entropy, batch, seed=2**62)
