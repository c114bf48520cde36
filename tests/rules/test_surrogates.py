"""Surrogates against PyTorch's derivative of the functions that they are the slopes of, and against their peers' formulas."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from tieless import ATan, FastSigmoid, Sigmoid, untie
from tieless.errors import RuleValueError

PRIMITIVES = {
    ATan: lambda z, width, height: height * width * torch.atan(z / width),
    FastSigmoid: lambda z, width, height: height * z / (1 + z.abs() / width),
    Sigmoid: lambda z, width, height: 4 * height * width * torch.sigmoid(z / width),
}
SURROGATES = list(PRIMITIVES)


def _slope(rule, z):
    z = z.clone().requires_grad_()
    untie(z, "heaviside", rule).sum().backward()
    return z.grad


@pytest.mark.parametrize("surrogate", SURROGATES)
@settings(deadline=None)
@given(z=st.floats(-50, 50), width=st.floats(0.05, 10), height=st.floats(0.05, 10))
def test_is_the_derivative_of_its_primitive(surrogate, z, width, height):
    z = torch.tensor([z], dtype=torch.float64)
    leaf = z.clone().requires_grad_()
    PRIMITIVES[surrogate](leaf, width, height).backward()
    torch.testing.assert_close(_slope(surrogate(width, height), z), leaf.grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_height_is_the_slope_at_zero(surrogate):
    assert _slope(surrogate(0.3, 2.5), torch.zeros(1)).item() == 2.5


@pytest.mark.parametrize(
    ("rule", "formula"),
    [
        (ATan.from_alpha(3), lambda z: 1.5 / (1 + (math.pi * 3 * z / 2) ** 2)),
        (Sigmoid.from_alpha(5), lambda z: 5 * torch.sigmoid(5 * z) * (1 - torch.sigmoid(5 * z))),
        (FastSigmoid.from_slope(25), lambda z: 1 / (1 + 25 * z.abs()) ** 2),
    ],
    ids=["atan", "sigmoid", "fast_sigmoid"],
)
def test_parameters_of_the_peers(rule, formula):
    z = torch.linspace(-3, 3, 101, dtype=torch.float64)
    torch.testing.assert_close(_slope(rule, z), formula(z), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("width", [1e-3, 1.0, 100.0])
def test_finite_for_every_finite_input(surrogate, dtype, width):
    largest = torch.finfo(dtype).max
    z = torch.tensor([-largest, -1e4, -88.0, -1.0, -0.0, 0.0, 1e-4, 1.0, 87.5, 1e4, largest], dtype=dtype)
    slope = _slope(surrogate(width), z)
    assert slope.isfinite().all()
    assert (slope >= 0).all()
    assert (slope <= 1).all()


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("parameters", [(0,), (-1,), (1, 0), (1, -2), (math.nan,), (math.inf,)])
def test_parameters_must_be_positive(surrogate, parameters):
    with pytest.raises(RuleValueError, match=surrogate.name):
        surrogate(*parameters)
