"""The statements of docs/theory.md, each with numbers: what is proved holds, and what is denied has its counter-example."""

import math

import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn
from torch.nn import functional as F

import tieless as tl
from tieless.diagnose import bounds, descent, expected_cosine, kantorovich_bound
from tieless.diagnose.gradients.expected import moments_of


def _cosine(a, b):
    return (a.flatten() @ b.flatten() / (a.norm() * b.norm())).item()


def _one(value):
    return torch.tensor(value, dtype=torch.float64)


class Slopes(nn.Module):
    """A linear map, then slopes that are given: one for each element, so that any scaling can be tried."""

    def __init__(self, slopes):
        super().__init__()
        self.slopes = slopes

    def forward(self, z):
        return z.detach() + self.slopes * (z - z.detach())


def _gradients(x, feedback, slopes):
    """Of the weights of one unit or more, for a batch: ``sum (D feedback) x^T``, by autograd."""
    layer = nn.Linear(x.shape[1], feedback.shape[1], bias=False).double()
    (Slopes(slopes)(layer(x)) * feedback).sum().backward()
    return layer.weight.grad


def test_statement_1_one_layer_and_one_sample_keep_the_bound():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        x, feedback = (torch.randn(1, n, generator=generator, dtype=torch.float64) for n in (5, 7))
        slopes = 0.2 + torch.rand(1, 7, generator=generator, dtype=torch.float64)
        tied, untied = (_gradients(x, feedback, s) for s in (torch.ones_like(slopes), slopes))
        assert _cosine(tied, untied) == pytest.approx(_cosine(feedback, slopes * feedback), abs=1e-12)
        assert _cosine(tied, untied) >= kantorovich_bound(slopes.min().item(), slopes.max().item())


def test_statement_1_slopes_of_0_turn_by_90_degrees_at_most_and_come_as_close_as_one_likes():
    generator = torch.Generator().manual_seed(0)
    assert kantorovich_bound(0.0, 1.0) == 0
    for _ in range(50):
        x, feedback = (torch.randn(1, n, generator=generator, dtype=torch.float64) for n in (5, 7))
        slopes = torch.rand(1, 7, generator=generator, dtype=torch.float64).round() * 0.7
        slopes[0, 0] = 0.7  # else nothing may be left
        tied, untied = (_gradients(x, feedback, s) for s in (torch.ones_like(slopes), slopes))
        assert _cosine(tied, untied) > 0
    for small in (1e-2, 1e-4):
        x, feedback = torch.ones(1, 3, dtype=torch.float64), _one([[1.0, small]])
        tied, untied = (_gradients(x, feedback, s) for s in (_one([[1.0, 1.0]]), _one([[0.0, 1.0]])))
        assert _cosine(tied, untied) == pytest.approx(small, rel=1e-3)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_statement_2_two_samples_can_turn_a_gradient_round(ratio, place):
    """For any slopes that are not all equal, however close, and where they are a function of ``z``, which the samples do not share."""
    opposite = (ratio + place * (1 - ratio)) / 2
    x, feedback = _one([[1.0], [2.0]]), _one([[1.0], [-opposite]])
    layer = nn.Linear(1, 1, bias=False).double()
    z = layer(x)
    slopes = torch.where(z.abs() < 1.5 * layer.weight.abs(), ratio, 1.0).detach()
    tied, untied = (
        torch.autograd.grad((Slopes(s)(z) * feedback).sum(), layer.weight, retain_graph=True)[0]
        for s in (torch.ones_like(slopes), slopes)
    )
    assert tied.item() > 0 > untied.item()


def test_statement_2_so_does_one_sample_of_a_convolution():
    """Its places are summed as samples are: here two places of one image, slopes between 1 and 1.2."""
    conv = nn.Conv1d(1, 1, 1, bias=False).double()
    x = torch.ones(1, 1, 2, dtype=torch.float64)
    grads = []
    for slopes in (_one([1.0, 1.0]), _one([1.0, 1.2])):
        (grad,) = torch.autograd.grad((Slopes(slopes)(conv(x)) * _one([1.0, -0.9])).sum(), conv.weight)
        grads.append(grad.item())
    assert grads == pytest.approx([0.1, -0.08])
    assert kantorovich_bound(1.0, 1.2) > 0.995


def test_statement_3_a_layer_below_can_be_turned_round():
    """Two units with slopes 1 and 1.2 above, one unit below."""
    below, above = nn.Linear(1, 1, bias=False).double(), nn.Linear(1, 2, bias=False).double()
    with torch.no_grad():
        above.weight.copy_(_one([[1.0], [-0.9]]))
    grads = []
    for slopes in (_one([1.0, 1.0]), _one([1.0, 1.2])):
        loss = Slopes(slopes)(above(below(torch.ones(1, 1, dtype=torch.float64)))).sum()
        grads.append(torch.autograd.grad(loss, below.weight)[0].item())
    assert grads == pytest.approx([0.1, -0.08])


def _turned(angle, condition):
    return 2 * math.atan(condition * math.tan(angle / 2))


@given(st.integers(0, 2**31))
def test_statement_4_a_map_turns_by_its_condition_number_at_most(seed):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    u, t = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    angle, after = (math.acos(max(-1.0, min(1.0, c))) for c in (_cosine(u, t), _cosine(matrix @ u, matrix @ t)))
    assert after <= _turned(angle, torch.linalg.cond(matrix).item()) + 1e-6


def test_statement_4_and_that_is_attained():
    for condition, angle in ((2.0, 0.3), (10.0, 1.0)):
        matrix = torch.diag(_one([1.0, condition]))
        u, t = (_one([math.cos(angle / 2), side * math.sin(angle / 2)]) for side in (1, -1))
        assert math.acos(_cosine(matrix @ u, matrix @ t)) == pytest.approx(_turned(angle, condition))


def test_statement_5_the_bound_through_depth_holds_for_the_feedback_of_a_sample():
    torch.manual_seed(0)
    layers, width = 3, 12
    maps = [nn.Linear(width, width) for _ in range(layers)]
    for one in maps:
        nn.init.orthogonal_(one.weight)
    acts = [tl.Activation("leaky_relu(0.9)", "constant") for _ in range(layers)]
    net = nn.Sequential(*(module for pair in zip(maps, acts, strict=True) for module in pair)).double()
    batch = torch.randn(1, width, dtype=torch.float64), torch.randn(1, width, dtype=torch.float64)
    found = tl.alignment(net, F.mse_loss, batch).feedback.layers
    angle, last = 0.0, None
    for number in reversed(range(layers)):
        name = str(2 * number + 1)
        # Orthogonal maps turn nothing more; the derivative has a condition number of 1 / 0.9, so have the slopes beside it.
        angle = _turned(angle, 1 / 0.9) + math.acos(kantorovich_bound(0.9, 1.0))
        assert math.acos(found[name].cosine) <= angle
        assert last is None or found[name].cosine < last
        last = found[name].cosine
    for layer in bounds(net, batch, loss_fn=F.mse_loss).parts:
        assert layer.cosine >= layer.bound >= kantorovich_bound(0.9, 1.0) - 1e-6


@given(st.integers(0, 2**31))
def test_statement_5_takes_derivatives_without_their_sign(seed):
    """As silu's, which is below 0 in a part: a diagonal map turns by the ratio of its largest and least absolute value."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(6, generator=generator, dtype=torch.float64) - 1
    derivative = torch.autograd.functional.jacobian(lambda z: F.silu(z).sum(), z)
    u, t = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    condition = (derivative.abs().max() / derivative.abs().min()).item()
    angle, after = (math.acos(max(-1.0, min(1.0, c))) for c in (_cosine(u, t), _cosine(derivative * u, derivative * t)))
    assert after <= _turned(angle, condition) + 1e-6


def test_statement_5_is_empty_where_a_slope_is_0():
    net = nn.Sequential(nn.Linear(8, 32), tl.Activation("relu", "constant"), nn.Linear(32, 3))
    (found,) = bounds(net, (torch.randn(32, 8), torch.randint(0, 3, (32,)))).parts
    assert (found.bound, found.high) == (0, math.inf)


def _mean_gradient(net, x, labels, draws):
    """The mean over keys, and its scatter squared, as one vector."""
    rows = []
    for key in range(draws):
        torch.manual_seed(key)
        grads = torch.autograd.grad(F.cross_entropy(net(x), labels), list(net.parameters()))
        rows.append(torch.cat([grad.flatten() for grad in grads]))
    stacked = torch.stack(rows)
    return stacked.mean(0), stacked.var(0) / draws


def _deep(forward, rule):
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Linear(6, 10), tl.Activation(forward, rule)),
        *(nn.Linear(10, 10), tl.Activation(forward, rule), nn.Linear(10, 3)),
    ).double()


@pytest.mark.parametrize(("forward", "rule"), [("linear", "full_jam"), ("relu", "positive_jam")])
def test_statement_6_a_jam_that_keeps_the_gate_is_tied_on_average(forward, rule):
    net, tied = _deep(forward, rule), _deep(forward, "tied")
    x, labels = torch.randn(8, 6, dtype=torch.float64), torch.randint(0, 3, (8,))
    mean, scatter = _mean_gradient(net, x, labels, 200)
    loss = F.cross_entropy(tied(x), labels)
    grads = torch.autograd.grad(loss, list(tied.parameters()))
    # Weights below two jams get E[U]^2 of the tied gradient, below one E[U], above both all of it.
    factors = [0.25, 0.25, 0.5, 0.5, 1, 1]
    truth = torch.cat([factor * grad.flatten() for factor, grad in zip(factors, grads, strict=True)])
    noisy = scatter > 1e-20
    away = ((mean - truth)[noisy] ** 2 / scatter[noisy]).mean().item()
    assert away == pytest.approx(1, abs=0.5)  # the mean is as far away as its own scatter says
    torch.testing.assert_close(mean[~noisy], truth[~noisy])


def test_statement_6_a_full_jam_on_relu_is_not():
    """Its mean is the gradient of the constant slope 1/2, whose cosine to the tied one is another."""
    net, constant, tied = _deep("relu", "full_jam"), _deep("relu", "constant(0.5)"), _deep("relu", "tied")
    x, labels = torch.randn(8, 6, dtype=torch.float64), torch.randint(0, 3, (8,))
    mean, scatter = _mean_gradient(net, x, labels, 200)
    truth, other = (_mean_gradient(one, x, labels, 2)[0] for one in (constant, tied))
    noisy = scatter > 1e-20
    assert ((mean - truth)[noisy] ** 2 / scatter[noisy]).mean().item() == pytest.approx(1, abs=0.5)
    assert _cosine(truth[:70], other[:70]) < 0.9
    assert ((mean - other)[noisy] ** 2 / scatter[noisy]).mean().item() > 10


def test_statement_7_through_depth_each_jam_takes_its_factor():
    """A wide random linear network: feedback that has passed k jams has a cosine of (sqrt(3) / 2)^k."""
    torch.manual_seed(0)
    width, depth = 768, 4
    layers = [nn.Linear(16, width)]
    for _ in range(depth - 1):
        layers += [tl.Activation("linear", "full_jam"), nn.Linear(width, width)]
    net = nn.Sequential(*layers, tl.Activation("linear", "full_jam"), nn.Linear(width, 10))
    x, labels = torch.randn(16, 16), torch.randint(0, 10, (16,))
    found = list(tl.alignment(net, F.cross_entropy, (x, labels)).feedback.layers.values())
    for passed, layer in enumerate(reversed(found), start=1):
        assert layer.cosine == pytest.approx(expected_cosine("full_jam", depth=passed), abs=0.03)


def test_statement_7_needs_weights_of_mean_0():
    """With a mean, what ``u`` and ``t`` have in common on average goes to all units, and the cosine is another."""
    generator = torch.Generator().manual_seed(0)
    t = torch.rand(2000, generator=generator)
    u = t * torch.rand(2000, generator=generator)
    noise = torch.randn(2000, 2000, generator=generator)
    assert _cosine(noise.T @ u, noise.T @ t) == pytest.approx(_cosine(u, t), abs=0.03)
    assert _cosine((noise + 1).T @ u, (noise + 1).T @ t) > _cosine(u, t) + 0.1


def test_statement_7_a_finite_fourth_moment_narrows_the_cosine_as_the_width_grows():
    """16 times the elements leave a quarter of the scatter; a distribution without the moment keeps much more of it."""
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(500, 4096, generator=generator)
    # |U| of Pareto's distribution with index 3: its second moment is 3, its fourth is infinite.
    heavy = uniform ** (-1 / 3)

    def scatter(draws, width):
        t = torch.ones(width)
        return torch.tensor([_cosine(one[:width] * t, t) for one in draws]).std().item()

    assert scatter(uniform, 4096) / scatter(uniform, 256) == pytest.approx(1 / 4, abs=0.05)
    assert scatter(heavy, 4096) / scatter(heavy, 256) > 0.35


def test_statement_8_of_one_unit_says_nothing_however_many_inputs_it_has():
    x = torch.ones(2, 5000, dtype=torch.float64)
    feedback = _one([[1.0], [-0.9]])
    mean, square = moments_of("full_jam")
    spread = ((feedback.square().sum() * 5000) / (feedback.T @ x).square().sum()).item()
    assert mean / math.sqrt(mean**2 + (square - mean**2) * spread) == pytest.approx(0.13, abs=0.005)
    for key in range(5):
        torch.manual_seed(key)
        slopes = torch.rand(2, 1, dtype=torch.float64)
        tied, untied = (_gradients(x, feedback, s) for s in (torch.ones_like(slopes), slopes))
        assert abs(_cosine(tied, untied)) == pytest.approx(1)


@pytest.mark.parametrize("alike", [0.0, 0.8, -1.0])
def test_statement_8_the_gradient_of_a_batch_can_be_closer_or_farther(alike):
    """By R, which is 1 for one sample, below it where samples agree, above it where they cancel."""
    generator = torch.Generator().manual_seed(0)
    samples, width = 8, 4000
    x = torch.ones(samples, 1)
    own = torch.randn(samples, width, generator=generator)
    common = torch.randn(1, width, generator=generator)
    feedback = own - own.mean(0) * 0.9 if alike < 0 else (1 - alike) * own + alike * common
    z = torch.zeros(samples, width, requires_grad=True)
    torch.manual_seed(0)
    (sent,) = torch.autograd.grad(tl.untie(z, "linear", "full_jam"), z, feedback)
    tied, untied = feedback.T @ x, sent.T @ x
    mean, square = moments_of("full_jam")
    spread = (feedback.square().sum() / tied.square().sum()).item()
    expected = mean / math.sqrt(mean**2 + (square - mean**2) * spread)
    assert _cosine(tied, untied) == pytest.approx(expected, abs=0.02)
    alone = expected_cosine("full_jam")
    assert (expected > alone + 0.05) if alike > 0 else (expected < alone - 0.2) if alike < 0 else True


def test_statement_9_the_ratio_of_small_steps_is_the_cosine():
    torch.manual_seed(0)
    net = _deep("tanh", "full_jam")
    batch = torch.randn(16, 6, dtype=torch.float64), torch.randint(0, 3, (16,))
    cosine = tl.alignment(net, F.cross_entropy, batch).whole.cosine
    near, far = descent(net, F.cross_entropy, batch, lengths=[1e-6, 1e-1]).steps
    assert near.ratio == pytest.approx(cosine, rel=1e-4)
    assert abs(far.ratio - cosine) > 1e-3


def test_statement_10_a_single_unit_can_trade_its_derivative_for_its_loss():
    x, labels = torch.rand(32, 10, dtype=torch.float64), torch.randint(0, 2, (32,)).double()
    for head, forward in ((F.mse_loss, "constant"), (F.binary_cross_entropy, "tied")):
        torch.manual_seed(0)
        unit = nn.Sequential(nn.Linear(10, 1).double(), tl.Activation("logistic", forward))
        grads = torch.autograd.grad(head(unit(x).squeeze(1), labels), list(unit.parameters()))
        if forward == "constant":
            untied = grads
    for one, other in zip(untied, grads, strict=True):
        torch.testing.assert_close(one, 2 * other, rtol=1e-12, atol=1e-15)
