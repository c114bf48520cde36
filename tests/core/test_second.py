"""Derivatives of what is sent: calculus where the rule is tied, those of the rule where it is linear, else a refusal."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tieless import convert, untie
from tieless.errors import SecondDerivativeError, TransformError

NATIVE = {
    "elu": F.elu,
    "gelu": F.gelu,
    "leaky_relu": F.leaky_relu,
    "logistic": torch.sigmoid,
    "relu": F.relu,
    "silu": F.silu,
    "softplus": F.softplus,
    "tanh": torch.tanh,
}


def _numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", NATIVE)
def test_the_third_derivative_of_tied_is_pytorchs(name):
    def thrice(function):
        z = _numbers(7).requires_grad_()
        once = function(z)
        for _ in range(3):
            (once,) = torch.autograd.grad(once.square().sum(), z, create_graph=True)
        return once

    torch.testing.assert_close(thrice(lambda z: untie(z, name, "tied")), thrice(NATIVE[name]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_second_derivatives_have_the_dtype_and_layout_of_z(dtype):
    z = _numbers(2, 3, 4, 4).to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    for name, rule in (
        ("silu", "tied"),
        ("relu", "rectangular(-1, 1)"),
        ("heaviside", "atan"),
        ("relu", "positive_jam"),
    ):
        (first,) = torch.autograd.grad(untie(z, name, rule).square().sum(), z, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), z)
        assert first.dtype == second.dtype == dtype
        assert first.stride() == second.stride() == z.stride()


def _network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1)).double()


def _penalty(net, x):
    """The gradients of a gradient penalty, as critics have it, for the weights."""
    (slope,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    # All but the last bias, which no derivative by x depends on.
    return torch.autograd.grad((slope.norm(dim=1) - 1).square().mean(), list(net.parameters())[:-1])


def test_a_gradient_penalty_and_a_hessian_of_a_converted_network_are_those_of_the_network():
    x = _numbers(5, 4).requires_grad_()
    plain, tied = _network(), convert(_network(), backward="tied")
    for got, expected in zip(_penalty(tied, x), _penalty(plain, x), strict=True):
        torch.testing.assert_close(got, expected)
    sought = _numbers(5, 4, seed=1)
    products = [
        torch.autograd.functional.hvp(lambda x, n=net: n(x).square().sum(), x, sought)[1] for net in (tied, plain)
    ]
    torch.testing.assert_close(*products)


def test_a_gradient_penalty_trains_what_lies_below_a_linear_rule():
    net = convert(_network(), backward="rectangular(-1, 1)")
    weights = _penalty(net, _numbers(5, 4).requires_grad_())
    assert weights[0].any()
    assert weights[2].any()


def test_a_window_has_the_second_derivative_of_a_clamp():
    z, feedback = _numbers(9).requires_grad_(), _numbers(9, seed=1).requires_grad_()

    def second(y, **unused):
        (first,) = torch.autograd.grad(y, z, feedback, create_graph=True)
        return torch.autograd.grad(first.sin().sum(), (z, feedback), **unused)

    by_z, by_feedback = second(untie(z, "heaviside", "rectangular(-1, 1)"))
    assert not by_z.any()
    assert torch.equal(by_feedback, second(z.clamp(-1, 1), allow_unused=True)[1])


def test_a_jam_is_differentiated_by_the_numbers_that_it_has_drawn():
    z, feedback = _numbers(9).requires_grad_(), _numbers(9, seed=1).requires_grad_()
    (first,) = torch.autograd.grad(untie(z, "relu", "full_jam"), z, feedback, create_graph=True)
    (slope,) = torch.autograd.grad(first.sum(), feedback)
    torch.testing.assert_close(slope * feedback, first)


def test_one_rule_of_a_chain_that_is_not_linear_refuses_for_all():
    z = _numbers(9).requires_grad_()
    (first,) = torch.autograd.grad(untie(z, "relu", "constant >> clip(0.1)").sum(), z, create_graph=True)
    with pytest.raises(SecondDerivativeError, match="not linear in the feedback"):
        (first + z).sum().backward()


ZERO = ["constant", "frozen", "full_jam", "positive_jam", "rectangular", "noise(0.1)", "drop(0.5)", "centralize"]


@pytest.mark.parametrize("spec", [*ZERO, "flip(0.1)", "scale(2)", "constant >> noise(0.1)"])
@pytest.mark.parametrize("transforms", [True, False])
def test_products_with_a_hessian_that_is_0_are_0(transforms, spec):
    """As those of relu are, and not missing, whatever arrives from above."""

    def of(z):
        return untie(z, "relu", spec).sum()

    z = _numbers(2, 3)
    if transforms:
        got = torch.func.jacrev(torch.func.grad(of), chunk_size=1)(z)
    else:
        (first,) = torch.autograd.grad(of(z.requires_grad_()), z, create_graph=True)
        (got,) = torch.autograd.grad(first.sum(), z)
    assert not got.any()


def test_a_forward_mode_derivative_of_a_gradient_says_so():
    z = _numbers(3)
    for rule, why in (("constant", "no forward-mode derivative"), ("sign", "not linear in the feedback")):
        pull = torch.func.vjp(lambda z, rule=rule: untie(z, "relu", rule), z)[1]
        with pytest.raises((SecondDerivativeError, TransformError), match=why):
            torch.func.jvp(lambda g, pull=pull: pull(g)[0], (z,), (z,))
