"""PyTorch's own gradients judge: ``tied`` everywhere, and rules that are the slope of something."""

import math

import pytest
import torch
from hypothesis import assume, given, settings, strategies as st
from torch.nn import functional as F

from tests.pairs import closed_clamp
from tieless import FullJam, Rectangular, ops, untie
from tieless.errors import RuleTypeError, UntrainableError

NATIVE = {
    "clamp": lambda z: closed_clamp(z, -1, 1),
    "elu": F.elu,
    "gelu": F.gelu,
    "hard_sigmoid": F.hardsigmoid,
    "hard_tanh": F.hardtanh,
    "leaky_relu": F.leaky_relu,
    "linear": lambda z: z * 1,
    "logistic": torch.sigmoid,
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
    "softplus": F.softplus,
    "tanh": torch.tanh,
}
VALUES = NATIVE | {
    "abs": torch.abs,
    "ceil": torch.ceil,
    "floor": torch.floor,
    "round_to_zero": torch.trunc,
    "quantize(0.5)": lambda z: torch.round(z * 2) / 2,
    "spike_count": lambda z: torch.round(z.clamp(0, 4)),
    "ternary_weight(0)": torch.sign,
    "round": torch.round,
    "sign": lambda z: 2.0 * (z >= 0).to(z.dtype) - 1,
    "heaviside": lambda z: torch.heaviside(z, torch.zeros((), dtype=z.dtype)),
    "ternary": lambda z: torch.sign(z) * (z.abs() > 0.5).to(z.dtype),
    "staircase(4)": lambda z: torch.round(z.clamp(0, 1) * 3) / 3,
    "square_wave": lambda z: torch.where(torch.remainder(z, 2) < 1, 1.0, -1.0).to(z.dtype),
    "sawtooth": lambda z: torch.remainder(z + 1, 2) - 1,
}
KINKS = [-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0]


def _both(native, forward, rule, z, feedback):
    results = []
    for function in (native, lambda x: untie(x, forward, rule)):
        leaf = z.clone().requires_grad_()
        y = function(leaf)
        y.backward(feedback)
        results.append((y.detach(), leaf.grad))
    return results


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", NATIVE)
def test_tied_is_pytorchs_gradient_kinks_included(name, dtype):
    z = torch.cat([torch.randn(2000, dtype=dtype) * 5, torch.tensor(KINKS, dtype=dtype)])
    feedback = torch.randn(z.shape, dtype=dtype)
    (y, expected), (own_y, own) = _both(NATIVE[name], name, "tied", z, feedback)
    if name in ops.OWN_VALUES:  # what they are exactly is asked in tests/kernels/test_smooth.py
        torch.testing.assert_close(own_y, y, rtol=2e-6 if dtype == torch.float32 else 1e-12, atol=1e-6)
    else:
        assert torch.equal(y, own_y)
    # In float64 PyTorch is off itself: hardsigmoid multiplies by 1/6 as a float32 (3e-8), softplus has slope 1 beyond 20.
    tolerance = 5e-8 if dtype == torch.float64 else 2e-6
    torch.testing.assert_close(own, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NATIVE)
def test_tied_in_half_types_is_the_gradient_of_the_rounded_input(name, dtype):
    z, feedback = torch.randn(2000).to(dtype), torch.randn(2000).to(dtype)
    (_, expected), (_, own) = _both(NATIVE[name], name, "tied", z, feedback)
    torch.testing.assert_close(own, expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", VALUES)
def test_values(name, dtype):
    z = torch.cat([torch.randn(2000) * 5, torch.tensor(KINKS)]).to(dtype)
    expected = VALUES[name](z.to(torch.promote_types(dtype, torch.float32))).to(dtype)
    torch.testing.assert_close(untie(z, name, "constant"), expected)


def test_kinks_by_hand():
    z = torch.tensor([-0.0, 0.0])
    assert untie(z, "heaviside", "constant").tolist() == [0, 0]
    assert untie(z, "sign", "constant").tolist() == [1, 1]
    assert untie(torch.tensor([-0.5, 0.5]), "ternary", "constant").tolist() == [0, 0]
    assert untie(torch.tensor([0.5, 1.5, 2.5]), "round", "constant").tolist() == [0, 2, 2]


def test_nan_in_gives_nan_out(forward):
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        z = torch.full((9,), math.nan, dtype=dtype)
        assert untie(z, forward, "constant").isnan().all()


@settings(deadline=None)
@given(z=st.floats(-4, 4), low=st.floats(-3, -0.1), high=st.floats(0.1, 3))
def test_rectangular_is_the_slope_of_a_clamp(z, low, high):
    assume(min(abs(z - low), abs(z - high)) > 1e-9)  # the edges are ours to define: next test
    tied = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    tied.clamp(low, high).backward()
    untied = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    untie(untied, "heaviside", Rectangular(low, high)).backward()
    assert untied.grad == tied.grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("edge", [0.1, 0.3, 1 / 3])
def test_both_edges_of_rectangular_pass_as_the_dtype_has_them(dtype, edge):
    z = torch.tensor([-edge, edge], dtype=dtype)
    z = torch.cat(
        [z, torch.nextafter(z, torch.full_like(z, math.inf)), torch.nextafter(z, -torch.full_like(z, math.inf))]
    )
    z = z.requires_grad_()
    untie(z, "heaviside", Rectangular(-edge, edge)).sum().backward()
    assert z.grad.tolist() == [1, 1, 1, 0, 0, 1]


@pytest.mark.parametrize("spec", ["rectangular", "positive_jam", "rectangular_jam", "triangular >> rectangular"])
def test_nan_in_z_blocks_and_what_is_blocked_is_zero_even_of_infinity(spec):
    z = torch.tensor([math.nan, -9.0], requires_grad=True)
    untie(z, "linear", spec).backward(torch.tensor([1.0, math.inf]))
    assert z.grad[1] == 0 or spec.startswith("triangular")
    assert z.grad[0] == 0


@settings(deadline=None)
@given(z=st.floats(-4, 4), width=st.floats(0.1, 3))
def test_triangular_is_the_slope_of_its_integral(z, width):
    assume(min(abs(z), abs(abs(z) - width)) > 1e-6)
    tied = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    x = tied.clamp(-width, width)
    (x - x * x.abs() / (2 * width)).backward()
    untied = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    untie(untied, "sign", f"triangular({width!r})").backward()
    torch.testing.assert_close(untied.grad, tied.grad)


def test_linear_with_constant_is_tied():
    z = torch.randn(100)
    (_, expected), (_, own) = _both(lambda x: x * 1, "linear", "constant", z, torch.randn(100))
    assert torch.equal(own, expected)


def test_constant_logistic_with_squared_error_is_twice_tied_logistic_with_cross_entropy():
    """An exact identity: d(y - t)^2/dy = 2 (y - t) = 2 dBCE(sigma(z), t)/dz."""
    z, target = torch.randn(50, dtype=torch.float64), torch.randint(0, 2, (50,)).double()
    one, other = z.clone().requires_grad_(), z.clone().requires_grad_()
    F.mse_loss(untie(one, "logistic", "constant"), target).backward()
    F.binary_cross_entropy(torch.sigmoid(other), target).backward()
    torch.testing.assert_close(one.grad, 2 * other.grad)


def test_gradcheck_of_a_tied_network():
    net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Linear(5, 3)).double()

    def run(x):
        return untie(net[1](untie(net[0](x), "tanh", "tied")), "gelu", "tied")

    assert torch.autograd.gradcheck(run, (torch.randn(2, 4, dtype=torch.float64, requires_grad=True),))


@pytest.mark.parametrize("name", ["heaviside", "sign", "ternary", "round", "staircase(3)", "square_wave"])
def test_tied_refuses_what_is_flat_and_says_what_would_train_it(name):
    with pytest.raises(UntrainableError, match=r"flat almost everywhere.*Give it '.*rectangular"):
        untie(torch.zeros(2), name, "tied")


def test_any_elementwise_callable_is_a_forward():
    z = torch.randn(20, dtype=torch.float64)
    (y, expected), (own_y, own) = _both(torch.sin, torch.sin, "tied", z, torch.randn(20, dtype=torch.float64))
    assert torch.equal(y, own_y)
    assert torch.equal(own, expected)
    leaf = z.clone().requires_grad_()
    untie(leaf, torch.sin, "tied >> scale(2)").sum().backward()
    torch.testing.assert_close(leaf.grad, 2 * z.cos())
    untie(leaf, torch.sin, FullJam()).sum().backward()


def test_a_callable_that_widens_is_brought_back_to_the_dtype_of_z():
    """Function of another dtype under autocast, as some are on some devices."""
    z = torch.zeros(3, dtype=torch.bfloat16, requires_grad=True)
    for rule in ("constant", "tied", "tied >> scale(2)"):
        y = untie(z, lambda x: x.float().sin(), rule)
        assert y.dtype == torch.bfloat16
        y.sum().backward()
        assert z.grad.dtype == torch.bfloat16


def test_a_callable_that_changes_the_shape_is_refused():
    with pytest.raises(RuleTypeError, match="not elementwise"):
        untie(torch.zeros(3), torch.sum, "constant")


def test_a_callable_that_learns_is_refused_not_silently_frozen():
    with pytest.raises(RuleTypeError, match="has parameters"):
        untie(torch.zeros(3), torch.nn.PReLU(), "constant")
    slope = torch.ones((), requires_grad=True)
    with pytest.raises(RuleTypeError, match="require gradients"):
        untie(torch.zeros(3), lambda z: z * slope, "constant")
