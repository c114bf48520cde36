"""gelu and silu of the CPU kernels, against many digits and at their edges."""

import math

import mpmath
import pytest
import torch

from tests.kernels.test_agreement import DTYPES
from tieless import untie
from tieless.kernels import elementwise, numba_cpu

EXACTLY = {
    "gelu": lambda z: z * mpmath.erfc(-z / mpmath.sqrt(2)) / 2,
    "silu": lambda z: z / (1 + mpmath.exp(-z)),
}
# Down to where the results are no longer normal numbers.
LOWEST = {("gelu", torch.float32): -13.1, ("gelu", torch.float64): -37.5}
LOWEST |= {("silu", torch.float32): -87.3, ("silu", torch.float64): -708}


def _of(function, z):
    return numba_cpu.activate(z, function, (), None)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("function", EXACTLY)
def test_within_a_few_units_in_the_last_place_down_to_the_smallest_normal_number(function, dtype):
    lowest = LOWEST[function, dtype]
    # Dense where most elements lie, and every size down to 2^-60.
    points = [torch.linspace(lowest, 20, 1500, dtype=dtype), torch.linspace(-6, 6, 2500, dtype=dtype)]
    points += [sign * torch.logspace(-18, 0.5, 300, dtype=dtype) for sign in (-1, 1)]
    z = torch.cat(points)
    eps = torch.finfo(dtype).eps
    with mpmath.workdps(50):
        for at, y in zip(z.tolist(), _of(function, z).tolist(), strict=True):
            exact = EXACTLY[function](mpmath.mpf(at))
            ulp = eps * 2.0 ** (mpmath.frexp(exact)[1] - 1) if exact else 0
            assert abs(y - exact) <= elementwise.TOLERANCES[function] * ulp, at


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", EXACTLY)
def test_edges_are_those_of_pytorch_in_float64(function, dtype):
    largest, tiny = torch.finfo(dtype).max, torch.finfo(dtype).tiny
    z = torch.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0, largest, tiny, -tiny], dtype=dtype)
    y = _of(function, z)
    assert y[0] == math.inf
    assert y[1:3].isnan().all()  # minus infinity times 0
    assert y[3:].tolist() == [0.0, 0.0, largest, tiny / 2, -tiny / 2]
    assert torch.signbit(y[3:]).tolist() == [False, True, False, False, True]


@pytest.mark.parametrize("function", EXACTLY)
def test_far_on_the_left_both_are_minus_zero(function):
    y = _of(function, torch.tensor([-100.0, -1e30]))
    assert y.tolist() == [0.0, 0.0]
    assert torch.signbit(y).all()


@pytest.mark.parametrize("layout", [torch.clone, torch.t], ids=["plain", "transposed"])
@pytest.mark.parametrize("forward", ["gelu", "silu"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_value_is_the_same_beside_every_rule(forward, layout, dtype):
    """A kernel that packs codes, one that packs bits and one that packs nothing must not differ."""
    z = layout(torch.randn(37, 29).to(dtype)).requires_grad_()
    published = {"gelu": "regelu2", "silu": "resilu2"}[forward]
    rules = ["constant", "tied", "rectangular", "full_jam", "few_bit(1)", "few_bit(2)", "few_bit(3)", "few_bit(4)"]
    values = [untie(z, forward, rule) for rule in [*rules, published, "rectangular_jam >> normalize"]]
    assert all(torch.equal(values[0], value) for value in values[1:])
