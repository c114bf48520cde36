"""Bop against its algorithm written out in numbers, and what helps it and latent weights."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn
from torch.nn.utils import parametrizations

from tieless import Activation
from tieless.errors import RuleTypeError, RuleValueError
from tieless.models import MLP
from tieless.nn import BinaryLinear, freeze, latent_weights, quantize_weights
from tieless.optim import Bop, DirectionFirst, clip_after_step, split_parameters


def _signs(seed, *shape):
    return nn.Parameter(torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).float() * 2 - 1)


def _by_hand(weights, steps, threshold, gamma):
    """Algorithm 1 of arXiv 1906.02107 in plain numbers."""
    weights, averages = list(weights), [0.0] * len(weights)
    for gradients in steps:
        for i, g in enumerate(gradients):
            averages[i] = (1 - gamma) * averages[i] + gamma * g
            if abs(averages[i]) > threshold and (averages[i] > 0) == (weights[i] > 0):
                weights[i] = -weights[i]
    return weights


@given(
    seed=st.integers(0, 1000),
    threshold=st.sampled_from([0.0, 0.01, 0.1, 0.5]),
    gamma=st.sampled_from([0.01, 0.3, 1.0]),
)
def test_it_flips_what_the_algorithm_flips(seed, threshold, gamma):
    weight = _signs(seed, 6).double().detach().requires_grad_()
    steps = torch.randn(15, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = _by_hand(weight.tolist(), steps.tolist(), threshold, gamma)
    optimiser = Bop([weight], threshold, gamma)
    for gradients in steps:
        weight.grad = gradients.clone()
        optimiser.step()
        assert set(weight.tolist()) <= {-1.0, 1.0}
    assert weight.tolist() == expected


def test_on_a_quadratic_it_finds_the_signs_of_the_solution():
    """The gradient of ``|w - target|^2 / 2`` says for each weight alone which sign is nearer."""
    target = torch.randn(50, generator=torch.Generator().manual_seed(1))
    weight = _signs(2, 50)
    optimiser = Bop([weight], threshold=0.1, gamma=0.5)
    for _ in range(10):
        optimiser.zero_grad()
        (0.5 * (weight - 3 * target.sign()).square()).sum().backward()
        optimiser.step()
    assert torch.equal(weight.detach(), target.sign())


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 3, 3, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_resumes_from_its_state_bit_for_bit(shape, dtype):
    first = nn.Parameter(_signs(3, *shape).detach().to(dtype))
    optimiser = Bop([first], 1e-3, 1e-1)

    def step(weight, optimiser, seed):
        weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
        optimiser.step()

    for seed in range(5):
        step(first, optimiser, seed)
    second = nn.Parameter(first.detach().clone())
    again = Bop([second], 0.5, 0.9)
    again.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    assert again.param_groups[0]["threshold"] == 1e-3
    for seed in range(5, 25):
        step(first, optimiser, seed)
        step(second, again, seed)
    assert torch.equal(first, second)
    assert first.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_an_average_forgets_and_sees_small_gradients_in_half_types_too(dtype):
    """In numbers: one push of 1, then nothing, then a steady -0.1, of which bfloat16 would keep the push and lose the rest."""
    weight = nn.Parameter(torch.ones(1, dtype=dtype))
    optimiser = Bop([weight], threshold=0.5, gamma=1e-2)
    expected = 0.0
    for step in range(700):
        gradient = 1.0 if step == 0 else 0.0 if step < 400 else -0.1
        weight.grad = torch.full((1,), gradient, dtype=dtype)
        optimiser.step()
        expected = 0.99 * expected + 0.01 * float(weight.grad)
        assert optimiser.state[weight]["average"].item() == pytest.approx(expected, rel=1e-4)
    assert expected == pytest.approx(-0.095, abs=1e-3)


@pytest.mark.parametrize("make", [Bop, DirectionFirst])
@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_a_stored_average_is_loaded_to_the_last_bit(make, dtype, kept):
    """PyTorch casts what it loads to the dtype of the weights. Hooks of others have their say, before and after."""
    first, second = (nn.Parameter(torch.ones(3, 2, dtype=dtype)) for _ in range(2))
    optimiser, again = make([first]), make([second])
    first.grad = torch.linspace(0.1, 0.7, 6, dtype=dtype).view(3, 2)
    optimiser.step()
    average = optimiser.state[first]["average"].clone()
    assert average.dtype == kept
    seen = []
    again.register_load_state_dict_post_hook(lambda one: seen.append(one.state[second]["average"]))
    again.load_state_dict(pickle.loads(pickle.dumps(optimiser.state_dict())))
    assert torch.equal(again.state[second]["average"], average)
    assert again.state[second]["average"].dtype == kept
    assert torch.equal(seen[0], average)

    def halved(_, state):
        return {**state, "state": {0: {"average": state["state"][0]["average"] / 2}}}

    again.register_load_state_dict_pre_hook(halved)
    again.load_state_dict(optimiser.state_dict())
    assert torch.equal(again.state[second]["average"], average / 2)
    assert len(again._optimizer_load_state_dict_pre_hooks) == 1


@pytest.mark.parametrize("make", [Bop, DirectionFirst])
def test_a_state_of_an_older_version_is_widened(make):
    weight = nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    optimiser = make([weight])
    state = {"state": {0: {"average": torch.full((2,), 0.5, dtype=torch.bfloat16)}}}
    optimiser.load_state_dict({**optimiser.state_dict(), **state})
    assert optimiser.state[weight]["average"].dtype == torch.float32
    optimiser.load_state_dict({**optimiser.state_dict(), "state": {}})
    assert not optimiser.state


@pytest.mark.parametrize("make", [Bop, DirectionFirst])
def test_what_is_kept_from_a_step_in_inference_mode_serves_outside_of_it(make):
    weight = nn.Parameter(torch.ones(3))
    optimiser = make([weight])
    weight.grad = torch.ones(3)
    with torch.inference_mode():
        optimiser.step()
    optimiser.step()
    assert optimiser.state[weight]["average"].gt(0).all()


def test_groups_have_their_own_numbers():
    still, quick = _signs(4, 20), _signs(5, 20)
    before = [still.detach().clone(), quick.detach().clone()]
    optimiser = Bop([{"params": [still], "threshold": 1e3}, {"params": [quick], "threshold": 0, "gamma": 1}])
    for weight in (still, quick):
        weight.grad = weight.detach().clone()
    optimiser.step()
    assert torch.equal(still, before[0])
    assert torch.equal(quick, -before[1])


def test_a_closure_is_called_with_gradients_and_a_weight_without_one_stays():
    weight, idle = _signs(6, 5), _signs(7, 5)
    before = idle.detach().clone()
    optimiser = Bop([weight, idle], threshold=0, gamma=1)

    def closure():
        optimiser.zero_grad()
        loss = weight.sum()
        loss.backward()
        return loss

    assert optimiser.step(closure).item() == pytest.approx(optimiser.step(closure).item() + _lost(weight, 6))
    assert torch.equal(weight.detach(), -torch.ones(5))
    assert torch.equal(idle.detach(), before)


def _lost(weight, seed):
    """Fall of the sum in the first step: each +1 has become -1."""
    return 2 * (_signs(seed, 5) > 0).sum().item()


def _sgd():
    return torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=1.0)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Bop([nn.Parameter(torch.tensor([1.0, 0.5]))]), RuleValueError, "split_parameters"),
        (
            lambda: Bop([nn.Parameter(torch.ones(2, device="meta"))]),
            RuleValueError,
            "meta device. Load the weights first",
        ),
        (lambda: Bop([_signs(0, 2)], threshold=-1), RuleValueError, "threshold=-1"),
        (lambda: Bop([_signs(0, 2)], gamma=0), RuleValueError, "gamma above 0 to 1"),
        (lambda: Bop([_signs(0, 2)], gamma="1"), RuleTypeError, "gamma must be a number"),
        (lambda: split_parameters(nn.ReLU()), RuleValueError, "No layer"),
        (lambda: split_parameters(nn.Sequential(BinaryLinear(2, 2)), keep_ends=False), RuleTypeError, "freeze it"),
        (lambda: clip_after_step(None, BinaryLinear(2, 2)), RuleTypeError, "one of PyTorch's optimisers, got None"),
        (lambda: clip_after_step(_sgd(), None), RuleTypeError, "clip_after_step needs a torch.nn.Module"),
        (lambda: clip_after_step(_sgd(), BinaryLinear(2, 2), "1"), RuleTypeError, "limit must be a number, got '1'"),
        (
            lambda: clip_after_step(_sgd(), BinaryLinear(2, 2), -1.0),
            RuleValueError,
            "limit must be finite and positive",
        ),
        (
            lambda: clip_after_step(_sgd(), BinaryLinear(2, 2)),
            RuleValueError,
            "this SGD has none of the 1 latent weights",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_a_refused_group_is_not_kept():
    optimiser = Bop([_signs(0, 2)])
    with pytest.raises(RuleValueError):
        optimiser.add_param_group({"params": [nn.Parameter(torch.zeros(2))]})
    assert len(optimiser.param_groups) == 1


def _net():
    torch.manual_seed(0)
    return MLP(8, (16, 16), 2, "sign", "rectangular(-1, 1)", norm="batch")


def test_a_model_is_split_into_binary_weights_and_all_the_rest():
    net = _net()
    before = net[4].weight.detach().clone()
    binary, others = split_parameters(net)
    assert len(binary) == 1
    assert binary[0] is net[4].weight
    assert torch.equal(binary[0].detach(), torch.where(before >= 0, 1.0, -1.0))
    assert {id(p) for p in binary} | {id(p) for p in others} == {id(p) for p in net.parameters()}
    assert len(binary) + len(others) == len(list(net.parameters()))
    assert [tuple(p.shape) for p in split_parameters(_net(), keep_ends=False)[0]] == [(16, 8), (16, 16), (2, 16)]
    assert [tuple(p.shape) for p in split_parameters(_net(), "1", keep_ends=False)[0]] == [(16, 8)]
    assert split_parameters(freeze(quantize_weights(_net())))[0]


def _tied_to_embedding():
    net = nn.Sequential(nn.Embedding(3, 3), nn.Linear(3, 3), nn.Linear(3, 3, bias=False))
    net[2].weight = net[0].weight
    return net


def _with_nan():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    net[1].weight.data[0, 0] = torch.nan
    return net


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (_tied_to_embedding, RuleValueError, r"0\.weight is also the weight of a layer that is to be binary"),
        (_with_nan, RuleValueError, "The weight of 1 has NaN in it"),
        (
            lambda: nn.Sequential(nn.Linear(2, 2), parametrizations.weight_norm(nn.Linear(2, 2))),
            RuleTypeError,
            "The weight of 1 .* has a parametrization already",
        ),
    ],
)
def test_weights_that_cannot_be_binary_are_refused_before_any_is_changed(make, error, says):
    net = make()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(error, match=says):
        split_parameters(net, keep_ends=False)
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0, equal_nan=True)


def test_layers_that_share_a_weight_become_binary_together():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    assert len(split_parameters(net, keep_ends=False)[0]) == 1


def test_a_model_that_is_quantised_after_the_hook_is_clipped_and_one_that_never_is_an_error():
    net = _net()
    optimiser = torch.optim.SGD(net.parameters(), lr=50.0)
    clip_after_step(optimiser, net)
    with pytest.raises(RuleValueError, match="has none of the 0 latent weights of"):
        optimiser.step()
    quantize_weights(net)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    assert latent_weights(net)[0].abs().max() <= 1


def test_a_network_learns_by_bop_and_its_weights_are_always_binary():
    """Parity of two signs among noise: chance is one half, and a linear classifier does no better."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 8, generator=generator)
    labels = (x[:, 0] * x[:, 1] > 0).long()
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Linear(8, 64), nn.BatchNorm1d(64), Activation("sign", "rectangular(-1, 1)"),
        nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), Activation("sign", "rectangular(-1, 1)"), nn.Linear(64, 2),
    )  # fmt: skip
    binary, others = split_parameters(net)
    start = binary[0].detach().clone()
    optimisers = Bop(binary, 1e-6, 1e-2), torch.optim.Adam(others, lr=1e-2)
    for _ in range(60):
        loss = nn.functional.cross_entropy(net(x), labels)
        net.zero_grad()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        assert set(binary[0].flatten().tolist()) == {-1.0, 1.0}
    assert not torch.equal(binary[0], start)
    assert (net(x).argmax(1) == labels).double().mean() > 0.8


def test_latent_weights_are_clipped_after_each_step_until_the_hook_is_removed():
    net = quantize_weights(_net())
    optimiser = torch.optim.SGD(net.parameters(), lr=1.0)
    handle = clip_after_step(optimiser, net, 0.25)

    def step():
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimiser.step()
        return latent_weights(net)[0].detach()

    assert (step() == -0.25).all()
    assert net[1].weight.detach().max() < -0.5
    handle.remove()
    assert (step() == -1.25).all()
