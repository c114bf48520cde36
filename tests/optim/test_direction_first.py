"""DirectionFirst against the singular value decomposition, PyTorch's Muon, and what it promises of sizes."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from tieless import convert_feedback, untie
from tieless.errors import RuleTypeError, RuleValueError
from tieless.models import MLP, LeNet5
from tieless.optim import DirectionFirst
from tieless.optim.orthogonal import orthogonalised, unit

SHAPES = st.sampled_from([(1, 1), (3, 3), (2, 7), (7, 2), (16, 5), (5, 16)])
LOWEST, HIGHEST = 0.68, 1.21
"""Between these the singular values end: the extremes of five steps of the quintic, which is monotone in nothing."""


def _matrix(seed, *shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _trained(parameters, gradients, **options):
    optimiser = DirectionFirst(parameters, **options)
    for step in gradients:
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = gradient
        optimiser.step()
    return optimiser


@settings(max_examples=40)
@given(shape=SHAPES, seed=st.integers(0, 1000))
def test_singular_vectors_stay_and_singular_values_become_one_or_nearly(shape, seed):
    matrix = _matrix(seed, *shape)
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ orthogonalised(matrix) @ v.T
    torch.testing.assert_close(inner, torch.diag(inner.diagonal()), rtol=0, atol=1e-9)
    assert inner.diagonal().max() < HIGHEST
    assert (inner.diagonal()[values > values.norm() / 500] > LOWEST).all()


def test_the_promised_range_of_singular_values_is_that_of_the_iteration():
    """A diagonal matrix has its singular values on show: each alone with one that carries the norm."""
    share = torch.logspace(math.log10(1 / 500), math.log10(math.sqrt(0.5)), 4000, dtype=torch.float64)
    matrices = torch.diag_embed(torch.stack([(1 - share.square()).sqrt(), share], dim=-1))
    values = orthogonalised(matrices).diagonal(dim1=-2, dim2=-1)
    assert values.min() > LOWEST
    assert values.max() < HIGHEST


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (20, 20)])
def test_it_is_the_step_of_pytorchs_muon(shape):
    """Theirs computes in bfloat16: 8 bits, over fifteen products."""
    ours, theirs = (nn.Parameter(torch.zeros(shape)) for _ in range(2))
    muon = torch.optim.Muon([theirs], lr=0.1, momentum=0.9, weight_decay=0, nesterov=True)
    gradients = [unit(_matrix(seed, *shape, dtype=torch.float32)) for seed in range(5)]
    _trained([ours], [[gradient] for gradient in gradients], lr=0.1)
    for gradient in gradients:
        theirs.grad = gradient
        muon.step()
    assert (ours - theirs).norm() < 0.02 * theirs.norm()
    assert (ours - theirs).abs().max() < 0.03


def test_a_bias_takes_steps_of_one_root_mean_square():
    bias, alone = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.tensor(1.0))
    _trained([bias, alone], [[torch.tensor([3.0, -3.0, 3.0, 3.0]) * 1e-30, torch.tensor(-1e-12)]], lr=0.5, momentum=0)
    torch.testing.assert_close(bias.detach(), torch.tensor([-0.5, 0.5, -0.5, -0.5]))
    torch.testing.assert_close(alone.detach(), torch.tensor(1.5))


def test_a_bias_whose_gradients_disagree_takes_smaller_steps():
    agreeing, torn = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(4))
    up = torch.ones(4)
    _trained([agreeing, torn], [[up, up if i % 2 else -up] for i in range(200)], lr=0.5)
    assert agreeing.detach().abs().max().item() == pytest.approx(0.5 * 200, rel=0.06)
    assert torn.detach().abs().max() < 0.5


@settings(max_examples=25)
@given(exponents=st.lists(st.integers(-100, 100), min_size=6, max_size=6), seed=st.integers(0, 100))
def test_no_power_of_two_on_a_gradient_changes_a_bit(exponents, seed):
    """A power of two rounds nothing, so that not even the last bit may differ: in every layer and step another."""

    def run(factors):
        parameters = [nn.Parameter(_matrix(9, 4, 6)), nn.Parameter(_matrix(8, 4))]
        steps = [[_matrix(seed + i, 4, 6), _matrix(seed + i + 7, 4)] for i in range(3)]
        scaled = [[g * f for g, f in zip(s, factors[2 * i : 2 * i + 2], strict=True)] for i, s in enumerate(steps)]
        _trained(parameters, scaled)
        return parameters

    plain, scaled = run([1.0] * 6), run([2.0**e for e in exponents])
    assert all(torch.equal(a, b) for a, b in zip(plain, scaled, strict=True))


def test_a_network_trains_the_same_whatever_its_rules_and_feedback_weights_multiply_with():
    def run(rule, feedback="tied"):
        torch.manual_seed(0)
        net = convert_feedback(MLP(6, (8, 8), 3, "tanh", rule), feedback)
        optimiser = DirectionFirst(net.parameters())
        for seed in range(4):
            net.zero_grad()
            inputs = _matrix(seed, 5, 6, dtype=torch.float32)
            nn.functional.cross_entropy(net(inputs), torch.arange(5) % 3).backward()
            optimiser.step()
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    assert torch.equal(run("tied"), run("tied >> scale(1024)"))
    assert torch.equal(run("constant"), run("constant(0.0009765625)"))
    assert torch.equal(run("tied", "fa"), run("tied", "fa(gain=1024)"))
    assert torch.equal(run("constant", "dfa"), run("constant", "dfa(gain=0.0009765625)"))
    assert not torch.equal(run("tied"), run("constant"))
    assert not torch.equal(run("tied"), run("tied", "fa"))


def test_feedback_without_its_mean_leaves_of_a_gradient_what_tells_samples_apart():
    """``sum u x^T - n (mean u)(mean x)^T``, and nothing of a bias's."""
    x, target = _matrix(1, 9, 5) + 3, _matrix(2, 9, 4)

    def gradients(rule):
        layer = nn.Linear(5, 4).double()
        layer.load_state_dict({"weight": _matrix(3, 4, 5), "bias": _matrix(4, 4)})
        z = layer(x)
        z.retain_grad()
        (untie(z, "logistic", rule) - target).square().sum().backward()
        return layer.weight.grad, layer.bias.grad, z.grad

    whole, bias, sent = gradients("constant")
    centred, no_bias, _ = gradients("constant >> centralize(dim=0)")
    torch.testing.assert_close(centred, whole - len(x) * torch.outer(sent.mean(0), x.mean(0)))
    assert no_bias.norm() < 1e-12 * bias.norm()


DEEP = "constant >> centralize(dim=0)"


def _deep_gradients(rule, depth, *, gain, dtype):
    """Of the weights of a deep perceptron whose weights are larger than they start, bottom first."""
    torch.manual_seed(0)
    net = MLP(6, (16,) * depth, 3, "logistic", rule).to(dtype)
    weights = [parameter for parameter in net.parameters() if parameter.dim() == 2]
    with torch.no_grad():
        for weight in weights:
            weight.mul_(gain)
    nn.functional.cross_entropy(net(_matrix(1, 9, 6, dtype=dtype)), torch.arange(9) % 3).backward()
    return [weight.grad for weight in weights]


def test_a_size_taken_out_at_each_activation_turns_no_gradient():
    plain = _deep_gradients(DEEP, 12, gain=3, dtype=torch.float64)
    sized = _deep_gradients(f'{DEEP} >> normalize(per="tensor")', 12, gain=3, dtype=torch.float64)
    for a, b in zip(plain, sized, strict=True):
        assert torch.cosine_similarity(a.flatten(), b.flatten(), dim=0).item() == pytest.approx(1, abs=1e-9)
    assert plain[0].norm() > 10 * sized[0].norm()


def test_fifty_layers_leave_the_range_of_float32_unless_sizes_are_taken_out_on_the_way():
    """The gradient is multiplied with the weights of each layer, and six for each of fifty are beyond what float32 holds."""
    plain = _deep_gradients(DEEP, 50, gain=12, dtype=torch.float32)
    sized = _deep_gradients(f'{DEEP} >> normalize(per="tensor")', 50, gain=12, dtype=torch.float32)
    assert plain[-1].isfinite().all()
    assert not plain[0].isfinite().all()
    assert all(gradient.isfinite().all() and gradient.any() for gradient in sized)


@settings(max_examples=40)
@given(seed=st.integers(0, 1000), exponent=st.integers(-36, 30), shape=SHAPES, lr=st.sampled_from([1e-3, 0.02, 1.0]))
def test_no_step_is_longer_than_promised(seed, exponent, shape, lr):
    weight = nn.Parameter(torch.zeros(shape))
    gradients = [[_matrix(seed + i, *shape, dtype=torch.float32) * 10.0**exponent] for i in range(3)]
    before = weight.detach().clone()
    for step in gradients:
        _trained([weight], [step], lr=lr, momentum=0.5)
        bound = HIGHEST * lr * math.sqrt(max(1, shape[0] / shape[1]))
        length = torch.linalg.matrix_norm(weight.detach() - before, 2)
        assert 0 < length < bound * (1 + 1e-4)
        before = weight.detach().clone()


def test_a_kernel_is_the_matrix_of_its_outputs():
    kernel = nn.Parameter(_matrix(1, 6, 3, 5, 5).to(memory_format=torch.channels_last))
    flat = nn.Parameter(_matrix(1, 6, 3, 5, 5).flatten(1))
    gradient = _matrix(2, 6, 3, 5, 5)
    _trained([kernel], [[gradient]])
    _trained([flat], [[gradient.flatten(1)]])
    assert torch.equal(kernel.detach().flatten(1), flat.detach())
    assert kernel.is_contiguous(memory_format=torch.channels_last)


def test_weights_that_share_a_shape_do_not_meet():
    together = [nn.Parameter(_matrix(i, 5, 8)) for i in range(3)]
    apart = [nn.Parameter(_matrix(i, 5, 8)) for i in range(3)]
    gradients = [_matrix(i + 10, 5, 8) * 10.0**i for i in range(3)]
    _trained(together, [gradients])
    for parameter, gradient in zip(apart, gradients, strict=True):
        _trained([parameter], [[gradient]])
    for a, b in zip(together, apart, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_training_resumes_from_its_state_bit_for_bit(dtype):
    def gradients(start, stop):
        return [[_matrix(i, 5, 8).to(dtype), _matrix(i + 50, 5).to(dtype)] for i in range(start, stop)]

    first = [nn.Parameter(_matrix(0, 5, 8).to(dtype)), nn.Parameter(_matrix(1, 5).to(dtype))]
    optimiser = _trained(first, gradients(0, 4), lr=0.1, momentum=0.8)
    second = [nn.Parameter(parameter.detach().clone()) for parameter in first]
    again = DirectionFirst(second)
    again.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    assert (again.param_groups[0]["lr"], again.param_groups[0]["momentum"]) == (0.1, 0.8)
    for one, parameters in ((optimiser, first), (again, second)):
        for step in gradients(4, 9):
            for parameter, gradient in zip(parameters, step, strict=True):
                parameter.grad = gradient
            one.step()
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
        assert a.dtype == dtype
    assert again.state_dict()["state"].keys() == optimiser.state_dict()["state"].keys()


def test_no_gradient_moves_nothing_and_a_gradient_of_zero_leaves_the_past():
    idle, still = nn.Parameter(_matrix(0, 3, 4)), nn.Parameter(_matrix(1, 3, 4))
    before = [idle.detach().clone(), still.detach().clone()]
    optimiser = DirectionFirst([idle, still])
    still.grad = torch.zeros(3, 4, dtype=torch.float64)
    optimiser.step()
    assert torch.equal(idle.detach(), before[0])
    assert torch.equal(still.detach(), before[1])
    still.grad = _matrix(2, 3, 4)
    optimiser.step()
    after = still.detach().clone()
    still.grad = torch.zeros(3, 4, dtype=torch.float64)
    optimiser.step()
    assert torch.linalg.matrix_norm(still.detach() - after, 2) > 0.5 * optimiser.param_groups[0]["lr"]


def test_what_is_not_finite_is_not_hidden():
    weight = nn.Parameter(torch.zeros(2, 3))
    _trained([weight], [[torch.tensor([[1.0, math.nan, 0.0], [0.0, 1.0, 0.0]])]])
    assert weight.isnan().any()


def test_the_past_of_a_unit_that_is_off_does_not_fade_to_denormal_numbers():
    """Of 0.9 to the power of 830 float32 holds fewer digits, and for a thousand steps more it is not 0."""
    weight = nn.Parameter(torch.ones(3, 4))
    first = _matrix(0, 3, 4, dtype=torch.float32)
    off = first * torch.tensor([[1.0], [1.0], [0.0]])
    optimiser = _trained([weight], [[first], *[[off]] * 1000], lr=0.001)
    average = optimiser.state[weight]["average"]
    assert torch.equal(average[2], torch.zeros(4))
    assert (average[:2].abs() > 1e-3).all()


def test_what_is_dropped_changes_no_step_and_what_is_larger_is_kept():
    def step(smallest):
        weight = nn.Parameter(torch.zeros(2, 2))
        optimiser = _trained([weight], [[torch.tensor([[1.0, 2.0], [smallest, 1.0]])]])
        return weight, optimiser.state[weight]["average"][1, 0]

    without, nothing = step(0.0)
    with_dropped, dropped = step(1e-9)
    _, kept = step(1e-7)
    assert torch.equal(with_dropped, without)
    assert dropped == nothing == 0 < kept


def test_a_closure_is_called_with_gradients():
    net = LeNet5()
    optimiser = DirectionFirst(net.parameters())
    before = net[0].weight.detach().clone()

    def closure():
        optimiser.zero_grad()
        loss = net(torch.ones(2, 1, 28, 28)).square().mean()
        loss.backward()
        return loss

    assert optimiser.step(closure).item() > 0
    assert not torch.equal(net[0].weight.detach(), before)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"lr": 0}, RuleValueError, "lr > 0"),
        ({"lr": math.inf}, RuleValueError, "finite lr"),
        ({"lr": "0.1"}, RuleTypeError, "lr must be a number"),
        ({"momentum": 1}, RuleValueError, "momentum from 0 to below 1"),
        ({"momentum": None}, RuleTypeError, "momentum must be a number"),
    ],
)
def test_what_cannot_be_is_refused(options, error, says):
    weight = nn.Parameter(torch.zeros(2, 2))
    with pytest.raises(error, match=says):
        DirectionFirst([weight], **options)
    optimiser = DirectionFirst([nn.Parameter(torch.zeros(2, 2))])
    with pytest.raises(error, match=says):
        optimiser.add_param_group({"params": [weight], **options})
    assert len(optimiser.param_groups) == 1


def test_sparse_gradients_are_refused():
    weight = nn.Parameter(torch.zeros(3, 2))
    weight.grad = torch.eye(3)[:, :2].to_sparse()
    with pytest.raises(RuleTypeError, match="no sparse"):
        DirectionFirst([weight]).step()
