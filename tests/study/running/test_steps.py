"""A captured step trains as the step that is written, and is taken only where a graph can hold it."""

import copy
import dataclasses
from functools import partial

import pytest
import torch
from torch import nn

from tieless import Activation, convert_feedback
from tieless.data.dataset import Dataset
from tieless.nn import BinaryLinear
from tieless.optim import Bop, DirectionFirst, clip_after_step
from tieless.study import Trial, network
from tieless.study.running import training
from tieless.study.running.steps import CapturedStep, Step, step_for
from tieless.study.running.training import run_trial
from tieless.study.settings.losses import LOSSES
from tieless.study.settings.schedules import SCHEDULES, Scheduled

LOSS = LOSSES["cross_entropy"]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def _net(rule="rectangular(-1, 1)"):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(12, 16, bias=False), nn.BatchNorm1d(16), Activation("sign", rule), BinaryLinear(16, 10)
    )


def _batches(device, sizes):
    generator = torch.Generator().manual_seed(1)
    for size in sizes:
        x = torch.randn(size, 12, generator=generator)
        yield x.to(device), (x[:, :10].argmax(1)).to(device)


def test_a_step_trains_as_a_loop_written_out():
    net = _net()
    twin = copy.deepcopy(net)
    optimiser, other = (torch.optim.Adam(model.parameters(), 0.01) for model in (net, twin))
    step = step_for(net, LOSS, [optimiser])
    assert type(step) is Step
    for x, labels in _batches("cpu", [8, 8, 5]):
        loss, right = step(x, labels)
        outputs = twin(x)
        expected = nn.functional.cross_entropy(outputs, labels)
        other.zero_grad()
        expected.backward()
        other.step()
        assert (loss.item(), int(right)) == (expected.item(), int((outputs.argmax(1) == labels).sum()))
        assert not loss.requires_grad
    for one, two in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_schedule_fills_a_rate_that_a_graph_reads():
    rate = torch.tensor(0.5)
    optimiser = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=rate, capturable=True)
    schedule = Scheduled(SCHEDULES.read("linear"), [optimiser], steps=4)
    seen = []
    for _ in range(4):
        schedule.step()
        seen.append(rate.item())
    assert optimiser.param_groups[0]["lr"] is rate
    assert seen == [0.5, 0.375, 0.25, 0.125]


def test_a_loss_that_is_not_finite_ends_the_trial_whenever_it_is_looked_at(monkeypatch):
    x = torch.rand(50, 4, generator=torch.Generator().manual_seed(0))
    x[17] = torch.inf
    monkeypatch.setattr(
        network, "load", lambda spec, **_: Dataset(spec, x, torch.arange(50) % 2, x[:9], x[:9, 0].long(), 2)
    )
    trial = Trial(data="digits", model="mlp(4, 1)", forward="relu", backward="tied", optimiser="sgd", learning_rate=0.1,
                  batch=5, epochs=2, seed=0)  # fmt: skip
    for looks in (1, 1000):
        monkeypatch.setattr(training, "LOOKS", looks)
        result = run_trial(trial)
        assert (result.status, result.epochs) == ("diverged", ())


@needs_gpu
@pytest.mark.parametrize(
    "rule", ["rectangular(-1, 1)", "full_jam", "rectangular_jam >> flip(0.1)", "constant >> noise(0.1)"]
)
@pytest.mark.parametrize(
    "optimiser",
    [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, partial(torch.optim.SGD, momentum=0.9), DirectionFirst],
)
def test_a_captured_step_trains_as_the_step_that_is_written(optimiser, rule):
    net = _net(rule).cuda()
    twin = copy.deepcopy(net)
    ours, plain = optimiser(net.parameters(), 0.01), optimiser(twin.parameters(), 0.01)
    for each, model in ((ours, net), (plain, twin)):
        clip_after_step(each, model)
    step, written = step_for(net, LOSS, [ours]), Step(twin, LOSS, [plain])
    assert type(step) is CapturedStep
    schedules = [Scheduled(SCHEDULES.read("cosine"), [each], 30) for each in (ours, plain)]
    # One batch in five is shorter, as the last one of an epoch is.
    for x, labels in _batches("cuda", [64, 64, 64, 64, 40] * 6):
        for schedule in schedules:
            schedule.step()
        before = torch.get_rng_state()
        loss, right = step(x, labels)
        after = torch.get_rng_state()
        torch.set_rng_state(before)
        expected, expected_right = written(x, labels)
        assert torch.equal(after, torch.get_rng_state())
        torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-3)
        assert abs(int(right) - int(expected_right)) <= 1


@needs_gpu
@pytest.mark.parametrize("feedback", ["fa", "dfa", "usf", "brsf", "frsf"])
def test_feedback_weights_are_captured(feedback):
    net = convert_feedback(_net("full_jam"), feedback, seed=1).cuda()
    twin = copy.deepcopy(net)
    step = step_for(net, LOSS, [torch.optim.SGD(net.parameters(), 0.1)])
    written = Step(twin, LOSS, [torch.optim.SGD(twin.parameters(), 0.1)])
    assert type(step) is CapturedStep
    for x, labels in _batches("cuda", [64] * 12):
        before = torch.get_rng_state()
        loss, _ = step(x, labels)
        torch.set_rng_state(before)
        torch.testing.assert_close(loss, written(x, labels)[0], rtol=1e-3, atol=1e-3)


@needs_gpu
def test_what_a_graph_cannot_hold_is_not_captured():
    net = _net().cuda()
    weight = nn.Parameter(torch.ones(3, device="cuda"))
    assert type(step_for(net, LOSS, [Bop([weight]), torch.optim.Adam(net.parameters())])) is Step
    plain = [torch.optim.SGD(net.parameters())]
    assert type(step_for(net, LOSS, plain, changing=True)) is Step
    assert type(step_for(net, LOSS, plain)) is CapturedStep


@needs_gpu
def test_a_trial_on_a_gpu_is_the_trial_on_a_cpu():
    trial = Trial(data="digits", model='mlp(32, 2, norm="batch")', forward="sign", backward="rectangular(-1, 1)",
                  optimiser="adam", learning_rate=0.01, batch=64, epochs=4, seed=0, device="cuda")  # fmt: skip
    there, here = run_trial(trial), run_trial(dataclasses.replace(trial, device="cpu"))
    assert there.error is here.error is None
    assert there.epochs[0].train_loss == pytest.approx(here.epochs[0].train_loss, rel=0.02)
    assert abs(there.epochs[-1].test_accuracy - here.epochs[-1].test_accuracy) < 0.03
