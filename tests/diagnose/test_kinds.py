"""Each kind of activation is seen by all that ask for activations, or refused in one line."""

import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tieless as tl
from tieless.diagnose import AlignmentMonitor, bounds, descent, slope_profiles
from tieless.errors import ConversionError, RuleValueError, UnreachedWarning
from tieless.nn import LIF, LearnableActivation, RuleScheduler, activations, native_activations


class Scaled(tl.Activation):
    """A user's, with a forward of its own."""

    def forward(self, z):
        return 2 * super().forward(z)


class Loud(nn.Tanh):
    """A user's, with the forward of PyTorch's."""


class Calls(nn.Module):
    """Calls a function in its own code."""

    def forward(self, x):
        return F.tanh(x)


class Keeps(nn.Module):
    """Keeps a function in an attribute."""

    def __init__(self):
        super().__init__()
        self.kept = torch.tanh

    def forward(self, x):
        return self.kept(x)


class Cell(nn.Module):
    """A spiking cell whose spike is an activation of any kind."""

    def __init__(self, spike):
        super().__init__()
        self.cell = LIF(0.5)
        self.cell.spike = spike

    def forward(self, x):
        return self.cell(x)[0]


RULE = "atan(2, 1)"
KINDS = {
    "ours": lambda: tl.Activation("tanh", RULE),
    "ours, derived": lambda: Scaled("tanh", RULE),
    "learns": lambda: LearnableActivation("tanh", RULE),
    "in a cell": lambda: Cell(tl.Activation("tanh", RULE)),
    "learns in a cell": lambda: Cell(LearnableActivation("tanh", RULE)),
    "converted": lambda: tl.convert(nn.Sequential(nn.Tanh()), backward=RULE),
    "converted, of ours": lambda: tl.convert(nn.Sequential(tl.Activation("tanh", "tied")), backward=RULE),
    "converted, learnt": lambda: tl.convert(nn.Sequential(LearnableActivation("tanh")), backward=RULE),
    "converted call": lambda: tl.convert(nn.Sequential(Calls()), backward=RULE),
    "converted attribute": lambda: tl.convert(nn.Sequential(Keeps()), backward=RULE),
    "PyTorch's": nn.Tanh,
    "derived from PyTorch's": Loud,
}
NATIVE = {"PyTorch's", "derived from PyTorch's"}
NAMES = {
    "in a cell": "1.cell.spike",
    "learns in a cell": "1.cell.spike",
    "converted": "1.0",
    "converted, of ours": "1.0",
    "converted, learnt": "1.0",
    "converted call": "1.0.tanh@1",
    "converted attribute": "1.0.kept",
}


def _net(kind):
    """One activation of the kind, and one beside it that everybody knows."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(8, 12), KINDS[kind](), nn.Linear(12, 12), tl.Activation("tanh", RULE), nn.Linear(12, 3)
    )
    return net, (torch.randn(32, 8), torch.randint(0, 3, (32,)))


def _read(rule):
    """A rule as numbers: those that learn are floats, near what they began at."""
    return str(tl.rule(rule)) if rule == "tied" else [round(float(n), 4) for n in rule.strip("atn()").split(",")]


SEEING = {
    "checkup": lambda net, batch: {layer.name: layer.backward for layer in tl.checkup(net, batch).layers},
    "bounds": lambda net, batch: {part.name: part.backward for part in bounds(net, batch).parts},
    "slope_profiles": lambda net, batch: {one.name: one.backward for one in slope_profiles(net, batch[0])},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("asker", SEEING)
def test_each_is_seen_with_its_rule(asker, kind):
    net, batch = _net(kind)
    found = SEEING[asker](net, batch)
    assert set(found) == {NAMES.get(kind, "1"), "3"}
    assert _read(found[NAMES.get(kind, "1")]) == ("tied" if kind in NATIVE else [2.0, 1.0])


def _grad(net, batch):
    return torch.autograd.grad(F.cross_entropy(net(batch[0]), batch[1]), net[0].weight)[0].flatten()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_compared_is_the_gradient_of_the_network_and_the_one_with_tanh(kind):
    net, batch = _net(kind)
    twice = kind == "ours, derived"
    same = nn.Sequential(net[0], nn.Tanh(), net[2], nn.Tanh(), net[4])
    if twice:
        same[1] = Scaled("tanh", "tied")
    if "cell" in kind:
        same[1] = Cell(nn.Tanh())
    expected = [_grad(net, batch), _grad(same, batch)]
    for parameter in net[0].parameters():
        parameter.requires_grad_(parameter.dim() > 1)
    with AlignmentMonitor(net, F.cross_entropy, every=1) as monitor:
        watched = monitor.step(batch).alignment
    for found in (tl.alignment(net, F.cross_entropy, batch), watched):
        layer = found.layers["0"]
        assert layer.norm == pytest.approx(expected[0].norm().item(), rel=1e-5)
        assert layer.reference_norm == pytest.approx(expected[1].norm().item(), rel=1e-5)
        assert layer.cosine == pytest.approx(F.cosine_similarity(*expected, dim=0).item(), abs=1e-5)
        # What a slope learns by is no gradient of the loss.
        assert set(found.layers) == {"0", "2", "4"}
        assert set(found.feedback.layers) == {NAMES.get(kind, "1"), "3"}
    lower = descent(net, F.cross_entropy, batch, lengths=[1e-3]).steps[0]
    assert lower.tied < 0


@pytest.mark.parametrize("kind", KINDS)
def test_explain_has_a_row_or_names_it(kind):
    net, (x, _) = _net(kind)
    found, name = tl.explain(net, x), NAMES.get(kind, "1")
    assert [row.name for row in found.activations] == ([] if kind in NATIVE else [name]) + ["3"]
    assert found.others == ((f"1 ({type(net[1]).__name__})",) if kind in NATIVE else ())
    assert (f"have no row: 1 ({type(net[1]).__name__})." in str(found)) == (kind in NATIVE)
    assert all(row.run.calls == 1 for row in found.activations)
    # Its z and nothing else: not the parameters by which a slope learns.
    assert all((row.bits_per_element, row.bytes_per_call) == (32, 0) for row in found.activations)


@pytest.mark.parametrize("kind", KINDS)
def test_convert_gives_each_another_rule_or_names_it(kind):
    net, batch = _net(kind)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    classes = [type(module) for module in net.modules()]
    tl.convert(net, backward="constant")
    if kind == "ours, derived":
        assert [(one.name, one.why_left) for one in tl.conversion(net).left] == [("1", "its forward is its own")]
        with pytest.raises(ConversionError, match=r"1 \(Scaled\) cannot be converted: its forward is its own"):
            tl.convert(net, {"1": "constant"})
        return
    name = NAMES.get(kind, "1")
    assert {one.names[0]: one.backward for one in tl.conversion(net).converted} == {
        name: "constant(1)",
        "3": "constant(1)",
    }
    straight = tl.Activation("tanh", "constant")
    same = nn.Sequential(net[0], Cell(straight) if "cell" in kind else straight, net[2], straight, net[4])
    assert torch.equal(_grad(net, batch), _grad(same, batch))
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    assert net.state_dict().keys() == before.keys()
    tl.revert(net)
    if not kind.startswith("converted"):
        assert [type(module) for module in net.modules()] == classes


def test_a_slope_that_learns_learns_on_after_a_conversion_and_back():
    net, batch = _net("learns")
    act, expected = net[1], _grad(net, batch)
    tl.convert(net, {LearnableActivation: "constant"})
    assert isinstance(act, tl.Activation)
    F.cross_entropy(net(batch[0]), batch[1]).backward()
    assert act.log_width.grad is None
    twin = pickle.loads(pickle.dumps(net))
    assert type(twin[1]) is type(act)
    assert torch.equal(_grad(twin, batch), _grad(net, batch))
    assert tl.revert(net)[1] is act
    assert type(act) is LearnableActivation
    assert torch.equal(_grad(net, batch), expected)


CHANGED = [kind for kind in KINDS if kind not in NATIVE and not kind.startswith("learns")]


@pytest.mark.parametrize("kind", CHANGED)
def test_annealing_changes_each(kind):
    net, _ = _net(kind)
    annealing = RuleScheduler(net, tl.anneal("atan", {"width": 2.0}, {"width": 0.5}, 3))
    annealing.step()
    assert annealing.names == (NAMES.get(kind, "1"), "3")
    assert [one.rule.width for one in activations(net).values()] == [1.5, 1.5]


@pytest.mark.parametrize("kind", ["learns", "learns in a cell", *sorted(NATIVE)])
def test_annealing_names_what_it_cannot_change(kind):
    net, _ = _net(kind)
    schedule, name = tl.anneal("atan", {"width": 2.0}, {"width": 0.5}, 3), NAMES.get(kind, "1")
    says = rf"cannot change activations of Sequential: {name}, whose slope learns \(settled\(\) gives"
    if kind in NATIVE:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert RuleScheduler(net, schedule).names == ("3",)  # no schedule of theirs
        net[3], schedule = tl.Activation("tanh", "tied"), tl.alternate("tied", "constant")
        says = r"cannot change activations of Sequential: 1, of PyTorch's own \(convert\(model, backward='tied'\)"
    with pytest.warns(UnreachedWarning, match=says) as caught:
        assert RuleScheduler(net, schedule).names == ("3",)
    assert "\n" not in str(caught[0].message)
    net[3] = nn.Identity()
    with pytest.raises(RuleValueError, match=says) as refused:
        RuleScheduler(net, schedule)
    assert "\n" not in str(refused.value)


class Hides(nn.Module):
    """Keeps an activation where no module is looked for."""

    def __init__(self, act):
        super().__init__()
        self.below, self.acts, self.seen = nn.Linear(8, 12), [act], nn.Tanh()

    def forward(self, x):
        return self.seen(self.acts[0](self.below(x)))


@pytest.mark.parametrize(
    "act", [tl.Activation("tanh", RULE), LearnableActivation("tanh", RULE)], ids=["ours", "learns"]
)
def test_one_that_hides_is_refused_where_nothing_may_stay_untied(act):
    for asker in (tl.alignment, descent):
        with pytest.raises(RuleValueError, match=r"Hides calls untie by itself, with the rule atan\(2") as caught:
            asker(Hides(act), F.cross_entropy, _net("ours")[1])
        assert "\n" not in str(caught.value)


def test_what_pytorch_files_under_activations_and_is_no_function_of_each_element_is_none():
    others = [nn.Softmax(1), nn.LogSoftmax(1), nn.Softmin(1), nn.GLU(), nn.PReLU(), nn.RReLU()]
    for one in others:
        net, x = nn.Sequential(nn.Linear(4, 4), one), torch.randn(8, 4)
        assert (activations(net), native_activations(net)) == ({}, {})
        for asker in (tl.checkup, slope_profiles, tl.explain):
            with pytest.raises(
                RuleValueError, match=r"found no (activation|tieless\.Activation) in Sequential"
            ) as caught:
                asker(net, x)
            assert "\n" not in str(caught.value)
        with pytest.raises(ConversionError, match="nothing to convert in Sequential"):
            tl.convert(net, backward="constant")


def test_activations_of_transformers_are_seen_before_a_conversion_as_after_it():
    def forward(_, z):
        return F.relu(z).square()

    squared = type(
        "ReLUSquaredActivation", (nn.Module,), {"forward": forward, "__module__": "transformers.activations"}
    )
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 12), squared(), nn.Linear(12, 3))
    batch = torch.randn(8, 8), torch.randint(0, 3, (8,))
    before = tl.checkup(net, batch).layers[0]
    after = tl.checkup(tl.convert(net, backward="tied"), batch).layers[0]
    assert (before.name, before.backward, before.sent) == ("1", "tied", pytest.approx(after.sent, rel=1e-6))
