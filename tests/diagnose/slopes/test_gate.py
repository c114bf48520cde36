"""A gate is found where it is, to the last digit, in rules that the search does not know."""

import struct
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from hypothesis import assume, given, strategies as st
from torch.nn import functional as F

import tieless
from tieless import rule as rule_of
from tieless.diagnose.slopes.gate import gate_of
from tieless.diagnose.slopes.region import Edge, Piece, describe, pieces_of
from tieless.errors import UntrainableError
from tieless.forwards import forward as forward_of
from tieless.rules import Rule

FLOATS = st.floats(-50, 50, width=32, allow_subnormal=False).map(lambda value: float(f"{value:.5g}"))


def region(forward, rule):
    return gate_of(forward_of(forward), rule_of(rule)).region


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        ("elu", None),
        ("gelu", None),
        ("hard_sigmoid", "-3 < z < 3"),
        ("hard_tanh", "-1 < z < 1"),
        ("leaky_relu", None),
        ("leaky_relu(0)", "z > 0"),
        ("linear", None),
        ("logistic", None),
        ("relu", "z > 0"),
        ("relu6", "0 < z < 6"),
        ("sawtooth", None),
        ("silu", None),
        ("softplus", None),
        ("tanh", None),
        (F.softshrink, "z < -0.5 or z > 0.5"),
        (F.hardswish, "z > -3"),  # its slope, (2 z + 3) / 6 up to 3, is 0 at -1.5: a single number is no gate
        (torch.square, None),
        (torch.sin, None),
    ],
)
def test_gates_of_derivatives(forward, expected):
    assert region(forward, "tied") == expected


@pytest.mark.parametrize("forward", [torch.floor, torch.Tensor.detach])
def test_what_is_flat_everywhere_is_refused_before_a_gate_is_looked_for(forward):
    with pytest.raises(UntrainableError, match="flat"):
        region(forward, "tied")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("constant", None),
        ("constant(-0.01)", None),
        ("constant(0)", "nowhere"),
        ("frozen", "nowhere"),
        ("full_jam", None),
        ("positive_jam", "z >= 0"),
        ('positive_jam(gate="feedback")', "feedback >= 0"),
        ('positive_jam(gate="feedback", replace="magnitude")', "feedback >= 0"),
        ("rectangular", "-0.5 <= z <= 0.5"),
        ("rectangular(20, 30)", "20 <= z <= 30"),
        ("rectangular(3.0001, 3.00011)", "3.0001 <= z <= 3.00011"),  # narrower than the steps of the search
        ("rectangular_jam", "-5 <= z <= 5"),
        ('rectangular_jam(-2, 3, gate="feedback")', "-2 <= feedback <= 3"),
        ('rectangular_jam(20, 30, gate="feedback")', "20 <= feedback <= 30"),
        ("triangular", "-1 < z < 1"),
        ("triangular(0.1)", "-0.1 < z < 0.1"),
        ("sign", None),
        ("centralize >> drop(0.9) >> quantize(2)", None),
        ("rectangular(-1, 1) >> noise(0.1) >> full_jam", "-1 <= z <= 1"),
        ("rectangular(-1, 1) >> positive_jam", "0 <= z <= 1"),
        ('rectangular >> positive_jam(gate="feedback")', "-0.5 <= z <= 0.5 and feedback >= 0"),
        ("rectangular(0, 1) >> rectangular(2, 3)", "nowhere"),
    ],
)
def test_gates_of_rules(rule, expected):
    assert region("heaviside", rule) == expected


@given(low=FLOATS, high=FLOATS)
def test_edges_are_exact_wherever_they_are(low, high):
    assume(low < high)
    assert region("sign", tieless.Rectangular(low, high)) == f"{low + 0.0:.6g} <= z <= {high + 0.0:.6g}"


@dataclass(frozen=True)
class Ring(Rule):
    """A user's rule, which needs ``z``: twice the feedback between two distances from 0, nothing elsewhere."""

    inner: float = 0.3
    outer: float = 0.7

    def needs(self, forward):
        return "input"

    def feedback(self, grad_output, kept, random, *_):
        return torch.where((kept.abs() > self.inner) & (kept.abs() <= self.outer), 2 * grad_output, 0.0)


@dataclass(frozen=True)
class Steep(Rule):
    """A user's rule that is nowhere 0, but runs out of digits not far from where it is largest."""

    def needs(self, forward):
        return "input"

    def feedback(self, grad_output, kept, random, *_):
        return grad_output * torch.exp(-((5 * kept) ** 2))


def test_a_rule_of_the_users_is_searched_as_ours_are():
    gate = gate_of(forward_of("sign"), Ring())
    assert gate.region == "-0.7 <= z < -0.3 or 0.3 < z <= 0.7"
    z = torch.linspace(-1, 1, 1001)
    assert torch.equal(gate.passes(z), (z.abs() > 0.3) & (z.abs() <= 0.7))


def test_what_only_becomes_small_has_no_edge():
    z = torch.tensor([4.0])
    assert torch.exp(-((5 * z) ** 2)) == 0
    assert region("sign", Steep()) is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_passes_is_the_mask_of_the_elements(dtype):
    z = torch.tensor([[-0.51, -0.5, 0.0], [0.5, 0.51, torch.nan]], dtype=dtype).t()
    expected = (z >= -0.5) & (z <= 0.5)
    assert torch.equal(gate_of(forward_of("heaviside"), rule_of("rectangular")).passes(z), expected)


@dataclass(frozen=True)
class Chance(Rule):
    """A user's rule that sends something in half of all places, which a call's key decides."""

    draws: ClassVar[bool] = True

    def feedback(self, grad_output, kept, random, *_):
        return torch.where(random.uniform(grad_output) < 0.5, 0.0, grad_output)


def test_what_a_key_blocks_by_chance_another_may_pass():
    passing = gate_of(forward_of("sign"), Chance()).passes(torch.zeros(10_000))
    assert abs(passing.float().mean() - 0.75) < 0.03  # 7 standard deviations


def test_transforms_of_the_feedback_have_no_gate():
    gate = gate_of(forward_of("sign"), rule_of("drop(0.9) >> clip(0.1) >> centralize >> sign"))
    assert gate.region is None
    assert gate.passes(torch.randn(1000)).all()


def test_the_search_draws_nothing_from_the_generator():
    gate_of.__wrapped__.cache_clear()
    before = torch.get_rng_state()
    region("relu", "rectangular_jam(-0.37, 0.41)")
    assert torch.equal(torch.get_rng_state(), before)


def neighbours(value):
    (bits,) = struct.unpack("i", struct.pack("f", value))
    return [struct.unpack("f", struct.pack("i", bits + step))[0] for step in (-1, 1)]


@given(edge=st.floats(2**-99, 7.5, width=32), sign=st.sampled_from([-1, 1]), closed=st.booleans())
def test_an_edge_lies_between_two_neighbouring_numbers(edge, sign, closed):
    edge *= sign

    def above(z):
        return ((z >= edge) if closed else (z > edge)).float()

    (piece,) = pieces_of(above, torch.linspace(-8, 8, 33), [edge])
    assert piece == Piece(Edge(edge, closed), None)
    (unknown,) = pieces_of(above, torch.linspace(-8, 8, 33), [])
    assert unknown.low.at in (edge, *neighbours(edge))


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([], "nowhere"),
        ([Piece(None, None)], None),
        ([Piece(None, Edge(-0.0, closed=False))], "z < 0"),
        ([Piece(Edge(1 / 3, closed=True), None)], "z >= 0.333333"),
        ([Piece(Edge(-1.0, closed=True), Edge(1e6, closed=False))], "-1 <= z < 1e+06"),
        ([Piece(Edge(n, closed=True), Edge(n + 0.5, closed=True)) for n in range(4)], "z in 4 pieces"),
    ],
)
def test_regions_in_words(pieces, words):
    assert describe("z", pieces) == words
