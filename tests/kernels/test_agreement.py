"""Kernels agree with the reference bit for bit: every function, dtype, layout and size."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from tieless.kernels import numba_cpu, reference

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, math.inf, -math.inf, math.nan, 5e-324, 65504.0, 1e-7]
WINDOWS = [(-0.5, 0.5), (0.0, math.inf), (-1.0, 1.0), (0.0, 6.0)]


@pytest.fixture(autouse=True)
def _poisoned_memory():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


def _tensor(size, dtype, layout="plain", seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(size, generator=generator, dtype=torch.float64)
    count = min(size, len(SPECIAL))
    values[torch.randperm(size, generator=generator)[:count]] = torch.tensor(SPECIAL[:count], dtype=torch.float64)
    values = values.to(dtype)
    if layout == "strided":
        wide = torch.zeros(size, 2, dtype=dtype)
        wide[:, 0] = values
        return wide[:, 0]
    if layout == "transposed" and size % 2 == 0:
        return values.view(2, -1).t()
    return values


def _same(one, other):
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    assert one.stride() == other.stride()
    nan = one.isnan() if one.is_floating_point() else torch.zeros_like(one, dtype=torch.bool)
    if one.is_floating_point():
        assert torch.equal(nan, other.isnan())
        assert torch.equal(torch.signbit(one)[~nan], torch.signbit(other)[~nan])
    assert torch.equal(one[~nan], other[~nan])


CASES = st.fixed_dictionaries(
    {
        "size": st.integers(0, 70) | st.integers(1000, 3100),
        "dtype": st.sampled_from(DTYPES),
        "layout": st.sampled_from(["plain", "strided", "transposed"]),
        "seed": st.integers(0, 10**6),
    }
)


@settings(deadline=None, max_examples=150)
@given(case=CASES, window=st.sampled_from(WINDOWS), open_low=st.booleans(), open_high=st.booleans())
def test_window_bits(case, window, open_low, open_high):
    z = _tensor(**case)
    _same(*(k.window_bits(z, *window, open_low, open_high) for k in (reference, numba_cpu)))


@settings(deadline=None, max_examples=150)
@given(case=CASES, inside=st.sampled_from([1.0, 0.0, 1 / 6]), outside=st.sampled_from([0.0, 0.01, -2.0]))
def test_gate(case, inside, outside):
    grad = _tensor(**case)
    bits = reference.window_bits(_tensor(case["size"], torch.float32, seed=1), -0.5, 0.5, False, False)
    _same(*(k.gate(grad, bits, inside, outside) for k in (reference, numba_cpu)))


@settings(deadline=None, max_examples=150)
@given(
    case=CASES,
    levels=st.sampled_from([(0.0, 0.0, 0.0, 0.0, 1.0), (0.0, 0.0, -1.0, 1.0, 1.0), (-0.5, 0.5, -1.0, 0.0, 1.0)]),
)
def test_three_level(case, levels):
    z = _tensor(**case)
    _same(*(k.three_level(z, *levels) for k in (reference, numba_cpu)))


@settings(deadline=None, max_examples=100)
@given(case=CASES, key=st.integers(-(2**63), 2**63 - 1), stream=st.integers(0, 5), draw=st.integers(0, 2))
def test_uniform(case, key, stream, draw):
    like = _tensor(**case)
    _same(*(k.uniform(like, torch.tensor(key), stream, draw) for k in (reference, numba_cpu)))


@settings(deadline=None, max_examples=200)
@given(
    case=CASES,
    key=st.integers(-(2**63), 2**63 - 1),
    limits=st.sampled_from([(0.0, 1.0), (-1.0, 2.0), (0.1, 0.3), (1.0, 1.0 + 2**-23), (1e6, 1e6 + 0.1)]),
    magnitude=st.booleans(),
    gated=st.booleans(),
)
def test_jam(case, key, limits, magnitude, gated):
    grad = _tensor(**case)
    bits = reference.window_bits(_tensor(case["size"], torch.float32, seed=1), -0.5, 0.5, False, False)
    args = (grad, torch.tensor(key), 1, *limits, magnitude, bits if gated else None)
    _same(*(k.jam(*args) for k in (reference, numba_cpu)))


@pytest.mark.parametrize("size", [2**20 - 1, 2**20, 2**20 + 3])
def test_large(size):
    grad = _tensor(size, torch.float32)
    key = torch.tensor(123456789)
    bits = [k.window_bits(grad, -0.5, 0.5, False, False) for k in (reference, numba_cpu)]
    _same(*bits)
    _same(*(k.gate(grad, bits[0], 1.0, 0.0) for k in (reference, numba_cpu)))
    _same(*(k.jam(grad, key, 0, 0.0, 1.0, False, bits[0]) for k in (reference, numba_cpu)))


@pytest.mark.parametrize("kernels", [reference, numba_cpu], ids=["reference", "numba"])
def test_slopes_stay_below_the_maximum_where_the_sum_rounds_up(kernels):
    """1 + (1 - 2^-24) is 2 in float32; U is uniform on [1, 2), so 2 must never come."""
    grad = torch.ones(1 << 20)
    for key in range(40):
        sent = kernels.jam(grad, torch.tensor(key), 0, 1.0, 2.0, False, None)
        assert sent.min() >= 1
        assert sent.max() < 2


@pytest.mark.parametrize("kernels", [reference, numba_cpu], ids=["reference", "numba"])
def test_first_element_is_the_lowest_bit(kernels):
    z = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    assert kernels.window_bits(z, 0.5, 2.0, False, False).tolist() == [1, 2]
