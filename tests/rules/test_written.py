"""Rules and forwards from one function: values, specs, typed parameters, and gradients that autograd or a formula judges."""

import copy
import importlib
import math
import pickle
import sys
from dataclasses import dataclass
from typing import Literal

import pytest
import torch
from hypothesis import given, strategies as st

import tieless as tl
from tieless.errors import RuleTypeError, SpecError, UntrainableError
from tieless.testing import check_rule, temporary_names


@pytest.fixture
def bump():
    @tl.register_rule
    def bump(z, width: float = 1.0):
        """A bell of a ``width``."""
        return torch.exp(-((z / width) ** 2))

    return bump


def gradient(forward, rule, z, feedback=None):
    leaf = z.clone().requires_grad_()
    y = tl.untie(leaf, forward, rule)
    y.backward(torch.ones_like(y) if feedback is None else feedback)
    return leaf.grad


def test_a_function_is_a_rule_like_any_other(bump):
    rule = tl.rule("bump(width=2)")
    assert rule == bump(2) == bump(width=2.0)
    assert hash(rule) == hash(bump(2))
    assert str(bump()) == "bump(1.0)"
    assert repr(rule) == "bump(width=2)"
    assert bump.__doc__ == "A bell of a ``width``."
    assert tl.rules()["bump"] is bump
    assert str(rule >> tl.Clip(1)) == "bump(2) >> clip(1)"
    for twin in (copy.deepcopy(rule), pickle.loads(pickle.dumps(rule))):
        assert twin == rule


@given(z=st.floats(-20, 20), width=st.floats(0.1, 10))
def test_its_gradient_is_the_function_times_the_feedback(z, width):
    with temporary_names():

        @tl.register_rule
        def bump(z, width: float = 1.0):
            return torch.exp(-((z / width) ** 2))

        z = torch.tensor([z], dtype=torch.float64)
        expected = 3 * math.exp(-((z.item() / width) ** 2))
        assert gradient("heaviside", f"bump({width!r})", z, torch.tensor([3.0]).double()).item() == pytest.approx(
            expected
        )


def test_it_has_every_property(bump):
    report = check_rule(bump(0.7), primitive=lambda z: torch.erf(z / 0.7) * math.sqrt(math.pi) / 2 * 0.7)
    assert [check.skipped for check in report.checks] == [None] * 14


def test_half_types_get_a_float32_and_are_rounded_once():
    seen = []

    @tl.register_rule
    def third(z):
        seen.append(z.dtype)
        return torch.full_like(z, 1 / 3)

    for dtype in (torch.float16, torch.bfloat16):
        feedback = torch.linspace(1, 2, 50).to(dtype)
        sent = gradient("relu", third(), torch.ones(50, dtype=dtype), feedback)
        assert torch.equal(sent, (feedback.float() * (1 / 3)).to(dtype))
    assert seen == [torch.float32] * 2


def test_a_function_of_y_is_given_the_output_and_keeps_no_input():
    @tl.register_rule
    def of_output(y, factor: float = 1.0):
        return factor * y * (1 - y)

    z = torch.linspace(-3, 3, 20)
    tied = gradient("logistic", "tied", z)
    torch.testing.assert_close(gradient("logistic", "of_output(2)", z), 2 * tied)
    assert of_output().needs(tl.forwards()["logistic"]()) == "output"


def test_parameters_are_checked_as_those_of_the_built_in_rules(bump):
    @tl.register_rule
    def many(z, count: int, side: Literal["left", "right"] = "left", on: bool = True):
        return torch.full_like(z, count) * on

    assert str(many(3, side="right")) == 'many(3, "right", true)'
    for spec, says in (
        ("bump('a')", "bump: width must be a number, got 'a'"),
        ("bump(widht=2)", "Did you mean 'width'? bump takes width"),
        ("many", "many lacks count: many takes count, side, on"),
        ("many(1.5)", "count must be an integer"),
        ("many(1, 'up')", "side must be one of 'left', 'right'"),
        ("many(1, on=3)", "on must be true or false"),
        ("bmp", "Did you mean 'bump'?"),
    ):
        with pytest.raises(tl.errors.TielessError) as caught:
            tl.rule(spec)
        assert says in str(caught.value)
    with pytest.raises(tl.errors.RuleValueError, match="must be finite"):
        bump(math.inf)


def _untyped(z, width=1.0):
    return z


def _wrong_type(z, width: list = ()):
    return z


def _variable(z, *widths: float):
    return z


def _nothing():
    return None


def _clashing(z, call: float = 1.0):
    return z


def _wrong_default(z, width: float = "wide"):
    return z


@pytest.mark.parametrize(
    ("function", "error", "says"),
    [
        (_untyped, SpecError, "width has no type. A spec holds"),
        (_wrong_type, SpecError, "width has the type <class 'list'>"),
        (_variable, SpecError, "cannot be written in a spec"),
        (_nothing, SpecError, "must take a tensor first"),
        (_clashing, SpecError, "'call' already means something"),
        (_wrong_default, RuleTypeError, "width must be a number, got 'wide'"),
        (lambda z: z, RuleTypeError, "with a name of its own"),
        (3, RuleTypeError, "with a name of its own"),
        (int, RuleTypeError, "derived from"),
    ],
    ids=range(9),
)
@pytest.mark.parametrize("register", [tl.register_rule, tl.register_forward])
def test_what_cannot_be_registered(register, function, error, says):
    with pytest.raises(error, match=says):
        register(function)


def test_a_name_that_is_taken():
    def relu(z):
        return z

    def sigmoid(z):
        return z

    with pytest.raises(SpecError, match="rule 'sigmoid' exists already"):
        tl.register_rule(sigmoid)
    with pytest.raises(SpecError, match="forward 'relu' exists already"):
        tl.register_forward(relu)


@pytest.mark.parametrize(
    "result",
    [lambda z: 1.0, lambda z: torch.ones(2), lambda z: z.sum(), lambda z: z[:1]],
    ids=["number", "other", "sum", "part"],
)
def test_what_is_not_elementwise_is_said(result):
    @tl.register_rule
    def shapeless(z):
        return result(z)

    @tl.register_forward
    def formless(z):
        return result(z)

    z = torch.ones(3, requires_grad=True)
    with pytest.raises(RuleTypeError, match="shapeless is not elementwise: it was given shape"):
        tl.untie(z, "relu", "shapeless").sum().backward()
    with pytest.raises(RuleTypeError, match="formless is not elementwise: it was given shape"):
        tl.untie(z, "formless", "constant")


def _vjp(function, z):
    y, pull = torch.func.vjp(function, z)
    return pull(torch.ones_like(y))[0]


def _backward(function, z):
    leaf = z.clone().requires_grad_()
    return torch.autograd.grad(function(leaf).sum(), leaf)[0]


@pytest.mark.parametrize(
    "takes", [_backward, _vjp, lambda f, z: torch.func.vmap(lambda z: _vjp(f, z))(z)], ids=range(3)
)
@pytest.mark.parametrize("rule", ["twice", "of_output", "of_input", "of_input >> twice"])
def test_a_rule_that_writes_to_what_it_gets_changes_nobody_elses(rule, takes):
    @tl.register_rule
    @dataclass(frozen=True, slots=True)
    class Twice(tl.Rule):
        def needs(self, forward):
            return "input"

        def feedback(self, grad_output, kept, random):
            kept.zero_()
            return grad_output.data.mul_(2) if takes is _backward else grad_output.mul_(2)

    @tl.register_rule
    def of_output(y):
        return y.mul_(0).add_(2)

    @tl.register_rule
    def of_input(z):
        return z.mul_(0).add_(2)

    z, seen = torch.linspace(-1, 1, 3), []

    def siblings(z):
        z = z * 1
        seen.extend([z, tl.untie(z, "tanh", rule)])
        return seen[-1] + tl.untie(z, "tanh", rule)

    assert takes(siblings, z).tolist() == [8 if ">>" in rule else 4] * 3
    if takes is _backward:
        assert [one.tolist() for one in seen] == [z.tolist(), z.tanh().tolist()]


def test_a_slope_beside_a_forward_may_write_to_what_it_gets():
    @tl.register_forward(slope=lambda z: z.mul_(0).add_(2))
    def doubled(z):
        return 2 * z

    z = torch.ones(3, requires_grad=True)
    inner = z * 1
    tl.untie(inner, "doubled", "tied").sum().backward()
    assert z.grad.tolist() == [2, 2, 2]
    assert inner.tolist() == [1, 1, 1]


def test_complex_numbers_are_refused():
    def turned(z):
        return torch.complex(z, z)

    rule, forward = tl.register_rule(turned), tl.register_forward(turned)

    @tl.register_rule
    @dataclass(frozen=True, slots=True)
    class Sends(tl.Rule):
        def feedback(self, grad_output, kept, random):
            return torch.complex(grad_output, grad_output)

    z = torch.ones(3)
    for half in (turned, forward()):
        for other in ("constant", "tied"):
            with pytest.raises(RuleTypeError, match="holds no imaginary part"):
                tl.untie(z, half, other)
    for other in (rule(), Sends()):
        with pytest.raises(RuleTypeError, match="holds no imaginary part"):
            gradient("relu", other, z)


def test_a_spec_means_what_was_registered_last():
    def register(factor):
        @tl.register_rule
        def again(z):
            return torch.full_like(z, factor)

    for factor in (2.0, 3.0):
        register(factor)
        assert gradient("relu", "again", torch.ones(2)).tolist() == [factor, factor]


def test_unpickling_elsewhere_imports_the_module_that_has_the_rule(tmp_path, monkeypatch):
    tmp_path.joinpath("mine.py").write_text(
        "import tieless as tl\n"
        "@tl.register_rule\ndef far(z, width: float = 1.0):\n    return z * width\n"
        "@tl.register_forward\ndef near(z):\n    return z\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with temporary_names():
        mine = importlib.import_module("mine")
        written = pickle.dumps([mine.far(2), mine.near()])
    del sys.modules["mine"]
    assert not {"far", "near"} & {*tl.rules(), *tl.forwards()}
    read = pickle.loads(written)
    del sys.modules["mine"]
    assert repr(read) == "[far(width=2), near()]"
    assert tl.rule("far(2)") == read[0]


# Forwards.


def test_a_forward_has_pytorchs_derivative_unless_it_is_given_one():
    @tl.register_forward
    def cubic(z, factor: float = 1.0):
        return factor * z**3

    @tl.register_forward(slope=lambda y, k: k * (1 - y * y))
    def squash(z, k: float = 1.0):
        return torch.tanh(k * z)

    z = torch.linspace(-2, 2, 40, dtype=torch.float64)
    for spec, native in (("cubic(2)", lambda x: 2 * x**3), ("squash(2)", lambda x: torch.tanh(2 * x))):
        leaf = z.clone().requires_grad_()
        native(leaf).sum().backward()
        torch.testing.assert_close(gradient(spec, "tied", z), leaf.grad)
        torch.testing.assert_close(tl.untie(z, spec, "constant"), native(z))
    assert squash().derivative().needs == "output"
    assert cubic().derivative().needs == "input"
    assert tl.Activation("squash(2)", "atan").forward_fn == squash(2)
    assert pickle.loads(pickle.dumps(squash(2))) == squash(2)


def test_a_flat_forward_refuses_its_own_derivative():
    @tl.register_forward(flat=True)
    def steps(z, size: float = 1.0):
        return torch.floor(z / size) * size

    with pytest.raises(UntrainableError, match="steps"):
        tl.untie(torch.ones(1), "steps(2)", "tied")
    assert gradient("steps(2)", "constant", torch.ones(2)).tolist() == [1, 1]


def test_what_stands_beside_takes_the_same_parameters():
    def squash(z, k: float = 1.0):
        return torch.tanh(k * z)

    with pytest.raises(SpecError, match=r"beside squash must take \(z or y, k\), got \(y\)"):
        tl.register_forward(slope=lambda y: y)(squash)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_a_forward_compiles_in_one_graph_and_keeps_the_dtype():
    @tl.register_forward
    def soft(z, k: float = 1.0):
        return torch.nn.functional.softsign(k * z)

    z = torch.linspace(-1, 1, 10)
    torch._dynamo.reset()
    chosen = soft(2)
    compiled = torch.compile(lambda x: tl.untie(x, chosen, "atan"), fullgraph=True, backend="aot_eager")
    leaf = z.clone().requires_grad_()
    compiled(leaf).sum().backward()
    torch.testing.assert_close(leaf.grad, gradient("soft(2)", "atan", z))
    assert tl.untie(z.half(), "soft", "atan").dtype == torch.float16
    # Functions run in half types as they are written, and may answer in a wider one.
    assert tl.untie(z.bfloat16(), tl.register_forward(_widening)(), "atan").dtype == torch.bfloat16


def _widening(z):
    return z.float() + 1
