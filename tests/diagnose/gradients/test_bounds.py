"""Kantorovich's bound holds and is attained; slopes seen are those of calculus; expected cosines are those seen."""

import math

import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn
from torch.nn import functional as F

import tieless as tl
from tieless.diagnose import bounds, expected_cosine, kantorovich_bound
from tieless.errors import RuleTypeError, RuleValueError
from tieless.nn import LIF

finite = st.floats(1e-3, 1e3)


def _cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


@given(
    st.lists(st.tuples(st.floats(-10, 10).filter(lambda v: abs(v) > 1e-3), st.floats(0, 1)), min_size=1, max_size=20),
    finite,
    finite,
)
def test_no_scaling_turns_farther(elements, one, other):
    low, high = sorted((one, other))
    vector = torch.tensor([value for value, _ in elements], dtype=torch.float64)
    slopes = torch.tensor([low + (high - low) * place for _, place in elements], dtype=torch.float64)
    assert _cosine(vector, slopes * vector) >= kantorovich_bound(low, high) - 1e-9


@given(finite, finite)
def test_the_bound_is_attained(one, other):
    low, high = sorted((one, other))
    vector = torch.tensor([high, low], dtype=torch.float64).sqrt()
    slopes = torch.tensor([low, high], dtype=torch.float64)
    assert _cosine(vector, slopes * vector) == pytest.approx(kantorovich_bound(low, high), rel=1e-12)


def test_the_bound_is_empty_without_a_least_slope_and_independent_of_scale():
    assert kantorovich_bound(0.0, 1e-300) == 0
    assert kantorovich_bound(1.0, math.inf) == 0
    assert kantorovich_bound(1e-200, 4e-200) == pytest.approx(0.8)
    # For any cosine above 0 there is a vector and slopes from (0, 1] that turn it farther.
    vector, slopes = torch.tensor([1.0, 1e-6]), torch.tensor([1e-12, 1.0])
    assert _cosine(vector, slopes * vector) < 1e-5


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (2.0, 1.0), (0.0, 0.0), (math.nan, 1.0), (math.inf, math.inf)])
def test_what_is_no_range_is_refused(low, high):
    with pytest.raises(RuleValueError, match="kantorovich_bound needs 0 <= low <= high"):
        kantorovich_bound(low, high)


def test_numbers_are_asked_for():
    with pytest.raises(RuleTypeError, match="high must be a number, got '1'"):
        kantorovich_bound(0, "1")


def _net(forward, rule, *, depth=2, inputs=16, width=32):
    torch.manual_seed(0)
    layers = [nn.Linear(inputs, width)]
    for _ in range(depth - 1):
        layers += [tl.Activation(forward, rule), nn.Linear(width, width)]
    return nn.Sequential(*layers, tl.Activation(forward, rule), nn.Linear(width, 3))


def _batch(count=64):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 16, generator=generator), torch.randint(0, 3, (count,), generator=generator)


def test_the_slopes_seen_are_those_of_calculus():
    net, (x, labels) = _net("logistic", "constant(0.5)", depth=1), _batch()
    y = net[0](x).sigmoid().detach()
    quotients = 0.5 / (y * (1 - y))
    (found,) = bounds(net, (x, labels)).parts
    assert (found.low, found.high) == pytest.approx((quotients.min().item(), quotients.max().item()), rel=1e-5)
    assert found.bound == pytest.approx(kantorovich_bound(found.low, found.high))
    y.requires_grad_()
    (received,) = torch.autograd.grad(F.cross_entropy(net[2](y), labels), y)
    assert found.cosine == pytest.approx(_cosine((received / quotients).flatten(), received.flatten()), rel=1e-4)


@pytest.mark.parametrize(
    ("forward", "rule", "low", "high", "bound"),
    [
        ("relu", "tied", 1.0, 1.0, 1.0),
        ("relu", "constant", 1.0, math.inf, 0.0),
        ("relu", "rectangular(-1e9, 0.1)", 0.0, math.inf, 0.0),
        ("leaky_relu(0.1)", "constant", 1.0, 10.0, kantorovich_bound(1, 10)),
        ("linear", "flip(0.5)", -1.0, 1.0, -1.0),
        ("linear", "scale(-2)", -2.0, -2.0, -1.0),
        ("relu", "frozen", 0.0, 0.0, 0.0),
        ("linear", "full_jam(0.25, 1)", 0.25, 1.0, 0.8),
    ],
)
def test_known_slopes(forward, rule, low, high, bound):
    for found in bounds(_net(forward, rule), _batch(512)).parts:
        if rule == "frozen" and found.name == "1":
            assert math.isnan(found.low)  # nothing arrives
            continue
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-3)
        assert found.bound == pytest.approx(bound, abs=1e-3)
        assert found.cosine >= found.bound - 1e-9


@pytest.mark.parametrize("sigma", [0.5, 1.5])
def test_a_step_is_smoothed_by_noise_of_sigma(sigma):
    """Its smoothed twin is the normal distribution's function, whose derivative is highest where z is nearest to 0."""
    net, (x, labels) = _net("heaviside", "constant", depth=1), _batch()
    z = net[0](x).detach()
    scale = sigma * z.std(correction=0).item()
    quotients = scale * math.sqrt(2 * math.pi) * (z.square() / (2 * scale**2)).exp()
    (found,) = bounds(net, (x, labels), sigma=sigma).parts
    assert (found.low, found.high) == pytest.approx((quotients.min().item(), quotients.max().item()), rel=1e-3)


def test_a_spiking_cell_has_its_smoothed_twin():
    class Spiking(nn.Module):
        def __init__(self):
            super().__init__()
            self.below, self.cell, self.above = nn.Linear(16, 32), LIF(0.5), nn.Linear(32, 3)

        def forward(self, x):
            return self.above(self.cell.over_time(2 * self.below(x).expand(3, *x.shape[:1], 32))[0].mean(0))

    torch.manual_seed(0)
    found = bounds(Spiking(), _batch())
    assert 0 < found.layers["cell.spike"].bound < found.layers["cell.spike"].cosine < 1
    assert "cosine seen" in str(found)


@pytest.mark.parametrize(
    "rule",
    [
        "full_jam",
        "full_jam(-0.5, 2)",
        "drop(0.3)",
        "flip(0.2)",
        "full_jam >> drop(0.5)",
        "full_jam(1, 2) >> scale(-2) >> full_jam",
        "constant(3)",
    ],
)
def test_the_expected_cosine_is_the_one_seen(rule):
    z = torch.zeros(400_000, requires_grad=True)
    feedback = torch.randn(400_000, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    (sent,) = torch.autograd.grad(tl.untie(z, "linear", rule), z, feedback)
    assert expected_cosine(rule) == pytest.approx(_cosine(feedback, sent), abs=0.005)


def test_the_uniform_slope_alone_gives_half_the_root_of_three():
    assert expected_cosine("full_jam") == pytest.approx(math.sqrt(3) / 2, rel=1e-15)
    assert expected_cosine("positive_jam", depth=3) == pytest.approx(math.sqrt(3) ** 3 / 8)
    assert expected_cosine("full_jam(-1, 1)") == 0


def test_magnitudes_and_gates_multiply():
    n = 400_000
    z = torch.randn(n, generator=torch.Generator().manual_seed(1)).requires_grad_()
    feedback = torch.randn(n, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(0)
    for rule, without in (('full_jam(replace="magnitude")', math.sqrt(2 / math.pi)), ("positive_jam", math.sqrt(0.5))):
        (sent,) = torch.autograd.grad(tl.untie(z, "linear", rule), z, feedback)
        assert expected_cosine(rule, gate_cosine=without) == pytest.approx(_cosine(feedback, sent), abs=0.005)


def test_what_looks_at_the_feedback_has_no_closed_form():
    for rule in ("normalize", "rectangular", "full_jam >> sign"):
        with pytest.raises(RuleTypeError, match="Measure it with alignment"):
            expected_cosine(rule)
    with pytest.raises(RuleValueError, match="depth must be 1 or more"):
        expected_cosine("full_jam", depth=0)
    with pytest.raises(RuleTypeError, match="depth must be an integer"):
        expected_cosine("full_jam", depth=1.5)
    with pytest.raises(RuleValueError, match="gate_cosine must lie"):
        expected_cosine("full_jam", gate_cosine=2.0)
