"""The forward that draws: its chances, its key, and what is promised of it beyond what every forward is asked."""

import math

import pytest
import torch
from hypothesis import given, strategies as st
from scipy import stats
from torch.utils.checkpoint import checkpoint

import tieless as tl
from tieless.draws import FORWARD_STREAM
from tieless.errors import RuleValueError, TransformError, UntrainableError
from tieless.kernels.reference import uniform

DRAWS = 1 << 14


def fires(z, spec="bernoulli", seed=0, rule="constant"):
    torch.manual_seed(seed)
    return tl.untie(z, spec, rule)


@given(z=st.floats(-5, 5), width=st.floats(0.1, 10), chance=st.sampled_from(["logistic", "clamp"]))
def test_it_fires_as_often_as_it_should(z, width, chance):
    expected = 1 / (1 + math.exp(-z / width)) if chance == "logistic" else min(max(z / width, 0.0), 1.0)
    count = int(fires(torch.full((DRAWS,), z), f'bernoulli({width!r}, chance="{chance}")').sum())
    # Six standard deviations: one example in 10^9 is beyond.
    assert abs(count - DRAWS * expected) <= 6 * math.sqrt(DRAWS * expected * (1 - expected)) + 1


def test_it_is_one_threshold_on_philox_numbers():
    """By the definition: the numbers of the key, the forward's stream and the element's index, and a logistic function."""
    z = torch.randn(7, 300)
    torch.manual_seed(5)
    key = torch.empty((), dtype=torch.int64).random_(-(2**63), None)
    expected = (uniform(z, key, FORWARD_STREAM, 0).double() < torch.special.expit(z.double() / 0.5)).float()
    assert torch.equal(fires(z, "bernoulli(0.5)", seed=5), expected)


def test_where_there_is_no_choice_it_makes_none():
    z = torch.tensor([-math.inf, -1e9, 1e9, math.inf])
    assert fires(z).tolist() == [0, 0, 1, 1]
    edges = torch.tensor([-3.0, -0.0, 0.0, 1.0, 3.0]).expand(1000, 5)
    assert fires(edges, 'bernoulli(chance="clamp")').unique(dim=0).tolist() == [[0, 0, 0, 1, 1]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_one_key_fires_alike_in_every_dtype(dtype):
    z = torch.randn(4096).to(dtype)
    assert torch.equal(fires(z), fires(z.to(torch.float32)).to(dtype))


def test_elements_and_calls_are_independent_of_each_other():
    torch.manual_seed(1)
    act, z = tl.Activation("bernoulli", "constant"), torch.zeros(DRAWS)
    one, other = act(z).numpy(), act(z).numpy()
    for left, right in ((one, other), (one[1:], one[:-1])):
        assert abs(stats.pearsonr(left, right).statistic) < 0.05


def test_forward_and_rule_draw_from_one_key_and_are_independent():
    torch.manual_seed(3)
    torch.empty((), dtype=torch.int64).random_(-(2**63), None)
    expected = torch.get_rng_state()
    z = torch.zeros(DRAWS, requires_grad=True)
    y = fires(z, seed=3, rule="full_jam")
    assert torch.equal(torch.get_rng_state(), expected)
    y.sum().backward()
    assert abs(stats.pearsonr(y.detach().numpy(), z.grad.numpy()).statistic) < 0.05
    # The rule's numbers are what they are beside a forward that draws nothing.
    alone = torch.zeros(DRAWS, requires_grad=True)
    fires(alone, "linear", seed=3, rule="full_jam").sum().backward()
    assert torch.equal(z.grad, alone.grad)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_fires_as_it_did(reentrant):
    """Were the second pass to draw anew, the feedback, which is y, would be another."""
    z = torch.randn(500)

    def sent(wrap):
        leaf = z.clone().requires_grad_()
        torch.manual_seed(2)
        wrap(lambda x: tl.untie(x, "bernoulli", "rectangular") ** 2, leaf).sum().backward()
        return leaf.grad

    expected = sent(lambda function, x: function(x))
    assert torch.equal(sent(lambda function, x: checkpoint(function, x, use_reentrant=reentrant)), expected)
    assert expected.unique().tolist() == [0, 2]


def test_it_stays_random_in_eval():
    act = tl.Activation("bernoulli", "constant").eval()
    z = torch.zeros(100)
    assert not torch.equal(act(z), act(z))


def test_an_export_draws_its_own_numbers_with_the_same_chances():
    act = tl.Activation("bernoulli(2)", "constant")
    z = torch.linspace(-4, 4, 9).repeat_interleave(4096).view(9, 4096)
    program = torch.export.export(act, (z,)).module()
    y = program(z)
    assert y.unique().tolist() == [0, 1]
    assert not torch.equal(y, program(z))
    torch.testing.assert_close(y.mean(1), torch.sigmoid(z[:, 0] / 2), atol=0.05, rtol=0)
    assert program(torch.full_like(z, math.nan)).isnan().all()


def test_its_mean_has_the_derivative_that_the_docstring_names():
    """Judge: numerical differences of the mean."""
    z = torch.linspace(-3, 3, 61, dtype=torch.float64, requires_grad=True)
    for spec, rule in (("bernoulli(0.5)", "sigmoid(0.5, 0.5)"), ('bernoulli(chance="clamp")', "rectangular(0, 1)")):
        (sent,) = torch.autograd.grad(tl.untie(z, spec, rule).sum(), z)
        mean, step = tl.forwards()["bernoulli"].probability, 1e-6
        value = tl.untie(z, spec, rule).grad_fn.pair.forward
        numerical = (mean(value, z.detach() + step) - mean(value, z.detach() - step)) / (2 * step)
        edges = torch.isin(z.detach().round(decimals=6), torch.tensor([0.0, 1.0], dtype=torch.float64))
        smooth = ~edges if "clamp" in spec else torch.ones_like(edges)
        torch.testing.assert_close(sent[smooth], numerical[smooth], atol=1e-7, rtol=1e-7)


def test_refusals():
    with pytest.raises(RuleValueError, match="width > 0"):
        tl.untie(torch.zeros(2), "bernoulli(0)", "constant")
    with pytest.raises(UntrainableError, match="flat almost everywhere"):
        tl.untie(torch.zeros(2), "bernoulli", "tied")
    with pytest.raises(TransformError, match="randomness="):
        torch.func.vmap(lambda z: tl.untie(z, "bernoulli", "constant"))(torch.zeros(3, 2))
