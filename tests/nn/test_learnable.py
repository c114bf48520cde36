"""Slopes that learn: the feedback is the rule's, the parameters' gradient is that of the objective as it is stated."""

import copy
import gc
import io
import math
import pickle
from functools import partial

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import distributed, fx, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import tieless as tl
from tieless.errors import RuleTypeError, RuleValueError, SecondDerivativeError, SpecError, TransformError
from tieless.nn import LIF, LearnableActivation, SmoothedTarget, Spread
from tieless.rules import Bump

BUMPS = [name for name, cls in tl.rules().items() if issubclass(cls, Bump)]
OBJECTIVES = [Spread(0.7), SmoothedTarget(0.4)]


def numbers(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def learnable(backward="atan(0.7, 1.3)", objective="spread", forward="heaviside"):
    return LearnableActivation(forward, backward, objective).double()


def backward(act, z, feedback):
    leaf = z.clone().requires_grad_()
    act(leaf).backward(feedback)
    return leaf.grad


def slope_of(rule, z):
    """Gradient that the rule sends back for a feedback of 1: judged elsewhere, and not how the learnable slope is computed."""
    leaf = z.clone().requires_grad_()
    tl.untie(leaf, "heaviside", rule).sum().backward()
    return leaf.grad


def stated(objective, rule, z, g, jump=1):
    """The objectives as their docstrings state them, at a rule: of the width, and of the height."""

    def rms(x):
        return x.square().mean().sqrt().item()

    def huber(x):
        return x * x / 2 if abs(x) <= 1 else abs(x) - 0.5

    s = slope_of(rule, z)
    if isinstance(objective, Spread):
        return (
            huber(math.log(rule.width / (objective.ratio * rms(z)))),
            huber(math.log(rms(g * s) / rms(g))),
        )
    normal = torch.distributions.Normal(0.0, objective.sigma)
    r = jump * normal.log_prob(z).exp()
    value = ((g * (s - r)) ** 2).sum() / (g * g * (s * s + r * r)).sum()
    return value.item(), value.item()


@pytest.mark.parametrize("spec", [*(f"{name}(0.7, 1.3)" for name in BUMPS), "piecewise_exp(0.5, 2, center=0.3)"])
def test_feedback_is_that_of_the_rule(spec):
    act = LearnableActivation("sign", spec).double()
    z, g = numbers(40), numbers(40, seed=1)
    leaf = z.clone().requires_grad_()
    tl.untie(leaf, "sign", act.rule).backward(g)
    torch.testing.assert_close(backward(act, z, g), leaf.grad)
    assert torch.equal(act(z), tl.untie(z, "sign", "frozen"))
    assert (type(act.rule), act.rule.width) == (type(tl.rule(spec)), pytest.approx(tl.rule(spec).width))


@settings(max_examples=20)
@given(
    objective=st.sampled_from(OBJECTIVES),
    width=st.floats(0.05, 20),
    height=st.floats(0.05, 20),
    scale=st.sampled_from([1e-12, 1.0, 1e9]),
    family=st.sampled_from([tl.ATan, tl.Erf, tl.Circ, tl.Sigmoid]),
    forward=st.sampled_from(["heaviside", "sign"]),
)
def test_the_parameters_get_the_gradient_of_the_stated_objective(objective, width, height, scale, family, forward):
    """Judge: differences of the objective over log width and log height. It does not depend on the feedback's scale."""
    z, g = numbers(5, 30), numbers(5, 30, seed=1)
    act = learnable(family(width, height), objective, forward)
    backward(act, z, g * scale)
    value = partial(stated, objective, z=z, g=g, jump=2 if forward == "sign" else 1)
    step = 1e-5
    for place, (parameter, name) in enumerate([(act.log_width, "width"), (act.log_height, "height")]):
        ends = [{"width": width, "height": height} for _ in range(2)]
        for end, sign in zip(ends, (1, -1), strict=True):
            end[name] *= math.exp(sign * step)
        up, down = (value(family(**end))[place] for end in ends)
        assert parameter.grad.item() == pytest.approx((up - down) / (2 * step), abs=2e-6)


@pytest.mark.parametrize(("spread", "start"), [(0.1, 1.0), (1.0, 0.2), (30.0, 1.0)])
def test_the_width_follows_the_spread_and_the_height_keeps_the_feedback(spread, start):
    act = LearnableActivation("heaviside", f"erf({start})", Spread(1.5))
    optimiser = torch.optim.SGD(act.parameters(), lr=0.2)
    z, g = spread * numbers(200, dtype=torch.float32), numbers(200, seed=1, dtype=torch.float32)
    for _ in range(100):
        optimiser.zero_grad()
        sent = backward(act, z, g)
        optimiser.step()
    assert act.rule.width == pytest.approx(1.5 * z.square().mean().sqrt().item(), rel=1e-3)
    assert sent.norm() == pytest.approx(g.norm().item(), rel=1e-3)


def test_alignment_finds_the_smoothed_step_where_the_family_has_it():
    """A normal curve of the same width is in the family of erf, so nothing is left of the objective."""
    act = LearnableActivation("sign", "erf(1.3, 0.4)", SmoothedTarget(0.5))
    optimiser = torch.optim.Adam(act.parameters(), lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        backward(act, numbers(300, dtype=torch.float32), numbers(300, seed=1, dtype=torch.float32))
        optimiser.step()
    assert act.rule.width == pytest.approx(0.5 * math.sqrt(2), rel=1e-3)
    assert act.rule.height == pytest.approx(2 / (0.5 * math.sqrt(2 * math.pi)), rel=1e-3)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_the_width_follows_a_spread_whose_square_no_float32_holds(size):
    width = size * math.exp(0.5)
    act = LearnableActivation("heaviside", "atan", Spread())
    with torch.no_grad():
        act.log_width.fill_(math.log(width))
    backward(act, size * torch.ones(4), torch.ones(4))
    assert act.log_width.grad.item() == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=["spread", "alignment"])
def test_where_nothing_can_be_learnt_the_gradient_is_zero(objective):
    for z, g in [
        (torch.zeros(4), torch.zeros(4)),
        (torch.zeros(3, 0), torch.zeros(3, 0)),
    ]:
        act = LearnableActivation("heaviside", "erf", objective)
        backward(act, z, g)
        assert act.log_height.grad == 0
        if isinstance(objective, SmoothedTarget) or not z.any():
            assert act.log_width.grad == 0
    act = LearnableActivation("heaviside", "erf", objective)
    backward(act, torch.tensor([math.nan, 1.0]), torch.ones(2))
    assert isinstance(objective, SmoothedTarget) or (act.log_width.grad == 0 and act.log_height.grad == 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_out_is_like_in(dtype):
    act = LearnableActivation("heaviside", "atan", "alignment")
    for z in (torch.randn(2, 3, 4, 5).to(dtype, memory_format=torch.channels_last), torch.randn(4, 6, dtype=dtype).t()):
        seen, leaf = [], z.clone(memory_format=torch.preserve_format).requires_grad_()
        inside = leaf.view_as(leaf)
        inside.register_hook(seen.append)
        y = act(inside)
        y.sum().backward()
        assert (y.dtype, y.stride(), seen[0].dtype, seen[0].stride()) == (dtype, z.stride(), dtype, z.stride())
        assert act.log_width.grad.dtype == torch.float32


def gradients(model, x, call=None):
    """All gradients of one step, of the input too."""
    model.zero_grad()
    leaf = x.clone().requires_grad_()
    torch.manual_seed(4)
    ((call or model)(leaf) * torch.linspace(-1, 2, 3, dtype=x.dtype)).sum().backward()
    return [leaf.grad.clone(), *[parameter.grad.clone() for parameter in model.parameters()]]


def net(objective="spread", forward="heaviside"):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), LearnableActivation(forward, "atan", objective), nn.Linear(6, 3))


def assert_same(one, other, **tolerance):
    assert len(one) == len(other) == 7
    for left, right in zip(one, other, strict=True):
        torch.testing.assert_close(left, right, **(tolerance or {"rtol": 0, "atol": 0}))


@pytest.mark.parametrize("objective", ["spread", "alignment"])
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_change_nothing(objective, reentrant):
    model, x = net(objective), numbers(5, 4, dtype=torch.float32)
    again = partial(checkpoint, model, use_reentrant=reentrant)
    assert_same(gradients(model, x, again), gradients(model, x))


def test_a_forward_that_draws_fires_again_in_a_checkpoint():
    model, x = net(forward="bernoulli"), numbers(5, 4, dtype=torch.float32)
    assert_same(gradients(model, x, partial(checkpoint, model, use_reentrant=False)), gradients(model, x))


@pytest.mark.parametrize("objective", ["spread", "alignment"])
def test_compiled_it_sends_and_learns_the_same(objective):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model, x = net(objective), numbers(5, 4, dtype=torch.float32)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for _ in range(2):
        assert_same(gradients(model, x, compiled), gradients(model, x), rtol=1e-5, atol=1e-6)
        with torch.no_grad():
            model[1].log_width += 0.5  # no new graph for a new width
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_a_compiled_transform_does_not_lose_the_slope():
    """Dynamo takes the forward of an autograd function for all of it there: https://github.com/pytorch/pytorch/issues/193279."""
    torch._dynamo.reset()
    act, z = LearnableActivation("heaviside", "atan(0.5)", "alignment").requires_grad_(requires_grad=False), numbers(8)
    gradient = torch.func.grad(lambda x: (act(x) * torch.arange(8)).sum())
    torch.testing.assert_close(torch.compile(gradient, backend="aot_eager", fullgraph=True)(z), gradient(z))
    assert gradient(z).abs().sum() > 1


def test_below_autocast_the_parameters_keep_their_dtype_and_their_objective():
    model, x = net(), numbers(5, 4, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = model[0](x)
        assert model[1](z).dtype == torch.bfloat16
        got = gradients(model, x)
    model.zero_grad()
    model[1](z.detach()).float().backward(torch.ones(5, 6))
    assert got[3].dtype == got[4].dtype == torch.float32
    assert model[1].log_width.grad == got[3]


def test_vmap_of_grad_is_a_loop():
    model, batch = net("alignment"), numbers(3, 5, 4, dtype=torch.float32)
    weights = {name: value.detach() for name, value in model.named_parameters()}

    def one(values, x):
        return torch.func.functional_call(model, values, (x,)).square().sum()

    got = torch.func.vmap(torch.func.grad(one), in_dims=(None, 0))(weights, batch)
    loop = [torch.func.grad(one)(weights, x) for x in batch]
    for name in weights:
        torch.testing.assert_close(got[name], torch.stack([part[name] for part in loop]))


def test_it_stores_copies_and_settles():
    model, x = net(), numbers(5, 4, dtype=torch.float32)
    optimiser = torch.optim.SGD(model.parameters(), 0.5)
    gradients(model, x)
    optimiser.step()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    fresh = net()
    fresh.load_state_dict(torch.load(file, weights_only=True))
    for twin in (fresh, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin[1].rule == model[1].rule != tl.ATan()
        assert_same(gradients(twin, x), gradients(model, x))
    settled = copy.deepcopy(model)
    settled[1] = model[1].settled()
    expected = gradients(model, x)
    torch.testing.assert_close(gradients(settled, x)[0], expected[0])


def test_without_a_parameter_it_is_fixed_and_two_passes_add_up():
    model, x = net(), numbers(5, 4, dtype=torch.float32)
    model[1].log_height.requires_grad_(requires_grad=False)
    model(x).sum().backward()
    once = model[1].log_width.grad.clone()
    model(x).sum().backward()
    assert model[1].log_height.grad is None
    assert torch.equal(model[1].log_width.grad, 2 * once)


def test_it_learns_inside_of_a_spiking_cell():
    cell = LIF(beta=0.5)
    cell.spike = LearnableActivation("heaviside", "atan(10, 1)")
    x = numbers(4, 8, dtype=torch.float32).requires_grad_()
    cell.over_time(x)[0].sum().backward()
    assert cell.spike.log_width.grad > 0  # wider than the potentials are: it shall shrink
    assert x.grad.abs().sum() > 0


def _rank(rank, folder):
    """Were a gradient missing, the second forward pass would raise: DDP waits for all of them."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for objective in ("spread", "alignment"):
        model, x = net(objective), numbers(2, 5, 4, dtype=torch.float32)[rank]
        own, *others = gradients(model, x)
        means = [gradient / 2 for gradient in others]
        for mean in means:
            distributed.all_reduce(mean)
        parallel = DistributedDataParallel(model)
        for _ in range(3):
            assert_same(gradients(model, x, parallel), [own, *means])
        del model, parallel
    gc.collect()  # a model keeps the group, which must not end before it
    distributed.barrier()
    distributed.destroy_process_group()


def test_ddp_averages_the_gradient_of_every_parameter_over_two_processes(tmp_path):
    multiprocessing.spawn(_rank, args=(str(tmp_path),), nprocs=2)


def test_refusals():
    for arguments, error, words in [
        (("heaviside", "rectangular"), RuleValueError, "no width and height that could learn"),
        (("heaviside", "atan >> noise(1)"), RuleValueError, "no width and height that could learn"),
        (("heavyside", "atan"), SpecError, "Did you mean 'heaviside'"),
        ((torch.relu, "atan"), RuleTypeError, "needs a forward that has a name"),
        (("relu", "atan", "alignment"), RuleValueError, "not of relu"),
        (("relu", "atan", "alinement"), RuleValueError, "objective must be"),
    ]:
        with pytest.raises(error, match=words):
            LearnableActivation(*arguments)
    for wrong in (0, -1, math.inf, math.nan):
        with pytest.raises(RuleValueError, match="finite and positive"):
            Spread(wrong)
    with pytest.raises(RuleTypeError, match="must be a number"):
        SmoothedTarget("1")
    act = LearnableActivation()
    z = torch.zeros(3, requires_grad=True)
    with pytest.raises(SecondDerivativeError, match=r"LearnableActivation has no derivative.*settled\(\)"):
        torch.autograd.grad(act(z).sum(), z, create_graph=True)[0].sum().backward()
    with pytest.raises(TransformError, match="forward-mode"):
        torch.func.jvp(act, (z.detach(),), (z.detach(),))
    with pytest.raises(TransformError, match="settled"):
        fx.symbolic_trace(nn.Sequential(act, nn.Identity(), act))
    program = torch.export.export(act, (torch.randn(4),)).module()
    y = program(torch.tensor([-1.0, 1.0, 2.0, -2.0]).requires_grad_())
    assert y.tolist() == [0, 1, 1, 0]
    assert not y.requires_grad


def test_its_output_can_be_written_in_place():
    act, z = LearnableActivation("heaviside", "atan"), torch.randn(3, requires_grad=True)
    y = act(z)
    y += 1
    y.sum().backward()
    assert torch.equal(z.grad, torch.autograd.grad(act(z).sum(), z)[0])


def test_on_the_meta_device_there_is_no_rule_yet():
    act = LearnableActivation().to("meta")
    for ask in (lambda: act.rule, act.settled, lambda: tl.explain(nn.Sequential(act))):
        with pytest.raises(RuleValueError, match="has no rule on the meta device"):
            ask()
