"""Slopes over the histogram of z: against derivatives, windows written by hand, and NumPy's histogram."""

import numpy as np
import pytest
import torch
from torch import nn

import tieless as tl
from tieless.diagnose import slope_profiles
from tieless.errors import RuleTypeError, RuleValueError


def _profile(forward, rule, bins=20):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 32), tl.Activation(forward, rule), nn.Linear(32, 2))
    x = torch.randn(256, 8)
    (profile,) = slope_profiles(net, x, bins=bins)
    return profile, net[0](x).detach().flatten()


def test_the_histogram_is_numpys():
    profile, z = _profile("tanh", "tied")
    counts, _ = np.histogram(z.numpy(), np.array(profile.edges, dtype=np.float32))
    assert profile.shares == pytest.approx((counts / len(z)).tolist(), abs=2 / len(z))
    assert 0.99 < sum(profile.shares) <= 1 + 1e-6


def test_slopes_are_those_of_calculus_and_of_windows():
    profile, _ = _profile("tanh", "rectangular(-0.5, 0.25)")
    at = torch.tensor(profile.at)
    torch.testing.assert_close(torch.tensor(profile.tied), 1 - at.tanh() ** 2, rtol=1e-4, atol=1e-5)
    assert profile.slope == tuple(((at >= -0.5) & (at <= 0.25)).float().tolist())


def test_a_jam_has_its_mean_and_a_step_no_tied_slope():
    profile, _ = _profile("heaviside", "rectangular_jam(-0.5, 0.5, maximum=3) >> normalize")
    inside = [slope for at, slope in zip(profile.at, profile.slope, strict=True) if abs(at) < 0.5]
    outside = [slope for at, slope in zip(profile.at, profile.slope, strict=True) if abs(at) > 0.5]
    assert inside == pytest.approx([1.5] * len(inside), abs=0.15)
    assert set(outside) == {0.0}
    assert profile.tied is None


def test_one_value_of_z_still_has_a_picture():
    net = nn.Sequential(tl.Activation("relu", "tied"))
    (profile,) = slope_profiles(net, torch.full((4, 4), 2.0))
    assert sum(profile.shares) == 1
    assert profile.edges[0] < 2 < profile.edges[-1]


def test_what_has_no_activation_is_refused():
    with pytest.raises(RuleTypeError, match=r"slope_profiles needs a torch\.nn\.Module"):
        slope_profiles(torch.relu, torch.zeros(1))
    with pytest.raises(RuleValueError, match="slope_profiles found no activation"):
        slope_profiles(nn.Linear(1, 1), torch.zeros(1))


def test_what_has_no_histogram_is_refused():
    net = nn.Sequential(tl.Activation("tanh", "rectangular"))
    with pytest.raises(RuleValueError, match="NaN or infinite numbers"):
        slope_profiles(net, torch.tensor([1.0, torch.nan]))
    with pytest.raises(RuleValueError, match="with no elements"):
        slope_profiles(net, torch.empty(0))
