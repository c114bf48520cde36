"""Sizes at the ends of a dtype: reductions that neither overflow nor vanish, and parameters that a dtype does not have."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

import tieless as tl
from tieless.errors import RuleValueError

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
LARGEST = {torch.float16: 12, torch.bfloat16: 120, torch.float32: 120, torch.float64: 1000}
EPSILON = {dtype: torch.finfo(dtype).eps for dtype in DTYPES}


def sent(rule, feedback, forward="linear"):
    z = torch.zeros_like(feedback).requires_grad_()
    tl.untie(z, forward, rule).backward(feedback)
    return z.grad


def sized(exponent, dtype):
    """Two samples of three numbers, around ``2**exponent``, which is exact in every dtype that has it."""
    return (torch.tensor([[3.0, -4.0, 0.5], [0.0, 1.0, -2.0]], dtype=torch.float64) * 2.0**exponent).to(dtype)


# The formulas, in NumPy's longest floats of order one; the size is put back by a power of two.
RULES = {
    "normalize": lambda g: g / np.sqrt((g**2).mean(1, keepdims=True)),
    'normalize(per="tensor")': lambda g: g / np.sqrt((g**2).mean()),
    'sign(norm="sample")': lambda g: (
        np.sign(g) * np.sqrt((g**2).sum(1, keepdims=True) / np.abs(np.sign(g)).sum(1, keepdims=True))
    ),
    'sign(norm="tensor")': lambda g: np.sign(g) * np.sqrt((g**2).sum() / np.abs(np.sign(g)).sum()),
    "centralize": lambda g: g - g.mean(1, keepdims=True),
    "rotate(180)": lambda g: -g,
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_transforms_are_those_of_feedback_of_order_one(rule, dtype):
    at_one = RULES[rule](sized(0, torch.float64).numpy())
    for exponent in (-LARGEST[dtype], 0, LARGEST[dtype]):
        grown = sent(rule, sized(exponent, dtype)).double() * (1 if rule.startswith("normalize") else 2.0**-exponent)
        torch.testing.assert_close(grown, torch.from_numpy(at_one), rtol=4 * EPSILON[dtype], atol=4 * EPSILON[dtype])


@given(exponent=st.integers(-140, 120), limit=st.integers(-95, 95))
def test_clip_norm_limits_feedback_of_any_size(exponent, limit):
    feedback = sized(exponent, torch.float32)
    norm = math.sqrt(30.25)  # of 3, -4, 0.5, 0, 1, -2
    factor = min(1.0, 2.0 ** (limit - exponent) / norm)
    expected = (sized(exponent, torch.float64) * factor).float()
    torch.testing.assert_close(sent(tl.ClipNorm(2.0**limit), feedback), expected, rtol=1e-6, atol=3e-45)


@pytest.mark.parametrize("what", [math.inf, math.nan])
def test_quantize_has_no_step_for_feedback_that_is_not_finite(what):
    """By its formula: the step is the largest element's, and 0 times infinity is NaN."""
    assert sent("quantize(4)", torch.tensor([1.0, what, 0.0])).isnan().all()


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_clip_norm_at_the_sizes_that_were_wrong(dtype):
    for size in (1e20, 1e-25):
        feedback = torch.tensor([3 * size, 4 * size], dtype=dtype)
        expected = torch.tensor([0.6, 0.8], dtype=torch.float64) * 1e-27
        torch.testing.assert_close(sent("clip_norm(1e-27)", feedback).double(), expected, rtol=0.01, atol=0)


def test_a_mean_of_the_largest_numbers_is_finite():
    feedback = torch.tensor([3e38, 2e38, 3e38])
    expected = torch.tensor([3e38, 2e38, 3e38], dtype=torch.float64)
    torch.testing.assert_close(sent("centralize", feedback).double(), expected - expected.mean(), rtol=1e-5, atol=0)
    z = torch.full((2, 3), 3e38)
    torch.testing.assert_close(tl.untie(z, "magnitude_aware_sign", "constant"), z)
    assert tl.untie(z, "ternary_weight", "constant").tolist() == [[1.0] * 3] * 2


def test_one_number_that_is_nearly_0_among_many_is_found():
    feedback = torch.zeros(10_000)
    feedback[3] = 1e-44
    assert sent("normalize", feedback)[3].item() == pytest.approx(100)
    assert sent('sign(norm="sample")', feedback)[3].item() == feedback[3].item()


def test_feedback_weights_follow_weights_of_any_size():
    for size in (1e-30, 1e30):
        weight = torch.tensor([[3.0, -4.0]]) * size
        sent_by = tl.feedbacks()["usf"](scale="weights").weights((1, 2), weight, 0, torch.device("cpu"))
        torch.testing.assert_close(sent_by / size, torch.tensor([[1.0, -1.0]]) * 5 / math.sqrt(2))


REFUSED = [
    ("linear", "constant(1e39)", torch.float32, "value=1e+39 is infinite in torch.float32"),
    ("linear", "constant(1e300)", torch.bfloat16, "infinite in torch.bfloat16"),
    ("linear", "constant(1e-50)", torch.float32, "value=1e-50 is 0 in torch.float32"),
    ("linear", "constant(1e-9)", torch.float16, "is 0 in torch.float16"),
    ("linear", "scale(70000)", torch.float16, "factor=70000.0 is infinite in torch.float16"),
    ("linear", "constant >> scale(1e39)", torch.float32, "scale: factor"),
    ("sign", "rectangular(-1, 70000)", torch.float16, "high=70000.0"),
    ("sign", "rectangular(-1e39, 1)", torch.float32, "low=-1e+39"),
    ("sign", "rectangular(-1, 1, height=1e39)", torch.float32, "height=1e+39"),
    ("sign", "leaky_relu(1e-60)", torch.float32, "leak=1e-60 is 0"),
    ("sign", "atan(1, 70000)", torch.float16, "height=70000.0"),
    ("relu", "full_jam(minimum=-3e38, maximum=3e38)", torch.float32, "maximum - minimum=6e+38"),
    ("relu", "stochastic_spike(1e5, 1)", torch.float16, "(|mean| + 0.5) * variance"),
    ("relu", "clip_norm(1e39)", torch.float16, "max_norm=1e+39 is infinite in torch.float32"),
    ("clamp(-1, 1e39)", "constant", torch.float32, "clamp: high"),
    ("leaky_relu(1e-60)", "constant", torch.float32, "negative_slope=1e-60 is 0"),
    ("sawtooth(1e-39)", "tied", torch.float32, "2 / period"),
    ("spike_count(70000)", "constant", torch.float16, "maximum=70000.0"),
    ("ternary(70000)", "constant", torch.float16, "threshold=70000.0"),
]


@pytest.mark.parametrize(("forward", "rule", "dtype", "says"), REFUSED)
def test_what_a_dtype_does_not_have_is_refused_where_it_meets_it(forward, rule, dtype, says):
    for call in (
        tl.untie,
        lambda z, *halves: torch.func.vmap(lambda row: tl.untie(row, *halves), randomness="same")(z),
    ):
        with pytest.raises(RuleValueError) as caught:
            call(torch.ones(2, 2, dtype=dtype), forward, rule)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
    assert tl.untie(torch.ones(2, dtype=torch.float64), forward, rule).isfinite().all()


@pytest.mark.parametrize("spec", ["clip_norm(1e6)", "drop(1e-9)", "rotate(1e-9)", "flip(1e-9)", "constant(65504)"])
def test_what_is_no_size_in_half_a_type_is_taken(spec):
    assert sent(spec, torch.ones(2, dtype=torch.float16)).tolist() == pytest.approx(
        [1, 1] if "5504" not in spec else [65504] * 2
    )


def test_a_function_of_the_users_has_its_parameters_in_float32():
    @tl.register_rule
    def safe(z, eps: float = 1e-8):
        return z.abs() / (z.abs() + eps)

    assert sent("safe", torch.ones(2, dtype=torch.float16), "relu").tolist() == [0, 0]
    with pytest.raises(RuleValueError, match=r"eps=1e-60 is 0 in torch.float32, for a z of torch.float16"):
        sent("safe(1e-60)", torch.ones(2, dtype=torch.float16))
