from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.stats import chisquare

from tieless.data import load
from tieless.errors import RuleTypeError, RuleValueError, SpecError

# A right sampler falls below this once in ten thousand; the seeds are fixed, so it is decided once for all.
DOUBTFUL = 1e-4


def samples(spec, seed=0):
    data = load(spec, seed=seed)
    return torch.cat([data.train_x, data.test_x]), torch.cat([data.train_y, data.test_y])


@pytest.mark.parametrize("d", [1, 10, 64])
@pytest.mark.parametrize("seed", range(3))
def test_hamming_weights_are_uniform(d, seed):
    x, _ = samples(f"ones(d={d}, n=20000)", seed)
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert chisquare(x.sum(1).long().bincount(minlength=d + 1)).pvalue > DOUBTFUL


def test_every_vector_of_one_weight_is_equally_likely():
    x, _ = samples("ones(d=4, n=40000)")
    two = x[x.sum(1) == 2]
    codes = (two * torch.tensor([1, 2, 4, 8])).sum(1).long().bincount(minlength=16)
    assert codes.nonzero().flatten().tolist() == [3, 5, 6, 9, 10, 12]
    assert chisquare(codes[codes > 0]).pvalue > DOUBTFUL


@settings(deadline=None)
@given(d=st.integers(1, 40), hundredths=st.integers(0, 99), seed=st.integers(0, 1000))
def test_the_label_says_whether_the_mean_exceeds_tau(d, hundredths, seed):
    x, y = samples(f"ones(d={d}, tau={hundredths / 100}, n=50)", seed)
    tau = Fraction(hundredths, 100)
    assert y.tolist() == [int(Fraction(int(row.sum()), d) > tau) for row in x]


@pytest.mark.parametrize(("tau", "label"), [("0.7", 0), ("0.6999999999", 1), ("0.7000000001", 0)])
def test_seven_of_ten_exceed_just_what_is_below_seven_tenths(tau, label):
    x, y = samples(f"ones(d=10, tau={tau})")
    assert set(y[x.sum(1) == 7].tolist()) == {label}
    assert set(y[x.sum(1) == 6].tolist()) == {0}
    assert set(y[x.sum(1) == 8].tolist()) == {1}


def test_shapes_types_and_split():
    data = load("ones", seed=0)
    assert data.name == "ones(10, 0.5, 2000)"
    assert data.classes == 2
    assert (data.train_x.shape, data.test_x.shape) == ((1600, 10), (400, 10))
    assert (data.train_y.shape, data.test_y.shape) == ((1600,), (400,))
    assert (data.train_x.dtype, data.test_x.dtype) == (torch.float32, torch.float32)
    assert (data.train_y.dtype, data.test_y.dtype) == (torch.int64, torch.int64)


def test_the_smallest_set_has_a_sample_on_each_side():
    data = load("ones(n=2)", seed=0)
    assert (len(data.train_y), len(data.test_y)) == (1, 1)


def test_the_seed_draws_the_vectors_and_tau_only_labels_them():
    low, high = samples("ones(tau=0.5)", seed=5), samples("ones(tau=0.7)", seed=5)
    assert torch.equal(low[0], high[0])
    assert not torch.equal(low[1], high[1])
    assert torch.equal(low[0], samples("ones(tau=0.5)", seed=5)[0])
    assert not torch.equal(low[0], samples("ones(tau=0.5)", seed=6)[0])


def test_torchs_own_generator_is_left_alone():
    before = torch.get_rng_state()
    load("ones", seed=0, subset=10)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("spec", "error", "complaint"),
    [
        ("ones(d=0)", RuleValueError, "needs d of at least 1, got d=0"),
        ("ones(d=-4)", RuleValueError, "needs d of at least 1, got d=-4"),
        ("ones(tau=1)", RuleValueError, r"needs tau in \[0, 1\), got d=10, tau=1"),
        ("ones(tau=-0.1)", RuleValueError, r"needs tau in \[0, 1\)"),
        ("ones(n=1)", RuleValueError, "needs n of at least 2"),
        ("ones(d=2.5)", RuleTypeError, "d must be an integer, got 2.5"),
        ("ones(d=true)", RuleTypeError, "d must be an integer, got True"),
        ("ones(tau='half')", RuleTypeError, "tau must be a number, got 'half'"),
        ("ones(dim=3)", SpecError, "Unknown parameter 'dim'.*takes d, tau, n"),
        ("ones(10, 0.5, 2000, 1)", SpecError, "Too many parameters"),
    ],
)
def test_bad_parameters_are_one_line(spec, error, complaint):
    with pytest.raises(error, match=complaint) as refused:
        load(spec, seed=0)
    assert "\n" not in str(refused.value)
