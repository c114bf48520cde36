"""Rules as values: specs, equality, copies, and every way to write one wrongly."""

import copy
import pickle
from dataclasses import FrozenInstanceError, fields

import pytest
import torch
from hypothesis import given, strategies as st

import tieless as tl
from tieless.errors import RuleTypeError, RuleValueError, SpecError, TielessError

EDGES = st.floats(-1e6, 1e6, allow_nan=False) | st.integers(-1000, 1000)
UNITS = st.floats(0, 1, exclude_max=True)
SINGLE = st.one_of(
    st.builds(tl.Rectangular, EDGES, EDGES.map(lambda x: x + 3e6)),
    st.builds(tl.Constant, EDGES),
    st.builds(tl.FullJam, maximum=st.floats(0.1, 3), replace=st.sampled_from(["slope", "magnitude"])),
    st.builds(tl.RectangularJam, st.integers(-5, -1), st.just(5), gate=st.sampled_from(["preactivation", "feedback"])),
    st.builds(tl.Drop, UNITS),
    st.builds(tl.Quantize, st.integers(2, 16)),
    st.just(tl.Tied()),
)


def _chain(parts):
    rule = parts[0]
    for part in parts[1:]:
        rule = rule >> part
    return rule


RULES = st.lists(SINGLE, min_size=1, max_size=4).map(_chain)


@given(RULES)
def test_the_spec_of_a_rule_gives_the_rule_back(rule):
    assert tl.rule(str(rule)) == rule


@given(RULES)
def test_copies_are_equal_and_hash_alike(rule):
    for twin in (copy.deepcopy(rule), pickle.loads(pickle.dumps(rule)), tl.rule(str(rule))):
        assert twin == rule
        assert hash(twin) == hash(rule)


@given(RULES, RULES, RULES)
def test_chaining_is_associative_and_flat(a, b, c):
    assert (a >> b) >> c == a >> (b >> c)
    assert (a >> b).parts() == a.parts() + b.parts()


@pytest.mark.parametrize(
    "spec",
    [
        "rectangular(-1, 1) >> noise(0.1) >> clip_norm(1.0)",
        "rectangular(-0.5, 0.5)",
        'rectangular_jam(-5, 5, gate="feedback")',
        'positive_jam(gate="feedback", replace="magnitude")',
        "full_jam",
        "tied",
        "constant(1)",
    ],
)
def test_specs_come_back_as_they_were_written(spec):
    assert str(tl.rule(spec)) == spec


def test_objects_and_specs_are_the_same_thing():
    assert tl.rule("full_jam") == tl.FullJam()
    assert tl.rule("rectangular(high=2, low=-1.0)") == tl.Rectangular(-1, 2)
    assert repr(tl.rule("rectangular")) == "Rectangular(low=-0.5, high=0.5, height=1)"
    rule = tl.Rectangular()
    assert tl.rule(rule) is rule


def test_rules_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        tl.Rectangular().low = 3


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("rectangulr", SpecError, "Did you mean 'rectangular'? There are: atan, centralize, circ"),
        ("rectangular(lo=1)", SpecError, "Unknown parameter 'lo' in rectangular(lo=1). Did you mean 'low'?"),
        ("rectangular(-1, 1, 2, 3)", SpecError, "Too many parameters"),
        ("rectangular(-1, low=1)", SpecError, "given twice"),
        ("super_spike", SpecError, "What others call 'super_spike' is 'fast_sigmoid' here. Unknown rule 'super_spike'"),
        ("PiecewiseQuadratic(2)", SpecError, "is 'triangular' here"),
        ("ste_sign", SpecError, "is 'rectangular' here"),
        ("step", SpecError, "'step' is the forward 'heaviside', and no rule. Unknown rule 'step'"),
        ("gelu", SpecError, "'gelu' is the forward 'gelu', and no rule."),
        ("STE", SpecError, "What others call 'STE' is 'constant' or 'rectangular' here"),
        ("boxcar", SpecError, "is 'rectangular' here"),
        ("surrogate", SpecError, "is 'atan' here"),
        ("Full_Jam", SpecError, "is 'full_jam' here"),
        ("_", SpecError, "Unknown rule '_'"),
        ("noise", SpecError, "lacks sigma"),
        ("tied(1)", SpecError, "takes no parameters"),
        ("rectangular(1, -1)", RuleValueError, "rectangular needs low < high, got low=1, high=-1"),
        ("rectangular(1, 1)", RuleValueError, "low < high"),
        ("rectangular('a', 1)", RuleTypeError, "low must be a number, got 'a'"),
        ("rectangular(true, 2)", RuleTypeError, "low must be a number, got True"),
        ("rectangular(-1, 1e999)", RuleValueError, "high must be finite"),
        ("triangular(0)", RuleValueError, "width > 0"),
        ("full_jam(minimum=1)", RuleValueError, "minimum < maximum"),
        ("rectangular_jam(minimum=2)", RuleValueError, "minimum < maximum"),
        ("rectangular_jam(3, -3)", RuleValueError, "low < high"),
        ("positive_jam(gate='z')", RuleTypeError, "gate must be one of 'preactivation', 'feedback', got 'z'"),
        ("full_jam(replace='sign')", RuleTypeError, "replace must be one of"),
        ("noise(-1)", RuleValueError, "sigma >= 0"),
        ("drop(1)", RuleValueError, "0 <= p < 1"),
        ("flip(1.5)", RuleValueError, "0 <= p <= 1"),
        ("rotate(200)", RuleValueError, "degrees"),
        ("quantize(1)", RuleValueError, "bits"),
        ("quantize(3.5)", RuleTypeError, "bits must be an integer"),
        ("clip(0)", RuleValueError, "value > 0"),
        ("clip_norm(-1)", RuleValueError, "max_norm > 0"),
        ("constant(1) >> nose(1)", SpecError, "Did you mean 'noise'?"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(spec, error, says):
    with pytest.raises(error) as caught:
        tl.rule(spec)
    assert isinstance(caught.value, TielessError)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, 3, ["full_jam"]])
def test_what_is_no_rule_is_refused(value):
    with pytest.raises(RuleTypeError, match="spec or a Rule"):
        tl.rule(value)
    with pytest.raises(RuleTypeError, match="joins two rules"):
        tl.FullJam() >> value


@pytest.mark.parametrize(
    "spec", ["leaky_relu('a')", "staircase", "staircase(1)", "elu(-1)", "relo", "sawtooth(0)", "ternary(-1)"]
)
def test_forwards_are_checked_alike(spec):
    with pytest.raises(TielessError):
        tl.untie(torch.zeros(2), spec, "constant")


def test_the_catalogues_are_sorted_complete_and_read_only():
    assert list(tl.rules()) == sorted(tl.rules())
    assert pickle.loads(pickle.dumps(tl.rules)) is tl.rules
    assert copy.deepcopy(tl.forwards) is tl.forwards
    assert all(cls.name == name for name, cls in (tl.rules() | tl.forwards()).items() if name != "sign")
    with pytest.raises(TypeError):
        tl.rules()["mine"] = tl.Tied


def test_a_name_can_be_taken_once():
    from tieless.rules import Rule

    with pytest.raises(SpecError, match="'tied' exists already"):

        @tl.register_rule
        class Tied(Rule):
            pass


def test_every_parameter_is_described():
    """Each field of each rule and forward stands in the ``Args`` of its docstring."""
    for cls in (*tl.rules().values(), *tl.forwards().values()):
        for parameter in fields(cls):
            assert parameter.name in (cls.__doc__ or ""), f"{cls.__name__}.{parameter.name}"
