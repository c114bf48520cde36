"""Feedback weights are those of their papers: signs, sizes, and the same numbers wherever they are made again."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

import tieless as tl
from tieless.errors import RuleTypeError, RuleValueError, SpecError
from tieless.feedback import feedback, key_of

CPU = torch.device("cpu")
RANDOM = ["fa", "brsf", "frsf", "dfa"]
SIGNS = ["usf", "brsf", "frsf"]


def weights(spec, weight, key=1):
    return feedback(spec).weights(tuple(weight.shape), weight, key, CPU)


@pytest.mark.parametrize("shape", [(300, 200), (32, 24, 5, 5)])
@pytest.mark.parametrize("spec", sorted(tl.feedbacks().keys() - {"tied"}))
def test_the_size_is_that_of_weights_as_pytorch_starts_them_by_glorot(spec, shape):
    torch.manual_seed(0)
    judge = nn.init.xavier_uniform_(torch.empty(shape))
    found = weights(spec, judge)
    assert float(found.square().mean().sqrt()) == pytest.approx(float(judge.square().mean().sqrt()), rel=0.02)
    if spec != "usf":  # which has one magnitude
        # A uniform distribution: as far out as Glorot's, and a quarter of the magnitudes below a quarter of that.
        limit = math.sqrt(3) * float(judge.square().mean().sqrt())
        assert float(found.abs().max()) == pytest.approx(limit, rel=0.02)
        assert float((found.abs() < limit / 4).float().mean()) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("spec", SIGNS)
def test_sign_symmetric_weights_have_the_signs_of_the_weights(spec):
    weight = torch.tensor([[0.3, -2.0, 0.0], [-1e-8, 5.0, -0.0]])
    found = weights(spec, weight)
    assert torch.equal(found.sign(), weight.sign())
    assert spec != "usf" or len(found.abs().unique()) == 2


@settings(deadline=None, max_examples=20)
@given(
    spec=st.sampled_from(["fa", "usf", "brsf", "frsf"]),
    size=st.floats(1e-3, 1e3),
    gain=st.sampled_from([1, 0.5, 3]),
    key=st.integers(-(2**63), 2**63 - 1),
)
def test_at_the_scale_of_the_weights_the_norm_is_theirs(spec, size, gain, key):
    weight = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)) * size
    found = weights(f"{spec}(scale='weights', gain={gain})", weight, key)
    torch.testing.assert_close(found.norm(), gain * weight.norm())


def test_gain_is_a_factor():
    weight = torch.randn(4, 3)
    for spec in ["fa", "usf", "brsf", "frsf", "dfa"]:
        torch.testing.assert_close(weights(f"{spec}(gain=3)", weight), 3 * weights(spec, weight))


@pytest.mark.parametrize("spec", ["fa", "usf", "brsf", "frsf"])
@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_the_norm_of_weights_whose_squares_no_float32_holds_is_theirs(spec, size):
    weight = size * torch.randn(4, 3)
    found = weights(f"{spec}(scale='weights')", weight)
    torch.testing.assert_close(found.double().norm(), weight.double().norm(), rtol=1e-5, atol=0)


def test_weights_of_zero_carry_nothing_at_any_scale():
    assert not weights("usf(scale='weights')", torch.zeros(3, 2)).any()


@pytest.mark.parametrize("spec", RANDOM)
def test_the_numbers_follow_from_the_key_and_the_shape_alone(spec):
    weight = torch.randn(20, 30)
    one = weights(spec, weight, key_of(0, "fc"))
    torch.manual_seed(5)  # the generator has no part in it
    assert torch.equal(one, weights(spec, weight, key_of(0, "fc")))
    for other in (key_of(1, "fc"), key_of(0, "fc2")):
        assert not torch.equal(one, weights(spec, weight, other))


def test_layers_and_seeds_share_no_numbers():
    keys = {key_of(seed, name) for seed in range(50) for name in ("0", "1", "0.1", "10", "")}
    assert len(keys) == 250
    assert all(-(2**63) <= key < 2**63 for key in keys)


def test_specs_are_values():
    assert feedback("usf(scale='weights')") == feedback("usf('weights', 1)")
    assert {str(feedback(name)) for name in tl.feedbacks()} == set(tl.feedbacks())
    assert str(feedback("fa(gain=2)")) == "fa(gain=2)"


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("fb", SpecError, "Unknown feedback 'fb'. There are: brsf, dfa, fa, frsf, tied, usf"),
        ("feedback_alignment", SpecError, "is 'fa' here"),
        ("fa(gain=0)", RuleValueError, "fa needs gain > 0"),
        ("dfa(gain=-1)", RuleValueError, "dfa needs gain > 0"),
        ("usf(scale='max')", RuleTypeError, "scale must be one of 'glorot', 'weights'"),
        ("dfa(scale='weights')", SpecError, "dfa takes gain"),
        (3, RuleTypeError, "are a spec or a Feedback, got 3"),
    ],
)
def test_what_is_no_kind_is_refused(spec, error, says):
    with pytest.raises(error, match=says.replace("(", r"\(")):
        feedback(spec)
