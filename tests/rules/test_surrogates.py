"""Surrogates against PyTorch's derivative of the functions that they are the slopes of, and against their peers' formulas."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

import tieless as tl
from tieless import untie
from tieless.errors import RuleTypeError, RuleValueError

SIZES = st.floats(0.05, 10)


def _power(t, power):
    """Integral of ``(1 + |t|)^-power``."""
    return t.sign() * (torch.log1p(t.abs()) if power == 1 else ((1 + t.abs()) ** (1 - power) - 1) / (1 - power))


# Primitives of each shape of unit width and height, written from other formulas than the slopes are.
PRIMITIVES = {
    tl.ATan: torch.atan,
    tl.Circ: lambda t: t / torch.sqrt(1 + t * t),
    tl.Erf: lambda t: torch.erf(t) * math.sqrt(math.pi) / 2,
    tl.FakeNumericalGradient: lambda t: torch.where(t.abs() <= 1, t, t.sign() * (1 + torch.log(t.abs()))),
    tl.FastSigmoid: lambda t: t / (1 + t.abs()),
    tl.PiecewiseExp: lambda t: t.sign() * -torch.expm1(-t.abs()),
    tl.QPseudoSpike: lambda t: _power(t, 2),
    tl.Sigmoid: lambda t: 4 * torch.sigmoid(t),
    tl.SignLogAbs: lambda t: t.sign() * torch.log1p(t.abs()),
    tl.SquareWaveSeries: lambda t: torch.sin(t * math.pi / 2) * 2 / math.pi,
    tl.SwishSign: lambda t: torch.sigmoid(t) * (1 + t * (1 - torch.sigmoid(t))) * 2,
    tl.Triangular: lambda t: torch.where(t.abs() <= 1, t - t * t.abs() / 2, t.sign() / 2),
}
SURROGATES = list(PRIMITIVES)
HALVES = [surrogate for surrogate in SURROGATES if surrogate is not tl.SquareWaveSeries]


def slope(rule, z):
    z = z.clone().requires_grad_()
    untie(z, "heaviside", rule).sum().backward()
    return z.grad


@pytest.mark.parametrize("surrogate", SURROGATES)
@settings(deadline=None)
@given(z=st.floats(-50, 50), width=SIZES, height=SIZES)
def test_is_the_derivative_of_its_primitive(surrogate, z, width, height):
    z = torch.tensor([z], dtype=torch.float64)
    leaf = z.clone().requires_grad_()
    (PRIMITIVES[surrogate](leaf / width) * width * height).backward()
    if abs(z.item()) < 1e-300:  # where |z / width| is 0 and has no derivative, PyTorch takes 0
        leaf.grad[:] = height
    torch.testing.assert_close(slope(surrogate(width, height), z), leaf.grad, rtol=1e-10, atol=1e-12 * height)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_height_is_the_slope_at_zero(surrogate):
    assert slope(surrogate(0.3, 2.5), torch.zeros(1)).item() == 2.5


@pytest.mark.parametrize("surrogate", [*HALVES, tl.Rectangular])
@settings(deadline=None)
@given(half_width=st.floats(1e-3, 1e3), height=SIZES)
def test_half_width_is_where_the_slope_falls_through_half_its_height(surrogate, half_width, height):
    rule = surrogate.from_half_width(half_width, height)
    assert rule.half_width == pytest.approx(half_width, rel=1e-12)
    inside, outside = slope(rule, torch.tensor([half_width * (1 - 1e-9), half_width * (1 + 1e-9)], dtype=torch.float64))
    assert inside > height / 2 > outside


@given(power=st.floats(1e-3, 1e3))
def test_half_width_of_any_power(power):
    rule = tl.QPseudoSpike(2, 3, power)
    expected = 2 * (2 ** (1 / power) - 1)
    if expected < 1e300:
        assert rule.half_width == pytest.approx(expected, rel=1e-9)


def _sigma(x):
    return 1 / (1 + torch.exp(-x))


# The peers' formulas as they print them, written out again.
PEERS = {
    "snnTorch atan": (tl.ATan.from_alpha(3), lambda z: 1.5 / (1 + (math.pi * 3 * z / 2) ** 2)),
    "SpikingJelly Sigmoid": (tl.Sigmoid.from_alpha(5), lambda z: 5 * _sigma(5 * z) * (1 - _sigma(5 * z))),
    "Norse tanh": (tl.Sigmoid.from_tanh(3), lambda z: 1 - torch.tanh(3 * z) ** 2),
    "snnTorch fast_sigmoid": (tl.FastSigmoid.from_slope(25), lambda z: 1 / (1 + 25 * z.abs()) ** 2),
    "SpikingJelly SoftSign": (tl.FastSigmoid.from_soft_sign(2), lambda z: 1 / (4 * (0.5 + z.abs()) ** 2)),
    "SpikingJelly SuperSpike": (tl.FastSigmoid.from_super_spike(3), lambda z: 3 / (1 + z.abs()) ** 2),
    "SpikingJelly Erf": (tl.Erf.from_alpha(2), lambda z: 2 / math.sqrt(math.pi) * torch.exp(-4 * z * z)),
    "Norse heavi_erfc": (tl.Erf.from_erfc(3), lambda z: 2 / math.sqrt(math.pi) * torch.exp(-9 * z * z)),
    "SpikingJelly PiecewiseExp": (tl.PiecewiseExp.from_alpha(3), lambda z: 1.5 * torch.exp(-3 * z.abs())),
    "snnTorch SRE": (tl.PiecewiseExp.from_escape_rate(2, 5), lambda z: 5 * torch.exp(-2 * (z - 1).abs())),
    "SpikingJelly NZSLA": (tl.SignLogAbs.from_alpha(2), lambda z: 1 / (0.5 + z.abs())),
    "SpikingJelly QPseudoSpike": (tl.QPseudoSpike.from_alpha(2.5), lambda z: (1 + 2 * z.abs() / 1.5) ** -2.5),
    "SpikingJelly FNG": (tl.FakeNumericalGradient.from_alpha(0.5), lambda z: (z.sign() / z).clamp(max=0.5)),
    "Norse circ": (tl.Circ.from_alpha(0.5), lambda z: 0.125 / (0.25 + z * z) ** 1.5),
    "SpikingJelly PiecewiseQuadratic": (tl.Triangular.from_alpha(2), lambda z: (2 - 4 * z.abs()) * (z.abs() <= 0.5)),
    "Norse triangle": (tl.Triangular.from_norse(0.3), lambda z: 0.3 * torch.relu(1 - z.abs())),
    "Larq ApproxSign": (tl.Triangular(1, 2), lambda z: 2 * (1 - z.abs()) * (z.abs() <= 1)),
    "SpikingJelly Rect": (tl.Rectangular.from_alpha(2), lambda z: 2 * (z.abs() < 0.25).double()),
    "SpikingJelly PLR": (
        tl.PiecewiseLeakyReLU.from_w(0.5, 0.1),
        lambda z: torch.where(z.abs() < 0.5, 1.0, 0.1 + 0 * z),
    ),
    "SpikingJelly SquarewaveFourierSeries": (
        tl.SquareWaveSeries.from_period(4, 8),
        lambda z: 0.5 * sum(torch.cos(2 * math.pi * k * z / 8) for k in (1, 3, 5)),
    ),
    "SpikingJelly S2NN": (
        tl.S2NN.from_alpha(4, 2),
        lambda z: torch.where(z < 0, 4 * _sigma(4 * z) * (1 - _sigma(4 * z)), 2 / (z + 1)),
    ),
    "SpikingJelly LogTailedReLU": (
        tl.LogTailedReLU(leak=0.1),
        lambda z: torch.where(z <= 0, 0.1, torch.where(z <= 1, 1.0, 1 / z)),
    ),
    "snnTorch SFS": (tl.SparseFastSigmoid.from_slope(2, 1), lambda z: (z > 1) / (1 + 2 * z.abs()) ** 2),
    "Larq SwishSign": (
        tl.SwishSign.from_beta(5),
        lambda z: 5 * (2 - 5 * z * torch.tanh(5 * z / 2)) / (1 + torch.cosh(5 * z)),
    ),
}


@pytest.mark.parametrize("peer", PEERS)
def test_parameters_of_the_peers(peer):
    rule, formula = PEERS[peer]
    z = torch.linspace(-3, 3, 100, dtype=torch.float64)
    torch.testing.assert_close(slope(rule, z), formula(z), rtol=1e-12, atol=1e-15)


EXTREMES = [
    *(
        surrogate(width, height)
        for surrogate in SURROGATES
        for width in (1e-30, 6e-8, 1e-3, 1, 32768.0, 1e30)
        for height in (1e-30, 6e-8, 1)
    ),
    *(tl.QPseudoSpike(width, 1, power) for width in (1e-30, 1e30) for power in (1e-3, 1e3)),
    tl.S2NN(1e-30, 1, 1),
    tl.LogTailedReLU(1e-30, 1, 0.5),
    tl.SparseFastSigmoid(1e-30, 1, 1e30),
    tl.SparseFastSigmoid(1e-30, 1, -1e30, "above"),
    tl.LeakyReLU(0.5),
    tl.PiecewiseLeakyReLU(1e-30, 1, 0.5),
    tl.StochasticSpike(),
]


def _exceeds_half(rule):
    """True if float16 has one of the parameters only as 0 or as infinity."""
    sizes = [abs(value) for value in dataclasses.astuple(rule) if isinstance(value, float)]
    return any(size > 65504 or 0 < size < 2**-25 for size in sizes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("rule", EXTREMES, ids=str)
def test_finite_for_every_finite_input_at_every_legal_parameter(rule, dtype):
    limits = torch.finfo(dtype)
    positive = [0.0, limits.smallest_normal, 1e-4, 1.0, 87.5, 1e4, limits.max]
    z = torch.tensor([*positive, *(-value for value in positive)], dtype=dtype)
    if dtype == torch.float16 and _exceeds_half(rule):
        with pytest.raises(RuleValueError, match=r"in torch.float16, for a z of torch.float16"):
            slope(rule, z)
        return
    sent = slope(rule, z)
    assert sent.isfinite().all()
    assert (sent.abs() <= 1 + limits.eps).all()  # a quotient near 1 is rounded


INFINITE = [rule for rule in EXTREMES if rule not in (tl.QPseudoSpike(1e30, 1, 1e-3), tl.QPseudoSpike(1e-30, 1, 1e-3))]


@pytest.mark.parametrize("rule", INFINITE, ids=str)
def test_no_nan_at_infinity(rule):
    assert not slope(rule, torch.tensor([math.inf, -math.inf])).isnan().any()


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_nan_stays_where_it_is(surrogate):
    sent = slope(surrogate(0.3, 2), torch.tensor([0.1, math.nan, 0.2]))
    assert sent.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("rule", "z", "expected"),
    [
        (tl.LeakyReLU(0.25, 2), [-1, -0.0, 0, 1, math.nan], [0.25, 0.25, 0.25, 2, 0.25]),
        (tl.PiecewiseLeakyReLU(0.5, 2, 0.25), [-0.75, -0.5, 0.5, 0.75, math.nan], [0.25, 2, 2, 0.25, 0.25]),
        (tl.Rectangular(-1, 1, 3), [-1.5, -1, 1, 1.5, math.nan], [0, 3, 3, 0, 0]),
        (tl.FakeNumericalGradient(0.5, 2), [-0.0, 0, 0.5, -0.5, 1], [2, 2, 2, 2, 1]),
        (tl.LogTailedReLU(1, 1, 0.25), [-1, -0.0, 0, 0.5, 1, 2], [0.25, 0.25, 0.25, 1, 1, 0.5]),
        (tl.S2NN(1, 1, 0.5), [-0.0, 0, 1], [1, 1, 0.5]),
        (tl.SparseFastSigmoid(1, 1, 1), [-1, 0, 1, math.nan], [0, 1, 0, 0]),
        (tl.SparseFastSigmoid(1, 1, 1, "above"), [-3, 0, 1, 3, math.nan], [0, 0, 0, 0.0625, 0]),
        (tl.Triangular(1, 2), [-1, 1, 0], [0, 0, 2]),
        (tl.SquareWaveSeries(1, 2), [math.inf, -math.inf, 4], [0, 0, 2]),
        (tl.MagnitudeAware(0.5), [-0.75, -0.5, 0, 0.5], [0, 0.5, 0, 0.5]),
    ],
    ids=str,
)
def test_edges_by_hand(rule, z, expected):
    assert slope(rule, torch.tensor(z, dtype=torch.float32)).tolist() == expected


def test_a_blocked_infinity_is_exactly_zero():
    z = torch.tensor([-1.0, 1.0], requires_grad=True)
    untie(z, "heaviside", "leaky_relu").backward(torch.tensor([math.inf, math.inf]))
    assert z.grad.tolist() == [0, math.inf]


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("parameters", [(0,), (-1,), (1, 0), (1, -2), (math.nan,), (math.inf,), (1e-31,), (1, 1e31)])
def test_parameters_must_be_positive(surrogate, parameters):
    with pytest.raises(RuleValueError, match=surrogate.name):
        surrogate(*parameters)


CONSTRUCTORS = [
    getattr(cls, name)
    for cls in tl.rules().values()
    for name in vars(cls)
    if name.startswith("from_") and cls not in (tl.S2NN, tl.SquareWaveSeries)
]


@pytest.mark.parametrize("constructor", CONSTRUCTORS, ids=lambda make: make.__qualname__)
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_no_constructor_divides_by_zero(constructor, value):
    with pytest.raises(RuleValueError, match=r"> 0"):
        constructor(value)


@pytest.mark.parametrize("constructor", CONSTRUCTORS, ids=lambda make: make.__qualname__)
def test_constructors_want_numbers(constructor):
    with pytest.raises((RuleTypeError, TypeError)):
        constructor("1")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: tl.QPseudoSpike.from_alpha(1), "alpha_minus_1 > 0"),
        (lambda: tl.QPseudoSpike(power=0), "power from"),
        (lambda: tl.S2NN.from_alpha(4, 0), "beta > 0"),
        (lambda: tl.S2NN(left=0), "left > 0"),
        (lambda: tl.SquareWaveSeries.from_period(1), "n_minus_1 > 0"),
        (lambda: tl.SquareWaveSeries(terms=0), "terms from"),
        (lambda: tl.SparseFastSigmoid(bound=0), "bound > 0"),
        (lambda: tl.PiecewiseLeakyReLU(0), "width > 0"),
        (lambda: tl.StochasticSpike(variance=0), "variance > 0"),
        (lambda: tl.MagnitudeAware(0), "clip > 0"),
    ],
    ids=range(10),
)
def test_other_domains(make, says):
    with pytest.raises(RuleValueError, match=says):
        make()


def test_the_random_slope_of_silent_neurons():
    """U from the seed, as full_jam draws it; the same slope whatever is drawn between forward and backward."""
    z = torch.linspace(-1, 1, 1001).requires_grad_()
    torch.manual_seed(0)
    untie(z, "heaviside", "full_jam").sum().backward()
    uniform, z.grad = z.grad, None
    torch.manual_seed(0)
    y = untie(z, "heaviside", tl.StochasticSpike(2, 0.5))
    torch.rand(7)
    y.sum().backward()
    torch.testing.assert_close(z.grad, torch.where(z > 0, 1.0, (uniform + 1.5) * 0.5).detach())


def test_magnitudes_are_those_of_the_channels():
    z = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
    for dim in (0, 1, -1):
        z.grad = None
        untie(z, f"magnitude_aware_sign({dim})", tl.MagnitudeAware(1, dim)).sum().backward()
        scale = torch.stack([part.abs().mean() for part in z.detach().movedim(dim, 0)])
        expected = (scale * (z.detach().movedim(dim, -1).abs() <= 1)).movedim(-1, dim)
        torch.testing.assert_close(z.grad, expected)
        torch.testing.assert_close(
            untie(z, f"magnitude_aware_sign({dim})", "constant").detach(),
            (scale * torch.where(z.detach().movedim(dim, -1) >= 0, 1.0, -1.0)).movedim(-1, dim),
        )
