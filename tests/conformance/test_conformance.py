"""Our rules against the packages that have them too, or their published formulas: 1e-6 relative, in float64."""

import math
import re
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st

import tieless as tl
from tests.conformance import cases
from tests.conformance.loading import WANTED, load

TOLERANCE = 1e-6
ROOT = Path(__file__).parents[2]


def needs(peer):
    if not cases.available(peer):
        pytest.skip(f"{peer} was not fetched: tools/get-peers")


def parameters(ranges):
    drawn = {
        name: st.integers(*ends) if all(isinstance(end, int) for end in ends) else st.floats(*ends)
        for name, ends in ranges.items()
    }
    return st.fixed_dictionaries(drawn)


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.id)
def test_ours_is_theirs(case):
    needs(case.peer)

    @settings(max_examples=25 if case.ranges else 5, deadline=None, database=None)
    @given(chosen=parameters(case.ranges), seed=st.integers(0, 2**31))
    def compare(chosen, seed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what others deprecate is not ours to fix
            apart = cases.difference(case, chosen, seed)
        assert apart.gradient <= TOLERANCE
        assert apart.value <= TOLERANCE

    compare()


def test_the_comparison_sees_a_rule_that_is_a_millionth_off():
    case = next(case for case in cases.CASES if case.id == "larq ApproxSign")
    wrong = cases.Case("larq", "wrong", case.theirs, lambda: ("sign", tl.Triangular(1, 2 + 3e-6)), "")
    assert cases.difference(wrong, {}, 0).gradient > TOLERANCE


def test_every_surrogate_of_the_catalogue_is_compared():
    compared = {tl.rule(case.ours(**{n: e[1] for n, e in case.ranges.items()})[1]).name for case in cases.CASES}
    peers = {name for name, cls in tl.rules().items() if cls.known_as}
    assert peers <= compared


# Where a peer is wrong, and what we do instead. docs/conformance.md has the list.


def gradient(function, z, feedback=None):
    leaf = torch.tensor(z, dtype=torch.float64).requires_grad_()
    y = function(leaf)
    y.backward(torch.ones_like(y) if feedback is None else feedback)
    return leaf.grad


def peer(name):
    needs(name)
    return load(name)


def test_snntorch_answers_in_float32_ours_in_the_dtype_of_z():
    z = torch.zeros(2, dtype=torch.float64)
    assert peer("snntorch")[0].atan()(z).dtype == torch.float32
    assert tl.untie(z, "heaviside", "atan").dtype == torch.float64


def test_snntorch_sigmoid_overflows_ours_falls_to_zero():
    z = torch.tensor([-4.0], requires_grad=True)
    peer("snntorch")[0].sigmoid(25)(z).sum().backward()
    assert z.grad.isnan().all()
    z.grad = None
    tl.untie(z, "heaviside", tl.Sigmoid.from_alpha(25)).sum().backward()
    assert z.grad.item() == pytest.approx(25 * math.exp(-100), rel=1e-3, abs=1e-38)


def test_snntorch_triangular_is_no_triangle():
    theirs = peer("snntorch")[0].triangular(2)
    assert gradient(theirs, [-9.0, -0.5, 0.5, 9.0]).tolist() == [2, 2, -2, -2]
    assert gradient(lambda z: tl.untie(z, "heaviside", "leaky_relu(2, -2)"), [-9.0, 9.0]).tolist() == [2, -2]


def test_snntorch_leaky_spike_operator_cannot_be_called():
    with pytest.raises(TypeError):
        peer("snntorch")[0].LSO(0.1)(torch.zeros(1, requires_grad=True))
    assert gradient(lambda z: tl.untie(z, "heaviside", "leaky_relu(0.1)"), [-1.0, 1.0]).tolist() == [0.1, 1]


def test_snntorch_sparse_gradient_is_far_above_the_threshold_the_papers_is_near_it():
    z = [-2.0, 0.5, 2.0]
    assert (gradient(peer("snntorch")[0].SFS(25, 1), z) != 0).tolist() == [False, False, True]
    ours = gradient(lambda x: tl.untie(x, "heaviside", tl.SparseFastSigmoid(0.04)), z)
    assert (ours != 0).tolist() == [False, True, False]


def test_spikingjelly_divides_by_zero_ours_refuses():
    surrogate = peer("spikingjelly")[0]
    with pytest.raises(ZeroDivisionError):
        gradient(surrogate.PiecewiseQuadratic(0.0), [1.0])
    with pytest.raises(ZeroDivisionError):
        gradient(surrogate.QPseudoSpike(1.0), [1.0])
    assert gradient(surrogate.Erf(0.0), [1.0]).tolist() == [0]
    for make in (tl.Triangular.from_alpha, tl.Erf.from_alpha):
        with pytest.raises(tl.errors.RuleValueError, match="alpha > 0"):
            make(0.0)


def test_spikingjelly_fake_gradient_is_minus_infinity_at_minus_zero():
    assert gradient(peer("spikingjelly")[0].FakeNumericalGradient(0.3), [-0.0]).tolist() == [-math.inf]
    ours = gradient(lambda z: tl.untie(z, "heaviside", tl.FakeNumericalGradient.from_alpha(0.3)), [-0.0, 0.0])
    assert ours.tolist() == [0.3, 0.3]


def test_spikingjelly_sigmoid_loses_its_digits_where_it_saturates():
    theirs = gradient(peer("spikingjelly")[0].Sigmoid(1.0), [38.0])
    ours = gradient(lambda z: tl.untie(z, "heaviside", tl.Sigmoid.from_alpha(1)), [38.0])
    assert theirs.item() == 0
    assert ours.item() == pytest.approx(math.exp(-38), rel=1e-12)


def test_spikingjelly_fourier_series_has_a_term_less_than_its_n():
    theirs = gradient(peer("spikingjelly")[0].SquarewaveFourierSeries(n=3, T_period=8.0), [0.0])
    assert theirs.item() == 2 * 4 / 8


def test_norse_superspike_ignores_its_parameter():
    norse = peer("norse")[0]
    assert torch.equal(*(gradient(lambda z, a=a: norse.superspike_fn(z, torch.tensor(a)), [0.3]) for a in (1.0, 100.0)))


def test_norse_triangle_scales_its_height_alone():
    norse = peer("norse")[0]
    assert gradient(lambda z: norse.triangle_fn(z, 5.0), [0.0, 0.9, 1.1]).tolist() == pytest.approx([5, 0.5, 0])


def test_norse_circ_is_nan_where_a_square_overflows():
    theirs = gradient(lambda z: peer("norse")[0].heavi_circ_fn(z, 0.5), [1e200])
    assert theirs.isnan().all()
    assert gradient(lambda z: tl.untie(z, "heaviside", tl.Circ.from_alpha(0.5)), [1e200]).tolist() == [0]


def test_brevitas_calls_nan_negative_ours_passes_it_on():
    z = torch.tensor([math.nan])
    assert peer("brevitas")[0].binary_sign_ste_impl(z).tolist() == [-1]
    assert tl.untie(z, "sign", "constant").isnan().all()


def test_freegrad_takes_any_parameter_ours_says_which_there_are():
    freegrad = peer("freegrad")[0]
    with freegrad.use(rule="rectangular", params={"lo": 5, "b": -7}):
        assert gradient(freegrad.Activation("ReLU"), [0.1]).tolist() == [0]
    with pytest.raises(tl.errors.SpecError, match="Unknown parameter 'lo'"):
        tl.rule("rectangular(lo=5)")


def test_the_page_has_a_row_for_each_case_and_none_is_too_far_apart():
    page = ROOT.joinpath("docs", "conformance.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w.]+)[ \d.]* \| `(.+?)` \| `(.+?)` \| ([\d.e+-]+) \| ([\d.e+-]+) \|", page, re.MULTILINE)
    assert [row[:3] for row in rows] == [(case.peer, case.name, case.spec) for case in cases.CASES]
    assert all(float(cell) <= TOLERANCE for row in rows for cell in row[3:] if cell != "-")


def test_the_wanted_are_those_that_are_fetched():
    lines = ROOT.joinpath("tools", "peers.txt").read_text(encoding="utf-8").splitlines()
    assert {line.partition("==")[0] for line in lines if not line.startswith("#")} == set(WANTED)
