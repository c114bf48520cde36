"""Forwards that round or look at a whole tensor: values by hand, edges, domains."""

import math

import pytest
import torch
from hypothesis import given, strategies as st

import tieless as tl
from tieless.errors import DimensionError, RuleTypeError, RuleValueError
from tieless.forwards import Quantize, forward

NAN = math.nan


def value(spec, z, dtype=torch.float32):
    return forward(spec).value(torch.tensor(z, dtype=dtype))


@pytest.mark.parametrize(
    ("spec", "z", "expected"),
    [
        ("ceil", [-1.5, -0.5, 0.5, 1, math.inf], [-1, -0.0, 1, 1, math.inf]),
        ("floor", [-1.5, -0.5, 0.5, 1, -math.inf], [-2, -1, 0, 1, -math.inf]),
        ("round_to_zero", [-1.5, -0.5, 0.5, 1.7], [-1, 0, 0, 1]),
        ("abs", [-1.5, -0.0, 2], [1.5, 0, 2]),
        ("clamp(-0.5, 2)", [-1, -0.5, 1, 3], [-0.5, -0.5, 1, 2]),
        ("quantize(0.5)", [-1.3, 0.25, 0.75, 3e38, math.inf], [-1.5, 0, 1, 3e38, math.inf]),
        ("spike_count(2)", [-1, 0.5, 1.5, 2.5, math.inf], [0, 0, 2, 2, 2]),
        ("magnitude_aware_sign", [-1, 0.0, 3], [-1, 0, 3]),
        ("ternary_weight(0.5)", [-1, 0.4, 0.2, 1.0, -0.4], [-1, 1, 0, 1, -1]),
    ],
)
def test_values_by_hand(spec, z, expected):
    torch.testing.assert_close(value(spec, z), torch.tensor(expected, dtype=torch.float32))


ALL = ["abs", "ceil", "clamp", "floor", "magnitude_aware_sign", "quantize", "round_to_zero", "spike_count"]


@pytest.mark.parametrize("spec", [*ALL, "ternary_weight"])
def test_nan_in_gives_nan_out(spec):
    assert value(spec, [[NAN]]).isnan().all()


@pytest.mark.parametrize("spec", ALL)
def test_nan_stays_in_its_channel(spec):
    assert value(spec, [[NAN], [1.0]]).isnan().tolist() == [[True], [False]]


@given(z=st.floats(-100, 100), step=st.floats(1e-3, 10))
def test_quantize_is_within_half_a_step_and_on_the_grid(z, step):
    y = value(f"quantize({step!r})", z, torch.float64).item()
    assert abs(y - z) <= step / 2 * (1 + 1e-12) + 1e-12
    assert y / step == pytest.approx(round(y / step), abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_round_to_the_step_that_their_number_is_nearest_to(dtype):
    z = torch.randn(1000).to(dtype)
    assert torch.equal(forward("quantize(0.3)").value(z), forward("quantize(0.3)").value(z.float()).to(dtype))


def test_magnitude_is_the_mean_over_all_dimensions_but_one():
    z = torch.tensor([[1.0, -3.0], [-5.0, 7.0]])
    assert forward("magnitude_aware_sign(0)").value(z).tolist() == [[2, -2], [-6, 6]]
    assert forward("magnitude_aware_sign(-1)").value(z).tolist() == [[3, -5], [-3, 5]]
    with pytest.raises(DimensionError, match=r"from -2 to 1 .*, got 2\."):
        forward("magnitude_aware_sign(2)").value(z)


@pytest.mark.parametrize("edge", [-0.5, 2.0])
def test_a_clamp_passes_at_its_edges_whatever_torchs_own_does(edge):
    z = torch.tensor(edge, requires_grad=True)
    tl.untie(z, "clamp(-0.5, 2)", "tied").backward()
    assert z.grad == 1


def test_abs_has_slope_one_at_zero():
    z = torch.tensor([-2.0, -0.0, 0.0, 2.0], requires_grad=True)
    tl.untie(z, "abs", "tied").sum().backward()
    assert z.grad.tolist() == [-1, 1, 1, 1]


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("quantize(0)", RuleValueError),
        ("quantize(1e-40)", RuleValueError),
        ("spike_count(0)", RuleValueError),
        ("spike_count(1.5)", RuleTypeError),
        ("clamp(1, 1)", RuleValueError),
        ("ternary_weight(-1)", RuleValueError),
        ("magnitude_aware_sign(0.5)", RuleTypeError),
    ],
)
def test_domains(spec, error):
    with pytest.raises(error):
        forward(spec)


@pytest.mark.parametrize(("k", "error"), [(0, RuleValueError), (33, RuleValueError), (1.5, RuleTypeError)])
def test_bits_out_of_range(k, error):
    with pytest.raises(error, match="k"):
        Quantize.from_bits(k)
