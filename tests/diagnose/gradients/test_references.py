"""Substitutes for the derivative of a Heaviside: the smoothed forward against integrals, the estimate against an exact one."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tieless as tl
from tieless.diagnose.gradients.compare import figures
from tieless.diagnose.gradients.perturbed import Estimated, estimated, sums_with
from tieless.diagnose.gradients.smoothed import Smoothed, steps_of
from tieless.diagnose.watching.passes import loss_on, places_of, run_pass
from tieless.errors import RuleValueError
from tieless.forwards import forward

FLAT = ["heaviside", "sign", "ternary(0.3)", "round", "staircase(4)", "square_wave", "spike_count(3)", "floor"]


@pytest.mark.parametrize("spec", FLAT)
def test_it_is_the_expectation_under_noise(spec):
    """By the midpoint rule over the noise, fine enough to be right to 5e-4."""
    z = torch.tensor([-1.3, -0.3, 0.05, 0.71, 2.4], dtype=torch.float64)
    noise = torch.linspace(-8, 8, 100_001, dtype=torch.float64)
    weights = torch.exp(-noise * noise / 2)
    values = torch.stack([forward(spec).value(one + 0.4 * noise) for one in z])
    expected = (values @ weights) / weights.sum()
    # The derivative of an expectation under normal noise is that of value times noise, over sigma.
    slope = (values @ (weights * noise)) / weights.sum() / 0.4
    start = z.clone().requires_grad_()
    y = Smoothed(forward(spec), sigma=0.4)(start)
    (seen,) = torch.autograd.grad(y.sum(), start)
    torch.testing.assert_close(y.detach(), expected, rtol=0, atol=5e-4)
    torch.testing.assert_close(seen, slope, rtol=0, atol=5e-4)


def test_a_step_has_the_normal_density():
    z = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    (seen,) = torch.autograd.grad(Smoothed(forward("sign"), sigma=0.7)(z).sum(), z)
    density = torch.exp(-((z.detach() / 0.7) ** 2) / 2) / (0.7 * math.sqrt(2 * math.pi))
    torch.testing.assert_close(seen, 2 * density)


def test_steps_are_found_where_they_are():
    base, steps = steps_of(forward("staircase(3)"), torch.tensor([0.2, 0.9]), 0.5)
    assert base == 0
    assert steps == [(0.25, 0.5), (0.75, 0.5)]


def test_what_cannot_be_smoothed_says_why():
    with pytest.raises(RuleValueError, match=r"no elementwise function of steps.*'perturbation'"):
        Smoothed(forward("magnitude_aware_sign"))(torch.tensor([[1.0, -2.0], [0.3, 0.4]]))
    with pytest.raises(RuleValueError, match="Nothing to smooth heaviside by"):
        Smoothed(forward("heaviside"))(torch.ones(3))
    with pytest.raises(RuleValueError, match="too far for sigma"):
        Smoothed(forward("round"), sigma=1e-3)(torch.tensor([-1e6, 1e6]))
    with pytest.raises(RuleValueError, match="not finite"):
        Smoothed(forward("round"), sigma=1.0)(torch.tensor([0.0, math.inf]))


def _exact(net, x, labels, sigmas):
    """The expected loss as a sum over all states of two layers of steps, with their probabilities."""
    first, second, last = net[0], net[2], net[4]
    total = 0
    for row, label in zip(x, labels, strict=True):
        on = torch.special.ndtr(first(row) / sigmas[0])
        for low in itertools.product((0.0, 1.0), repeat=3):
            h = torch.tensor(low, dtype=x.dtype)
            p = torch.where(h == 1, on, 1 - on).prod()
            fired = torch.special.ndtr(second(h) / sigmas[1])
            for high in itertools.product((0.0, 1.0), repeat=2):
                k = torch.tensor(high, dtype=x.dtype)
                total = total + p * torch.where(k == 1, fired, 1 - fired).prod() * F.cross_entropy(last(k), label)
    return total / len(x)


def test_the_estimate_has_no_bias():
    """Two layers of steps, so small that the expected loss can be summed up and differentiated."""
    torch.manual_seed(0)
    step = ("heaviside", "rectangular")
    net = nn.Sequential(
        nn.Linear(2, 3), tl.Activation(*step), nn.Linear(3, 2), tl.Activation(*step), nn.Linear(2, 3)
    ).double()
    x, labels = torch.randn(2, 2, dtype=torch.float64), torch.tensor([0, 2])
    sigmas = {0: 0.6, 1: 0.4}
    exact = torch.autograd.grad(_exact(net, x, labels, sigmas), list(net.parameters()))
    draws = 120
    places = places_of(net, "the test")
    weights, _ = estimated(net, places, loss_on(F.cross_entropy, (x, labels)), sigmas, width=0.5, draws=draws, seed=0)
    squares, scatter = 0.0, 0.0
    for (_, known), truth in zip(weights.items(), exact, strict=True):
        mean = known.total[0] / draws
        squares += float(((mean - truth) ** 2).sum())
        scatter += float(known.squares / draws - (mean**2).sum()) / draws
    # The squared distance is what the scatter of the draws explains: its mean, give or take its own scatter.
    assert squares < 2.5 * scatter
    assert scatter < 0.1 * sum(float((truth**2).sum()) for truth in exact)


def test_squares_of_estimates_have_no_bias_either():
    generator = torch.Generator().manual_seed(0)
    truth = torch.ones(1000, dtype=torch.float64) / 10
    known = None
    for _ in range(400):
        one = [truth + torch.randn(1000, generator=generator, dtype=torch.float64)]
        if known is None:
            known = Estimated(one, (one[0] ** 2).sum())
        else:
            known.add(one)
    found = figures(sums_with([truth], known))
    # The mean of 400 has a length of 3.5 where the truth has 3.2: the naive cosine would be 0.89.
    assert found.cosine == pytest.approx(1, abs=0.03)
    assert found.reference_norm == pytest.approx(float(truth.norm()), rel=0.03)
    assert found.deviation < 0.3


def test_one_layer_under_a_linear_loss_agrees_with_its_smoothed_twin():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), tl.Activation("heaviside", "rectangular"), nn.Linear(3, 1)).double()
    batch = torch.randn(8, 4, dtype=torch.float64), None

    def loss(y, _):
        return y.mean()

    by_twin = tl.alignment(net, loss, batch)
    by_draws = tl.alignment(net, loss, batch, reference="perturbation", draws=120)
    assert by_draws.layers["0"].cosine == pytest.approx(by_twin.layers["0"].cosine, abs=0.1)
    assert by_draws.layers["0"].norm_ratio == pytest.approx(by_twin.layers["0"].norm_ratio, rel=0.1)


def test_without_steps_there_is_nothing_to_estimate():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), tl.Activation("tanh", "constant"), nn.Linear(8, 3))
    batch = torch.randn(8, 4), torch.randint(0, 3, (8,))
    one, other = (tl.alignment(net, F.cross_entropy, batch, reference=r, draws=2) for r in ("smoothed", "perturbation"))
    assert other.whole.cosine == pytest.approx(one.whole.cosine, rel=1e-6)
    assert other.references == ()


def test_a_pass_sees_what_the_model_does():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), tl.Activation("relu", "constant"), nn.Linear(8, 3))
    x, labels = torch.randn(8, 4), torch.randint(0, 3, (8,))
    seen = run_pass(net, places_of(net, "the test"), loss_on(F.cross_entropy, (x, labels)), {}, seed=0, received=True)
    loss = F.cross_entropy(net(x), labels)
    assert seen.loss == loss
    for gradient, expected in zip(
        seen.weights.values(), torch.autograd.grad(loss, list(net.parameters())), strict=True
    ):
        assert torch.equal(gradient, expected)
    assert torch.equal(seen.sent[0], seen.received[0])
