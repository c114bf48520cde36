"""Kernels agree with the reference bit for bit: every function, dtype, layout and size."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from tieless.kernels import elementwise, numba_cpu, reference

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
    return LAYOUTS[layout](values.to(dtype))


def _strided(values):
    wide = torch.zeros(values.numel(), 2, dtype=values.dtype)
    wide[:, 0] = values
    return wide[:, 0]


def _channels_last(values):
    return values[: values.numel() // 12 * 12].view(-1, 3, 2, 2).contiguous(memory_format=torch.channels_last)


LAYOUTS = {
    "plain": lambda values: values,
    "strided": _strided,
    "transposed": lambda values: values[: values.numel() // 2 * 2].view(2, -1).t(),
    "channels last": _channels_last,
    "sliced": lambda values: values[: values.numel() // 6 * 6].view(-1, 6)[:, 1:5],
    "expanded": lambda values: values.expand(3, -1),
    "permuted and sliced": lambda values: values[: values.numel() // 24 * 24].view(-1, 3, 4, 2).permute(2, 0, 3, 1)[1:],
}


def _same(one, other):
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    nan = one.isnan() if one.is_floating_point() else torch.zeros_like(one, dtype=torch.bool)
    if one.is_floating_point():
        assert torch.equal(nan, other.isnan())
        assert torch.equal(torch.signbit(one)[~nan], torch.signbit(other)[~nan])
    assert torch.equal(one[~nan], other[~nan])


def _laid_out_like(result, given):
    """A size of 0 or 1 has no layout, and PyTorch gives it any stride."""
    steps = [
        stride
        for size, *stride in zip(given.shape, torch.empty_like(given).stride(), result.stride(), strict=True)
        if size > 1
    ]
    assert all(expected == got for expected, got in steps) or result.numel() <= 1


CASES = st.fixed_dictionaries(
    {
        "size": st.integers(0, 70) | st.integers(1000, 3100),
        "dtype": st.sampled_from(DTYPES),
        "layout": st.sampled_from(list(LAYOUTS)),
        "seed": st.integers(0, 10**6),
    }
)
PARAMETERS = {
    "clamp": (-1.0, 1.0),
    "gelu": (),
    "hard_sigmoid": (),
    "leaky_relu": (0.1,),
    "linear": (),
    "relu": (),
    "round": (),
    "sawtooth": (2.0,),
    "silu": (),
    "square_wave": (2.0,),
    "staircase": (3.0,),
    "three_level": (-0.5, 0.5, -1.0, 0.0, 1.0),
}


EXACTLY = {
    "gelu": lambda z: z * torch.special.erfc(-z / math.sqrt(2)) / 2,
    "silu": lambda z: z * torch.sigmoid(z),
}


def _as_forward(y, z, function):
    """``y`` is the reference's, or near enough to what the function is exactly; zeros have the sign of ``z``."""
    if function not in elementwise.TOLERANCES:
        _same(y, reference.FORWARDS[function](z, *PARAMETERS[function]))
        return
    wide = z.double()
    exact = EXACTLY[function](wide).to(z.dtype)
    limits, wider = torch.finfo(z.dtype), torch.finfo(reference.arithmetic_dtype(z.dtype))
    # The judge computes in float64 and is itself off by an error of z / sqrt(2), which z multiplies.
    units = elementwise.TOLERANCES[function] + (wide * wide if z.dtype == torch.float64 else 0)
    allowed = units * limits.eps * exact.double().abs() + elementwise.NEGLIGIBLE * wider.tiny + limits.tiny * limits.eps
    finite = exact.isfinite()
    _same(y[~finite], exact[~finite])
    assert ((y.double() - exact.double()).abs() <= allowed)[finite].all()
    assert torch.equal(torch.signbit(y)[finite], torch.signbit(z)[finite])


def _bits(like, seed=1):
    generator = torch.Generator().manual_seed(seed)
    other = torch.empty_like(like).copy_(torch.randn(like.shape, generator=generator))
    return reference.window_bits(other, -0.5, 0.5, False, False)


def test_every_forward_of_the_reference_is_tested():
    assert PARAMETERS.keys() == reference.FORWARDS.keys() == elementwise.FORWARDS.keys()
    assert reference.SLOPES.keys() == elementwise.SLOPES.keys() == SLOPE_PARAMETERS.keys()


@pytest.mark.parametrize("function", PARAMETERS)
@settings(deadline=None, max_examples=40)
@given(case=CASES, window=st.none() | st.tuples(st.sampled_from(WINDOWS), st.booleans(), st.booleans()))
def test_activate(function, case, window):
    z = _tensor(**case)
    window = window and (*window[0], *window[1:])
    y, bits = numba_cpu.activate(z, function, PARAMETERS[function], window)
    _as_forward(y, z, function)
    _laid_out_like(y, z)
    if window:
        _same(bits, reference.window_bits(z, *window))
    else:
        assert bits is None


@settings(deadline=None, max_examples=150)
@given(case=CASES, window=st.sampled_from(WINDOWS), open_low=st.booleans(), open_high=st.booleans())
def test_window_bits(case, window, open_low, open_high):
    z = _tensor(**case)
    _same(*(k.window_bits(z, *window, open_low, open_high) for k in (reference, numba_cpu)))


@settings(deadline=None, max_examples=150)
@given(case=CASES, inside=st.sampled_from([1.0, 0.0, 1 / 6]), outside=st.sampled_from([0.0, 0.01, -2.0]))
def test_gate(case, inside, outside):
    grad = _tensor(**case)
    sent, expected = (k.gate(grad, _bits(grad), inside, outside) for k in (numba_cpu, reference))
    _same(sent, expected)
    _laid_out_like(sent, grad)


BOUNDARIES = st.lists(st.sampled_from([x / 4 for x in range(-12, 13)]), min_size=1, max_size=15, unique=True).map(
    sorted
)


@settings(deadline=None, max_examples=150)
@given(case=CASES, boundaries=BOUNDARIES, even=st.booleans())
def test_codes(case, boundaries, even):
    z = _tensor(**case)
    _same(*(k.codes(z, boundaries, even) for k in (reference, numba_cpu)))


@pytest.mark.parametrize("function", PARAMETERS)
@settings(deadline=None, max_examples=40)
@given(case=CASES, boundaries=BOUNDARIES, even=st.booleans())
def test_activate_codes(function, case, boundaries, even):
    # The two halves of this kernel meet every dtype in test_activate and test_codes, and here with two functions.
    z = _tensor(**(case if function in {"gelu", "relu"} else case | {"dtype": torch.float32}))
    y, packed = numba_cpu.activate_codes(z, function, PARAMETERS[function], boundaries, even)
    _same(y, numba_cpu.activate(z, function, PARAMETERS[function], None)[0])
    _same(packed, reference.codes(z, boundaries, even))
    _laid_out_like(y, z)


@settings(deadline=None, max_examples=150)
@given(case=CASES, boundaries=BOUNDARIES)
def test_levels(case, boundaries):
    grad = _tensor(**case)
    packed = reference.codes(torch.empty_like(grad).copy_(grad.flip(0) if grad.dim() else grad), boundaries, False)
    values = [0.0, *(0.3 * place - 1 for place in range(len(boundaries)))]
    sent, expected = (k.levels(grad, packed, values) for k in (numba_cpu, reference))
    _same(sent, expected)
    _laid_out_like(sent, grad)


SLOPE_PARAMETERS = {
    "atan": (0.7, 1.3),
    "erf": (0.7, 1.3),
    "fake_numerical_gradient": (1.7, 1.3),
    "fast_sigmoid": (0.7, 1.3),
    "log_tailed_relu": (1.7, 1.3, 0.1),
    "piecewise_exp": (0.7, 1.3, 0.4),
    "s2nn": (0.7, 1.3, 0.9),
    "sigmoid": (0.7, 1.3),
    "sign_log_abs": (0.7, 1.3),
    "sparse_fast_sigmoid": (0.7, 1.3, -0.5, 1.0),
    "triangular": (1.5, 1.3),
}


@pytest.mark.parametrize("function", SLOPE_PARAMETERS)
@settings(deadline=None, max_examples=60)
@given(case=CASES, other=st.sampled_from(list(LAYOUTS)))
def test_slope(function, case, other):
    grad = _tensor(**case)
    value = grad.new_empty(0)
    if grad.shape == (like := _tensor(**(case | {"layout": other, "seed": 3}))).shape:
        value = like
    value = value if value.shape == grad.shape else torch.empty_like(grad).copy_(grad.flip(0) if grad.dim() else grad)
    args = (grad, value, function, SLOPE_PARAMETERS[function])
    sent, expected = numba_cpu.slope(*args), reference.slope(*args)
    if function in elementwise.TOLERANCES:
        limits = torch.finfo(grad.dtype)
        torch.testing.assert_close(
            sent,
            expected,
            rtol=elementwise.TOLERANCES[function] * limits.eps,
            atol=float(torch.finfo(reference.arithmetic_dtype(grad.dtype)).tiny) * 1e6 + limits.tiny * limits.eps,
            equal_nan=True,
        )
    else:
        _same(sent, expected)
    _laid_out_like(sent, grad)


@settings(deadline=None, max_examples=100)
@given(case=CASES, key=st.integers(-(2**63), 2**63 - 1), stream=st.integers(0, 5), draw=st.integers(0, 2))
def test_uniform(case, key, stream, draw):
    like = _tensor(**case)
    numbers, expected = (k.uniform(like, torch.tensor(key), stream, draw) for k in (numba_cpu, reference))
    _same(numbers, expected)
    _laid_out_like(numbers, like)


@settings(deadline=None, max_examples=100)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(2, 40) | st.sampled_from([64, 100, 513]), st.integers(1, 30)),
    dtype=st.sampled_from(DTYPES),
    key=st.integers(-(2**63), 2**63 - 1),
    gated=st.booleans(),
)
def test_random_numbers_where_channels_lie_side_by_side(shape, dtype, key, gated):
    images, channels, quarter = shape
    grad = torch.randn(images, 4 * quarter, channels).to(dtype).transpose(1, 2)
    _same(*(k.uniform(grad, torch.tensor(key), 1, 2) for k in (numba_cpu, reference)))
    bits = _bits(grad) if gated else None
    sent, expected = (k.jam(grad, torch.tensor(key), 1, -1.0, 2.0, False, bits) for k in (numba_cpu, reference))
    _same(sent, expected)
    _laid_out_like(sent, grad)


@pytest.mark.parametrize(
    ("shape", "how"),
    [
        ((2, 6, 28, 28), (6, 196, 960)),
        ((2, 64, 8, 8), (64, 16, 1024)),
        ((1, 2048, 2, 2), (2048, 1, 16384)),
        ((1, 2049, 2, 2), None),
        ((2, 512, 7, 7), None),
    ],
)
def test_which_images_have_their_numbers_drawn_in_the_order_of_memory(shape, how):
    images = torch.randn(shape).contiguous(memory_format=torch.channels_last)
    assert numba_cpu._crossed(images) == how
    assert numba_cpu._crossed(images, images.contiguous()) is None
    assert numba_cpu._crossed(images[:, 1:]) is None
    _same(*(k.uniform(images, torch.tensor(3), 0, 0) for k in (numba_cpu, reference)))


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
    args = (grad, torch.tensor(key), 1, *limits, magnitude, _bits(grad) if gated else None)
    sent, expected = numba_cpu.jam(*args), reference.jam(*args)
    _same(sent, expected)
    _laid_out_like(sent, grad)


@pytest.fixture
def with_threads():
    """A way to set how many threads kernels run in from now on."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("size", "dtype"),
    [
        *[(2**16 + 5, dtype) for dtype in (torch.float16, torch.float64)],
        *[(2**20 - 1, dtype) for dtype in (torch.float16, torch.float32)],
        *[(2**20, dtype) for dtype in (torch.bfloat16, torch.float64)],
        *[pytest.param(2**20 - 1, dtype, marks=pytest.mark.beyond) for dtype in (torch.bfloat16, torch.float64)],
        *[pytest.param(2**20, dtype, marks=pytest.mark.beyond) for dtype in (torch.float16, torch.float32)],
        *[pytest.param(2**22 + 3, dtype, marks=pytest.mark.beyond) for dtype in (torch.bfloat16, torch.float32)],
    ],
)
def test_large(with_threads, size, dtype):
    grad = _tensor(size, dtype)
    key, window = torch.tensor(123456789), (-0.5, 0.5, False, False)
    boundaries, values = [-1.0, 0.0, 1.0], [0.0, 0.3, 0.7, 1.0]
    expected, bits = reference.activate(grad, "three_level", PARAMETERS["three_level"], window)
    passed, jammed = reference.gate(grad, bits, 1.0, 0.0), reference.jam(grad, key, 0, 0.0, 1.0, False, bits)
    packed = reference.codes(grad, boundaries, False)
    sent = reference.levels(grad, packed, values)
    for threads in (1, 2):
        with_threads(threads)
        y, own = numba_cpu.activate(grad, "three_level", PARAMETERS["three_level"], window)
        _same(y, expected)
        _same(own, bits)
        _same(numba_cpu.gate(grad, bits, 1.0, 0.0), passed)
        _same(numba_cpu.jam(grad, key, 0, 0.0, 1.0, False, bits), jammed)
        _same(numba_cpu.codes(grad, boundaries, False), packed)
        y, fused = numba_cpu.activate_codes(grad, "gelu", (), boundaries, False)
        _as_forward(y, grad, "gelu")
        _same(fused, packed)
        _same(numba_cpu.levels(grad, packed, values), sent)


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
