"""Recommendations of a refusal work: each rule that a message names for a forward is accepted there, and trains it."""

import gc
import math
import re
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tieless as tl
from tests.pairs import FORWARDS
from tieless._underivable import NO_SECOND
from tieless.errors import RuleValueError, SecondDerivativeError, UntrainableError
from tieless.forwards import forward as forward_of
from tieless.forwards.advice import TASKS
from tieless.functional import pair_of
from tieless.nn import LIF

VARIANTS = [
    "heaviside(at_zero=1)",
    "ternary(0.001)",
    "ternary(40)",
    "square_wave(0.01)",
    "square_wave(1e-29)",
    "staircase(2)",
    "spike_count(1)",
    "quantize(1e-30)",
    "bernoulli(1e-30)",
    "bernoulli(1e30)",
    'bernoulli(0.25, chance="clamp")',
    'bernoulli(1e-30, chance="clamp")',
    "magnitude_aware_sign(1)",
]
FLAT = [name for name in [*FORWARDS, *VARIANTS] if forward_of(name).derivative() is None]


def refusal(forward, rule):
    with pytest.raises((RuleValueError, UntrainableError)) as caught:
        pair_of(forward, rule)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def recommended(message):
    return re.findall(r"'([^']+)' \(", message)


def trains(forward, spec):
    z = torch.linspace(-0.1, 0.1, 12, dtype=torch.float64).view(3, 4)
    z = torch.cat([z, z * 1e-29]).requires_grad_()
    tl.untie(z, forward, spec).sum().backward()
    return bool(z.grad.any()) and bool(z.grad.isfinite().all())


def flat_functions():
    @tl.register_forward(flat=True)
    def thirds(z, width: float = 3.0):
        return torch.floor(z * width) / width

    return thirds(2)


@pytest.mark.parametrize("rule", ["tied", "few_bit(2)", "gated", "regelu2", "resilu2", "tied >> clip_norm(1)"])
@pytest.mark.parametrize("name", FLAT)
def test_each_rule_that_is_recommended_trains_the_forward(name, rule):
    specs = recommended(refusal(name, rule))
    assert len(specs) == 2
    assert all(trains(name, spec) for spec in specs), specs


def test_so_it_is_for_forwards_of_the_users():
    flat = flat_functions()
    specs = recommended(refusal(flat, "few_bit(2)"))
    assert len(specs) == 2
    assert all(trains(flat, spec) for spec in specs)


def test_pytorchs_own_are_trained_as_ours():
    specs = recommended(refusal(torch.floor, "few_bit(2)"))
    assert specs == recommended(refusal("floor", "few_bit(2)"))
    assert all(trains(torch.floor, spec) for spec in specs)


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("sign", "rectangular(-1, 1)"),
        ("heaviside", "rectangular(-0.5, 0.5)"),
        ("round", "constant"),
        ("staircase(4)", "rectangular(0, 1)"),
        ("spike_count(3)", "rectangular(0, 3)"),
        ("bernoulli(0.5)", "sigmoid(0.5, 0.5)"),
        ("square_wave(8)", "square_wave_series(2.0)"),
        ("magnitude_aware_sign", "magnitude_aware(1, 0)"),
    ],
)
def test_the_best_one_stands_first(name, first):
    assert recommended(refusal(name, "tied"))[0] == first


def test_the_mean_of_bernoulli_is_followed():
    """``sigmoid(width, 1 / (4 width))`` is the derivative of ``sigma(z / width)``: by autograd."""
    z = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    (spec, *_) = recommended(refusal("bernoulli(0.7)", "tied"))
    tl.untie(z, "bernoulli(0.7)", spec).sum().backward()
    (expected,) = torch.autograd.grad(torch.sigmoid(z / 0.7).sum(), z)
    torch.testing.assert_close(z.grad, expected)


NOT_FLAT = [name for name in FORWARDS if name not in FLAT]
OTHERS = [("regelu2", name) for name in NOT_FLAT if name != "gelu"]
OTHERS += [("resilu2", name) for name in NOT_FLAT if name != "silu"]


@pytest.mark.parametrize(("rule", "name"), OTHERS)
def test_the_levels_of_one_forward_are_refused_beside_another(rule, name):
    message = refusal(name, rule)
    assert f"{rule!r} follows the derivative of {'gelu' if rule == 'regelu2' else 'silu'}, and {name}" in message
    specs = recommended(message)
    assert specs == ["few_bit(2)", "tied"]
    assert all(trains(name, spec) for spec in specs)


@pytest.mark.parametrize(
    ("rule", "function"),
    [
        ("regelu2", F.gelu),
        ("regelu2", nn.GELU(approximate="tanh")),
        ("regelu2", lambda z: z * torch.sigmoid(1.702 * z)),
        ("resilu2", F.silu),
        ("resilu2", nn.SiLU()),
    ],
    ids=range(5),
)
def test_a_callable_that_is_the_forward_or_a_variant_is_taken(rule, function):
    z = torch.tensor([-1.0, 1.0], requires_grad=True)
    tl.untie(z, function, rule).sum().backward()
    named = torch.tensor([-1.0, 1.0], requires_grad=True)
    tl.untie(named, "gelu" if rule == "regelu2" else "silu", rule).sum().backward()
    assert torch.equal(z.grad, named.grad)


@pytest.mark.parametrize("rule", ["few_bit(1)", "gated", "regelu2"])
def test_the_levels_of_a_callable_do_not_keep_it_alive(rule):
    def function(z):
        return F.gelu(z)

    assert tl.rule(rule).slope(forward_of(function)) is not None
    reference = weakref.ref(function)
    del function
    gc.collect()
    assert reference() is None


CHOICES = [(task, advice.spec) for task in TASKS for advice in task.rules]


@pytest.mark.parametrize(("task", "spec"), CHOICES, ids=[f"{task.network}-{spec}" for task, spec in CHOICES])
def test_each_rule_of_a_task_trains_its_forward(task, spec):
    assert trains(task.forward or "gelu", spec)


@pytest.mark.parametrize("task", TASKS, ids=[task.network for task in TASKS])
def test_a_task_has_two_rules(task):
    assert len({advice.spec for advice in task.rules}) == 2


def test_the_rule_of_lif_is_the_first_for_spiking_networks():
    """Its width is written with three digits, and is the ``1 / pi`` of snnTorch."""
    (task,) = (task for task in TASKS if task.name == "spiking")
    first = tl.rule(task.rules[0].spec)
    for cell in (LIF(), LIF.from_tau(2.0)):
        own = cell.spike.tieless_pair.rule
        assert type(own) is type(first)
        assert (own.width, own.height) == (pytest.approx(1 / math.pi), 1)
        assert (round(own.width, 3), own.height) == (first.width, first.height)


@pytest.mark.parametrize(("task", "spec"), CHOICES, ids=[f"{task.network}-{spec}" for task, spec in CHOICES])
def test_the_rules_of_a_task_are_of_the_kinds_that_the_refusal_of_a_second_derivative_names(task, spec):
    """``tied``, a rule with a slope, or a jam of slopes: each has one, as the refusal says."""
    assert "use 'tied', a rule with a slope, or a jam of slopes." in NO_SECOND
    z = torch.linspace(-0.9, 0.9, 6, dtype=torch.float64, requires_grad=True)
    feedback = torch.ones_like(z, requires_grad=True)
    (sent,) = torch.autograd.grad(tl.untie(z, task.forward or "gelu", spec), z, feedback, create_graph=True)
    (second,) = torch.autograd.grad(sent.sum(), feedback)
    torch.testing.assert_close(second, sent)  # linear in the feedback, which is 1 everywhere


def test_a_rule_of_another_kind_has_no_second_derivative():
    z = torch.linspace(-0.9, 0.9, 6, requires_grad=True)
    (sent,) = torch.autograd.grad(tl.untie(z, "gelu", "tied >> sign").sum(), z, create_graph=True)
    with pytest.raises(SecondDerivativeError) as refused:
        torch.autograd.grad(sent.sum(), z)
    assert str(refused.value) == NO_SECOND


def accuracy(forward, backward):
    """Accuracy on the training samples: fields of a checkerboard, two hidden layers."""
    torch.manual_seed(0)
    points = torch.rand(512, 2) * 2 - 1
    black = (2 * points).floor().sum(dim=1).long() % 2
    act = tl.Activation(forward, backward)
    network = nn.Sequential(nn.Linear(2, 32), act, nn.Linear(32, 32), act, nn.Linear(32, 2))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(150):
        optimiser.zero_grad()
        F.cross_entropy(network(points), black).backward()
        optimiser.step()
    return float((network(points).argmax(dim=1) == black).float().mean())


@pytest.mark.parametrize("name", ["heaviside", "sign"])
def test_those_of_step_functions_teach_the_layers_below_the_last(name):
    """Far above ``frozen``, and above the constant that errors once named for them."""
    first, second = (accuracy(name, spec) for spec in recommended(refusal(name, "tied")))
    own = [accuracy(name, spec) for task, spec in CHOICES if task.forward == name]
    without = accuracy(name, "frozen")
    assert min(first, second, *own) > without + 0.05
    assert min(first, second) > accuracy(name, "constant")
