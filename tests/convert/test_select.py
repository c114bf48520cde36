"""Selection of activations: names, globs, classes and functions; what is not clear is refused before anything is changed."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tieless as tl
from tieless.errors import ConversionError, RuleTypeError, SpecError, UntrainableError


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.act = nn.Linear(4, 4), nn.ReLU()

    def forward(self, x):
        return F.relu(self.act(self.linear(x)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(Block(), Block())
        self.head = nn.Sequential(nn.Linear(4, 4), nn.GELU(), Swish(), nn.PReLU())

    def forward(self, x):
        return self.head(self.features(x))


ALL = {"features.0.act", "features.0.relu@1", "features.1.act", "features.1.relu@1", "head.1", "head.2.sigmoid@1"}


def rules(model):
    return {one.name: one.backward for one in tl.conversion(model).converted}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ({"*": "full_jam"}, dict.fromkeys(ALL, "full_jam()")),
        ({"features.*": "full_jam"}, {name: "full_jam()" for name in ALL if name.startswith("features")}),
        ({"features.0.act": "sign"}, {"features.0.act": "sign"}),
        ({"*.act": "sign"}, {"features.0.act": "sign", "features.1.act": "sign"}),
        ({"*@?": "sign"}, {name: "sign" for name in ALL if "@" in name}),
        ({nn.ReLU: "sign"}, {name: "sign" for name in ALL if name.startswith("features")}),
        ({nn.GELU: "sign", Swish: "tied"}, {"head.1": "sign", "head.2": "tied"}),
        ({lambda name, module: isinstance(module, Block) and "0" in name: "sign"}, {"features.0.relu@1": "sign"}),
        (
            {"*": "sign", "features.*": "tied", "features.1.*": "frozen", "features.1.act": None},
            {
                "features.0.act": "tied",
                "features.0.relu@1": "tied",
                "features.1.relu@1": "frozen",
                "head.1": "sign",
                "head.2.sigmoid@1": "sign",
            },
        ),
    ],
    ids=["all", "folder", "name", "ending", "calls", "class", "classes", "function", "narrowest"],
)
def test_selectors(layers, expected):
    expected = {name: str(tl.rule(rule.removesuffix("()"))) for name, rule in expected.items()}
    model = Net()
    planned = tl.conversion(model, layers)
    assert {one.name: one.backward for one in planned.converted} == expected
    assert rules(model) == {}
    assert rules(tl.convert(model, layers)) == expected


def test_a_rule_for_the_rest_and_limits_to_it():
    model = tl.convert(Net(), {"head.*": "sign"}, backward="tied")
    assert rules(model) == {name: "sign" if name.startswith("head") else "tied" for name in ALL}
    assert rules(tl.convert(Net(), backward="tied", only=nn.GELU)) == {"head.1": "tied"}
    assert set(rules(tl.convert(Net(), backward="tied", only=["head.1", "*.act"]))) == {
        *("head.1", "features.0.act", "features.1.act")
    }


def test_a_plan_has_the_forward_and_the_limits_that_the_conversion_has():
    given = {"backward": "rectangular", "forward": "heaviside", "only": ["head.1", "*.act"]}
    planned = tl.conversion(Net(), **given).converted
    assert planned == tl.conversion(tl.convert(Net(), **given)).converted
    assert {one.name: one.forward for one in planned} == dict.fromkeys(
        ["head.1", "features.0.act", "features.1.act"], "heaviside"
    )


def test_the_ends_can_be_kept():
    """The last activation that there is, nn.PReLU, cannot be converted, and is an end all the same."""
    assert set(rules(tl.convert(Net(), backward="tied", keep_ends=True))) == ALL - {"features.0.relu@1"}
    left = {one.name for one in tl.conversion(Net(), backward="tied", keep_ends=True).left}
    assert left == {"features.0.relu@1", "head.3"}
    with pytest.raises(ConversionError, match=r"selects no activation.*keep_ends=False takes them too"):
        tl.convert(Net(), {"features.0.relu@1": "tied"}, keep_ends=True)


def test_both_halves_of_one_layer():
    model = tl.convert(Net(), {"head.1": {"forward": "heaviside", "backward": "rectangular"}, "*.act": "sign"})
    found = {one.name: (one.forward, one.backward) for one in tl.conversion(model).converted}
    assert found == {
        "head.1": ("heaviside", "rectangular(-0.5, 0.5)"),
        "features.0.act": ("relu", "sign"),
        "features.1.act": ("relu", "sign"),
    }
    halves = {"head.1": {"forward": "heaviside"}}
    assert tl.conversion(Net(), halves, backward="rectangular").converted[-2].forward == "heaviside"


def test_what_was_converted_before_stays_unless_it_is_selected_again():
    model = tl.convert(Net(), {"head.1": "sign"})
    tl.convert(model, {"*.act": "tied"})
    assert rules(model) == {"head.1": "sign", "features.0.act": "tied", "features.1.act": "tied"}
    tl.convert(model, {"head.1": "frozen"})
    assert rules(model)["head.1"] == "frozen"
    tl.convert(model, {"*": None})
    assert rules(model) == {}
    assert repr(model) == repr(Net())


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()
        self.first, self.second = nn.Sequential(nn.Linear(2, 2), self.act), nn.Sequential(nn.Linear(2, 2), self.act)

    def forward(self, x):
        return self.second(self.first(x))


@pytest.mark.parametrize("layers", [{"first.*": "sign"}, {"first.*": "sign", "*": "tied"}, {"act": None, "*": "tied"}])
def test_a_shared_module_cannot_have_two_rules(layers):
    model = Shared()
    with pytest.raises(ConversionError, match=r"act and first\.1 and second\.1 are one shared module"):
        tl.convert(model, layers)
    assert type(model.act) is nn.ReLU


def test_a_shared_module_is_converted_once():
    model = tl.convert(Shared(), backward="sign")
    assert model.act is model.first[1] is model.second[1]
    (one,) = tl.conversion(model).converted
    assert one.names == ("act", "first.1", "second.1")


class Named(nn.Module):
    """An activation that a conversion cannot reach, in an attribute with the name of another."""

    def __init__(self):
        super().__init__()
        self.act, self.relu_or_other = nn.ReLU(), [F.silu]

    def forward(self, x):
        return self.relu_or_other[0](self.act(x))


def test_what_is_not_reached_concerns_a_class_by_its_kind_alone():
    assert "silu, in the attribute relu_or_other" in str(tl.conversion(Named()))
    assert rules(tl.convert(Named(), {nn.ReLU: "sign"}, strict=True)) == {"act": "sign"}
    with pytest.raises(ConversionError, match="silu, in the attribute relu_or_other"):
        tl.convert(Named(), {"*": "sign"}, strict=True)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            [{"featurs.*": "sign"}],
            ConversionError,
            r"'featurs\.\*' selects no activation\. There are: features\.0\.relu@1 \(relu\)",
        ),
        ([{nn.Softplus: "sign"}], ConversionError, "Softplus selects no activation"),
        ([{"features.0.*": "sign", "*.act": "tied"}], ConversionError, r"both select features\.0\.act, and neither is"),
        ([{"*": "sign", "?*": "frozen"}], ConversionError, "neither is narrower"),
        ([{"head.3": "sign"}], ConversionError, r"head\.3 \(PReLU\) cannot be converted: its slope learns"),
        ([{"*": "full_jm"}], SpecError, "Did you mean 'full_jam'"),
        ([{"*": {"forward": "sign", "rule": "sign"}}], ConversionError, "'\\*' has rule"),
        ([{"*": {"forward": "sign"}}], ConversionError, "no backward rule"),
        ([{"*": {"forward": "heaviside", "backward": "tied"}}], UntrainableError, "flat almost everywhere"),
        ([{3: "sign"}], RuleTypeError, "selected by its name"),
        ([{int: "sign"}], RuleTypeError, "selected by its name"),
        (["full_jam"], ConversionError, "A rule for all is given as backward='full_jam'"),
        ([["*"]], RuleTypeError, "needs a mapping"),
        ([], ConversionError, "needs a rule"),
        ([{}], ConversionError, "needs a rule"),
    ],
)
def test_what_is_not_clear_is_refused_and_nothing_is_changed(arguments, error, message):
    model = Net()
    with pytest.raises(error, match=message) as refusal:
        tl.convert(model, *arguments)
    assert "\n" not in str(refusal.value)
    assert rules(model) == {}


def test_halves_of_nothing_are_refused():
    with pytest.raises(ConversionError, match="no backward rule"):
        tl.convert(Net(), forward="heaviside")
    with pytest.raises(ConversionError, match="only= and no backward rule"):
        tl.convert(Net(), only=nn.ReLU)
    with pytest.raises(RuleTypeError, match=r"convert needs a torch\.nn\.Module, got str"):
        tl.convert("model", backward="sign")


@pytest.mark.parametrize(
    ("model", "there"),
    [
        (nn.Linear(2, 2), "It has no activation"),
        (nn.PReLU(), r"\(PReLU: its slope learns"),
        (nn.GRU(2, 2), r"sigmoid and tanh of nn\.GRU \(they are computed inside one fused kernel\)"),
        (nn.LSTMCell(2, 2), "one fused kernel"),
        (nn.RNN(2, 2, nonlinearity="relu"), "RNN"),
    ],
)
def test_nothing_to_convert_is_an_error_that_lists_what_there_is(model, there):
    with pytest.raises(ConversionError, match=f"convert found nothing to convert in {type(model).__name__}.*{there}"):
        tl.convert(model, backward="sign")


def test_an_activation_by_itself_is_a_model():
    act = nn.ReLU()
    assert tl.convert(act, backward="constant(3)") is act
    z = torch.tensor([-1.0, 2.0], requires_grad=True)
    act(z).sum().backward()
    assert z.grad.tolist() == [3, 3]
    assert type(tl.revert(act)) is nn.ReLU


def test_activations_of_tieless_are_exchanged_too_and_come_back():
    model = nn.Sequential(tl.Activation("heaviside", "rectangular"), nn.ReLU())
    tl.convert(model, backward="constant")
    assert [str(found.backward) for found in tl.explain(model).activations] == ["constant(1)", "constant(1)"]
    assert tl.explain(model).activations[0].forward == "heaviside"
    tl.revert(model)
    assert repr(model[0]) == "Activation(heaviside, rectangular(-0.5, 0.5))"


class Gate(nn.Module):
    def forward(self, x, y):
        return x * torch.sigmoid(y)


class Softmax(nn.Module):
    def forward(self, x):
        return x.softmax(-1)


class Narrow(nn.Module):
    def forward(self, x):
        return x[..., :1]


class Scaled(nn.Module):
    def forward(self, x, slope=0.3):
        return torch.where(x > 0, x, slope * x)


class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


@pytest.mark.parametrize(
    ("cls", "says"),
    [
        (Gate, "its forward takes x and y, and an activation has one input"),
        (Softmax, "its outputs follow from other elements too"),
        (Narrow, "its output has not the shape of its input"),
    ],
)
def test_a_class_that_cannot_be_an_activation_is_refused_as_a_whole(cls, says):
    model = nn.Sequential(nn.ReLU(), cls())
    with pytest.raises(ConversionError, match=says):
        tl.convert(model, {cls: "full_jam", nn.ReLU: "full_jam"})
    assert [type(module) for module in model] == [nn.ReLU, cls]


def test_one_with_more_arguments_that_need_not_be_given_takes_its_input_alone():
    before = torch.get_rng_state()
    model = tl.convert(nn.Sequential(Scaled(), Noisy()), {Scaled: "tied", Noisy: "tied"}, strict=True)
    assert torch.equal(torch.get_rng_state(), before)
    assert model(torch.ones(2)).shape == (2,)
    with pytest.raises(ConversionError, match="converted Scaled takes its input alone, got 2 arguments"):
        model[0](torch.ones(2), 0.1)
    with pytest.raises(ConversionError, match="got 1 arguments and slope"):
        model[0](torch.ones(2), slope=0.1)
