"""A schedule at work: the gradient is that of the step's rule, eager and compiled; nothing piles up; runs resume."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import tieless as tl
from tieless.errors import RuleTypeError, RuleValueError
from tieless.functional.compiled import MET
from tieless.functional.pair import _pair_of
from tieless.nn import LIF, RuleScheduler

SCHEDULE = tl.anneal("atan", {"width": 2.0}, {"width": 0.25}, 8, curve="geometric")


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 6),
        tl.Activation("heaviside", "atan(7, 1)"),
        nn.Linear(6, 6),
        tl.Activation("relu", "full_jam"),
        nn.Linear(6, 6),
        tl.Activation("sign", "atan"),
    )


def sent(model, z):
    leaf = z.clone().requires_grad_()
    torch.manual_seed(1)
    model(leaf).sum().backward()
    return leaf.grad


def test_the_gradient_is_that_of_the_rule_of_the_step():
    act, z = tl.Activation("heaviside", "atan"), torch.randn(50)
    annealing = RuleScheduler(act, SCHEDULE)
    for step in range(10):
        width = 2 * (1 / 8) ** (min(step, 8) / 8)
        torch.testing.assert_close(sent(act, z), 1 / (1 + (z / width) ** 2))
        annealing.step()


def test_only_activations_with_the_rule_are_changed_and_inside_of_cells_too():
    model = nn.ModuleDict({"plain": net(), "cell": LIF(backward="atan"), "high": tl.Activation("sign", "atan(1, 2)")})
    annealing = RuleScheduler(model, SCHEDULE)
    annealing.step()
    assert annealing.names == ("plain.1", "plain.5", "cell.spike")
    assert model["plain"][1].rule == model["cell"].spike.rule == annealing.rule == SCHEDULE.at(1)
    assert model["plain"][1].forward_fn == tl.forwards()["heaviside"]()
    assert model["plain"][5].forward_fn == tl.forwards()["sign"]()
    assert str(model["plain"][3].rule) == "full_jam"
    assert str(model["high"].rule) == "atan(1, 2)"


def test_a_converted_model_is_annealed_and_reverted():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    tl.convert(model, backward="atan")
    RuleScheduler(model, SCHEDULE).step()
    assert model[1].rule == SCHEDULE.at(1)
    tl.revert(model)
    assert type(model[1]) is nn.ReLU
    assert torch.equal(sent(model[1], torch.tensor([-1.0, 1.0])), torch.tensor([0.0, 1.0]))


def test_a_backward_pass_keeps_the_rule_of_its_forward_pass():
    act, z = tl.Activation("heaviside", "atan"), torch.randn(50)
    annealing, leaf = RuleScheduler(act, SCHEDULE), z.clone().requires_grad_()
    y = act(leaf)
    annealing.step()
    y.sum().backward()
    torch.testing.assert_close(leaf.grad, 1 / (1 + (z / 2) ** 2))


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_agree_where_the_step_follows_the_backward_pass(reentrant):
    model, twin, z = net(), net(), torch.randn(5, 4)
    one, other = RuleScheduler(model, SCHEDULE), RuleScheduler(twin, SCHEDULE)
    for _ in range(3):
        got = sent(lambda x: checkpoint(model, x, use_reentrant=reentrant), z)
        assert torch.equal(got, sent(twin, z))
        one.step()
        other.step()


def test_a_compiled_model_takes_each_rule_and_compiles_once_a_stage():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    schedule = tl.anneal("atan", {"width": 2.0}, {"width": 0.25}, 30, stages=3)
    model, twin, z = net(), net(), torch.randn(5, 4)
    one, other = RuleScheduler(model, schedule), RuleScheduler(twin, schedule)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for _ in range(31):
        torch.testing.assert_close(sent(compiled, z), sent(twin, z))
        one.step()
        other.step()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 3


def test_rules_in_turn_have_one_graph_each():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    turns = tl.alternate("constant(2)", "atan", every=3)
    model, z = nn.Sequential(nn.Linear(4, 6), tl.Activation("heaviside", "constant(2)")), torch.randn(5, 4)
    twins = [nn.Sequential(model[0], tl.Activation("heaviside", rule)) for rule in ("constant(2)", "atan")]
    annealing = RuleScheduler(model, turns)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for step in range(20):
        assert torch.equal(sent(compiled, z), sent(twins[step // 3 % 2], z))
        annealing.step()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2


def test_a_long_eager_schedule_fills_no_cache():
    schedule = tl.anneal("rectangular", {"low": -2}, {"low": -1}, 200)
    act, z = tl.Activation("heaviside", "rectangular"), torch.randn(8)
    annealing = RuleScheduler(act, schedule)
    before = (_pair_of.__wrapped__.cache_info().currsize, len(MET))
    for _ in range(200):
        sent(act, z)
        annealing.step()
    assert (_pair_of.__wrapped__.cache_info().currsize, len(MET)) == before


def test_a_run_that_stopped_goes_on_as_if_it_had_not():
    def train(model, annealing, optimiser, steps):
        for _ in range(steps):
            optimiser.zero_grad()
            model(torch.linspace(-1, 1, 20).view(5, 4)).square().sum().backward()
            optimiser.step()

    whole = net()
    annealing, optimiser = RuleScheduler(whole, SCHEDULE), torch.optim.SGD(whole.parameters(), 0.1)
    annealing.after(optimiser)
    torch.manual_seed(3)
    train(whole, annealing, optimiser, 6)

    first = net()
    annealing, optimiser = RuleScheduler(first, SCHEDULE), torch.optim.SGD(first.parameters(), 0.1)
    annealing.after(optimiser)
    torch.manual_seed(3)
    train(first, annealing, optimiser, 2)
    file = io.BytesIO()
    torch.save((first.state_dict(), annealing.state_dict(), torch.get_rng_state()), file)
    file.seek(0)
    weights, state, numbers = torch.load(file, weights_only=True)

    second = net()
    annealing, optimiser = RuleScheduler(second, SCHEDULE), torch.optim.SGD(second.parameters(), 0.1)
    annealing.after(optimiser)
    second.load_state_dict(weights)
    annealing.load_state_dict(state)
    torch.set_rng_state(numbers)
    train(second, annealing, optimiser, 4)
    assert second[1].rule == whole[1].rule == SCHEDULE.at(6)
    assert all(torch.equal(one, other) for one, other in zip(second.parameters(), whole.parameters(), strict=True))


def test_the_hook_can_be_removed():
    model = net()
    annealing, optimiser = RuleScheduler(model, SCHEDULE), torch.optim.SGD(model.parameters())
    handle = annealing.after(optimiser)
    optimiser.step()
    handle.remove()
    optimiser.step()
    assert annealing.state_dict() == {"taken": 1}


def test_a_copy_of_the_model_is_its_own():
    model = net()
    annealing = RuleScheduler(model, SCHEDULE)
    twin = copy.deepcopy(model)
    annealing.step()
    assert (model[1].rule, twin[1].rule) == (SCHEDULE.at(1), SCHEDULE.at(0))


def test_refusals():
    with pytest.raises(RuleValueError, match=r"the rule erf\(1.0, 1\), whatever its width. Its rules: atan\(1, 1\), "):
        RuleScheduler(net(), tl.anneal("erf", {"width": 1}, {"width": 2}, 3))
    with pytest.raises(RuleTypeError, match="needs a schedule"):
        RuleScheduler(net(), "atan")
    with pytest.raises(RuleTypeError, match=r"torch\.nn\.Module"):
        RuleScheduler("net", SCHEDULE)
    annealing = RuleScheduler(net(), SCHEDULE)
    for state in ([1], {}, {"taken": -1}, {"taken": "1"}, {"taken": 1, "more": 2}):
        with pytest.raises(RuleValueError, match="needs a state"):
            annealing.load_state_dict(state)
