"""One quantised weight: its values and its gradient by hand, its scale and unit against what is best."""

import math

import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn

from tieless.errors import RuleTypeError, RuleValueError, SpecError, UntrainableError
from tieless.nn import QuantizedWeight

KINDS = {
    "sign": QuantizedWeight("sign", "rectangular(-1, 1)"),
    "scaled": QuantizedWeight("sign", "rectangular(-1, 1)", scale="mean"),
    "xnor": QuantizedWeight("sign", "rectangular(-1, 1)", scale="per-channel"),
    "twn": QuantizedWeight("ternary(0.7)", "constant", scale="mean", unit=1),
    "ternary": QuantizedWeight("ternary(0.7)", "rectangular(-2, 2)", scale="per-channel", unit=1),
    "bits": QuantizedWeight.from_bits(3),
    "levels": QuantizedWeight("signed_staircase(3)", "constant", unit=2.5),
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def _latent(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _by_hand(kind, latent):
    """Loops over plain numbers: the values, and the slope that feedback is multiplied with."""
    rows = latent.tolist()
    parts = [[w] for w in rows] if kind.scale == "per-channel" else [rows]
    values, slopes = [], []
    for part in parts:
        flat = [w for row in part for w in row]
        unit = 1 if kind.unit is None else kind.unit * math.fsum(map(abs, flat)) / len(flat)
        step = {"sign": _sign, "ternary(0.7)": _ternary, "signed_staircase(3)": _steps}[str(kind.forward_fn)]
        low, high = {
            "rectangular(-1, 1)": (-1, 1),
            "rectangular(-2, 2)": (-2, 2),
            "constant(1)": (-math.inf, math.inf),
        }[str(kind.rule)]
        q = [step(w / unit) for w in flat]
        scale = 1 if kind.scale == "none" else sum(w * v for w, v in zip(flat, q, strict=True)) / sum(v * v for v in q)
        values += [scale * v for v in q]
        slopes += [scale / unit * (low <= w / unit <= high) for w in flat]
    return [torch.tensor(numbers, dtype=torch.float64).reshape(latent.shape) for numbers in (values, slopes)]


def _sign(z):
    return 1 if z >= 0 else -1


def _ternary(z):
    return 0 if abs(z) <= 0.7 else _sign(z)


def _steps(z):
    return round(3 * max(-1, min(1, z))) / 3


@each_kind
@pytest.mark.parametrize("seed", range(5))
def test_values_and_gradient_are_those_of_the_formula(kind, seed):
    latent = _latent(seed, 4, 7).requires_grad_()
    feedback = _latent(seed + 100, 4, 7)
    weight = kind(latent)
    weight.backward(feedback)
    values, slopes = _by_hand(kind, latent.detach())
    torch.testing.assert_close(weight.detach(), values, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(latent.grad, feedback * slopes, rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 10_000), off=st.floats(0.5, 1.5))
def test_no_other_scale_is_nearer_to_the_latent_weights(seed, off):
    latent = _latent(seed, 3, 8)
    for name in ("scaled", "twn", "bits"):
        weight = KINDS[name](latent)
        assert (weight - latent).square().sum() <= (off * weight - latent).square().sum() + 1e-12


def test_the_scale_of_signs_is_the_mean_magnitude_and_that_of_twn_the_mean_beyond_the_threshold():
    """As their papers have it: arXiv 1603.05279, equation 6, and 1605.04711, equation 5."""
    latent = _latent(0, 5, 3, 3, 3)
    assert KINDS["scaled"](latent).abs().unique().item() == pytest.approx(latent.abs().mean().item())
    rows = latent.abs().flatten(1).mean(1)
    torch.testing.assert_close(KINDS["xnor"](latent).abs()[:, 0, 0, 0], rows)
    beyond = latent.abs()[latent.abs() > 0.7 * latent.abs().mean()]
    assert KINDS["twn"](latent).max().item() == pytest.approx(beyond.mean().item())


@pytest.mark.parametrize("bits", range(2, 9))
def test_the_unit_of_few_bits_is_best_for_normal_weights(bits):
    """The mean squared error of clipping and rounding, by integration; neighbours 3 % away are worse."""
    steps = 2 ** (bits - 1) - 1
    unit = QuantizedWeight.from_bits(bits).unit * math.sqrt(2 / math.pi)
    x = torch.linspace(-8, 8, 200_001, dtype=torch.float64)
    density = (-x.square() / 2).exp()

    def error(clip):
        rounded = torch.round((x / clip).clamp(-1, 1) * steps) / steps * clip
        return ((x - rounded).square() * density).sum().item()

    assert error(unit) < min(error(0.97 * unit), error(1.03 * unit))


@each_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_that_start_at_zero_have_a_unit_of_one(kind, dtype):
    """So feedback comes as it is, or not at all where signs are scaled by a mean magnitude of 0."""
    latent = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
    weight = kind(latent)
    weight.backward(torch.full((2, 3), 2.0, dtype=dtype))
    scaled_signs = str(kind.forward_fn) == "sign" and kind.scale != "none"
    assert torch.equal(weight, torch.full_like(weight, kind is KINDS["sign"]))
    assert torch.equal(latent.grad, torch.full_like(weight, 0.0 if scaled_signs else 2.0))


def test_weights_below_the_normal_numbers_count_as_zero():
    """The reciprocal of their mean magnitude, by which feedback is multiplied, is no number of float32."""
    latent = torch.full((2, 3), 1e-40, requires_grad=True)
    KINDS["levels"](latent).sum().backward()
    assert (latent.grad == 1).all()


def test_a_channel_of_zeros_leaves_the_others_alone():
    kind = QuantizedWeight("ternary(0.7)", "constant", scale="per-channel", unit=1)
    rows = _latent(4, 3, 6)
    rows[1] = 0
    latent, others = rows.clone().requires_grad_(), rows[[0, 2]].requires_grad_()
    (kind(latent) * 3).sum().backward()
    (kind(others) * 3).sum().backward()
    assert torch.equal(latent.grad[[0, 2]], others.grad)
    assert (latent.grad[1] == 3).all()


@each_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_small_weights_of_half_types_have_the_levels_of_float64(kind, dtype):
    """Their mean magnitude is below the smallest normal float16, and so is the sum of their squares."""
    latent = (3e-5 * _latent(5, 4, 9)).to(dtype)
    levels, exact = kind(latent), kind(latent.double())
    torch.testing.assert_close(levels.double(), exact, rtol=torch.finfo(dtype).eps, atol=6e-8)
    assert torch.equal(levels.sign(), exact.sign().to(dtype))


@each_kind
def test_transposed_it_is_the_same_of_the_transposed_weight(kind):
    other = QuantizedWeight(kind.forward_fn, kind.rule, scale=kind.scale, unit=kind.unit, transposed=True)
    first, second = _latent(6, 4, 7).requires_grad_(), _latent(6, 4, 7).T.contiguous().requires_grad_()
    feedback = _latent(7, 4, 7)
    kind(first).backward(feedback)
    other(second).backward(feedback.T)
    torch.testing.assert_close(other(second).T, kind(first), rtol=1e-12, atol=0)
    torch.testing.assert_close(second.grad.T, first.grad, rtol=1e-12, atol=0)
    assert str(other).endswith("transposed=True)")


@each_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_and_shape_stay(kind, dtype):
    for shape in ((4, 3), (4, 3, 2), (4, 3, 2, 2), (4,)):
        latent = torch.randn(shape, dtype=dtype, requires_grad=True)
        weight = kind(latent)
        assert (weight.dtype, weight.shape) == (dtype, latent.shape)
        weight.sum().backward()
        assert latent.grad.dtype == dtype


@each_kind
def test_nothing_flows_through_scale_and_unit(kind):
    """A weight whose feedback is blocked at one place gets exactly nothing there, however much the others get."""
    latent = _latent(3, 2, 6).requires_grad_()
    feedback = torch.ones(2, 6, dtype=torch.float64)
    feedback[0, 0] = 0
    kind(latent).backward(feedback)
    assert latent.grad[0, 0] == 0
    assert latent.grad.count_nonzero() > 3


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: QuantizedWeight(scale="max"), RuleValueError, "scale must be one of none, mean, per-channel"),
        (lambda: QuantizedWeight(unit=0), RuleValueError, "unit must be finite and positive"),
        (lambda: QuantizedWeight(unit="1"), RuleTypeError, "unit must be a number"),
        (lambda: QuantizedWeight("sin"), SpecError, "Unknown forward 'sin'"),
        (lambda: QuantizedWeight("sign", "tied"), UntrainableError, "tied"),
        (lambda: QuantizedWeight.from_bits(1), RuleValueError, "One bit is a sign"),
        (lambda: QuantizedWeight.from_bits(9), RuleValueError, "2 to 8"),
        (lambda: QuantizedWeight.from_bits(4.0), RuleTypeError, "integer from 2 to 8"),
    ],
)
def test_what_cannot_be_is_refused(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_it_is_a_module_without_parameters():
    assert isinstance(KINDS["sign"], nn.Module)
    assert KINDS["bits"].state_dict() == {}
    assert repr(KINDS["sign"]) == "QuantizedWeight(sign, rectangular(-1, 1), scale=none)"
