"""Rules of a few bits against the step functions that they stand for, evaluated by PyTorch."""

import pytest
import torch

from tieless import FewBit, ReGELU2, ReSiLU2, untie
from tieless.errors import RuleValueError, UntrainableError
from tieless.levels import REGELU2, RESILU2, optimal_levels

SMOOTH = ["elu", "gelu", "logistic", "silu", "softplus", "tanh"]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def _sent(forward, rule, z, feedback):
    z = z.clone().requires_grad_()
    untie(z, forward, rule).backward(feedback)
    return z.grad


def _case(dtype):
    z = torch.linspace(-12, 12, 1003, dtype=torch.float64).to(dtype)
    return z, torch.cos(torch.arange(1003.0, dtype=torch.float64)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("forward", SMOOTH)
def test_few_bit_sends_the_optimal_level(forward, bits, dtype):
    z, feedback = _case(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    levels = optimal_levels(forward, bits)
    slope = torch.tensor(levels.values, dtype=wide)[levels.codes(z).long()]
    assert torch.equal(_sent(forward, FewBit(bits), z, feedback), (feedback.to(wide) * slope).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("forward", "rule", "levels"), [("gelu", ReGELU2(), REGELU2), ("silu", ReSiLU2(), RESILU2)])
def test_published_levels(forward, rule, levels, dtype):
    z, feedback = _case(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    slope = torch.tensor(levels.values, dtype=wide)[levels.codes(z).long()]
    assert torch.equal(_sent(forward, rule, z, feedback), (feedback.to(wide) * slope).to(dtype))


@pytest.mark.parametrize("forward", SMOOTH)
def test_more_bits_come_nearer_to_the_derivative(forward):
    z, feedback = _case(torch.float64)
    true = _sent(forward, "tied", z, torch.ones_like(feedback))
    errors = [(_sent(forward, FewBit(bits), z, torch.ones_like(z)) - true).square().mean() for bits in range(1, 5)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 2e-4


@pytest.mark.parametrize("bits", [0, 5, -1])
def test_bits_out_of_range(bits):
    with pytest.raises(RuleValueError, match="bits from 1 to 4"):
        FewBit(bits)


def test_a_flat_forward_has_no_slope_to_follow():
    with pytest.raises(UntrainableError, match="heaviside"):
        untie(torch.zeros(1), "heaviside", "few_bit(2)")
