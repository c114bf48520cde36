"""The gate of a forward: against calculus, the step function it is made of, and the jams whose window it is."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from tests.pairs import closed_clamp
from tieless import Gated, untie
from tieless.errors import UntrainableError
from tieless.forwards import forward as forward_of
from tieless.levels import optimal_levels
from tieless.slopes import Window
from tieless.testing import check_rule

FOLLOWED = ["elu", "gelu", "hard_sigmoid", "hard_tanh", "leaky_relu", "logistic", "relu", "silu", "softplus", "tanh"]


def _sent(forward, rule, z, feedback):
    z = z.clone().requires_grad_()
    torch.manual_seed(3)
    untie(z, forward, rule).backward(feedback)
    return z.grad


def _line(dtype=torch.float64):
    z = torch.linspace(-12, 12, 1003, dtype=torch.float64).to(dtype)
    return z, torch.cos(torch.arange(1003.0, dtype=torch.float64)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("forward", FOLLOWED)
def test_it_is_the_nearest_step_function_with_its_size_dropped(forward, dtype):
    z, feedback = _line(dtype)
    height = optimal_levels(forward, 1).slope(z.double())
    assert torch.equal(_sent(forward, "gated", z, feedback), feedback * (height > height.max() / 2))


@pytest.mark.parametrize(
    ("forward", "low", "high"),
    [
        ("relu", 0, 99),
        ("leaky_relu", 0, 99),
        ("relu6", 0, 6),
        ("hard_tanh", -1, 1),
        ("clamp", -1, 1),
        ("linear", -99, 99),
    ],
)
def test_beside_a_piecewise_linear_forward_it_is_the_derivative_over_its_greatest(forward, low, high):
    z, feedback = _line()
    assert torch.equal(_sent(forward, "gated", z, feedback), torch.where((z > low) & (z < high), feedback, 0.0))


def test_a_derivative_that_changes_its_sign_keeps_it():
    z, feedback = _line()
    torch.testing.assert_close(_sent("abs", "gated", z[z != 0], feedback[z != 0]), (feedback * z.sign())[z != 0])


@pytest.mark.parametrize("forward", FOLLOWED)
def test_the_gate_passes_where_the_derivative_is_above_half_of_what_it_passes_on_average(forward):
    """The step function's optimum: its boundary lies where the derivative crosses the middle of its two values."""
    z, _ = _line()
    slopes = _sent(forward, "tied", z, torch.ones_like(z))
    passed = _sent(forward, "gated", z, torch.ones_like(z)) == 1
    assert slopes[passed].min() >= slopes[~passed].max() - 1e-6


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), forward=st.sampled_from(["relu", "logistic", "tanh"]))
def test_behind_a_jam_it_is_the_jam_behind_its_window(seed, forward):
    """``full_jam >> gated`` sends ``grad_output * U`` within the gate: the same numbers U, and nothing outside."""
    z = 3 * torch.randn(50, generator=torch.Generator().manual_seed(seed))
    feedback = torch.randn(50, generator=torch.Generator().manual_seed(seed + 1))
    alone, gate = _sent(forward, "full_jam", z, feedback), _sent(forward, "gated", z, torch.ones(50))
    assert set(gate.tolist()) <= {0.0, 1.0}
    assert torch.equal(_sent(forward, "full_jam >> gated", z, feedback), alone * gate)
    assert torch.equal(_sent("relu", "constant >> gated", z, feedback), _sent("relu", "tied", z, feedback))


def test_one_bit_is_enough_for_every_forward_that_has_a_derivative():
    needs = {
        name: Gated().needs(forward_of(name)) for name in [*FOLLOWED, "abs", "clamp", "linear", "relu6", "sawtooth"]
    }
    assert {name for name, need in needs.items() if need is None} == {"linear", "sawtooth"}
    assert all(isinstance(need, Window) for need in needs.values() if need is not None)


@pytest.mark.parametrize("forward", ["heaviside", "sign", "round"])
def test_a_flat_forward_has_no_gate(forward):
    with pytest.raises(UntrainableError, match="rectangular"):
        untie(torch.zeros(2, requires_grad=True), forward, "gated")


@pytest.mark.parametrize("rule", ["gated", 'normalize(per="tensor")'])
def test_it_has_what_every_rule_has(rule):
    assert not check_rule(rule, "logistic").failures


@pytest.mark.parametrize("forward", ["relu", "leaky_relu(2)", "leaky_relu(-3)", "logistic", "gelu"])
def test_nan_is_on_no_side_of_an_edge(forward):
    """The steeper side of some forwards is the lower one: there too NaN is blocked, and the edge is where it was."""
    z = torch.tensor([math.nan] * 9 + [0.0], requires_grad=True)
    untie(z, forward, "gated").sum().backward()
    assert (z.grad[:9] == 0).all()
    assert z.grad[9].abs() == float(forward not in {"relu", "gelu"})


def _feedback_for(z):
    return torch.cos(torch.arange(len(z), dtype=torch.float64)).to(z.dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("forward", "function"),
    [
        ("abs", torch.abs),
        ("clamp(-1, 2)", lambda z: closed_clamp(z, -1, 2)),
        ("elu(2)", lambda z: torch.nn.functional.elu(z, 2)),
        ("gelu", torch.nn.functional.gelu),
        ("hard_sigmoid", torch.nn.functional.hardsigmoid),
        ("hard_tanh", torch.nn.functional.hardtanh),
        ("leaky_relu(-0.1)", lambda z: torch.nn.functional.leaky_relu(z, -0.1)),
        ("leaky_relu(0)", torch.relu),
        ("linear", lambda z: z * 1),
        ("logistic", torch.sigmoid),
        ("relu", torch.relu),
        ("relu6", torch.nn.functional.relu6),
        ("silu", torch.nn.functional.silu),
        ("softplus", torch.nn.functional.softplus),
        ("tanh", torch.tanh),
    ],
)
def test_where_it_is_not_zero_the_derivative_keeps_its_sign_alone(forward, function, dtype):
    z = torch.linspace(-9, 9, 1000, dtype=torch.float64).to(dtype)
    z = z[z.abs() > 0.01]  # kinks are asked below
    wide = z.to(torch.float64, copy=True).requires_grad_()
    function(wide).sum().backward()
    feedback = _feedback_for(z)
    assert torch.equal(_sent(forward, 'gated(where="nonzero")', z, feedback), feedback * wide.grad.sign().to(dtype))


@pytest.mark.parametrize("forward", ["elu", "logistic", "softplus", "tanh"])
def test_a_derivative_that_underflows_keeps_its_sign(forward):
    z = torch.tensor([-1e4, -200.0, 200.0, 1e4])
    assert _sent(forward, 'gated(where="nonzero")', z, torch.ones(4)).tolist() == [1.0] * 4


def test_kinks_are_those_of_the_derivative():
    z = torch.tensor([0.0, -1.0, 1.0])
    for forward in ("relu", "hard_tanh", "abs", "clamp"):
        one = torch.ones(3)
        assert torch.equal(_sent(forward, 'gated(where="nonzero")', z, one), _sent(forward, "tied", z, one))
    blocked = _sent("relu", 'gated(where="nonzero")', -torch.ones(2), torch.tensor([torch.inf, torch.nan]))
    assert blocked.tolist() == [0.0, 0.0]


def test_any_callable_has_the_sign_of_its_derivative_too():
    z = torch.linspace(-9, 9, 100, dtype=torch.float64)
    feedback = _feedback_for(z)
    assert torch.equal(_sent(torch.sin, 'gated(where="nonzero")', z, feedback), feedback * torch.cos(z).sign())
    with pytest.raises(UntrainableError):
        untie(z, "heaviside", 'gated(where="nonzero")')


@pytest.mark.parametrize("forward", ["relu", "logistic", "gelu", "abs"])
def test_a_jam_keeps_the_sign_of_the_derivative(forward):
    """The reading ``sign(phi'(z)) U``: the numbers U of the jam alone, times the sign."""
    z = torch.linspace(-5, 5, 100)
    feedback = _feedback_for(z)
    sign = _sent(forward, "tied", z, torch.ones(100)).sign()
    alone = _sent(forward, "full_jam", z, feedback)
    assert torch.equal(_sent(forward, 'full_jam >> gated(where="nonzero")', z, feedback), alone * sign)


def test_the_sign_is_checked_as_a_rule_is():
    check_rule('gated(where="nonzero")')
